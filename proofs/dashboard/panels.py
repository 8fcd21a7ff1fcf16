"""The panels of Grafana's dashboard, drawn from the answers of a Prometheus to the queries of Grafana."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from proofs.pictures import (
    Box,
    Limit,
    Line,
    Panel,
    draw_bars,
    draw_cells,
    draw_lines,
    draw_stat,
    new_figure,
    shown,
    svg,
)
from sandbox.monitoring.servers import Queries, Series

GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
SOURCE = GRAFANA / "dashboards" / "pancake-diva.json"
COLUMNS, CELL_HEIGHT, GAP, HEADING_HEIGHT = 24, 34, 8, 34
"""Columns of a row; the rest in pixels."""
STEPS = {"timeseries": 240, "heatmap": 40}
"""Points of a line, by the type of a panel; 120 of the others."""
LABEL = re.compile(r"\{\{(\w+)\}\}")
LIMIT_LABELS = re.compile(r"\(([^()]*)\)$")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A panel of Grafana: `kind` is its type there, `queries` by their legend, sizes of Grafana's grid.

    `alerts` are those whose runbooks it links.
    """

    panel: Panel
    description: str
    kind: str
    queries: Mapping[str, str]
    width: int
    height: int
    alerts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    panels: tuple[Drawn, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The width of a picture in pixels. With `is_halved` a panel takes half of it, or all."""

    width: int
    is_halved: bool = False

    def columns(self, drawn: Drawn) -> int:
        return drawn.width if not self.is_halved else 12 if drawn.width <= 12 else COLUMNS


SCREEN, PAPER = Layout(1248), Layout(720, is_halved=True)
"""For a window of 1280 pixels, and for A4 with margins of 10 mm: 11 pixels are 8 points there."""


@dataclass(frozen=True, slots=True)
class View:
    """Which Prometheus is asked, about which time."""

    queries: Queries
    since: datetime
    until: datetime

    def step_seconds(self, kind: str) -> float:
        length = (self.until - self.since).total_seconds()
        return max(1.0, math.ceil(length / STEPS.get(kind, 120)))


def read_dashboard() -> tuple[str, list[Section]]:
    model = json.loads(SOURCE.read_text("utf-8"))
    found: list[tuple[str, list[Drawn]]] = []
    for each in model["panels"]:
        if each["type"] == "row":
            found.append((each["title"], []))
        else:
            found[-1][1].append(_read(each))
    return model["title"], [Section(title, tuple(panels)) for title, panels in found]


def _read(model: Mapping[str, Any]) -> Drawn:
    defaults = model["fieldConfig"]["defaults"]
    custom = defaults.get("custom", {})
    panel = Panel(
        title=model["title"], unit=defaults["unit"], limit=_limit(model), nothing=defaults["noValue"],
        is_cut=model["type"] == "timeseries" and "min" not in defaults,
        is_stepped=custom.get("lineInterpolation") == "stepAfter",
    )  # fmt: skip
    queries = {target["legendFormat"]: target["expr"] for target in model["targets"]}
    alerts = tuple(link["title"] for link in model.get("links", ()))
    place = model["gridPos"]
    return Drawn(panel, model["description"], model["type"], queries, place["w"], place["h"], alerts)


def _limit(model: Mapping[str, Any]) -> Limit | None:
    """Return the limit: the colours change there, and the description ends with its label."""
    steps = model["fieldConfig"]["defaults"]["thresholds"]["steps"]
    label = LIMIT_LABELS.search(model["description"])
    if model["type"] == "state-timeline" or len(steps) < 2 or label is None:
        return None
    return Limit(float(steps[1]["value"]), steps[1]["color"] == "red", label[1])


def rows(section: Section, layout: Layout) -> list[list[Drawn]]:
    """Return the panels from left to right, then down, as Grafana places them."""
    found: list[list[Drawn]] = [[]]
    for drawn in section.panels:
        if sum(map(layout.columns, [*found[-1], drawn])) > COLUMNS:
            found.append([])
        found[-1].append(drawn)
    return found


def draw_sections(sections: Sequence[Section], view: View, layout: Layout) -> str:
    """Return the panels of the sections below their headings, as one SVG. Raises MonitoringFailed."""
    lines: list[str | list[Drawn]] = []
    for section in sections:
        lines += [section.title, *rows(section, layout)]
    return draw_rows(lines, view, layout)


def draw_rows(lines: Sequence[str | list[Drawn]], view: View, layout: Layout) -> str:
    """Return headings and rows of panels, as one SVG. Raises MonitoringFailed."""
    heights = [
        HEADING_HEIGHT if isinstance(line, str) else CELL_HEIGHT * max(each.height for each in line)
        for line in lines
    ]
    figure, top = new_figure(layout.width, sum(heights)), 0
    for line, height in zip(lines, heights, strict=True):
        if isinstance(line, str):
            Box(figure, 0, top, layout.width, height).write(12, 24, line, 17, weight="bold")
        else:
            column = 0
            for drawn in line:
                left, width = (n * layout.width // COLUMNS for n in (column, layout.columns(drawn)))
                draw_panel(drawn, view, Box(figure, left, top, width - GAP, drawn.height * CELL_HEIGHT - GAP))
                column += layout.columns(drawn)
        top += height
    return svg(
        figure, " ".join(drawn.description for line in lines if not isinstance(line, str) for drawn in line)
    )


def draw_panel(drawn: Drawn, view: View, box: Box) -> None:
    """Draw a panel into a box. Raises MonitoringFailed."""
    panel, step = drawn.panel, view.step_seconds(drawn.kind)
    match drawn.kind:
        case "stat":
            ((_, query),) = drawn.queries.items()
            found = view.queries.at(query, view.until)
            history = view.queries.between(query, view.since, view.until, step)
            value = found[0].points[0][1] if found else None
            draw_stat(box, panel, value, history[0].points if history else ())
        case "bargauge":
            bars = [
                (name, series.points[0][1])
                for legend, query in drawn.queries.items()
                for name, series in _named(legend, view.queries.at(query, view.until))
            ]
            draw_bars(box, panel, sorted(bars, key=lambda bar: (-(bar[1] or 0), bar[0])))
        case "timeseries":
            draw_lines(box, panel, _lines(drawn, view, step), view.since, view.until, step)
        case _:
            lines = _lines(drawn, view, step)
            cells = _buckets(lines) if drawn.kind == "heatmap" else lines
            draw_cells(box, panel, cells, view.since, view.until, step)


def _lines(drawn: Drawn, view: View, step: float) -> list[Line]:
    return [
        Line(name, series.points)
        for legend, query in drawn.queries.items()
        for name, series in _named(legend, view.queries.between(query, view.since, view.until, step))
    ]


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


def _buckets(cumulative: Sequence[Line]) -> list[Line]:
    """Return what is in each bucket of a histogram, the highest first, without empty ones at the ends."""
    below: dict[datetime, float | None] = {}
    found: list[Line] = []
    for line in sorted(cumulative, key=lambda each: float(each.name)):
        points = [(at, max(0.0, (value or 0) - (below.get(at) or 0))) for at, value in line.points]
        below = dict(line.points)
        found.append(Line(f"≤ {shown(float(line.name), 's', '∞')}", points))
    used = [number for number, row in enumerate(found) if any(value for _, value in row.points)]
    return found[min(used) : max(used) + 1][::-1] if used else found[::-1]
