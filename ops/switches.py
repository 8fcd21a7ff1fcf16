"""The switches: their state, since when, by whom and why; and how those of `leads switch` are turned."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import typer

from ops.clients.db_session import QUERIES, DbSession, load_row, load_rows

Setting = Literal["kill_switch", "processing_paused"]
MAX_REASON_CHARACTERS = 200
LIST_SWITCHES = "switches/list_switches"
"""The statement of all switches, without parameters; its rows are Switch."""


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


def check_reason(reason: str) -> str:
    """Return the reason of a change without spaces around it. Raises typer.BadParameter."""
    if not 0 < len(reason.strip()) <= MAX_REASON_CHARACTERS:
        raise typer.BadParameter(f"--reason has 1 to {MAX_REASON_CHARACTERS} characters")
    return reason.strip()


def list_switches(db: DbSession) -> list[Switch]:
    """Return all switches: the kill switch, the pause, connections, sources."""
    return load_rows(db, Switch, LIST_SWITCHES)


def set_setting(db: DbSession, setting: Setting, *, is_on: bool, reason: str) -> bool:
    """Turn the kill switch or the pause on or off; return whether it was on before."""
    params = {"kill_switch": None, "processing_paused": None, "reason": reason} | {setting: is_on}
    return bool(load_row(db, "switches/set_setting", params)[setting])


class SourceBefore(NamedTuple):
    """A source before it was switched."""

    was_on: bool
    connection_id: str


def set_source(db: DbSession, source_id: str, *, is_on: bool, reason: str) -> SourceBefore | None:
    """Switch a source on or off; return it as it was before, None if that is not possible (any more)."""
    params = {"id": source_id, "is_on": is_on, "reason": reason}
    row = db.execute(QUERIES["switches/set_source"], params).fetchone()
    return SourceBefore(**row) if row else None
