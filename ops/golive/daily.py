"""The key figures of each day of a wave, for the plots of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from leads.domain.body import ICT
from ops.clients.db_session import DbSession
from ops.golive.html_page import Figure
from ops.golive.statements import read_row
from ops.line_chart import LineChart, Point, Unit, draw

DAY = timedelta(days=1)
MAX_DAYS = 120
WIDTH, HEIGHT = 400, 220
"""In pixels: a phone shows it about as large as it is drawn."""


@dataclass(frozen=True, slots=True)
class DailyFigure:
    """A key figure: its statement and column, factor to its unit, and its target.

    `is_upper`: the target is broken by higher values, otherwise by lower ones.
    """

    title_vi: str
    title_en: str
    statement: str
    column: str
    unit: Unit
    is_upper: bool
    target: float
    label: str
    factor: float = 1.0
    is_cut: bool = False


FIGURES = (
    DailyFigure(
        "Tỷ lệ xử lý thành công", "Leads processed", "kpi/load_success", "ratio", Unit.RATIO, False, 0.995,
        "≥ 99.5 %", is_cut=True,
    ),
    DailyFigure(
        "Từ lúc nhận đến ticket, p95", "From arrival to ticket, p95", "kpi/load_latency", "p95_seconds",
        Unit.SECONDS, True, 30, "≤ 30 s",
    ),
    DailyFigure(
        "Giữ đúng người được chọn", "Tickets that keep the chosen owner", "kpi/load_auto_assign", "ratio",
        Unit.RATIO, False, 0.9, "≥ 90 %", is_cut=True,
    ),
    DailyFigure(
        "Quản lý phân công lại", "Reassigned by managers", "kpi/load_intervention", "ratio", Unit.RATIO,
        True, 0.2, "< 20 %",
    ),
    DailyFigure(
        "Phản hồi đầu tiên, p95", "First response, p95", "kpi/load_response", "p95_minutes", Unit.SECONDS,
        True, 1800, "≤ 30 min", factor=60,
    ),
    DailyFigure(
        "Lead còn thiếu sau đối soát", "Leads missing after reconciliation", "kpi/load_zero_miss",
        "left_missing", Unit.COUNT, True, 0, "0",
    ),
)  # fmt: skip


def daily_figures(session: DbSession, since: datetime, until: datetime) -> list[Figure]:
    """Draw each key figure, with a point for each day of Vietnam. Raises DatabaseError.

    Only the last MAX_DAYS days are drawn.
    """
    days = days_between(max(since, until - MAX_DAYS * DAY), until)
    return [drawn(figure, _points(session, figure, days)) for figure in FIGURES]


def days_between(since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Return the days of Vietnam from `since` to `until`; the first and the last may be shorter."""
    days = []
    start = since
    while start < until:
        midnight = start.astimezone(ICT).replace(hour=0, minute=0, second=0, microsecond=0) + DAY
        end = min(midnight, until)
        days.append((start, end))
        start = end
    return days


def _points(
    session: DbSession, figure: DailyFigure, days: Sequence[tuple[datetime, datetime]]
) -> list[Point]:
    points: list[Point] = []
    for start, end in days:
        row = read_row(session, figure.statement, {"from": start, "to": end}) or {}
        value = row.get(figure.column)
        points.append((start + (end - start) / 2, None if value is None else float(value) * figure.factor))
    return points


def drawn(figure: DailyFigure, points: Sequence[Point]) -> Figure:
    """Draw a figure with a point for each day."""
    chart = LineChart(
        title=figure.title_vi,
        description="Mỗi điểm là một ngày.",
        unit=figure.unit,
        zone=ICT,
        points=points,
        target=figure.target,
        target_label=f"mục tiêu {figure.label}",
        is_upper=figure.is_upper,
        nothing="không có số liệu",
        is_cut=figure.is_cut,
    )
    return Figure(draw(chart, WIDTH, HEIGHT), f"{figure.title_en}, by day. Target {figure.label}.")
