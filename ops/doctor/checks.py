"""The checks of `leads doctor` besides the probes that it shares with `leads status`."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from leads.adapters.graphql import GraphqlClient
from ops.clients.plain_http import HttpAnswer, ask
from ops.daily.token import NAMESPACE, Role
from ops.probes.database import DatabaseLook
from ops.probes.engine import CHECK_ADMIN, CHECK_ENGINE
from ops.probes.lines import Level, Line
from ops.probes.pancake import KeyLook
from ops.probes.running import REQUEST_SECONDS, Failure

MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
"""Tokens, ticks and leases compare times of different machines."""
MIN_TOKEN_DAYS = 14
REFUSALS = ("invalid-jwt", "access-denied", "jwt-invalid-claims", "invalid-headers")
"""Codes with which an engine refuses a token, for every request."""
RENEW = "leads token pancake_service, then restart the handlers with it"
SYNCHRONIZE = "Synchronize that machine's clock: timedatectl set-ntp true"

PREFLIGHT: Mapping[str, tuple[str, str]] = {
    "engine version": ("new enough", "docs/runbook/install.md, step 2"),
    "naming": ("as our stored queries need it", "Change the source's customization in Diva's metadata"),
    "catalog": ("new enough", "docs/runbook/install.md, step 2"),
    "variables": ("the engine has those of our metadata", "docs/runbook/install.md, step 2"),
    "rights": ("the handlers may store a lead", "Run deploy/postgres/grant_roles.sql as the owner"),
    "allow list": ("it stops none of our calls", "leads metadata 9a"),
    "notifications": ("sendNotifications can be allowed to the handlers", "Apply Diva's metadata first"),
    "event trigger": (
        "its SQL triggers are there, as far as it is applied",
        "leads metadata 9a --over-drift",
    ),
}
"""What to say of each check of the preflight if it finds nothing, and the fix if it does."""

TokenLook = tuple[str, Mapping[str, bool | None]]
"""How the engine refuses the token (empty if it does not), and the checks that the handlers make of it."""


def judge_health(found: HttpAnswer | Failure) -> Line:
    """Say whether the engine answers."""
    if isinstance(found, Failure):
        return Line("Hasura", Level.RED, found.reason, CHECK_ENGINE)
    return Line("Hasura", Level.GREEN, f"it answers, {found.seconds * 1000:.0f} ms")


def judge_unreadable(failure: Failure, *, engine_answers: bool) -> Line:
    """Say why the metadata of an engine could not be read; if it is away, its own line says that."""
    if failure.is_refused:
        return Line("metadata", Level.RED, failure.reason, CHECK_ADMIN)
    if engine_answers and not failure.is_late:
        return Line("metadata", Level.RED, failure.reason, "leads metadata verify")
    return Line("metadata", Level.UNKNOWN, failure.reason)


def judge_obstacles(name: str, found: list[str] | Failure) -> Iterator[Line]:
    """Judge a check of ops/metadata/preflight.py: a line for each obstacle, with the fix."""
    fine, fix = PREFLIGHT[name]
    if isinstance(found, Failure):
        yield Line(name, Level.UNKNOWN, found.reason)
        return
    for text in found:
        yield Line(name, Level.RED, text, fix)
    if not found:
        yield Line(name, Level.GREEN, fine)


def examine_token(url: str, token: str) -> TokenLook:
    """Ask the engine as the handlers do. Raises NoAnswer."""
    answer = ask(
        f"{url}/v1/graphql",
        body={"query": "query LeadsDoctor { __typename }"},
        headers={"Authorization": f"Bearer {token}"},
        timeout_seconds=REQUEST_SECONDS,
    )
    errors = answer.json.get("errors") if isinstance(answer.json, dict) else None
    code = str((errors or [{}])[0].get("extensions", {}).get("code", ""))
    return code if code in REFUSALS else "", asyncio.run(_examine(url, token))


async def _examine(url: str, token: str) -> dict[str, bool | None]:
    client = GraphqlClient(url, token)
    try:
        return await client.probe()
    finally:
        await client.close()


def judge_token(token: str, found: TokenLook | Failure | None, now: datetime) -> Line:
    """Say whether the engine accepts the token of the handlers for its role, and for how long."""
    if found is None:
        return Line("JWT role", Level.UNKNOWN, "not looked at: HASURA_SERVICE_TOKEN is not set")
    claims = _claims(token)
    if claims is None:
        return Line("JWT role", Level.RED, "HASURA_SERVICE_TOKEN is not a JWT", RENEW)
    if isinstance(found, Failure):
        return Line("JWT role", Level.UNKNOWN, found.reason)
    refusal, state = found
    if refusal:
        text = f"the engine refuses HASURA_SERVICE_TOKEN ({refusal}): it has another JWT secret, or has ended"
        return Line("JWT role", Level.RED, text, RENEW)
    role = _role(claims)
    if role != Role.SERVICE:
        text = f"HASURA_SERVICE_TOKEN is of role {role or 'unknown'}, not {Role.SERVICE}"
        return Line("JWT role", Level.RED, text, RENEW)
    if state.get("allow_list") is False:
        return Line("JWT role", Level.RED, "the allow list stops the handlers' call", "leads metadata 9a")
    if state.get("notifications") is False:
        return Line(
            "JWT role", Level.RED, f"{Role.SERVICE} may not call sendNotifications", "leads metadata 9a"
        )
    days = _days_left(claims, now)
    if days is not None and days < MIN_TOKEN_DAYS:
        return Line("JWT role", Level.YELLOW, f"HASURA_SERVICE_TOKEN ends in {days:.0f} days", RENEW)
    left = "" if days is None else f", for {days:.0f} days more"
    return Line("JWT role", Level.GREEN, f"{Role.SERVICE} may call sendNotifications{left}")


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


def is_secret_accepted(handlers_url: str, secret: str) -> bool:
    """Whether the handlers accept Hasura's secret: they check it before the name, which is of no trigger."""
    answer = ask(
        f"{handlers_url}/cron/retry_failed",
        body={"id": "leads doctor", "name": "leads_doctor", "scheduled_time": "2026-01-01T00:00:00Z"},
        headers={"X-Handler-Secret": secret},
        timeout_seconds=REQUEST_SECONDS,
    )
    return answer.status != 401


