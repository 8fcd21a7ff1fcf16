"""The six key figures of the integration: one statement each, for acceptance, screens and alerts."""

from dataclasses import dataclass
from datetime import datetime

from leads.adapters.database import Database, RowType


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from arrival to the end of processing; `held_or_replayed`: events they leave out."""

    events: int
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    held_or_replayed: int


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


async def load_kpis(db: Database, since: datetime, until: datetime) -> Kpis:
    """Return the figures of what arrived from `since` (included) to `until` (excluded).

    Raises DatabaseUnavailable.
    """

    async def load(statement: str, row_type: type[RowType]) -> RowType:
        (row,) = await db.fetch_all(statement, {"from": since, "to": until}, row_type)
        return row

    return Kpis(
        latency=await load("kpi/load_latency", Latency),
        success=await load("kpi/load_success", Success),
        auto_assign=await load("kpi/load_auto_assign", AutoAssign),
        intervention=await load("kpi/load_intervention", Intervention),
        response=await load("kpi/load_response", Response),
        zero_miss=await load("kpi/load_zero_miss", ZeroMiss),
    )
