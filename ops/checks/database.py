"""What is asked of the database: that it answers, has our tables, and lets no session block others.

`State` is what its tables say at one moment: checks of leads.py judge it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import TypeVar

from leads.services.cron_runs import CRONS
from leads.services.late_owners import UnassignedTickets
from ops.checks.model import Checks, Facts, Finding, Level, NotRead, Params, When, red
from ops.checks.services import NEEDED, Services
from ops.clients.db_session import (
    QUERIES,
    DatabaseError,
    DbSession,
    DiskFull,
    class_row,
    load_row,
    load_rows,
)
from ops.cron_schedule import LONGEST_GRACE, SHORTEST_GRACE, Schedule
from ops.failures import first_line
from ops.output import times
from ops.settings import VARIABLES
from ops.switches import LIST_SWITCHES, LOAD_PROBLEMS, SettingProblems, Switch

CHECKS = Checks()
MOST_ROWS = 10_000
"""At most so many rows of each kind are counted: a look has to be quick with any number of them."""
LOCK_WAIT = timedelta(seconds=1)
"""A session that has waited for so long for a lock is named, with the one that holds it (checklist, E7.5)."""
UNUSUAL_SECONDS = 1.0
"""Our own statements take a fraction of that."""
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Server:
    """The row of probes/load_server; `read_only`: why it takes no writes, empty if it does.

    `asked_at` is the time here in the middle of the statement. `disk_full`: what the server says when it has
    to write a file, empty if it can.
    """

    version: str
    now: datetime
    role_name: str
    missing: list[str]
    refused: list[str]
    seconds: float
    asked_at: datetime
    read_only: str = ""
    read_only_by: str = ""
    name: str = ""
    disk_full: str = ""


@dataclass(frozen=True, slots=True)
class LockWait:
    """The row of probes/find_lock_wait."""

    sessions: int
    waiting_seconds: float
    blocking_pid: int
    blocking_application: str | None
    blocking_role: str | None = None
    blocking_state: str | None = None
    blocking_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Tickets:
    """The row of status/count_tickets; `usual` is what ten minutes of this hour have on other days."""

    leads: int
    tickets: int
    usual: float | None
    waiting: int = 0
    held: int = 0
    failing: int = 0
    dead: int = 0
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
    last_webhook_at: datetime | None
    active_sources: int
    allowlist_mode: str = "off"
    signature_mode: str = "off"


@dataclass(frozen=True, slots=True)
class Queue:
    """A row of status/count_events: the events of one status, at most MOST_ROWS."""

    status: str
    events: int
    oldest_at: datetime
    late: int


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
    """A row of status/list_rosters; `source` is None for the default roster.

    `limits`: what keeps those available from tickets; None if a ticket may go to one of them.
    """

    source: str | None
    members: int
    available: int
    limits: list[str] | None = None


@dataclass(frozen=True, slots=True)
class UnsentCount:
    """The row of status/count_unsent."""

    unsent: int
    oldest_at: datetime | None
    given_up: int
    reason: str | None = None
    given_up_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the tables of the integration say at one moment."""

    now: datetime
    tickets: Tickets
    settings: SettingProblems
    switches: Sequence[Switch]
    connections: Sequence[ConnectionState]
    queue: Sequence[Queue]
    held: Mapping[str, int]
    """The leads that a source holds, by its id."""
    crons: Sequence[LastRuns]
    rosters: Sequence[Roster]
    unassigned: UnassignedTickets
    unsent: UnsentCount


def read_server(services: Services) -> Server:
    """Connect and ask. Raises DatabaseUnavailable, LoginRefused and DatabaseError."""
    started = time.monotonic()
    with services.database() as db:
        before = datetime.now(UTC)
        row = load_row(db, "probes/load_server")
        asked_at = before + (datetime.now(UTC) - before) / 2
        seconds = time.monotonic() - started
        return Server(**row, seconds=seconds, asked_at=asked_at, disk_full=_find_full_disk(db))


