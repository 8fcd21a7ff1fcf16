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


async def load_connections(db: Database, key_ring: KeyRing) -> list[Connection]:
    """Return every connection that is not disabled."""
    connections = []
    for row in await db.fetch_all("connections/load_connections", {}):
        id_, base_url = row["id"], row["api_base_url"]
        key = _open_key(key_ring, row["api_key_encrypted"], SecretScope("api_key", id_, base_url))
        connections.append(
            Connection(
                id=id_,
                name=row["name"],
                status=row["status"],
                tables=tuple(row["table_names"]),
                record_timezone=row["record_timezone"],
                watermark=row["poll_watermark"],
                access=Access(id_, base_url, row["workspace_id"], key),
            )
        )
    return connections


def _open_key(key_ring: KeyRing, sealed: bytes | None, scope: SecretScope) -> str | SecretUnreadable:
    """Return the API key, or why it cannot be opened, which the first call to Pancake then raises.

    A key that is not set is sent as an empty one: Pancake rejects it, and check_connection reports that.
    """
    try:
        return open_sealed(key_ring, sealed, scope) if sealed is not None else ""
    except SecretUnreadable as error:
        return error
