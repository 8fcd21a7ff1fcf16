"""Ask Pancake whether it accepts the API key of each connection."""

import asyncio
from dataclasses import dataclass

from leads.adapters.clock import Clock
from leads.adapters.pancake_api import Access, PancakeApi
from leads.adapters.secrets import SecretScope, open_sealed
from leads.domain.errors import IntegrationError, Misconfigured, PancakeKeyRejected
from ops.checks.services import REQUEST_SECONDS, NotSet, Services
from ops.clients.db_session import load_rows
from ops.settings import OperatorSettings


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
