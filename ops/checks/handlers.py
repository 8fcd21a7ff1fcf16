"""What is asked of the handlers, by what they answer, and of their secret and token."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from leads.adapters.graphql import GraphqlClient
from ops.checks.model import Checks, Facts, Finding, Level, Params, When, green, red, unknown, yellow
from ops.checks.services import REQUEST_SECONDS, Services, through_restart
from ops.clients.plain_http import HttpAnswer, NoAnswer, ask
from ops.daily.token import NAMESPACE

CHECKS = Checks()
UNAUTHORIZED = 401
REFUSALS = (
    "invalid-jwt", "access-denied", "jwt-invalid-claims", "jwt-missing-role-claims", "invalid-headers",
)  # fmt: skip
"""Codes with which an engine refuses a token, for every request."""
BREAKER = re.compile(r"^pancake_circuit_breaker_state\{[^}]*\} ([0-9.]+)", re.MULTILINE)
STARTED = re.compile(r"^process_start_time_seconds ([0-9.e+]+)", re.MULTILINE)
MIN_TOKEN_DAYS = 14
MANY_RESTARTS = 3
RESTARTS = 'max(changes(process_start_time_seconds{job="pancake_handlers"}[15m]))'
UP_SINCE = (
    'max(max_over_time(process_start_time_seconds{job="pancake_handlers"}[15m]))'
    ' and on () min(up{job="pancake_handlers"}) == 1'
)
"""The last start of any of them; no value while one is down."""
STAYS_UP = timedelta(minutes=2)
"""Handlers that have been up for so long do not end each minute."""
CALL_AGAIN = "leads metadata 9a"
RENEW = "Make one, then restart the handlers with it: leads token pancake_service --into handlers.env"


@dataclass(frozen=True, slots=True)
class HandlersLook:
    """What the handlers answer. `ready` and `breaker` (2: open) are None if they are at another address.

    `started_at` is the time of their start, if they say it.
    """

    health: HttpAnswer
    ready: dict[str, bool | None] | None
    breaker: float | None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenLook:
    """What the engine makes of a token: the code with which it refuses it, and the checks of the handlers."""

    token: str
    refusal: str
    state: Mapping[str, bool | None]


def read_token(services: Services) -> TokenLook:
    """Ask the engine as the handlers do, with HASURA_SERVICE_TOKEN."""
    token = services.need("HASURA_SERVICE_TOKEN")
    url = services.need("HASURA_URL")
    return TokenLook(token, refusal_of(url, token), asyncio.run(_probe(url, token)))


def refusal_of(url: str, token: str, role: str = "", seconds: float = REQUEST_SECONDS) -> str:
    """Return the code with which the engine refuses each request with the token; empty if it does not.

    With a `role` also if the token may not act as that one.
    """
    answer = ask(
        f"{url}/v1/graphql", body={"query": "query LeadsDoctor { __typename }"}, timeout_seconds=seconds,
        headers={"Authorization": f"Bearer {token}", **({"X-Hasura-Role": role} if role else {})},
    )  # fmt: skip
    errors = answer.json.get("errors") if isinstance(answer.json, dict) else None
    code = str((errors or [{}])[0].get("extensions", {}).get("code", ""))
    return code if code in REFUSALS else ""


async def _probe(url: str, token: str) -> dict[str, bool | None]:
    client = GraphqlClient(url, token)
    try:
        return await client.probe()
    finally:
        await client.close()


@CHECKS.add(
    "token", "Does Hasura accept the token of the handlers?", When.BOTH, read_token, needs="hasura",
    cure=RENEW, runbook="docs/runbook/install.md#2-tokens",
)  # fmt: skip
def ask_token(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_token)
    claims = _claims(found.token)
    if claims is None:
        yield red("HASURA_SERVICE_TOKEN is not a JWT")
        return
    of_hasura, end = claims.get(NAMESPACE), claims.get("exp")
    role = of_hasura.get("x-hasura-default-role") if isinstance(of_hasura, dict) else None
    days = (end - time.time()) / 86_400 if isinstance(end, (int, float)) else None
    if found.refusal:
        text = f"the engine refuses HASURA_SERVICE_TOKEN ({found.refusal}): it has another JWT secret, or has"
        yield red(f"{text} ended")
    elif role != "pancake_service":
        named = role if role and isinstance(role, str) else "unknown"
        yield red(f"HASURA_SERVICE_TOKEN is of role {named}, not pancake_service")
    elif "applied" in params and (refusal := _refusal_of_call(found)):
        yield red(refusal, CALL_AGAIN)  # leads status asks for it in token-call
    elif days is not None and days < MIN_TOKEN_DAYS:
        yield yellow(f"HASURA_SERVICE_TOKEN ends in {days:.0f} days")
    else:
        left = "" if days is None else f", for {days:.0f} days more"
        yield green(f"the engine accepts it{left}")


@CHECKS.add(
    "token-call", "May the handlers call sendNotifications with their token?", When.STATUS, read_token,
    needs="token metadata allow-list notifications", fine="they may", cure=CALL_AGAIN,
    runbook="docs/runbook/metadata.md#pancakenotificationsforbidden",
)  # fmt: skip
def ask_call_of_token(facts: Facts, params: Params) -> Iterator[Finding]:
    if refusal := _refusal_of_call(facts.get(read_token)):
        yield red(refusal)


def _refusal_of_call(found: TokenLook) -> str:
    if found.state.get("allow_list") is False:
        return "the allow list stops the handlers' call"
    is_forbidden = found.state.get("notifications") is False
    return "pancake_service may not call sendNotifications" if is_forbidden else ""


def _claims(token: str) -> dict[str, Any] | None:
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    return claims


def read_handlers(services: Services) -> HandlersLook:
    url = services.need("HANDLERS_URL")
    return through_restart(lambda: look_at_handlers(url))


def look_at_handlers(url: str) -> HandlersLook:
    health = ask(f"{url}/healthz", timeout_seconds=REQUEST_SECONDS)
    if health.status != 200:
        raise NoAnswer(f"{url}/healthz answers {health.status}")
    ready = ask(f"{url}/readyz", timeout_seconds=REQUEST_SECONDS)
    metrics = ask(f"{url}/metrics", timeout_seconds=REQUEST_SECONDS)
    text = metrics.text if metrics.status == 200 else ""
    breaker, started = BREAKER.search(text), STARTED.search(text)
    return HandlersLook(
        health=health,
        ready=ready.json if isinstance(ready.json, dict) and "database" in ready.json else None,
        breaker=float(breaker[1]) if breaker else None,
        started_at=datetime.fromtimestamp(float(started[1]), UTC) if started else None,
    )


@CHECKS.add(
    "handlers", "Do the handlers answer?", When.BOTH, read_handlers, needs="database role-settings",
    away=Level.RED,
    cure="Look at their log, and start them again: pancake-handlers",
    runbook="docs/observability.md#pancakehandlersdown",
)  # fmt: skip
def ask_handlers(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_handlers)
    told = found.health.json if isinstance(found.health.json, dict) else {}
    version = told.get("version", "unknown")
    if params.get("version", version) != version:
        yield red(f"they are version {version}, not {params['version']}")
    else:
        yield green(f"version {version}, {found.health.seconds * 1000:.0f} ms")


@CHECKS.add(
    "readiness", "Do the handlers reach what they need?", When.BOTH, read_handlers,
    needs="handlers database role-settings notifications", fine="they reach what they need",
    cure="Check DATABASE_URL in the environment of the handlers: leads config show",
    runbook="docs/observability.md#pancakehandlerdown",
)  # fmt: skip
def ask_readiness(facts: Facts, params: Params) -> Iterator[Finding]:
    ready = facts.get(read_handlers).ready
    if ready is None:
        yield unknown("not looked at: /readyz is at another address, OPS_BIND")
    elif ready.get("database") is False:
        yield red("they answer, but do not reach the database")
    elif ready.get("notifications") is False:
        text = "they may not call sendNotifications: their token has ended, or the permission is missing"
        yield red(text, RENEW)


@CHECKS.add_direct(
    "secret", "Do the handlers accept HANDLER_SECRET?", When.DOCTOR, needs="handlers",
    fine="the handlers accept HANDLER_SECRET",
    cure="Give Hasura, the handlers and leads the same HANDLER_SECRET: leads config show",
    runbook="docs/runbook/install.md#1-secrets",
)  # fmt: skip
def ask_secret(services: Services) -> Iterator[Finding]:
    """Call a cron by a name that is of no trigger: the handlers check the secret before the name."""
    url, secret = services.need_all("HANDLERS_URL", "HANDLER_SECRET")
    answer = ask(
        f"{url}/cron/retry_failed",
        body={"id": "leads doctor", "name": "leads_doctor", "scheduled_time": "2026-01-01T00:00:00Z"},
        headers={"X-Handler-Secret": secret},
        timeout_seconds=REQUEST_SECONDS,
    )
    if answer.status == UNAUTHORIZED:
        yield red("the handlers do not accept HANDLER_SECRET")


def read_calls(services: Services) -> list[tuple[int | None, datetime]]:
    """Return how the handlers answered the last two ticks of retry_failed, which is due each minute.

    The status is None if a call was not answered.
    """
    return [
        (each.get("status"), datetime.fromisoformat(each["created_at"]))
        for each in services.engine.cron_invocations("pancake_retry_failed", 2)
    ]


@CHECKS.add(
    "calls", "Do the handlers accept what Hasura calls?", When.STATUS, read_calls, read_handlers,
    needs="metadata schedule handlers", fine="Hasura has called nothing yet",
    cure="Check HANDLERS_URL of Hasura, and the way to it, then: leads metadata verify 9b --probe",
    runbook="docs/runbook/crons-and-engine.md#pancakecronmissed",
)  # fmt: skip
def ask_calls(facts: Facts, params: Params) -> Iterator[Finding]:
    """Judge the last call. One that was not answered before the handlers started is over with that."""
    calls = facts.get(read_calls)
    if not calls:
        return
    (status, called_at), *before = calls
    at, handlers = f"at {called_at:%H:%M:%S} UTC", facts.known(read_handlers)
    if handlers and handlers.started_at and handlers.started_at > called_at:
        yield green(f"the handlers started after the last call {at}")
    elif status == UNAUTHORIZED:
        cure = "Give Hasura and the handlers the same HANDLER_SECRET, then: leads metadata verify 9b --probe"
        yield red(f"the handlers refused Hasura's call {at}: it has another HANDLER_SECRET", cure)
    elif status is not None:
        yield green(f"the last call was answered {at}")
    else:
        is_lasting = any(former is None for former, _ in before)
        text = f"Hasura did not reach the handlers {at}, and they answer here"
        yield Finding(Level.RED if is_lasting else Level.YELLOW, text)


@CHECKS.add_direct(
    "restarts", "Do the handlers stay up?", When.STATUS, needs="handlers", fine="they have not restarted",
    cure="Their log says why they end; with compose: docker compose logs --tail 50 handlers",
    runbook="docs/observability.md#pancakehandlerdown",
)  # fmt: skip
def ask_restarts(services: Services) -> Iterator[Finding]:
    """Ask Prometheus how often they started: of one that starts each minute a look sees nothing."""
    now = datetime.now(UTC)
    (restarts,) = services.prometheus.query(RESTARTS, now) or [0.0]
    if restarts < MANY_RESTARTS:
        return
    text = f"they restarted {restarts:.0f} times in 15 min"
    (started,) = services.prometheus.query(UP_SINCE, now) or [now.timestamp()]
    since = datetime.fromtimestamp(started, UTC)
    if now - since < STAYS_UP:
        yield red(text)
    else:
        yield yellow(f"{text}; it is over since {since:%H:%M} UTC")
