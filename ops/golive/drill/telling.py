"""Who is told of a rollback, through which channel, and within which time: section E5 of the checklist."""

import time
from dataclasses import dataclass

from ops.golive.deploy.actions import program
from ops.golive.deploy.site import Site
from ops.output import say


@dataclass(frozen=True, slots=True)
class Announcement:
    """The people of a tier, and how they are told."""

    audience: str
    channel: str
    within_minutes: int


ANNOUNCEMENTS = {
    1: Announcement("PO, Tech Lead", "Slack #pancake-integration", 5),
    2: Announcement("PO, Tech Lead, Ops, DevOps", "Slack #pancake-integration, email", 15),
    3: Announcement("PO, Tech Lead, Ops, DevOps, director, whole team", "Slack urgent, email, meeting", 30),
}


@dataclass(frozen=True, slots=True)
class Told:
    """After how many minutes the command of golive.yaml had told them; None: they were not told."""

    announcement: Announcement
    after_minutes: float | None

    @property
    def is_in_time(self) -> bool:
        return self.after_minutes is not None and self.after_minutes <= self.announcement.within_minutes


def tell(site: Site, tier: int, started: float) -> Told:
    """Run the command `tell` of golive.yaml with channel, audience and text; without it say what to do.

    `started` is when the tier began, by time.monotonic().
    """
    announcement = ANNOUNCEMENTS[tier]
    text = f"Drill: rollback tier {tier} begins. This is a rehearsal in {site.db.info.dbname}."
    if not site.plan.tell:
        who, how = announcement.audience, announcement.channel
        say(f"Tell {who} within {announcement.within_minutes} min, by {how}: {text}")
        return Told(announcement, None)
    result = program((*site.plan.tell, announcement.channel, announcement.audience, text)).run()
    if result.exit_code != 0:
        say(f"They were not told: {site.plan.tell[0]} ended with {result.exit_code}.")
        return Told(announcement, None)
    return Told(announcement, round((time.monotonic() - started) / 60, 2))
