"""The three tiers of the rollback as section E5 of the checklist and docs/runbook/rollback.md have them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from ops.checks.read_services import look_at_handlers
from ops.clients.pg_programs import restore_rows
from ops.clients.plain_http import NoAnswer
from ops.failures import CommandFailed
from ops.golive.criterion import OPERATORS
from ops.golive.deploy.actions import function, program, verb
from ops.golive.deploy.checks import check_handlers
from ops.golive.deploy.database_steps import OWN_TABLES, database_steps, take_snapshot
from ops.golive.deploy.running import act, bring_forward, find_step, take_back
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import Action, State, Step
from ops.golive.drill.sender import Sender
from ops.output import say

REASON = "rollback drill"
ENOUGH = 5
"""Leads in a row that have to show the effect."""
EFFECT_SECONDS = 120.0
POLL_SECONDS = 0.25
ROWS_FILE = "rows-of-drill"


class DrillFailed(CommandFailed):
    """A step of the drill failed; the installation may need a hand: `leads golive deploy --check`."""


@dataclass
class Drill:
    """A drill that runs: the installation, its traffic, and the times of its parts in seconds."""

    site: Site
    sender: Sender
    seconds: dict[str, float] = field(default_factory=dict)

    def do(self, step: str, *actions: Action) -> None:
        """Run actions; each has to end well. Raises DrillFailed."""
        found = find_step(step)
        assert found is not None
        for action in actions:
            if not act(self.site, found, action):
                raise DrillFailed(f"{' '.join(action.argv)} failed. See the lines above; {AFTERWARDS}")

    def wait(self, what: str, is_reached: Callable[[], bool]) -> None:
        """Wait for an effect. Raises DrillFailed when it does not come."""
        deadline = time.monotonic() + EFFECT_SECONDS
        while not is_reached():
            if time.monotonic() > deadline:
                raise DrillFailed(f"{what} did not happen within {EFFECT_SECONDS:.0f} s; {AFTERWARDS}")
            time.sleep(POLL_SECONDS)
        say(f"  {what}.")

    def now(self) -> datetime:
        """Return the time of the database."""
        at: datetime = self.site.row("golive/load_database")["now"]
        return at

    def count(self, since: datetime, state: str) -> int:
        """Count the test leads stored since then that are `held`, `processed`, or all `events`."""
        return int(self.site.row("golive/count_drill_events", prefix=self.sender.prefix, since=since)[state])


AFTERWARDS = "what is where: leads golive deploy --check"


def tier1(drill: Drill) -> None:
    """Turn the kill switch on, until leads are held and make no tickets."""
    _hold(drill)


def after_tier1(drill: Drill) -> None:
    _release(drill)


def tier2(drill: Drill) -> None:
    """Hold leads, bring the former handlers back, and let leads become tickets again."""
    service = drill.site.plan.service("handlers")
    if not service.back:
        raise DrillFailed("golive.yaml has no services.handlers.back: the command that brings them back.")
    _hold(drill)
    drill.do("11", program(service.back))
    drill.wait(f"The former handlers answer {service.former_version}".rstrip(), lambda: _is_former(drill))
    _release(drill)


def after_tier2(drill: Drill) -> None:
    """Bring the new handlers forward again."""
    drill.do("11", program(drill.site.plan.service("handlers").do))
    drill.wait("The new handlers answer", lambda: check_handlers(drill.site).state is State.DONE)


def tier3(drill: Drill) -> None:
    """Hold leads, remove metadata and schema; the edge keeps what arrives."""
    _hold(drill)
    *tables, roles = database_steps()
    for step in (_step("9b"), _step("9a"), roles):
        _check_outcome(take_back(drill.site, step, is_confirmed=False).result, step)
    # Only now nothing can store a lead any more: one that came after the dump would be lost.
    drill.do("4", take_snapshot(drill.site, ROWS_FILE, (), OWN_TABLES))
    for step in reversed(tables):
        _check_outcome(take_back(drill.site, step, is_confirmed=False).result, step)
    accepted = len(drill.sender.sent.accepted)
    drill.wait("The edge keeps what arrives", lambda: len(drill.sender.sent.accepted) >= accepted + ENOUGH)


def after_tier3(drill: Drill) -> None:
    """Apply schema, rows and metadata again, and let leads become tickets."""
    *tables, roles = database_steps()
    for step in tables:
        _check_outcome(bring_forward(drill.site, step).result, step)
    drill.do("4", function(("pg_restore", "--data-only", "--disable-triggers"), lambda: _restore(drill.site)))
    # Without rights the handlers store nothing, and hear of no connection, before its rows are back.
    for step in (roles, _step("9a"), _step("9b")):
        _check_outcome(bring_forward(drill.site, step).result, step)
    _release(drill)


def _restore(site: Site) -> str:
    noted = [entry for entry in site.journal.entries() if entry.get("when") == ROWS_FILE]
    path = site.folder / str(noted[-1]["file"])
    restore_rows(site.settings.database_url, path, site.choices.programs)
    return f"the rows of {path} are back"


def _hold(drill: Drill) -> None:
    drill.do("14", verb("switch", "kill", "on", "--reason", REASON))
    since = drill.now()
    drill.wait(
        f"{ENOUGH} leads are held, and none made a ticket",
        lambda: drill.count(since, "held") >= ENOUGH and drill.count(since, "processed") == 0,
    )


def _release(drill: Drill) -> None:
    drill.do("14", verb("switch", "kill", "off", "--reason", REASON))
    since = drill.now()
    drill.do("14", verb("replay", "--status", "skipped_kill_switch", "--drain", "--no-wait"))
    drill.wait(f"{ENOUGH} new leads made tickets", lambda: drill.count(since, "processed") >= ENOUGH)


def _is_former(drill: Drill) -> bool:
    wanted = drill.site.plan.service("handlers").former_version
    try:
        look = look_at_handlers(drill.site.settings.handlers_url)
    except NoAnswer:
        return False
    told = look.health.json.get("version") if isinstance(look.health.json, dict) else None
    return (not wanted or told == wanted) and (look.ready or {}).get("database") is not False


def _step(number: str) -> Step:
    found = find_step(number)
    assert found is not None
    return found


def _check_outcome(result: str, step: Step) -> None:
    if result in ("waiting", "failed"):
        raise DrillFailed(f"Step {step.id} {result}. {AFTERWARDS.capitalize()}")


@dataclass(frozen=True, slots=True)
class Limit:
    """How many minutes a rollback may take: with < fewer than `minutes`, with <= so many too."""

    operator: str
    minutes: float

    def is_kept_by(self, minutes: float) -> bool:
        return OPERATORS[self.operator](minutes, self.minutes)


TIERS: dict[int, tuple[Callable[[Drill], None], Callable[[Drill], None], Limit]] = {
    1: (tier1, after_tier1, Limit("<", 5.0)),
    2: (tier2, after_tier2, Limit("<=", 15.0)),
    3: (tier3, after_tier3, Limit("<=", 30.0)),
}
"""By tier: the rollback that is timed, the way back to normal, and its limit (E5, G-8)."""
