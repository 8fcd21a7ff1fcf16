"""Draw rows of values over time: the darker, the higher; a missing value is crossed out, 0 is white."""

from collections.abc import Iterator
from datetime import datetime
from xml.etree.ElementTree import Element

from leads.cli.plot.elements import GRID, INK, SOFT, draw_box, draw_line, text_width, write
from leads.cli.plot.frame import (
    AXIS_HEIGHT,
    MARGIN,
    TITLE_HEIGHT,
    Area,
    draw_nothing,
    draw_times,
    draw_title,
    time_scale,
)
from leads.cli.plot.panels import Heatmap, Line, known_points
from leads.cli.plot.scales import Scale
from leads.cli.plot.units import known, shown

SCALE_HEIGHT = 20.0
LIGHT, DARK = (255, 255, 255), (8, 48, 107)
SHADES_OF_KEY = 5


def draw_heatmap(svg: Element, panel: Heatmap, width: float, height: float) -> None:
    draw_title(svg, panel, width)
    names = max((text_width(row.name) for row in panel.rows), default=0)
    left = MARGIN + min(names, width * 0.3) + 8
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
        _draw_key(svg, panel, highest, area)
    else:
        draw_nothing(svg, panel, area)


def _draw_row(svg: Element, panel: Heatmap, row: Line, area: Area, x: Scale, highest: float) -> None:
    draw_box(svg, area.left, area.top, area.width, area.height, "none", stroke=GRID)
    for at, figure in _in_time(row, panel):
        left, right = x(at.timestamp()), x(at.timestamp() + panel.step_seconds)
        value = known(figure)
        if value is None:
            draw_line(svg, left, area.bottom, right, area.top, SOFT)
            continue
        share = max(value, 0.0) / highest if highest else 0.0
        draw_box(svg, left, area.top, right - left, area.height, _shade(share), stroke=GRID)
        text = shown(value, panel.unit)
        if value and text_width(text, 10) < right - left - 2 and area.height >= 13:
            middle = (area.top + area.bottom) / 2 + 4
            colour = "#ffffff" if share > 0.5 else INK
            write(svg, (left + right) / 2, middle, text, text_anchor="middle", font_size="10", fill=colour)


def _in_time(row: Line, panel: Heatmap) -> Iterator[tuple[datetime, float | None]]:
    return (point for point in row.points if panel.since <= point[0] < panel.until)


def _draw_key(svg: Element, panel: Heatmap, highest: float, area: Area) -> None:
    """Say which shade is which value."""
    x, y = area.left, area.bottom + AXIS_HEIGHT + 2
    for number in range(SHADES_OF_KEY):
        share = number / (SHADES_OF_KEY - 1)
        draw_box(svg, x, y, 12, 12, _shade(share), stroke=GRID)
        label = shown(share * highest, panel.unit)
        write(svg, x + 16, y + 10, label, fill=SOFT)
        x += 26 + text_width(label)


def _shade(share: float) -> str:
    parts = (round(light + (dark - light) * share) for light, dark in zip(LIGHT, DARK, strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)
