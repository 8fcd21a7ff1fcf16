"""A figure of each day as a line with its target: an SVG image without style sheet, id, link and script."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import Enum
from math import ceil, floor, log10
from xml.etree.ElementTree import Element, SubElement, tostring

from ops.output import escape_unseen

INK, SOFT, GRID, LINE, BAD = "#1b1f24", "#57606a", "#d8dee4", "#0072b2", "#b3261e"
MARGIN, TITLE_HEIGHT, AXIS_HEIGHT = 12.0, 36.0, 22.0
PIXELS_PER_CHARACTER = 6.8
"""The mean width of a character in a wide font of 11 pixels."""
PIXELS_PER_DAY_LABEL, PIXELS_PER_TICK = 60, 40
STEPS = (1, 2, 2.5, 5, 10)
ROUND_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
DURATIONS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms"))

Point = tuple[datetime, float | None]
"""A time and a value; None is a missing one."""
Place = tuple[float, float]
"""Pixels from the left and from the top."""


class Unit(Enum):
    """How values are written: as they are, as a percentage, or as a time."""

    COUNT = "count"
    RATIO = "ratio"
    SECONDS = "seconds"


@dataclass(frozen=True, slots=True)
class LineChart:
    """Values in the order of their times, and a target.

    The axis begins at 0, or near the lowest value with `is_cut`. `nothing` is written if there is no value.
    """

    title: str
    description: str
    unit: Unit
    zone: tzinfo
    points: Sequence[Point]
    target: float
    target_label: str
    is_upper: bool
    """Whether the target is broken by higher values, otherwise by lower ones."""
    nothing: str
    is_cut: bool = False


def draw(chart: LineChart, width: int, height: int) -> str:
    """Return the chart as the text of an image of that size in pixels."""
    found = [(at, value) for at, value in chart.points if value is not None]
    ticks = value_ticks(
        [*(value for _, value in found), chart.target], chart.unit, height // PIXELS_PER_TICK, chart.is_cut
    )
    names = [shown(tick, chart.unit) for tick in ticks]
    left = MARGIN + 6 + PIXELS_PER_CHARACTER * max(map(len, names))
    right, bottom = width - MARGIN, height - AXIS_HEIGHT
    times = [at.timestamp() for at, _ in chart.points] or [0.0]
    x = _scale(times[0], times[-1], left + 8, right - 8)
    y = _scale(ticks[0], ticks[-1], bottom, TITLE_HEIGHT)

    last = shown(found[-1][1], chart.unit) if found else chart.nothing
    svg = _image(chart.title, f"{chart.description} {last}; {chart.target_label}.", width, height)
    _write(svg, (MARGIN, 20), chart.title, font_size="14", font_weight="600")
    for tick, name in zip(ticks, names, strict=True):
        _draw_line(svg, (left, y(tick)), (right, y(tick)), GRID)
        _write(svg, (left - 6, y(tick) + 4), name, text_anchor="end", fill=SOFT)
    every = max(1, ceil(len(chart.points) * PIXELS_PER_DAY_LABEL / (right - left)))
    for at, _ in chart.points[::every]:
        day = f"{at.astimezone(chart.zone):%d/%m}"
        _write(svg, (x(at.timestamp()), bottom + 16), day, text_anchor="middle", fill=SOFT)
    _draw_target(svg, chart, y(chart.target), (left, right), (TITLE_HEIGHT, bottom))
    for piece in _pieces(chart):
        _draw_polyline(svg, [(x(at.timestamp()), y(value)) for at, value in piece])
    if not found:
        middle = (left + right) / 2, (TITLE_HEIGHT + bottom) / 2
        _write(svg, middle, chart.nothing, text_anchor="middle", fill=SOFT, font_size="14")
    return tostring(svg, encoding="unicode")


def shown(value: float, unit: Unit) -> str:
    """Return the value with its unit and about three digits."""
    if unit is Unit.SECONDS and value != 0:
        factor, name = next((each for each in DURATIONS if abs(value) >= each[0]), DURATIONS[-1])
        return f"{_digits(value / factor)} {name}"
    if unit is Unit.SECONDS:
        return "0 s"
    if unit is Unit.COUNT:
        return f"{value:,.0f}" if value == round(value) else _digits(value)
    # As many digits as tell a share from 100 %.
    missing = abs(1 - value) * 100
    if abs(value) < 0.01 or missing == 0 or missing >= 1:
        return f"{_digits(value * 100)} %"
    return f"{_trimmed(f'{value * 100:.{min(4, 1 - floor(log10(missing)))}f}')} %"


def value_ticks(values: Sequence[float], unit: Unit, number: int, is_cut: bool) -> list[float]:
    """Return about `number` round values that enclose the values, and 0 unless `is_cut`."""
    found = [*values, *([] if is_cut else [0.0])]
    low, high = min(found), max(found)
    if high - low <= abs(low) * 1e-9 + 1e-9:
        low, high = min(low, 0.0), max(high, 1.0)
    if unit is Unit.RATIO and max(found) <= 1:
        high = min(high, 1.0)
    step = _round_step((high - low) / number, unit)
    first = floor(round(low / step, 6))
    last = max(ceil(round(high / step, 6)), first + 1)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _round_step(least: float, unit: Unit) -> float:
    """Return the next round step that is at least that long."""
    if unit is Unit.SECONDS and 1 <= least <= ROUND_SECONDS[-1]:
        return next(float(step) for step in ROUND_SECONDS if step >= least)
    power = 10.0 ** floor(log10(least))
    step = power * next(each for each in STEPS if each * power >= least * (1 - 1e-9))
    return max(step, 1.0) if unit is Unit.COUNT else step


def _pieces(chart: LineChart) -> Iterator[list[tuple[datetime, float]]]:
    """Yield the parts of the line between missing values."""
    piece: list[tuple[datetime, float]] = []
    for at, value in chart.points:
        if value is not None:
            piece.append((at, value))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return what maps values from `low` to `high` to pixels from `start` to `end`."""
    return lambda value: start + (end - start) * ((value - low) / (high - low) if high > low else 0.5)


