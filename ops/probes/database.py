"""Look at the database: it answers, what it is, and who waits for a lock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ops.clients.db_session import QUERIES, DbSession, class_row, open_session
from ops.probes.lines import Level, Line
from ops.probes.running import CONNECT_SECONDS, REQUEST_SECONDS, Failure, Probe

NAME = "database"
STATEMENT_TIMEOUT = f"{REQUEST_SECONDS:g}s"
SLOW_SECONDS = 1.0
YELLOW_AFTER = timedelta(seconds=2)
UNUSUAL_SECONDS = 1.0
"""Our own statements take a fraction of that."""
RED_AFTER_SECONDS = 10.0
"""How long a lock may be waited for before the look is red."""
MIGRATE = "Apply the migrations (docs/runbook/install.md, step 4): hasura migrate apply"
GRANT = "Log in as a member of pancake_operators, or as the owner: psql -f deploy/postgres/grant_roles.sql"
CHECK_LOGIN = "Check user and password in DATABASE_URL: leads config show"
CHECK_URL = "Check DATABASE_URL, and on its server: systemctl status postgresql"


@dataclass(frozen=True, slots=True)
class Server:
    """The row of probes/load_server."""

    version: str
    now: datetime
    role_name: str
    missing: list[str]
    refused: list[str]


@dataclass(frozen=True, slots=True)
class LockWait:
    """The row of probes/find_lock_wait."""

    sessions: int
    waiting_pid: int
    waiting_since: datetime
    blocking_pid: int | None
    blocking_application: str | None


@dataclass(frozen=True, slots=True)
class DatabaseLook:
    """What was found; `asked_at` is the time here in the middle of the statement that read the server's."""

    server: Server
    lock_wait: LockWait | None
    seconds: float
    asked_at: datetime


@contextmanager
def open_limited(url: str, command: str) -> Iterator[DbSession]:
    """Open a session that only reads, and whose statements end in time.

    Raises DatabaseUnavailable and LoginRefused.
    """
    with open_session(url, command, autocommit=False, connect_seconds=CONNECT_SECONDS) as db:
        with db.pipeline():  # with the BEGIN in one round trip
            db.execute(QUERIES["probes/set_limits"], {"timeout": STATEMENT_TIMEOUT})
        yield db


def look_at_database(url: str, command: str) -> DatabaseLook:
    """Connect and ask. Raises DatabaseUnavailable, LoginRefused and DatabaseError."""
    started = time.monotonic()
    with open_limited(url, command) as db:
        before = datetime.now(UTC)
        server = db.cursor(row_factory=class_row(Server)).execute(QUERIES["probes/load_server"]).fetchone()
        assert server is not None
        asked_at = before + (datetime.now(UTC) - before) / 2
        wait = _find_lock_wait(db, YELLOW_AFTER)
        return DatabaseLook(server, wait, time.monotonic() - started, asked_at)


def find_blocker(url: str, command: str, state: Probe[Any]) -> LockWait | None:
    """Find whom our own statements wait for, if they are not done after a second; None if they are.

    Raises DatabaseUnavailable, LoginRefused and DatabaseError.
    """
    if state.ends_within(UNUSUAL_SECONDS):
        return None
    with open_limited(url, command) as db:
        return _find_lock_wait(db, timedelta(0))


def _find_lock_wait(db: DbSession, least: timedelta) -> LockWait | None:
    cursor = db.cursor(row_factory=class_row(LockWait))
    return cursor.execute(QUERIES["probes/find_lock_wait"], {"least": least}).fetchone()


def judge_database(look: DatabaseLook | Failure) -> Line:
    """Say whether the database can be used, and who holds what others wait for."""
    if isinstance(look, Failure):
        is_password = look.is_refused and "password" in look.reason
        helps = CHECK_LOGIN if is_password else CHECK_URL
        return Line(NAME, Level.RED, look.reason, helps)
    server, wait = look.server, look.lock_wait
    if server.missing:
        return Line(NAME, Level.RED, f"tables are missing: {', '.join(server.missing)}", MIGRATE)
    if server.refused:
        refused = ", ".join(server.refused)
        return Line(NAME, Level.RED, f"role {server.role_name} may not read {refused}", GRANT)
    if wait:
        return judge_wait(wait, (server.now - wait.waiting_since).total_seconds())
    level = Level.YELLOW if look.seconds > SLOW_SECONDS else Level.GREEN
    return Line(NAME, level, f"PostgreSQL {server.version}, {look.seconds * 1000:.0f} ms")


def judge_wait(wait: LockWait, seconds: float) -> Line:
    """Name the session that others have waited for, for so long."""
    who = f"session {wait.blocking_pid} ({wait.blocking_application or 'no application name'})"
    text = f"sessions that wait for a lock: {wait.sessions}, one for {seconds:.0f} s; {who} holds it"
    helps = f"psql: SELECT pg_terminate_backend({wait.blocking_pid})"
    return Line(NAME, Level.RED if seconds >= RED_AFTER_SECONDS else Level.YELLOW, text, helps)
