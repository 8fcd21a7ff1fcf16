"""Load what the database says of tickets, switches, queue, crons, rosters and notifications."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from leads.services.cron_runs import CRONS
from leads.services.late_owners import UnassignedTickets
from ops.clients.db_session import QUERIES, DbSession, class_row
from ops.cron_schedule import Schedule
from ops.probes.database import open_limited
from ops.switches import LIST_SWITCHES, Switch

MOST_ROWS = 10_000
"""At most so many rows of each kind are counted: a look has to be quick with any number of them."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Tickets:
    """The row of status/count_tickets; `usual` is what ten minutes of this hour have on other days."""

    leads: int
    tickets: int
    usual: float | None


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """A row of status/list_connections."""

    id: str
    name: str
    status: str
    status_changed_at: datetime
    last_poll_at: datetime | None
    last_webhook_at: datetime | None
    active_sources: int


@dataclass(frozen=True, slots=True)
class Queue:
    """A row of status/count_events: the events of one status, at most MOST_ROWS."""

    status: str
    events: int
    oldest_at: datetime
    late: int
    last_day: int


@dataclass(frozen=True, slots=True)
class LastRuns:
    """A row of status/list_cron_runs."""

    name: str
    last_tick: datetime | None
    last_outcome: str | None
    last_error: str | None
    succeeded_tick: datetime | None
    succeeded_at: datetime | None
    first_tick: datetime | None

    def late_since(self, schedule: Schedule, now: datetime) -> datetime | None:
        """Return the tick whose work is overdue; None without one.

        A cron that never succeeded is as old as the first tick of any cron: on the day of the installation
        the daily ones have not been due.
        """
        return schedule.overdue_since(self.succeeded_tick or self.first_tick, now)


@dataclass(frozen=True, slots=True)
class Roster:
    """A row of status/list_rosters; `source` is None for the default roster."""

    source: str | None
    members: int
    available: int


@dataclass(frozen=True, slots=True)
class UnsentCount:
    """The row of status/count_unsent."""

    unsent: int
    oldest_at: datetime | None
    given_up: int


@dataclass(frozen=True, slots=True)
class State:
    """What the tables of the integration say at one moment."""

    now: datetime
    tickets: Tickets
    switches: Sequence[Switch]
    connections: Sequence[ConnectionState]
    queue: Sequence[Queue]
    crons: Sequence[LastRuns]
    rosters: Sequence[Roster]
    unassigned: UnassignedTickets
    unsent: UnsentCount


def load_state(url: str, now: datetime) -> State:
    """Load it in one read-only transaction. Raises DatabaseUnavailable, LoginRefused and DatabaseError."""
    with open_limited(url, "status") as db:
        return read_state(db, now)


def read_state(db: DbSession, now: datetime) -> State:
    """Read it in an open session, in one round trip. Raises DatabaseError."""
    params = {"now": now, "most": MOST_ROWS, "names": list(CRONS)}

    def ask(name: str, kind: type[Row]) -> Callable[[], list[Row]]:
        return db.cursor(row_factory=class_row(kind)).execute(QUERIES[name], params).fetchall

    with db.pipeline():
        switches = ask(LIST_SWITCHES, Switch)
        connections = ask("status/list_connections", ConnectionState)
        queue = ask("status/count_events", Queue)
        crons = ask("status/list_cron_runs", LastRuns)
        rosters = ask("status/list_rosters", Roster)
        unassigned = ask("late_owners/count_unassigned", UnassignedTickets)
        unsent = ask("status/count_unsent", UnsentCount)
        tickets = ask("status/count_tickets", Tickets)
    return State(
        now=now,
        switches=switches(),
        connections=connections(),
        queue=queue(),
        crons=crons(),
        rosters=rosters(),
        unassigned=unassigned()[0],
        unsent=unsent()[0],
        tickets=tickets()[0],
    )


def load_last_runs(db: DbSession) -> list[LastRuns]:
    """Load the last runs of every cron. Raises DatabaseError."""
    params = {"names": list(CRONS)}
    cursor = db.cursor(row_factory=class_row(LastRuns))
    return cursor.execute(QUERIES["status/list_cron_runs"], params).fetchall()