def _image(title: str, description: str, width: float, height: float) -> Element:
    """Return a white image with its name and description for readers who cannot see it."""
    size = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
    text = {"font-family": "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif", "font-size": "11", "fill": INK}
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size, **text})
    SubElement(svg, "title").text = escape_unseen(title)
    SubElement(svg, "desc").text = escape_unseen(description)
    SubElement(svg, "rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    return svg


def _draw_target(svg: Element, chart: LineChart, at: float, sides: Place, ends: Place) -> None:
    """Draw the target as a line with its label, and tint the side where it is broken."""
    (left, right), (top, bottom) = sides, ends
    begin, end = (top, at) if chart.is_upper else (at, bottom)
    box = {"x": f"{left:.1f}", "y": f"{begin:.1f}", "width": f"{right - left:.1f}"}
    SubElement(svg, "rect", {**box, "height": f"{end - begin:.1f}", "fill": BAD, "fill-opacity": "0.06"})
    _draw_line(svg, (left, at), (right, at), BAD, stroke_width="1.5", stroke_dasharray="2 3")
    label = (right - 4, at - 4 if at - top > 14 else at + 13)
    # A label over lines has a white edge.
    edge = {"stroke": "#ffffff", "stroke_width": "3", "paint_order": "stroke"}
    _write(svg, label, chart.target_label, text_anchor="end", fill=BAD, font_weight="600", **edge)


def _draw_line(svg: Element, begin: Place, end: Place, stroke: str, **more: str) -> None:
    ends = {"x1": begin[0], "y1": begin[1], "x2": end[0], "y2": end[1]}
    placed = {name: f"{value:.1f}" for name, value in ends.items()}
    SubElement(svg, "line", {**placed, "stroke": stroke, **_attributes(more)})


def _draw_polyline(svg: Element, places: Sequence[Place]) -> None:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    SubElement(svg, "polyline", {"points": path, "fill": "none", "stroke": LINE, "stroke-width": "1.8"})
    for x, y in places:
        circle = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "3", "fill": "#ffffff"}
        SubElement(svg, "circle", {**circle, "stroke": LINE, "stroke-width": "1.5"})


def _write(svg: Element, place: Place, text: str, **more: str) -> None:
    """Write a text with its base line at that place."""
    attributes = {"x": f"{place[0]:.1f}", "y": f"{place[1]:.1f}", **_attributes(more)}
    SubElement(svg, "text", attributes).text = escape_unseen(text)


def _attributes(more: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in more.items()}


def _digits(value: float) -> str:
    """Return the value with three digits, no exponent, and no zeros at the end."""
    decimals = max(0, 2 - floor(log10(abs(value)))) if value else 0
    return _trimmed(f"{value:,.{min(decimals, 9)}f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
