"""The page as HTML, filled on the server. Every value is escaped."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from ops.html import render_page
from sandbox.page.stories import View
from sandbox.payloads import Sample

HERE = Path(__file__).parent
CHAIN = {
    "pancake": ("Pancake", "where leads come from"),
    "edge": ("Edge", "checks and forwards, keeps what it cannot deliver"),
    "hasura": ("Hasura", "REST endpoint, event trigger, crons"),
    "handlers": ("Handlers", "our code: store, decide, write"),
    "notifications": ("Messages", "Diva's service, tells the staff"),
}
"""The parts in the order of a lead's way, with what each does."""

SWITCHES = {
    "kill": ("Kill switch", "leads are stored and held, no ticket is created"),
    "pause": ("Pause", "leads are stored and wait, nothing is held"),
}
"""By the kind of a switch: its name, and what it does while it is on."""
STATUS = {
    "processed": ("done", "ok"),
    "received": ("waits", "wait"),
    "ingested": ("at work", "wait"),
    "failed": ("failed, tried again", "bad"),
    "dead_letter": ("needs a person", "bad"),
    "skipped_kill_switch": ("held", "held"),
    "skipped_source_disabled": ("held", "held"),
}
AGAIN = {"failed", "dead_letter", "skipped_kill_switch", "skipped_source_disabled"}


def page(live: str, samples: Sequence[Sample], token: str, nonce: str) -> str:
    """Return the whole page; `live` is the part that is loaded again every second."""
    template = HERE / "page.html.j2"
    return render_page(template, live=Markup(live), samples=samples, token=token, nonce=nonce)  # noqa: S704


def live_part(view: View, parts: Mapping[str, bool], token: str, note: str = "") -> str:
    """Return the part of the page that changes. `parts`: whether each part runs."""
    counts: Counter[str] = Counter()
    for status, number in sorted(view.counts.items()):
        counts[STATUS[status][0]] += number
    return render_page(
        HERE / "live.html.j2", view=view, parts=parts, token=token, note=note, chain=CHAIN, again=AGAIN,
        switches=SWITCHES, status=STATUS, counts=counts, time=_time,
        has_held=any(number for status, number in view.counts.items() if status.startswith("skipped")),
        most_tickets=max((owner["tickets"] for owner in view.owners), default=0) or 1,
    )  # fmt: skip


def _time(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S}" if at else ""
