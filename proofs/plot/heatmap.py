"""Draw rows of values over time: the darker, the higher; a missing value is crossed out, 0 is white."""

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from proofs.plot.elements import GRID, INK, SOFT, draw_box, draw_line, text_width, write
from proofs.plot.frame import (
    AXIS_HEIGHT,
    MARGIN,
    TITLE_HEIGHT,
    Area,
    draw_nothing,
    draw_times,
    draw_title,
    time_scale,
)
from proofs.plot.panels import Heatmap, Line, known_points
from proofs.plot.scales import Scale
from proofs.plot.units import known, shown

SCALE_HEIGHT = 20.0
LIGHT, DARK = (255, 255, 255), (8, 48, 107)
WIDE_CELL = 40.0
MOST_SHADES = 5
"""In the key."""

Cell = tuple[float, float, float | None]
"""Its two ends in seconds since 1970, and its value."""


def draw_heatmap(svg: Element, panel: Heatmap, width: float, height: float) -> None:
    draw_title(svg, panel, width)
    names = max((text_width(row.name) for row in panel.rows), default=0)
    left = MARGIN + min(names, width * 0.4) + 8
    area = Area(left, TITLE_HEIGHT + 4, width - MARGIN, height - AXIS_HEIGHT - SCALE_HEIGHT - MARGIN / 2)
    x = time_scale(panel, area)
    values = [value for row in panel.rows for _, value in known_points(row)]
    highest = max(values, default=0.0)
    height_of_row = area.height / max(1, len(panel.rows))
    for number, row in enumerate(panel.rows):
        top = area.top + number * height_of_row
        write(svg, left - 8, top + height_of_row / 2 + 4, row.name, left - 8 - MARGIN, text_anchor="end")
        _draw_row(svg, panel, row, Area(area.left, top, area.right, top + height_of_row), x, highest)
    draw_times(svg, panel, area, x)
    if values:
        _draw_key(svg, panel, values, area)
    else:
        draw_nothing(svg, panel, area)


def _draw_row(svg: Element, panel: Heatmap, row: Line, area: Area, x: Scale, highest: float) -> None:
    draw_box(svg, area.left, area.top, area.width, area.height, "none", stroke=GRID)
    for since, until, value in _cells(row, panel):
        left, right = x(since), x(until)
        if value is None:
            draw_line(svg, left, area.bottom, right, area.top, SOFT)
            continue
        share = max(value, 0.0) / highest if highest else 0.0
        draw_box(svg, left, area.top, right - left, area.height, _shade(share), stroke=GRID)
        text = shown(value, panel.unit)
        # Zeros are white; they are written where a cell is wide, for example a state that lasts.
        is_written = value or right - left > WIDE_CELL
        if is_written and text_width(text, 10) < right - left - 2 and area.height >= 13:
            middle = (area.top + area.bottom) / 2 + 4
            colour = "#ffffff" if share > 0.5 else INK
            write(svg, (left + right) / 2, middle, text, text_anchor="middle", font_size="10", fill=colour)


def _cells(row: Line, panel: Heatmap) -> Iterator[Cell]:
    """Yield the points in the panel's time; equal values that follow each other are one cell."""
    before: Cell | None = None
    for at, figure in row.points:
        if not panel.since <= at < panel.until:
            continue
        since, value = at.timestamp(), known(figure)
        if before and before[2] == value and since - before[1] < panel.step_seconds / 2:
            before = (before[0], since + panel.step_seconds, value)
            continue
        if before:
            yield before
        before = (since, since + panel.step_seconds, value)
    if before:
        yield before


def _draw_key(svg: Element, panel: Heatmap, values: Iterable[float], area: Area) -> None:
    """Say which shade is which value: of each value if there are few."""
    highest, single = max(values), sorted(set(values))
    steps = [number * highest / (MOST_SHADES - 1) for number in range(MOST_SHADES)]
    x, y = area.left, area.bottom + AXIS_HEIGHT + 2
    for value in single if len(single) <= MOST_SHADES else steps:
        draw_box(svg, x, y, 12, 12, _shade(max(value, 0.0) / highest if highest else 0.0), stroke=GRID)
        label = shown(value, panel.unit)
        write(svg, x + 16, y + 10, label, fill=SOFT)
        x += 26 + text_width(label)


def _shade(share: float) -> str:
    parts = (round(light + (dark - light) * share) for light, dark in zip(LIGHT, DARK, strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)
