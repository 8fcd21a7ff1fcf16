"""Draw the panels of the dashboard from the answers of a Prometheus, with the queries that Grafana sends."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from proofs.dashboard.source import PanelSource, Section
from proofs.plot.draw import draw
from proofs.plot.elements import FONT
from proofs.plot.panels import Bar, Bars, Heatmap, Limit, Line, Point, Stat, TimeSeries
from proofs.plot.units import Unit, shown
from sandbox.monitoring.servers import Queries, Series

Row = list[PanelSource]
"""Panels side by side."""

COLUMNS, ROW_HEIGHT, GAP, HEADING_HEIGHT = 24, 34, 8, 34
"""Columns of a row; the rest in pixels."""
MOST_STEPS = 240
"""Points of a line."""
STAT_STEPS, STATES_STEPS, HEATMAP_STEPS = 120, 120, 40
LABEL = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Layout:
    """The width of a picture in pixels. With `is_halved` a panel takes half of it, or all."""

    width: int
    is_halved: bool = False

    def columns(self, panel: PanelSource) -> int:
        half = COLUMNS // 2
        return panel.width if not self.is_halved else half if panel.width <= half else COLUMNS


SCREEN, PAPER = Layout(1248), Layout(720, is_halved=True)
"""For a window of 1280 pixels, and for A4 with margins of 10 mm: 11 pixels are 8 points there."""


@dataclass(frozen=True, slots=True)
class View:
    """Which Prometheus is asked, about which time."""

    queries: Queries
    since: datetime
    until: datetime

    def step_seconds(self, steps: int) -> float:
        return max(1.0, math.ceil((self.until - self.since).total_seconds() / steps))


def draw_panel(panel: PanelSource, view: View, width: int, height: int) -> str:
    """Return the panel as SVG. Raises QueryFailed."""
    limits = [drawn.limit for drawn in panel.limits]
    match panel.kind:
        case "stat":
            return draw(_stat(panel, view, limits), width, height)
        case "bars":
            bars = sorted(_bars(panel, view), key=lambda bar: (-(bar.value or 0), bar.name))
            drawn = Bars(
                title=panel.title, description=panel.description, unit=panel.unit, limits=limits,
                nothing=panel.no_value, bars=bars,
            )  # fmt: skip
            return draw(drawn, width, height)
        case "time_series":
            return draw(_time_series(panel, view, limits), width, height)
        case "heatmap" | "states":
            return draw(_heatmap(panel, view), width, height)


def draw_sections(sections: Sequence[Section], view: View, layout: Layout = SCREEN) -> str:
    """Return the panels of the sections below their headings, as one SVG. Raises QueryFailed."""
    parts: list[str] = []
    y = 0
    for section in sections:
        heading = f'<text x="12" y="{y + 24}" font-size="17" font-weight="700" fill="#1b1f24">'
        parts.append(f"{heading}{escape(section.title)}</text>")
        y += HEADING_HEIGHT
        for row in rows(section, layout):
            drawn, height = _draw_row(row, view, layout, y)
            parts.append(drawn)
            y += height
    return _svg(layout.width, y, "".join(parts))


def draw_row(row: Row, view: View, layout: Layout) -> str:
    """Return the panels of a row, as one SVG. Raises QueryFailed."""
    drawn, height = _draw_row(row, view, layout, 0)
    return _svg(layout.width, height, drawn)


def rows(section: Section, layout: Layout) -> list[Row]:
    """Return the panels from left to right, then down, as Grafana places them."""
    found: list[Row] = [[]]
    for panel in section.panels:
        if sum(map(layout.columns, [*found[-1], panel])) > COLUMNS:
            found.append([])
        found[-1].append(panel)
    return found


def _draw_row(row: Row, view: View, layout: Layout, y: int) -> tuple[str, int]:
    """Return the elements of a row at that height, and how high they are."""
    parts: list[str] = []
    x = highest = 0
    for panel in row:
        columns = layout.columns(panel)
        width = columns * layout.width // COLUMNS - GAP
        svg = draw_panel(panel, view, width, panel.height * ROW_HEIGHT - GAP)
        parts.append(svg.replace("<svg ", f'<svg x="{x * layout.width // COLUMNS}" y="{y}" ', 1))
        (height,) = re.findall(r'viewBox="0 0 \d+ (\d+)"', svg)
        x, highest = x + columns, max(highest, int(height) + GAP)
    return "".join(parts), highest


def _svg(width: int, height: int, content: str) -> str:
    size = f'width="{width}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}"'
        f' font-family="{FONT}"><rect {size} fill="#ffffff" />{content}</svg>\n'
    )


def _stat(panel: PanelSource, view: View, limits: Sequence[Limit]) -> Stat:
    ((legend, expression),) = panel.queries.items()
    found = view.queries.at(expression, view.until)
    lines = _lines(
        legend, view.queries.between(expression, view.since, view.until, view.step_seconds(STAT_STEPS))
    )
    return Stat(
        title=panel.title, description=panel.description, unit=panel.unit, limits=limits,
        nothing=panel.no_value, value=found[0].points[0][1] if found else None,
        line=lines[0] if lines else None,
    )  # fmt: skip


def _bars(panel: PanelSource, view: View) -> Iterator[Bar]:
    for legend, expression in panel.queries.items():
        for name, series in _named(legend, view.queries.at(expression, view.until)):
            yield Bar(name, series.points[0][1])


def _time_series(panel: PanelSource, view: View, limits: Sequence[Limit]) -> TimeSeries:
    step = view.step_seconds(MOST_STEPS)
    return TimeSeries(
        title=panel.title, description=panel.description, unit=panel.unit, limits=limits,
        nothing=panel.no_value, since=view.since, until=view.until, lines=_ranges(panel, view, step),
        step_seconds=step, is_cut=panel.is_cut, is_stepped=panel.is_stepped,
    )  # fmt: skip


def _heatmap(panel: PanelSource, view: View) -> Heatmap:
    is_states = panel.kind == "states"
    step = view.step_seconds(STATES_STEPS if is_states else HEATMAP_STEPS)
    lines = _ranges(panel, view, step)
    return Heatmap(
        title=panel.title, description=panel.description, unit=panel.unit, nothing=panel.no_value,
        since=view.since, until=view.until, rows=lines if is_states else _buckets(lines), step_seconds=step,
    )  # fmt: skip


def _ranges(panel: PanelSource, view: View, step: float) -> list[Line]:
    return [
        line
        for legend, expression in panel.queries.items()
        for line in _lines(legend, view.queries.between(expression, view.since, view.until, step))
    ]


def _lines(legend: str, found: Sequence[Series]) -> list[Line]:
    return [Line(name, series.points) for name, series in _named(legend, found)]


def _named(legend: str, found: Sequence[Series]) -> list[tuple[str, Series]]:
    """Return the series with their names, in order; labels that all share are left out beside other words."""
    labels = LABEL.findall(legend)
    shared = [label for label in labels if len({series.labels.get(label) for series in found}) == 1]
    if LABEL.sub("", legend).strip() or len(shared) < len(labels):
        legend = re.sub("|".join(f"{{{{{label}}}}}" for label in shared) or "^$", "", legend).strip()
    named = [
        (LABEL.sub(lambda label: series.labels.get(label[1], ""), legend), series)  # noqa: B023 - called at once
        for series in found
    ]
    return sorted(named, key=lambda each: each[0])


def _buckets(cumulative: Iterable[Line]) -> list[Line]:
    """Return what is in each bucket of a histogram, the highest first, without empty ones at the ends."""
    below: dict[datetime, float | None] = {}
    rows: list[Line] = []
    for line in sorted(cumulative, key=lambda each: float(each.name)):
        points: list[Point] = [
            (at, max(0.0, (value or 0) - (below.get(at) or 0))) for at, value in line.points
        ]
        below = dict(line.points)
        rows.append(Line(f"≤ {shown(float(line.name), Unit.SECONDS, '∞')}", points))
    used = [number for number, row in enumerate(rows) if any(value for _, value in row.points)]
    return rows[min(used) : max(used) + 1][::-1] if used else rows[::-1]
