"""The six key figures of the integration: one statement each, for acceptance, screens and alerts."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from leads.adapters.database import Params, RowType


class Reads(Protocol):
    """The part of a database, or of a session on it, that is used here."""

    async def fetch_all(self, name: str, params: Params, row_type: type[RowType], /) -> list[RowType]: ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from arrival to the end of processing; `apart` counts events that the figures leave out."""

    events: int
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    apart: int


@dataclass(frozen=True, slots=True)
class Success:
    """`ratio`: the share of processed deliveries in processed, failed, dead and stuck ones.

    Beside it, of the same window: `held`, `invalid`, `waiting`. `held_earlier`: created before the window.
    """

    processed: int
    failed: int
    dead: int
    stuck: int
    held: int
    held_earlier: int
    invalid: int
    waiting: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class AutoAssign:
    """`ratio`: the share of tickets that still have the owner that the integration chose, at once or later.

    `unassigned`: tickets for which it has chosen no owner up to now.
    """

    tickets: int
    correct: int
    unassigned: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Intervention:
    """`ratio`: the share of tickets whose owner was changed."""

    tickets: int
    changed: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Response:
    """Minutes from a ticket's creation to its first response, by the clock and by business hours."""

    tickets: int
    unanswered: int
    p50_minutes: float | None
    p95_minutes: float | None
    p50_business_minutes: float | None
    p95_business_minutes: float | None


@dataclass(frozen=True, slots=True)
class ZeroMiss:
    """Records that reconciliation found missing, and those still missing after it; None without a day."""

    days: int
    found_missing: int | None
    left_missing: int | None


@dataclass(frozen=True, slots=True)
class Kpis:
    """The key figures of one window. A ratio or percentile over no rows is None."""

    latency: Latency
    success: Success
    auto_assign: AutoAssign
    intervention: Intervention
    response: Response
    zero_miss: ZeroMiss


KeyFigure = Latency | Success | AutoAssign | Intervention | Response | ZeroMiss


class KpiName(StrEnum):
    """The statement of a key figure."""

    LATENCY = "kpi/load_latency"
    SUCCESS = "kpi/load_success"
    AUTO_ASSIGN = "kpi/load_auto_assign"
    INTERVENTION = "kpi/load_intervention"
    RESPONSE = "kpi/load_response"
    ZERO_MISS = "kpi/load_zero_miss"


_ROWS: dict[KpiName, type[KeyFigure]] = {
    KpiName.LATENCY: Latency,
    KpiName.SUCCESS: Success,
    KpiName.AUTO_ASSIGN: AutoAssign,
    KpiName.INTERVENTION: Intervention,
    KpiName.RESPONSE: Response,
    KpiName.ZERO_MISS: ZeroMiss,
}

COLUMNS: Mapping[str, tuple[str, ...]] = {
    name: tuple(field.name for field in fields(row_type)) for name, row_type in _ROWS.items()
}
"""The columns of each statement's row."""


async def load_kpi(db: Reads, name: KpiName, since: datetime, until: datetime) -> KeyFigure:
    """Return one figure of what arrived from `since` (included) to `until` (excluded).

    Raises DatabaseUnavailable, Contended or StatementError.
    """
    (row,) = await db.fetch_all(name, {"from": since, "to": until}, _ROWS[name])
    return row


async def load_kpis(db: Reads, since: datetime, until: datetime) -> Kpis:
    """Return the figures of what arrived from `since` (included) to `until` (excluded).

    Raises DatabaseUnavailable.
    """
    window = {"from": since, "to": until}
    return Kpis(
        latency=await _load(db, KpiName.LATENCY, window, Latency),
        success=await _load(db, KpiName.SUCCESS, window, Success),
        auto_assign=await _load(db, KpiName.AUTO_ASSIGN, window, AutoAssign),
        intervention=await _load(db, KpiName.INTERVENTION, window, Intervention),
        response=await _load(db, KpiName.RESPONSE, window, Response),
        zero_miss=await _load(db, KpiName.ZERO_MISS, window, ZeroMiss),
    )


async def _load(db: Reads, statement: KpiName, window: Params, row_type: type[RowType]) -> RowType:
    (row,) = await db.fetch_all(statement, window, row_type)
    return row
