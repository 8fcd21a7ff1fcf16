"""Draw lines over time."""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from proofs.plot.elements import draw_polyline
from proofs.plot.frame import (
    AXIS_HEIGHT,
    MARGIN,
    TITLE_HEIGHT,
    Area,
    axis_width,
    draw_limit,
    draw_nothing,
    draw_times,
    draw_title,
    draw_values,
    time_scale,
)
from proofs.plot.legend import draw_legend, legend_height
from proofs.plot.panels import Line, TimeSeries, known_points
from proofs.plot.scales import Scale, value_ticks
from proofs.plot.strokes import Stroke, draw_marker, stroke_of
from proofs.plot.units import known

PIXELS_PER_TICK = 34
LEAST_HEIGHT = 60
MARKERS = 6
"""On a line, at about equal distances."""

Piece = list[tuple[float, float]]
"""Seconds since 1970 and values, without a gap."""


def draw_time_series(svg: Element, panel: TimeSeries, width: float, height: float) -> None:
    draw_title(svg, panel, width)
    bottom = height - AXIS_HEIGHT - legend_height(panel, width) - MARGIN / 2
    marks = [value for line in panel.lines for _, value in known_points(line)]
    number = max(2, int((bottom - TITLE_HEIGHT) / PIXELS_PER_TICK))
    ticks = value_ticks([*marks, *(limit.value for limit in panel.limits)], panel.unit, number, panel.is_cut)
    area = Area(MARGIN + axis_width(ticks, panel.unit), TITLE_HEIGHT + 6, width - MARGIN, bottom)
    x, y = time_scale(panel, area), Scale(ticks[0], ticks[-1], area.bottom, area.top)
    draw_values(svg, area, ticks, panel.unit, y)
    draw_times(svg, panel, area, x)
    for number, line in enumerate(panel.lines):
        _draw_line(svg, panel, line, stroke_of(number), x, y)
    for limit in panel.limits:
        draw_limit(svg, limit, area, y)
    if not marks:
        draw_nothing(svg, panel, area)
    draw_legend(svg, panel, width, area.bottom + AXIS_HEIGHT)


def _draw_line(svg: Element, panel: TimeSeries, line: Line, stroke: Stroke, x: Scale, y: Scale) -> None:
    pieces = list(_pieces(line, panel))
    for piece in pieces:
        points = [(x(at), y(value)) for at, value in _thinned(piece, x)]
        path = list(_stepped(points)) if panel.is_stepped else points
        if len(path) > 1:
            draw_polyline(svg, path, stroke.colour, stroke_width="1.8", stroke_dasharray=stroke.dash)
        else:
            draw_marker(svg, stroke, *path[0])
    of_line = [point for piece in pieces for point in piece]
    for at, value in of_line[:: -max(1, len(of_line) // MARKERS)]:
        draw_marker(svg, stroke, x(at), y(value))


def _pieces(line: Line, panel: TimeSeries) -> Iterator[Piece]:
    """Yield the parts of a line between its gaps, of the panel's time only."""
    piece: Piece = []
    for at, value in line.points:
        if not panel.since <= at <= panel.until:
            continue
        seconds, found = at.timestamp(), known(value)
        if piece and (found is None or seconds - piece[-1][0] > 1.5 * panel.step_seconds):
            yield piece
            piece = []
        if found is not None:
            piece.append((seconds, found))
    if piece:
        yield piece


def _thinned(piece: Piece, x: Scale) -> Iterator[tuple[float, float]]:
    """Yield the first, lowest, highest and last point of each pixel: the same image in a bounded size."""
    columns: dict[int, Piece] = {}
    for point in piece:
        columns.setdefault(int(x(point[0])), []).append(point)
    for points in columns.values():
        yield from sorted({points[0], min(points, key=_value), max(points, key=_value), points[-1]})


def _value(point: tuple[float, float]) -> float:
    return point[1]


def _stepped(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the corners of a line whose values hold until the next."""
    before = None
    for x, y in points:
        if before is not None and before != y:
            yield x, before
        yield x, y
        before = y