def _find_full_disk(db: DbSession) -> str:
    try:
        db.execute(QUERIES["probes/set_little_memory"])
        db.execute(QUERIES["probes/write_to_disk"])
    except DiskFull as error:
        return first_line(error)
    except DatabaseError:  # as of a server that limits temporary files: the other checks say what is wrong
        return ""
    return ""


def read_lock_wait(services: Services, least: timedelta = LOCK_WAIT) -> LockWait | None:
    """Find the session that has waited longest for a lock; None if none has waited over the limit."""
    with services.database() as db:
        found = load_rows(db, LockWait, "probes/find_lock_wait", {"least": least})
        return found[0] if found else None


def read_blocker(services: Services) -> LockWait | None:
    """Find whom our own statements wait for, if they are not done after a second; None if they are."""
    is_done = services.state_is_read.wait(UNUSUAL_SECONDS)
    return None if is_done else read_lock_wait(services, timedelta(0))


def read_state(services: Services) -> State:
    try:
        with services.database() as db:
            return load_state(db, load_row(db, "golive/load_database")["now"])
    finally:
        services.state_is_read.set()


def load_state(db: DbSession, now: datetime) -> State:
    """Load it in an open session, in one round trip; `now` is by its clock. Raises DatabaseError."""
    params = {"now": now, "most": MOST_ROWS, "names": list(CRONS)}

    def ask(name: str, kind: type[Row]) -> Callable[[], list[Row]]:
        return db.cursor(row_factory=class_row(kind)).execute(QUERIES[name], params).fetchall

    with db.pipeline():
        settings = ask(LOAD_PROBLEMS, SettingProblems)
        switches = ask(LIST_SWITCHES, Switch)
        connections = ask("status/list_connections", ConnectionState)
        queue = ask("status/count_events", Queue)
        held = db.execute(QUERIES["status/count_held"], params)
        crons = ask("status/list_cron_runs", LastRuns)
        rosters = ask("status/list_rosters", Roster)
        unassigned = ask("late_owners/count_unassigned", UnassignedTickets)
        unsent = ask("status/count_unsent", UnsentCount)
        tickets = ask("status/count_tickets", Tickets)
    return State(
        now=now,
        settings=settings()[0],
        switches=switches(),
        connections=connections(),
        queue=queue(),
        held={row["source_id"]: row["events"] for row in held},
        crons=crons(),
        rosters=rosters(),
        unassigned=unassigned()[0],
        unsent=unsent()[0],
        tickets=tickets()[0],
    )


SLOW_SECONDS = 1.0
RED_AFTER_SECONDS = 10.0
"""How long a lock may be waited for before it is red."""
CHECK_URL = "Check DATABASE_URL; on its server, if PostgreSQL has ended: systemctl start postgresql"
READ_ONLY_SETTING = "default_transaction_read_only"
THEN_RESTART = "then restart Hasura and the handlers"


def run_sql(*statements: str) -> str:
    """Return the command that runs statements in one session; a look adds which server."""
    return " ".join(["psql", *(f"-c {quote(each)}" for each in statements)])


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
    has_none = {"DATABASE_URL", "HASURA_URL"} <= missed
    hint = "; before an installation: leads setup" if has_none else ""
    for name in NEEDED:
        if name in missed:
            yield red(f"{name} is not set", f"Give it {VARIABLES[name]}{hint}", about=name)


@CHECKS.add(
    "database", "Does the database answer?", When.BOTH, read_server, needs="environment", cure=CHECK_URL,
    runbook="docs/observability.md#pancakesqlmetricsstale",
)  # fmt: skip
def ask_database(facts: Facts, params: Params) -> Iterator[Finding]:
    try:
        found = facts.get(read_server)
    except NotRead as error:
        if error.variable:
            raise
        cure = CHECK_URL
        if error.is_refused and "password" in error.reason:
            cure = "Check user and password in DATABASE_URL: leads config show"
        elif any(words in error.reason for words in NO_CONNECTION_LEFT):
            cure = SHOW_SESSIONS
        yield red(error.reason, cure)
        return
    if found.read_only:
        yield red(f"it takes no writes: {found.read_only}", _allow_writes(found))
    elif found.disk_full:
        text = f"its disk is full, no lead can be stored: {found.disk_full}"
        yield red(text, "The administrator of PostgreSQL makes room on its disk; on its server: df -h")
    else:
        level = Level.YELLOW if found.seconds > SLOW_SECONDS else Level.GREEN
        yield Finding(level, f"PostgreSQL {found.version}, {found.seconds * 1000:.0f} ms")