def judge_secret(found: bool | Failure | None) -> Line:
    """Say whether the handlers accept HANDLER_SECRET."""
    if found is None:
        text = "not looked at: HANDLERS_URL or HANDLER_SECRET is not set"
        return Line("secret", Level.UNKNOWN, text)
    if isinstance(found, Failure):
        return Line("secret", Level.UNKNOWN, found.reason)
    if not found:
        text = "the handlers do not accept HANDLER_SECRET"
        return Line("secret", Level.RED, text, "Give Hasura, the handlers and leads the same HANDLER_SECRET")
    return Line("secret", Level.GREEN, "the handlers accept HANDLER_SECRET")


def judge_clocks(database: DatabaseLook | Failure, others: Mapping[str, datetime | None]) -> Line:
    """Compare the clock of the database and those of `others`, read just now, with the one here."""
    differences: dict[str, timedelta] = {}
    if isinstance(database, DatabaseLook):
        differences["database"] = database.server.now - database.asked_at
    now = datetime.now(UTC)
    differences |= {name: time - now for name, time in others.items() if time is not None}
    if not differences:
        return Line("clocks", Level.UNKNOWN, "no other clock could be read")
    for name, difference in differences.items():
        if abs(difference) > MAX_CLOCK_DIFFERENCE:
            seconds = difference.total_seconds()
            where = "ahead of" if seconds > 0 else "behind"
            text = f"the clock of {name} is {abs(seconds):.0f} s {where} this one"
            return Line("clocks", Level.RED, text, SYNCHRONIZE)
    return Line("clocks", Level.GREEN, f"{', '.join(differences)} and this machine agree within 5 s")


def judge_keys(keys: Mapping[str, KeyLook] | Failure | None) -> Line:
    """Say whether Pancake accepts the API keys."""
    if keys is None:
        return Line("Pancake", Level.UNKNOWN, "not looked at: ENCRYPTION_KEYS is not set")
    if isinstance(keys, Failure):
        return Line("Pancake", Level.UNKNOWN, keys.reason)
    if not keys:
        return Line("Pancake", Level.YELLOW, "there is no connection yet", "leads connection create")
    bad = next((look for look in keys.values() if not look.is_accepted), None)
    if bad is not None:
        if bad.is_rejected:
            return Line("Pancake", Level.RED, bad.reason, "leads connection set-api-key")
        return Line("Pancake", Level.YELLOW, bad.reason, "leads connection test")
    return Line("Pancake", Level.GREEN, f"it accepts the API keys of {len(keys)} connections")
