"""The connections to Pancake, and work done for each of them: one that fails does not stop the others."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from leads.adapters.database import Database, Row
from leads.adapters.logs import LOGGER, describe
from leads.adapters.pancake_api import Access
from leads.adapters.secrets import DecryptionError, KeyRing
from leads.domain.errors import (
    Contended,
    DatabaseUnavailable,
    IntegrationError,
    PancakeRefused,
    PancakeUnavailable,
)


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection in use. `zone` names the time zone of its naive times."""

    id: str
    name: str
    status: str
    tables: tuple[str, ...]
    zone: str
    watermark: datetime | None
    access: Access


async def load_connections(db: Database, key_ring: KeyRing) -> list[Connection]:
    """Every connection that is not disabled."""
    return [_connection(row, key_ring) for row in await db.fetch_all("connections/load_connections", {})]


async def for_each(
    connections: Sequence[Connection], work: Callable[[Connection], Awaitable[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """What `work` reports of each connection; `error` and `detail` where it failed.

    Raises what fails all of them alike: DatabaseUnavailable and Contended.
    """
    reports = []
    for connection in connections:
        try:
            body = await work(connection)
        except (PancakeUnavailable, PancakeRefused) as error:
            body = {"error": error.code, "detail": str(error)}
            LOGGER.warning("Pancake failed a cron", extra={"fields": {"connection": connection.id, **body}})
        except (DatabaseUnavailable, Contended):
            raise
        except Exception as error:  # noqa: BLE001 - reported, and logged with its trace; the others are worked on
            body = _fault(error)
            fields = {"connection": connection.id, **body}
            LOGGER.error("a cron failed for a connection", extra={"fields": fields}, exc_info=error)
        reports.append({"connection_id": connection.id, **body})
    return reports


def problems(reports: Sequence[dict[str, Any]]) -> str | None:
    """What went wrong, in one line; None if nothing did."""
    lines = [f"{report['connection_id']}: {report['detail']}" for report in reports if "error" in report]
    return "; ".join(lines) or None


def _fault(error: Exception) -> dict[str, str]:
    """A fault that is not Pancake's, without the text of foreign exceptions, which may quote data."""
    if isinstance(error, IntegrationError):
        return {"error": error.code, "detail": str(error)}
    return {"error": "internal", "detail": "{error}, digest {digest}".format(**describe(error))}


def _connection(row: Row, key_ring: KeyRing) -> Connection:
    """A key that is missing or cannot be read is sent as an empty one: Pancake rejects it, and we say so."""
    try:
        api_key = key_ring.decrypt(row["api_key_encrypted"] or b"", "api_key")
    except DecryptionError:
        api_key = ""
    return Connection(
        id=row["id"],
        name=row["name"],
        status=row["status"],
        tables=tuple(row["table_names"]),
        zone=row["record_timezone"],
        watermark=row["poll_watermark"],
        access=Access(row["id"], row["api_base_url"], row["workspace_id"], api_key),
    )
