"""What is asked of database, handlers, edge, token and clocks."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from ops.checks.model import Facts, Finding, Level, NotRead, Params
from ops.checks.of_leads import times
from ops.checks.read_database import LockWait, read_blocker, read_lock_wait, read_server, read_state
from ops.checks.read_engine import read_clock
from ops.checks.read_services import read_edge, read_handlers, read_secret, read_token
from ops.checks.services import NEEDED
from ops.daily.token import NAMESPACE
from ops.settings import VARIABLES

SLOW_SECONDS = 1.0
RED_AFTER_SECONDS = 10.0
"""How long a lock may be waited for before it is red."""
MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
"""Tokens, ticks and leases compare times of different machines."""
MIN_TOKEN_DAYS = 14
MANY_SPOOLED = 100
"""So many deliveries on disk are more than a short fault of the path behind the edge leaves."""
OLD_POLICY_SECONDS = 300
MIGRATE = "Apply the migrations (docs/runbook/install.md, step 4): hasura migrate apply"
GRANT = "Log in as a member of pancake_operators, or as the owner: psql -f deploy/postgres/grant_roles.sql"
CHECK_LOGIN = "Check user and password in DATABASE_URL: leads config show"
CHECK_URL = "Check DATABASE_URL, and on its server: systemctl status postgresql"
SHOW_ACTIVITY = "psql: SELECT pid, state, wait_event, query FROM pg_stat_activity"
START_HANDLERS = "Look at their log, and start them again: pancake-handlers"
CHECK_HANDLERS = "Check DATABASE_URL in the environment of the handlers: leads config show"
RENEW = "Make a token, then restart the handlers with it: leads token pancake_service"
START_EDGE = "On its machine: systemctl status pancake-edge"
CHECK_POLICY = (
    "Check EDGE_SECRET and HANDLERS_URL of the edge; on its machine: tail /var/log/pancake-edge/error.log"
)
CHECK_DISK = "On its machine: df -h /var/lib/pancake-edge"


def find_unset(facts: Facts, params: Params) -> Iterator[Finding]:
    missed = {error.variable for error in facts.failures()}
    for name in NEEDED:
        if name in missed:
            yield Finding(Level.RED, f"{name} is not set", f"Give it {VARIABLES[name]}", about=name)


def ask_database(facts: Facts, params: Params) -> Iterator[Finding]:
    try:
        found = facts.get(read_server)
    except NotRead as error:
        if error.variable:
            raise
        is_password = error.is_refused and "password" in error.reason
        yield Finding(Level.RED, error.reason, CHECK_LOGIN if is_password else CHECK_URL)
        return
    level = Level.YELLOW if found.seconds > SLOW_SECONDS else Level.GREEN
    yield Finding(level, f"PostgreSQL {found.server.version}, {found.seconds * 1000:.0f} ms")


def ask_tables(facts: Facts, params: Params) -> Iterator[Finding]:
    server = facts.get(read_server).server
    if server.missing:
        text = f"tables are missing: {', '.join(server.missing)}"
        yield Finding(Level.RED, text, MIGRATE, is_present=False)
        return
    if server.refused:
        refused = ", ".join(server.refused)
        yield Finding(Level.RED, f"role {server.role_name} may not read {refused}", GRANT)
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
        return "Roll it back: psql: SELECT gid, prepared, owner FROM pg_prepared_xacts"
    return f"psql: SELECT pg_terminate_backend({wait.blocking_pid})"


def ask_handlers(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_handlers)
    told = found.health.json if isinstance(found.health.json, dict) else {}
    version = told.get("version", "unknown")
    if params.get("version", version) != version:
        yield Finding(Level.RED, f"they are version {version}, not {params['version']}")
    else:
        yield Finding(Level.GREEN, f"version {version}, {found.health.seconds * 1000:.0f} ms")


def ask_readiness(facts: Facts, params: Params) -> Iterator[Finding]:
    ready = facts.get(read_handlers).ready
    if ready is None:
        yield Finding(Level.UNKNOWN, "not looked at: /readyz is at another address, OPS_BIND")
    elif ready.get("database") is False:
        yield Finding(Level.RED, "they answer, but do not reach the database", CHECK_HANDLERS)
    elif ready.get("notifications") is False:
        text = "they may not call sendNotifications: their token has ended, or the permission is missing"
        yield Finding(Level.RED, text, RENEW)


def ask_secret(facts: Facts, params: Params) -> Iterator[Finding]:
    if not facts.get(read_secret):
        yield Finding(Level.RED, "the handlers do not accept HANDLER_SECRET")


def ask_edge(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    if found.is_writable:
        yield Finding(Level.GREEN, f"it answers, {found.seconds * 1000:.0f} ms")
    else:
        yield Finding(Level.RED, "its spool cannot be written", CHECK_DISK)


def ask_spool(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    skipped = f"; it skips the path to {', '.join(found.skipped)}" if found.skipped else ""
    if found.spooled >= MANY_SPOOLED or len(found.skipped) > 1:
        yield Finding(Level.RED, f"{found.spooled} deliveries wait on its disk{skipped}")
    elif found.spooled or found.quarantined or found.skipped:
        text = f"{found.spooled} deliveries wait on its disk, {found.quarantined} in quarantine{skipped}"
        yield Finding(Level.YELLOW, text)


def ask_policy(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    age = found.policy_age_seconds
    if found.connections == 0 and age is None:
        yield Finding(Level.RED, "it has no policy of the handlers: every token is unknown to it")
    elif age is not None and age > OLD_POLICY_SECONDS:
        text = f"its policy is {age:.0f} s old: the handlers do not give it a new one"
        yield Finding(Level.YELLOW, text)


def ask_tokens(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_edge)
    if found.connections:
        yield Finding(Level.GREEN, f"it has the tokens of {times(found.connections, 'connection')}")
    else:
        yield Finding(Level.RED, "its policy has no connection: every token is unknown to it")


def ask_token(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_token)
    claims = _claims(found.token)
    role = _role(claims or {})
    days = _days_left(claims or {}, datetime.now(UTC))
    if claims is None:
        yield Finding(Level.RED, "HASURA_SERVICE_TOKEN is not a JWT")
    elif found.refusal:
        text = f"the engine refuses HASURA_SERVICE_TOKEN ({found.refusal}): it has another JWT secret, or has"
        yield Finding(Level.RED, f"{text} ended")
    elif role != "pancake_service":
        text = f"HASURA_SERVICE_TOKEN is of role {role or 'unknown'}, not pancake_service"
        yield Finding(Level.RED, text)
    elif found.state.get("allow_list") is False:
        yield Finding(Level.RED, "the allow list stops the handlers' call", "leads metadata 9a")
    elif found.state.get("notifications") is False:
        yield Finding(Level.RED, "pancake_service may not call sendNotifications", "leads metadata 9a")
    elif days is not None and days < MIN_TOKEN_DAYS:
        yield Finding(Level.YELLOW, f"HASURA_SERVICE_TOKEN ends in {days:.0f} days")
    else:
        left = "" if days is None else f", for {days:.0f} days more"
        yield Finding(Level.GREEN, f"pancake_service may call sendNotifications{left}")


def _claims(token: str) -> dict[str, Any] | None:
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    return claims


def _role(claims: Mapping[str, Any]) -> str | None:
    of_hasura = claims.get(NAMESPACE)
    role = of_hasura.get("x-hasura-default-role") if isinstance(of_hasura, dict) else None
    return role if isinstance(role, str) else None


def _days_left(claims: Mapping[str, Any], now: datetime) -> float | None:
    end = claims.get("exp")
    return (end - now.timestamp()) / 86_400 if isinstance(end, (int, float)) else None


def ask_clocks(facts: Facts, params: Params) -> Iterator[Finding]:
    differences = _clock_differences(facts)
    if not differences:
        yield Finding(Level.UNKNOWN, "no other clock could be read")
        return
    wrong = {name: each for name, each in differences.items() if abs(each) > MAX_CLOCK_DIFFERENCE}
    for name, difference in wrong.items():
        seconds = difference.total_seconds()
        where = "ahead of" if seconds > 0 else "behind"
        yield Finding(Level.RED, f"the clock of {name} is {abs(seconds):.0f} s {where} this one", about=name)
    if not wrong:
        yield Finding(Level.GREEN, f"{', '.join(differences)} and this machine agree within 5 s")


def _clock_differences(facts: Facts) -> dict[str, timedelta]:
    found: dict[str, timedelta] = {}
    try:
        database = facts.get(read_server)
        found["database"] = database.server.now - database.asked_at
    except NotRead:
        pass
    others: dict[str, Callable[[], datetime | None]] = {
        "Hasura": lambda: facts.get(read_clock),
        "the handlers": lambda: facts.get(read_handlers).health.date,
        "the edge": lambda: facts.get(read_edge).date,
    }
    for name, read in others.items():
        try:
            time = read()
        except NotRead:
            continue
        if time is not None:
            found[name] = time - datetime.now(UTC)
    return found
