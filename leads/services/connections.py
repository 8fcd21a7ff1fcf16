"""The connections to Pancake, and work done for each of them: a failed one does not stop the others."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar, cast
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
from leads.services.cron_work import PAUSED, CronRun


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


Report = TypeVar("Report", bound=ConnectionReport)


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


async def for_each(
    run: CronRun,
    connections: Sequence[Connection],
    work: Callable[[Connection], Awaitable[Report]],
    *,
    part: str = "",
) -> list[Report]:
    """Return what `work` reports of each connection, or the error that it raised.

    What an earlier delivery of the tick reported is not done again; `part` tells the reports of several calls
    apart. With no time left the list ends early, or with a report whose `ending` is PAUSED: `is_unfinished`.
    Raises DatabaseUnavailable and Contended, which would fail for all connections.
    """
    reports: list[Report] = []
    for connection in connections:
        name = f"{part}{connection.id}"
        if name not in run.reports:
            if run.seconds_left() <= 0:
                break
            report = await _attempt(connection, work)
            if report.get("ending") == PAUSED:
                return [*reports, report]
            run.reports[name] = report
        reports.append(run.reports[name])
    return reports


def is_unfinished(connections: Sequence[Connection], reports: Sequence[ConnectionReport]) -> bool:
    """Whether these reports of `for_each` are not yet those of all the connections."""
    return len(reports) < len(connections) or any(report.get("ending") == PAUSED for report in reports)


def problems(reports: Sequence[ConnectionReport]) -> str | None:
    """Return all errors in one line; None without any."""
    lines = [f"{report['connection_id']}: {report['detail']}" for report in reports if "error" in report]
    return "; ".join(lines) or None


async def _attempt(connection: Connection, work: Callable[[Connection], Awaitable[Report]]) -> Report:
    try:
        report = await work(connection)
    except (DatabaseUnavailable, Contended):
        raise
    except Exception as error:  # noqa: BLE001 - reported and logged; the others go on
        # Every type of report has the keys of a failure.
        return cast(Report, _failure(connection, error))
    report["connection_id"] = connection.id
    return report


def _failure(connection: Connection, error: Exception) -> ConnectionReport:
    """Report and log an error; of foreign exceptions not the text, which may quote personal data."""
    failure: ConnectionReport = {"connection_id": connection.id}
    if isinstance(error, IntegrationError):
        failure |= {"error": error.code, "detail": str(error)}
    else:
        failure |= {"error": "internal", "detail": "{error}, digest {digest}".format(**describe(error))}
    is_of_pancake = isinstance(error, PancakeUnavailable | PancakeRefused)
    level, trace = (logging.WARNING, None) if is_of_pancake else (logging.ERROR, error)
    LOGGER.log(level, "connection failed", extra={"fields": failure}, exc_info=trace)
    return failure


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
