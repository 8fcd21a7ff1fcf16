"""The connections to Pancake that are in use."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from leads.adapters.database import Database
from leads.adapters.pancake_api import Access
from leads.adapters.secrets import KeyRing, SecretScope, open_sealed
from leads.domain.errors import SecretUnreadable


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection in use. Pancake writes naive times in the zone that `record_timezone` names."""

    id: str
    name: str
    status: str
    tables: tuple[str, ...]
    record_timezone: str
    watermark: datetime | None
    access: Access

    @property
    def zone(self) -> ZoneInfo:
        """The zone of naive times. Raises ZoneInfoNotFoundError."""
        return ZoneInfo(self.record_timezone)


@dataclass(frozen=True, slots=True)
class _ConnectionRow:
    """A row of connections/load_connections."""

    id: str
    name: str
    workspace_id: int
    table_names: list[str]
    api_base_url: str
    record_timezone: str
    api_key_encrypted: bytes | None
    status: str
    poll_watermark: datetime | None


async def load_connections(db: Database, key_ring: KeyRing) -> list[Connection]:
    """Return every connection that is not disabled."""
    rows = await db.fetch_all("connections/load_connections", {}, _ConnectionRow)
    return [_connection(row, key_ring) for row in rows]


def _connection(row: _ConnectionRow, key_ring: KeyRing) -> Connection:
    return Connection(
        id=row.id,
        name=row.name,
        status=row.status,
        tables=tuple(row.table_names),
        record_timezone=row.record_timezone,
        watermark=row.poll_watermark,
        access=Access(row.id, row.api_base_url, row.workspace_id, _api_key(row, key_ring)),
    )


def _api_key(row: _ConnectionRow, key_ring: KeyRing) -> str | SecretUnreadable:
    """Return the key, or why it cannot be opened, which the first call to Pancake then raises.

    A key that is not set is sent as an empty one: Pancake rejects it, and check_connection reports that.
    """
    if row.api_key_encrypted is None:
        return ""
    try:
        return open_sealed(key_ring, row.api_key_encrypted, SecretScope("api_key", row.id, row.api_base_url))
    except SecretUnreadable as error:
        return error