def _allow_writes(server: Server) -> str:
    if READ_ONLY_SETTING not in server.read_only:
        return "Point every DATABASE_URL at the primary: leads config show"
    if server.read_only_by == "database":
        # The session itself has to be allowed to write first.
        allow = f"SET {READ_ONLY_SETTING} = off"
        command = run_sql(allow, f'ALTER DATABASE "{server.name}" RESET {READ_ONLY_SETTING}')
        return f"Allow writes again, {THEN_RESTART}; as the owner: {command}"
    show = run_sql("SELECT name, setting, sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL")
    return f"Take it out of its file, reload PostgreSQL, {THEN_RESTART}; its file: {show}"


@CHECKS.add(
    "tables", "Are our tables there, and can they be read?", When.BOTH, read_server, read_state, read_blocker,
    needs="database", fine="all are there, and can be read",
    cure="Apply the migrations (docs/runbook/install.md, step 4): hasura migrate apply",
    runbook="docs/runbook/install.md#4-migrations",
)  # fmt: skip
def ask_tables(facts: Facts, params: Params) -> Iterator[Finding]:
    server = facts.get(read_server)
    if server.missing:
        yield red(f"tables are missing: {', '.join(server.missing)}", is_present=False)
        return
    if server.refused:
        grant = "psql -f deploy/postgres/grant_roles.sql"
        cure = f"Log in as a member of pancake_operators, or as the owner: {grant}"
        yield red(f"role {server.role_name} may not read {', '.join(server.refused)}", cure)
        return
    try:
        facts.get(read_state)
    except NotRead as error:
        if blocker := facts.known(read_blocker):
            yield red(f"they are locked: {_who(blocker)} holds the lock", _terminate(blocker))
        else:
            yield red(f"they cannot be read: {error.reason}", SHOW_ACTIVITY)


@CHECKS.add(
    "locks", "Does no session wait for a lock for 1 s?", When.BOTH, read_lock_wait, read_state,
    needs="database", fine="no session waits for a lock", cure=SHOW_ACTIVITY,
    runbook="docs/runbook/go-live.md#connections-locks-memory",
)  # fmt: skip
def ask_locks(facts: Facts, params: Params) -> Iterator[Finding]:
    wait = facts.get(read_lock_wait)
    if wait is not None:
        sessions = times(wait.sessions, "session", "sessions")
        since = f", {wait.blocking_state} for {wait.blocking_seconds or 0:.0f} s," * bool(wait.blocking_state)
        text = f"{_who(wait)}{since} blocks {sessions}, for up to {wait.waiting_seconds:.0f} s"
        state = facts.known(read_state)
        fails_leads = state and state.tickets.failing and (state.tickets.reason or "").startswith("contended")
        level = Level.RED if _lasts(wait) or fails_leads else Level.YELLOW
        yield Finding(level, text, _terminate(wait))


def _lasts(wait: LockWait) -> bool:
    """Say whether a wait does not end soon; the handlers give up after 5 s, and try again."""
    is_idle = (wait.blocking_state or "").startswith("idle in transaction")
    held_seconds = wait.blocking_seconds if is_idle else None
    return max(wait.waiting_seconds, held_seconds or 0.0) >= RED_AFTER_SECONDS


def _who(wait: LockWait) -> str:
    if wait.blocking_pid == 0:
        return "a prepared transaction"
    names = [wait.blocking_application or "no application name", wait.blocking_role]
    return f"session {wait.blocking_pid} ({', '.join(filter(None, names))})"


def _terminate(wait: LockWait) -> str:
    if wait.blocking_pid == 0:
        show = run_sql("SELECT gid, prepared, owner FROM pg_prepared_xacts")
        return f"Roll it back: {show}"
    end = run_sql(f"SELECT pg_terminate_backend({wait.blocking_pid})")
    return f"End it, as its role or a superuser: {end}"
