"""`leads tail`: one line for each lead as it arrives, and one as it comes to rest."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from leads.domain.event_states import AT_REST, DEAD_LETTER, FAILED, PROCESSED
from ops.clients.db_session import QUERIES, DbSession, load_rows, open_database
from ops.output import AsJson, one_line, print_line

POLL_SECONDS = 1.0
MAX_ROWS = 200
"""At most so many new events are read at once."""
OVERLAP_IDS = 100
"""Ids are given before the commit: an event may appear after one with a higher id."""
MAX_AWAITED = 1000
STYLES = {PROCESSED: "green", DEAD_LETTER: "red", FAILED: "yellow"}


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row of tail/list_events."""

    id: int
    created_at: datetime
    origin: str
    status: str
    outcome: str | None
    error_code: str | None
    next_attempt_at: datetime | None
    processed_at: datetime | None
    source: str | None
    ticket: str | None
    owner: str | None


@dataclass
class Follower:
    """Remembers which events were shown in which state; those up to `first` are not shown."""

    first: int
    after: int
    shown: dict[int, str] = field(default_factory=dict)
    awaited: set[int] = field(default_factory=set)

    def changes(self, db: DbSession) -> Iterator[EventRow]:
        params = {"after": self.after - OVERLAP_IDS, "most": MAX_ROWS, "awaited": sorted(self.awaited)}
        for row in load_rows(db, EventRow, "tail/list_events", params):
            if row.id <= self.first:
                continue
            state = row.status if row.status in AT_REST or row.status == FAILED else "arrived"
            if self.shown.get(row.id) != state:
                yield row
            self._remember(row.id, state)

    def _remember(self, event_id: int, state: str) -> None:
        self.shown[event_id] = state
        self.after = max(self.after, event_id)
        if state in AT_REST:
            self.awaited.discard(event_id)
        elif len(self.awaited) < MAX_AWAITED:
            self.awaited.add(event_id)
        for old in [known for known in self.shown if known <= self.after - OVERLAP_IDS - MAX_ROWS]:
            if old not in self.awaited:
                del self.shown[old]


def tail(
    newest: Annotated[
        int, typer.Option("--last", help="Begin with so many of the newest leads.", min=0, max=MAX_ROWS)
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Show each lead as it arrives and as it comes to rest, until Ctrl-C.

    A line has the event's id, how it came, its source, and its ticket with the owner, or why there is none;
    nothing of the customer. With --json each line is a JSON document. Needs DATABASE_URL.
    """
    console = Console()
    with open_database("tail") as db:
        for row in follow(db, newest, time.sleep):
            if as_json:
                print_line(json.dumps(asdict(row), ensure_ascii=False, default=str))
            else:
                console.print(Text(describe(row), STYLES.get(row.status, "default")), soft_wrap=True)


def follow(db: DbSession, newest: int, wait: Callable[[float], object]) -> Iterator[EventRow]:
    """Return the events as they arrive or change, for ever; `wait` gets seconds. Raises DatabaseError."""
    start = db.execute(QUERIES["tail/find_start"], {"newest": newest}).fetchone()
    first = start["id"] if start else 0
    follower = Follower(first, after=first)
    while True:
        yield from follower.changes(db)
        wait(POLL_SECONDS)


def describe(row: EventRow) -> str:
    time_of_state = row.processed_at if row.status == PROCESSED and row.processed_at else row.created_at
    head = f"{time_of_state.astimezone(UTC):%H:%M:%S}  {row.id:>8}  {row.origin:<9}  {row.source or '-':<15}"
    return one_line(f"{head}  {_result(row)}")


def _result(row: EventRow) -> str:
    if row.status == PROCESSED:
        seconds = (row.processed_at - row.created_at).total_seconds() if row.processed_at else 0.0
        ticket = f" {row.ticket}" if row.ticket else ""
        owner = f", {row.owner}" if row.owner else ", no owner" if row.outcome == "ticket_created" else ""
        return f"{row.outcome}{ticket}{owner} ({seconds:.1f} s)"
    if row.status == FAILED and row.next_attempt_at:
        return f"failed: {row.error_code}, again at {row.next_attempt_at.astimezone(UTC):%H:%M:%S}"
    if row.status in AT_REST:
        return f"{row.status}: {row.error_code}" if row.error_code else row.status
    return "arrived"
