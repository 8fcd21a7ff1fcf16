"""The connections to Pancake, and work done for each of them: a failed one does not stop the others."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from leads.adapters.database import Database
from leads.adapters.logs import LOGGER, describe
from leads.adapters.pancake_api import Access
from leads.adapters.secrets import KeyRing, SecretScope, open_sealed
from leads.domain.errors import (
    Contended,
    DatabaseUnavailable,
    IntegrationError,
    PancakeRefused,
    PancakeUnavailable,
    SecretUnreadable,
)
from leads.domain.reports import ConnectionReport
from leads.services.cron_work import CronRun, run_parts


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


Report = TypeVar("Report", bound=ConnectionReport)


async def for_each(
    run: CronRun,
    connections: Sequence[Connection],
    work: Callable[[Connection], Awaitable[Report]],
    *,
    part: str = "",
) -> tuple[list[Report], bool]:
    """Return what `work` reports of each connection, or the error that it raised; and whether all are done.

    The rest as run_parts; `part` tells the reports of several calls apart. Raises DatabaseUnavailable and
    Contended, which would fail for all connections.
    """
    parts = {f"{part}{each.id}": partial(_report, each, work) for each in connections}
    return await run_parts(run, parts, partial(_fail, part))


async def _report(connection: Connection, work: Callable[[Connection], Awaitable[Report]]) -> Report:
    report = await work(connection)
    report["connection_id"] = connection.id
    return report


def _fail(part: str, name: str, error: Exception) -> Any:
    """Report and log an error; of foreign exceptions not the text, which may quote personal data."""
    if isinstance(error, DatabaseUnavailable | Contended):
        raise error
    failure: ConnectionReport = {"connection_id": name.removeprefix(part)}
    if isinstance(error, IntegrationError):
        failure |= {"error": error.code, "detail": str(error)}
    else:
        failure |= {"error": "internal", "detail": "{error}, digest {digest}".format(**describe(error))}
    is_of_pancake = isinstance(error, PancakeUnavailable | PancakeRefused)
    level, trace = (logging.WARNING, None) if is_of_pancake else (logging.ERROR, error)
    LOGGER.log(level, "connection failed", extra={"fields": failure}, exc_info=trace)
    return failure  # every type of report has the keys of a failure


def problems(reports: Sequence[ConnectionReport]) -> str | None:
    """Return all errors in one line; None without any."""
    lines = [f"{report['connection_id']}: {report['detail']}" for report in reports if "error" in report]
    return "; ".join(lines) or None
