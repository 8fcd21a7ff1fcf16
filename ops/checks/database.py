"""What is asked of the database: that it answers, has our tables, and lets no session block others.

`State` is what its tables say at one moment: checks of leads.py judge it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import TypeVar

from leads.services.cron_runs import CRONS
from leads.services.late_owners import UnassignedTickets
from ops.checks.model import Checks, Facts, Finding, Level, NotRead, Params, When
from ops.checks.services import NEEDED, Services
from ops.clients.db_session import QUERIES, DatabaseError, DbSession, DiskFull, class_row, load_rows
from ops.cron_schedule import LONGEST_GRACE, SHORTEST_GRACE, Schedule
from ops.settings import VARIABLES
from ops.switches import LIST_SWITCHES, Switch

CHECKS = Checks()
MOST_ROWS = 10_000
"""At most so many rows of each kind are counted: a look has to be quick with any number of them."""
LOCK_WAIT = timedelta(seconds=2)
"""A session that has waited for so long for a lock is named, with the one that holds it."""
UNUSUAL_SECONDS = 1.0
"""Our own statements take a fraction of that."""
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Server:
    """The row of probes/load_server; `read_only`: why it takes no writes, empty if it does."""

    version: str
    now: datetime
    role_name: str
    missing: list[str]
    refused: list[str]
    read_only: str = ""
    read_only_by: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class DatabaseLook:
    """What the server says of itself; `asked_at` is the time here in the middle of the statement.

    `disk_full`: what it says when it has to write a file, empty if it can.
    """

    server: Server
    seconds: float
    asked_at: datetime
    disk_full: str = ""


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
    waiting: int = 0
    held: int = 0
    failing: int = 0
    tries: int = 0
    reason: str | None = None
    failed_id: int | None = None
    failed_at: datetime | None = None
    processed_at: datetime | None = None
    drained_at: datetime | None = None


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
    recovered_at: datetime | None = None

    def late_since(self, schedule: Schedule, now: datetime) -> datetime | None:
        """Return the tick whose work is overdue; None without one.

        A cron that never succeeded is as old as the first tick of any cron, or as the first connection: on
        the day of the installation the daily ones have not been due, and in its first minute none.
        """
        since = self.succeeded_tick or self.first_tick
        return schedule.overdue_since(since, now) if since else None

    def waits_until(self, schedule: Schedule, now: datetime) -> datetime | None:
        """Return the tick for which a late cron waits after an outage; None if it had one since, or daily."""
        if self.recovered_at is None:
            return None
        tick = schedule.next_after(self.recovered_at)
        is_near = tick - self.recovered_at <= LONGEST_GRACE
        return tick if is_near and now < tick + SHORTEST_GRACE else None


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
    reason: str | None = None


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
        return DatabaseLook(server, time.monotonic() - started, asked_at, _find_full_disk(db))


def _find_full_disk(db: DbSession) -> str:
    try:
        db.execute(QUERIES["probes/set_little_memory"])
        db.execute(QUERIES["probes/write_to_disk"])
    except DiskFull as error:
        return str(error).splitlines()[0]
    except DatabaseError:  # as of a server that limits temporary files: the other checks say what is wrong
        return ""
    return ""


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
            (row,) = db.execute(QUERIES["golive/load_database"]).fetchall()
            return load_state(db, row["now"])
    finally:
        services.state_is_read.set()


def load_state(db: DbSession, now: datetime) -> State:
    """Load it in an open session, in one round trip; `now` is by its clock. Raises DatabaseError."""
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


SLOW_SECONDS = 1.0
RED_AFTER_SECONDS = 10.0
"""How long a lock may be waited for before it is red."""
MIGRATE = "Apply the migrations (docs/runbook/install.md, step 4): hasura migrate apply"
CHANGE_LOGIN = (
    "Log in as a member of pancake_operators, or as the owner: psql -f deploy/postgres/grant_roles.sql"
)
CHECK_LOGIN = "Check user and password in DATABASE_URL: leads config show"
CHECK_URL = "Check DATABASE_URL; on its server, if PostgreSQL has ended: systemctl start postgresql"
USE_PRIMARY = "Point every DATABASE_URL at the primary: leads config show"
MAKE_ROOM = "The administrator of PostgreSQL makes room on its disk; on its server: df -h"
READ_ONLY_SETTING = "default_transaction_read_only"
THEN_RESTART = "then restart Hasura and the handlers"


def run_sql(*statements: str) -> str:
    """Return the command that runs statements in one session."""
    return " ".join(["psql", *(f"-c {quote(each)}" for each in statements)])


SHOW_FILES = run_sql("SELECT name, setting, sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL")
SHOW_PREPARED = run_sql("SELECT gid, prepared, owner FROM pg_prepared_xacts")
NO_CONNECTION_LEFT = ("too many clients", "too many connections", "remaining connection slots")
COUNT_SESSIONS = run_sql("SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2")
SHOW_SESSIONS = f"End those that are too many, or raise max_connections; as a superuser: {COUNT_SESSIONS}"
SHOW_ACTIVITY = run_sql("SELECT pid, state, wait_event, query FROM pg_stat_activity")


@CHECKS.add(
    "environment", "Are the variables of the environment set?", When.DOCTOR,
    fine="the variables that are needed are set", cure="leads config show", runbook="docs/runbook/install.md",
)  # fmt: skip
def find_unset(facts: Facts, params: Params) -> Iterator[Finding]:
    missed = {error.variable for error in facts.failures()}
    for name in NEEDED:
        if name in missed:
            yield Finding(Level.RED, f"{name} is not set", f"Give it {VARIABLES[name]}", about=name)


@CHECKS.add(
    "database", "Does the database answer?", When.BOTH, read_server, needs="environment", cure=CHECK_URL,
    runbook="docs/runbook/monitoring.md#pancakesqlmetricsstale",
)  # fmt: skip
def ask_database(facts: Facts, params: Params) -> Iterator[Finding]:
    try:
        found = facts.get(read_server)
    except NotRead as error:
        if error.variable:
            raise
        is_password = error.is_refused and "password" in error.reason
        is_crowded = any(words in error.reason for words in NO_CONNECTION_LEFT)
        cure = CHECK_LOGIN if is_password else SHOW_SESSIONS if is_crowded else CHECK_URL
        yield Finding(Level.RED, error.reason, cure)
        return
    if found.server.read_only:
        yield Finding(Level.RED, f"it takes no writes: {found.server.read_only}", _allow_writes(found.server))
        return
    if found.disk_full:
        yield Finding(Level.RED, f"its disk is full, no lead can be stored: {found.disk_full}", MAKE_ROOM)
        return
    level = Level.YELLOW if found.seconds > SLOW_SECONDS else Level.GREEN
    yield Finding(level, f"PostgreSQL {found.server.version}, {found.seconds * 1000:.0f} ms")


def _allow_writes(server: Server) -> str:
    if READ_ONLY_SETTING not in server.read_only:
        return USE_PRIMARY
    if server.read_only_by == "database":
        # The session itself has to be allowed to write first.
        allow = f"SET {READ_ONLY_SETTING} = off"
        command = run_sql(allow, f'ALTER DATABASE "{server.name}" RESET {READ_ONLY_SETTING}')
        return f"Allow writes again, {THEN_RESTART}; as the owner: {command}"
    return f"Take it out of its file, reload PostgreSQL, {THEN_RESTART}; its file: {SHOW_FILES}"


@CHECKS.add(
    "tables", "Are our tables there, and can they be read?", When.BOTH, read_server, read_state, read_blocker,
    needs="database", fine="all are there, and can be read", cure=MIGRATE,
    runbook="docs/runbook/install.md#4-migrations",
)  # fmt: skip
def ask_tables(facts: Facts, params: Params) -> Iterator[Finding]:
    server = facts.get(read_server).server
    if server.missing:
        text = f"tables are missing: {', '.join(server.missing)}"
        yield Finding(Level.RED, text, MIGRATE, is_present=False)
        return
    if server.refused:
        refused = ", ".join(server.refused)
        yield Finding(Level.RED, f"role {server.role_name} may not read {refused}", CHANGE_LOGIN)
        return
    try:
        facts.get(read_state)
    except NotRead as error:
        yield _stuck(facts, error)


def _stuck(facts: Facts, error: NotRead) -> Finding:
    """Name the session that our own statements wait for; else say why they have no result."""
    try:
        blocker = facts.get(read_blocker)
    except NotRead:
        blocker = None
    if blocker is None:
        return Finding(Level.RED, f"they cannot be read: {error.reason}", SHOW_ACTIVITY)
    return Finding(Level.RED, f"they are locked: {_who(blocker)} holds the lock", _terminate(blocker))


@CHECKS.add(
    "locks", "Does no session wait for a lock for 2 s?", When.BOTH, read_lock_wait, needs="database",
    fine="no session waits for a lock", cure=SHOW_ACTIVITY,
    runbook="docs/runbook/go-live.md#connections-locks-memory",
)  # fmt: skip
def ask_locks(facts: Facts, params: Params) -> Iterator[Finding]:
    wait = facts.get(read_lock_wait)
    if wait is not None:
        sessions = "1 session waits" if wait.sessions == 1 else f"{wait.sessions} sessions wait"
        text = f"{sessions} for a lock, for {wait.waiting_seconds:.0f} s; {_who(wait)} holds it"
        is_long = wait.waiting_seconds >= RED_AFTER_SECONDS
        yield Finding(Level.RED if is_long else Level.YELLOW, text, _terminate(wait))


def _who(wait: LockWait) -> str:
    if wait.blocking_pid == 0:
        return "a prepared transaction"
    return f"session {wait.blocking_pid} ({wait.blocking_application or 'no application name'})"


def _terminate(wait: LockWait) -> str:
    if wait.blocking_pid == 0:
        return f"Roll it back: {SHOW_PREPARED}"
    return run_sql(f"SELECT pg_terminate_backend({wait.blocking_pid})")
