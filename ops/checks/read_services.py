"""Read the handlers and the edge, by what they answer, and how the handlers' secret and token are taken."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from leads.adapters.clock import Clock
from leads.adapters.graphql import GraphqlClient
from leads.adapters.pancake_api import Access, PancakeApi
from leads.adapters.secrets import SecretScope, open_sealed
from leads.domain.errors import IntegrationError, Misconfigured, PancakeKeyRejected
from ops.checks.services import REQUEST_SECONDS, NotSet, Services
from ops.clients.db_session import load_rows
from ops.clients.plain_http import HttpAnswer, NoAnswer, ask
from ops.settings import OperatorSettings

REFUSALS = ("invalid-jwt", "access-denied", "jwt-invalid-claims", "invalid-headers")
"""Codes with which an engine refuses a token, for every request."""
BREAKER = re.compile(r"^pancake_circuit_breaker_state\{[^}]*\} ([0-9.]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HandlersLook:
    """What the handlers answer. `ready` and `breaker` (2: open) are None if they are at another address."""

    health: HttpAnswer
    ready: dict[str, bool | None] | None
    breaker: float | None


@dataclass(frozen=True, slots=True)
class EdgeLook:
    """What /healthz and /metrics of the edge's internal listener say."""

    spooled: int
    quarantined: int
    is_writable: bool
    connections: int
    policy_age_seconds: float | None
    skipped: tuple[str, ...]
    """The paths that the edge skips now because they fail: `hasura`, `handlers`."""
    seconds: float
    date: datetime | None = None
    """The clock of its machine."""


@dataclass(frozen=True, slots=True)
class TokenLook:
    """What the engine makes of a token: the code with which it refuses it, and the checks of the handlers."""

    token: str
    refusal: str
    state: Mapping[str, bool | None]


def read_handlers(services: Services) -> HandlersLook:
    """Ask a process of the handlers at HANDLERS_URL."""
    return look_at_handlers(services.need("HANDLERS_URL", services.settings.handlers_url))


def read_edge(services: Services) -> EdgeLook:
    """Ask the internal listener of the edge at EDGE_STATUS_URL."""
    return look_at_edge(services.need("EDGE_STATUS_URL", services.settings.edge_status_url))


def read_secret(services: Services) -> bool:
    """Return whether the handlers accept HANDLER_SECRET.

    They check it before the name, which is of no trigger.
    """
    url = services.need("HANDLERS_URL", services.settings.handlers_url)
    secret = services.need("HANDLER_SECRET", services.settings.handler_secret)
    answer = ask(
        f"{url}/cron/retry_failed",
        body={"id": "leads doctor", "name": "leads_doctor", "scheduled_time": "2026-01-01T00:00:00Z"},
        headers={"X-Handler-Secret": secret},
        timeout_seconds=REQUEST_SECONDS,
    )
    return answer.status != 401


def read_token(services: Services) -> TokenLook:
    """Ask the engine as the handlers do, with HASURA_SERVICE_TOKEN."""
    token = services.need("HASURA_SERVICE_TOKEN", services.settings.hasura_service_token)
    url = services.need("HASURA_URL", services.settings.hasura_url)
    answer = ask(
        f"{url}/v1/graphql",
        body={"query": "query LeadsDoctor { __typename }"},
        headers={"Authorization": f"Bearer {token}"},
        timeout_seconds=REQUEST_SECONDS,
    )
    errors = answer.json.get("errors") if isinstance(answer.json, dict) else None
    code = str((errors or [{}])[0].get("extensions", {}).get("code", ""))
    return TokenLook(token, code if code in REFUSALS else "", asyncio.run(_probe(url, token)))


async def _probe(url: str, token: str) -> dict[str, bool | None]:
    client = GraphqlClient(url, token)
    try:
        return await client.probe()
    finally:
        await client.close()


