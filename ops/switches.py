"""The switches: their state, since when, by whom and why; and how those of `leads switch` are turned."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from leads.domain.fields import fold
from ops.clients.db_session import QUERIES, DbSession, load_row, load_rows
from ops.failures import CommandFailed, WrongUsage

Setting = Literal["kill_switch", "processing_paused"]
MAX_REASON_CHARACTERS = 200
PLACE_OF_REASON = ("TEXT", "REASON", "…", "say why")
"""What help texts, pages and printed commands have where a reason stands."""
LIST_SWITCHES = "switches/list_switches"
"""The statement of all switches, without parameters; its rows are Switch."""


LOAD_PROBLEMS = "switches/load_problems"
"""The statement of what is wrong with the settings, without parameters; its row is SettingProblems."""


@dataclass(frozen=True, slots=True)
class SettingProblems:
    """The row of switches/load_problems; `are_lost`: no setting can be read."""

    problems: list[str]
    are_lost: bool
    changed_at: datetime | None
    changed_by: str | None

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(problem.partition(" ")[0] for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Switch:
    """A row of switches/list_switches.

    `kind`: kill, pause, connection or source. `is_on`: of a connection, that it is not disabled. `can_be_on`
    is false of a source that Pancake removed or that has no name yet. `changed_at` and what follows are of
    the last change, None if the history has none; `person` is the name behind `changed_by`.
    """

    kind: str
    row_id: str
    name: str | None
    pancake_source_id: str | None
    connection: str | None
    is_on: bool
    can_be_on: bool
    changed_at: datetime | None
    changed_by: str | None
    person: str | None
    application: str | None
    reason: str | None


def check_reason(reason: str, at_most: int = MAX_REASON_CHARACTERS) -> str:
    """Return the reason that a person gives without spaces around it. Raises WrongUsage."""
    reason = reason.strip()
    if not 0 < len(reason) <= at_most:
        raise WrongUsage(f"--reason is a text of 1 to {at_most} characters.")
    if reason in PLACE_OF_REASON:
        raise WrongUsage(f"{reason} stands for a reason: say why, for those who read it later.")
    return reason


def list_switches(db: DbSession) -> list[Switch]:
    """Return all switches: the kill switch, the pause, connections, sources."""
    return load_rows(db, Switch, LIST_SWITCHES)


def match_sources(listed: Iterable[Switch], which: str) -> list[Switch]:
    """Return the sources of that name or id; without regard to case if none is written like that."""
    sources = [each for each in listed if each.kind == "source"]
    exact = [each for each in sources if which in (each.name, each.pancake_source_id, each.row_id)]
    return exact or [each for each in sources if each.name and fold(each.name) == fold(which)]


def set_setting(db: DbSession, setting: Setting, *, is_on: bool, reason: str) -> bool:
    """Turn a switch of the settings on or off; return what it was.

    Raises CommandFailed where that would store the defaults of settings that were lost.
    """
    (found,) = load_rows(db, SettingProblems, LOAD_PROBLEMS)
    is_on_by_default = setting == "kill_switch" and setting in found.names
    if found.problems and (not is_on or is_on_by_default):
        raise CommandFailed(
            f"{setting} is not changed: its write would store the defaults of {', '.join(found.names)}.\n"
            "Restore them first: docs/runbook/leads-and-tickets.md#settings-that-were-lost\n"
            "What they were: leads history --of setting"
        )
    params = {"kill_switch": None, "processing_paused": None, "reason": reason} | {setting: is_on}
    return bool(load_row(db, "switches/set_setting", params)[setting])


class SourceBefore(NamedTuple):
    was_on: bool
    connection_id: str


def set_source(db: DbSession, source_id: str, *, is_on: bool, reason: str) -> SourceBefore | None:
    """Switch a source on or off; return it as it was before, None if that is not possible (any more)."""
    params = {"id": source_id, "is_on": is_on, "reason": reason}
    row = db.execute(QUERIES["switches/set_source"], params).fetchone()
    return SourceBefore(**row) if row else None
