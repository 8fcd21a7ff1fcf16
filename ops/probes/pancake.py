"""Ask Pancake whether it accepts the API key of each connection."""

import asyncio
from dataclasses import dataclass

from leads.adapters.clock import Clock
from leads.adapters.pancake_api import Access, PancakeApi
from leads.adapters.secrets import SecretScope, open_sealed
from leads.domain.errors import IntegrationError, Misconfigured, PancakeKeyRejected
from ops.clients.db_session import QUERIES, class_row
from ops.probes.database import open_limited
from ops.probes.running import REQUEST_SECONDS
from ops.settings import OperatorSettings


@dataclass(frozen=True, slots=True)
class _KeyRow:
    """A row of probes/list_keys."""

    id: str
    workspace_id: int
    api_base_url: str
    api_key_encrypted: bytes | None


@dataclass(frozen=True, slots=True)
class KeyLook:
    """How a call with a connection's key ended. `is_rejected`: a person has to act, no other try helps."""

    is_accepted: bool
    is_rejected: bool = False
    reason: str = ""


def look_at_keys(settings: OperatorSettings, command: str) -> dict[str, KeyLook]:
    """Call Pancake for each connection that is not disabled; return the results by its id.

    Raises DatabaseUnavailable, LoginRefused and DatabaseError.
    """
    with open_limited(settings.database_url, command) as db:
        rows = db.cursor(row_factory=class_row(_KeyRow)).execute(QUERIES["probes/list_keys"]).fetchall()
    return asyncio.run(_call_all(rows, settings))


async def _call_all(rows: list[_KeyRow], settings: OperatorSettings) -> dict[str, KeyLook]:
    pancake = PancakeApi(Clock(), settings.pancake_api_hosts, total_timeout_seconds=REQUEST_SECONDS)
    try:
        looks = await asyncio.gather(*(_call(pancake, row, settings) for row in rows))
    finally:
        await pancake.aclose()
    return {row.id: look for row, look in zip(rows, looks, strict=True)}


async def _call(pancake: PancakeApi, row: _KeyRow, settings: OperatorSettings) -> KeyLook:
    if row.api_key_encrypted is None:
        return KeyLook(is_accepted=False, is_rejected=True, reason="no API key is set")
    try:
        use = SecretScope("api_key", row.id, row.api_base_url)
        key = open_sealed(settings.key_ring, row.api_key_encrypted, use)
        await pancake.sources(Access(row.id, row.api_base_url, row.workspace_id, key))
    except (PancakeKeyRejected, Misconfigured) as error:
        return KeyLook(is_accepted=False, is_rejected=True, reason=str(error))
    except IntegrationError as error:
        return KeyLook(is_accepted=False, reason=str(error))
    return KeyLook(is_accepted=True)
