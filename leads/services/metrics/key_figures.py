"""The key figures as series: sql/kpi over the last day, latency and success over the last hour too."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from leads.adapters.sql_series import Sample
from leads.services.kpi import (
    AutoAssign,
    Intervention,
    KeyFigure,
    KpiName,
    Latency,
    Reads,
    Response,
    Success,
    ZeroMiss,
    load_kpi,
)

DAY, HOUR = ("1d", timedelta(days=1)), ("1h", timedelta(hours=1))
SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class WindowFigure:
    """A key figure over the window that ends now."""

    name: KpiName
    window: str
    length: timedelta

    @property
    def query(self) -> str:
        """Its name among the statements."""
        return f"{self.name} of {self.window}"

    async def samples(self, db: Reads, now: datetime) -> list[Sample]:
        """Read it. Raises DatabaseUnavailable, Contended or StatementError."""
        figure = await load_kpi(db, self.name, now - self.length, now)
        return [
            (name, (self.window, *labels), float(value))
            for name, labels, value in _series(figure)
            if value is not None
        ]


def _series(figure: KeyFigure) -> Iterator[tuple[str, tuple[str, ...], float | None]]:
    match figure:
        case Latency():
            yield "pancake_kpi_latency_seconds", ("0.5",), figure.p50_seconds
            yield "pancake_kpi_latency_seconds", ("0.95",), figure.p95_seconds
            yield "pancake_kpi_latency_seconds", ("0.99",), figure.p99_seconds
        case Success():
            yield "pancake_kpi_success_ratio", (), figure.ratio
            for result, number in asdict(figure).items():
                if result != "ratio":
                    yield "pancake_kpi_deliveries", (result,), number
        case AutoAssign():
            yield "pancake_kpi_auto_assign_ratio", (), figure.ratio
            yield "pancake_kpi_tickets", (), figure.tickets
        case Intervention():
            yield "pancake_kpi_intervention_ratio", (), figure.ratio
        case Response():
            minutes = figure.p95_minutes
            seconds = None if minutes is None else minutes * SECONDS_PER_MINUTE
            yield "pancake_kpi_response_seconds", ("0.95",), seconds
        case ZeroMiss():
            yield "pancake_kpi_found_missing", (), figure.found_missing
            yield "pancake_kpi_left_missing", (), figure.left_missing


KEY_FIGURES = (
    *(WindowFigure(name, *DAY) for name in KpiName),
    *(WindowFigure(name, *HOUR) for name in (KpiName.LATENCY, KpiName.SUCCESS)),
)