def look_at_handlers(url: str) -> HandlersLook:
    """Ask a process of the handlers. Raises NoAnswer."""
    health = ask(f"{url}/healthz", timeout_seconds=REQUEST_SECONDS)
    if health.status != 200:
        raise NoAnswer(f"{url}/healthz answers {health.status}")
    ready = ask(f"{url}/readyz", timeout_seconds=REQUEST_SECONDS)
    metrics = ask(f"{url}/metrics", timeout_seconds=REQUEST_SECONDS)
    breaker = BREAKER.search(metrics.text) if metrics.status == 200 else None
    return HandlersLook(
        health=health,
        ready=ready.json if isinstance(ready.json, dict) and "database" in ready.json else None,
        breaker=float(breaker[1]) if breaker else None,
    )


def look_at_edge(url: str) -> EdgeLook:
    """Ask the edge. Raises NoAnswer."""
    health = ask(f"{url}/healthz", timeout_seconds=REQUEST_SECONDS)
    metrics = ask(f"{url}/metrics", timeout_seconds=REQUEST_SECONDS)
    found = health.json if isinstance(health.json, dict) else {}
    if "spool_files" not in found or metrics.status != 200:
        raise NoAnswer(f"{url} does not answer as the edge's internal listener does")
    skipped = re.findall(r'^pancake_edge_upstream_skipped\{upstream="(\w+)"\} 1$', metrics.text, re.MULTILINE)
    quarantined = re.search(
        r'^pancake_edge_spool_files\{folder="quarantine"\} (\d+)', metrics.text, re.MULTILINE
    )
    return EdgeLook(
        spooled=int(found["spool_files"]),
        quarantined=int(quarantined[1]) if quarantined else 0,
        is_writable=found.get("spool_writable") is not False,
        connections=int(found.get("policy_connections") or 0),
        policy_age_seconds=found.get("policy_age_seconds"),
        skipped=tuple(skipped),
        seconds=health.seconds,
        date=health.date,
    )


@dataclass(frozen=True, slots=True)
class _KeyRow:
    """A row of probes/list_keys."""

    id: str
    name: str
    workspace_id: int
    api_base_url: str
    api_key_encrypted: bytes | None


@dataclass(frozen=True, slots=True)
class KeyLook:
    """How a call with the key of a connection ended; with `is_rejected` no other try helps."""

    name: str
    is_accepted: bool
    is_rejected: bool = False
    reason: str = ""


def read_keys(services: Services) -> dict[str, KeyLook]:
    """Call Pancake for each connection that is not disabled; return the results by its id."""
    if services.settings.key_ring.is_empty:
        raise NotSet("ENCRYPTION_KEYS")
    with services.database() as db:
        rows = load_rows(db, _KeyRow, "probes/list_keys")
    return asyncio.run(_call_all(rows, services.settings))


async def _call_all(rows: list[_KeyRow], settings: OperatorSettings) -> dict[str, KeyLook]:
    pancake = PancakeApi(Clock(), settings.pancake_api_hosts, total_timeout_seconds=REQUEST_SECONDS)
    try:
        looks = await asyncio.gather(*(_call(pancake, row, settings) for row in rows))
    finally:
        await pancake.aclose()
    return {row.id: look for row, look in zip(rows, looks, strict=True)}


async def _call(pancake: PancakeApi, row: _KeyRow, settings: OperatorSettings) -> KeyLook:
    if row.api_key_encrypted is None:
        return KeyLook(row.name, is_accepted=False, is_rejected=True, reason="no API key is set")
    try:
        use = SecretScope("api_key", row.id, row.api_base_url)
        key = open_sealed(settings.key_ring, row.api_key_encrypted, use)
        await pancake.sources(Access(row.id, row.api_base_url, row.workspace_id, key))
    except (PancakeKeyRejected, Misconfigured) as error:
        return KeyLook(row.name, is_accepted=False, is_rejected=True, reason=str(error))
    except IntegrationError as error:
        return KeyLook(row.name, is_accepted=False, reason=str(error))
    return KeyLook(row.name, is_accepted=True)
