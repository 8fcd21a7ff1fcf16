"""Read the database: what it is, who waits for a lock, and what the tables of the integration say."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from leads.services.cron_runs import CRONS
from leads.services.late_owners import UnassignedTickets
from ops.checks.services import Services
from ops.clients.db_session import QUERIES, DbSession, class_row, load_rows
from ops.cron_schedule import Schedule
from ops.switches import LIST_SWITCHES, Switch

MOST_ROWS = 10_000
"""At most so many rows of each kind are counted: a look has to be quick with any number of them."""

LOCK_WAIT = timedelta(seconds=2)
"""A session that has waited for so long for a lock is named, with the one that holds it."""
UNUSUAL_SECONDS = 1.0
"""Our own statements take a fraction of that."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Server:
    """The row of probes/load_server."""

    version: str
    now: datetime
    role_name: str
    missing: list[str]
    refused: list[str]


@dataclass(frozen=True, slots=True)
class DatabaseLook:
    """What the server says of itself; `asked_at` is the time here in the middle of the statement."""

    server: Server
    seconds: float
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class LockWait:
    """The row of probes/find_lock_wait."""

    sessions: int
    waiting_pid: int
    waiting_seconds: float
    blocking_pid: int
    blocking_application: str | None


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


def read_server(services: Services) -> DatabaseLook:
    """Connect and ask. Raises DatabaseUnavailable, LoginRefused and DatabaseError."""
    started = time.monotonic()
    with services.database() as db:
        before = datetime.now(UTC)
        server = db.cursor(row_factory=class_row(Server)).execute(QUERIES["probes/load_server"]).fetchone()
        assert server is not None
        asked_at = before + (datetime.now(UTC) - before) / 2
        return DatabaseLook(server, time.monotonic() - started, asked_at)


def read_lock_wait(services: Services) -> LockWait | None:
    """Find who has waited longest for a lock, for at least LOCK_WAIT; None without one."""
    with services.database() as db:
        return _find_lock_wait(db, LOCK_WAIT)


def read_blocker(services: Services) -> LockWait | None:
    """Find whom our own statements wait for, if they are not done after a second; None if they are."""
    if services.state_is_read.wait(UNUSUAL_SECONDS):
        return None
    with services.database() as db:
        return _find_lock_wait(db, timedelta(0))


def _find_lock_wait(db: DbSession, least: timedelta) -> LockWait | None:
    cursor = db.cursor(row_factory=class_row(LockWait))
    return cursor.execute(QUERIES["probes/find_lock_wait"], {"least": least}).fetchone()


def read_state(services: Services) -> State:
    """Read what the tables say, in one read-only transaction."""
    try:
        with services.database() as db:
            return load_state(db, datetime.now(UTC))
    finally:
        services.state_is_read.set()


def load_state(db: DbSession, now: datetime) -> State:
    """Load it in an open session, in one round trip. Raises DatabaseError."""
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
    return load_rows(db, LastRuns, "status/list_cron_runs", params)
