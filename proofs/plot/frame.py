"""What panels have in common: title, axes, limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from proofs.plot.elements import BAD, GRID, SOFT, draw_box, draw_line, text_width, write
from proofs.plot.panels import Limit, OverTime, Panel
from proofs.plot.scales import Scale, time_ticks
from proofs.plot.units import Unit, shown

MARGIN = 12.0
TITLE_SIZE = 14.0
TITLE_HEIGHT = 30.0
AXIS_HEIGHT = 22.0
PIXELS_PER_TIME_LABEL = 80


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of the image."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


def draw_title(svg: Element, panel: Panel, width: float) -> None:
    room = width - 2 * MARGIN
    write(svg, MARGIN, 20, panel.title, room, font_size=f"{TITLE_SIZE:g}", font_weight="600")


def axis_width(ticks: Sequence[float], unit: Unit) -> float:
    return max(text_width(shown(tick, unit)) for tick in ticks) + 6


def draw_values(svg: Element, area: Area, ticks: Sequence[float], unit: Unit, y: Scale) -> None:
    for tick in ticks:
        draw_line(svg, area.left, y(tick), area.right, y(tick))
        write(svg, area.left - 6, y(tick) + 4, shown(tick, unit), text_anchor="end", fill=SOFT)


def time_scale(panel: OverTime, area: Area) -> Scale:
    """Return the scale of seconds since 1970."""
    return Scale(panel.since.timestamp(), panel.until.timestamp(), area.left, area.right)


def draw_times(svg: Element, panel: OverTime, area: Area, x: Scale) -> None:
    number = max(1, int(area.width / PIXELS_PER_TIME_LABEL))
    for at, label in time_ticks(panel.since, panel.until, panel.zone, number):
        place = x(at.timestamp())
        draw_line(svg, place, area.bottom, place, area.bottom + 4, GRID)
        write(svg, place, area.bottom + 16, label, text_anchor="middle", fill=SOFT)


def draw_limit(svg: Element, limit: Limit, area: Area, y: Scale) -> None:
    """Draw a limit as a line with its label, and tint the side where it is broken."""
    at = y(limit.value)
    top, bottom = (area.top, at) if limit.is_upper else (at, area.bottom)
    draw_box(svg, area.left, top, area.width, bottom - top, BAD, fill_opacity="0.06")
    draw_line(svg, area.left, at, area.right, at, BAD, stroke_width="1.5", stroke_dasharray="2 3")
    # Inside of the area, on the broken side if there is room.
    above = at - 4 if at - area.top > 14 and (limit.is_upper or area.bottom - at < 16) else at + 13
    write(svg, area.right - 4, above, limit.label, area.width, **LABEL)


LABEL = {
    "text_anchor": "end",
    "fill": BAD,
    "font_weight": "600",
    "stroke": "#ffffff",
    "stroke_width": "3",
    "paint_order": "stroke",
}
"""A label over lines has a white edge."""


def draw_nothing(svg: Element, panel: Panel, area: Area) -> None:
    middle = (area.left + area.right) / 2, (area.top + area.bottom) / 2
    write(svg, *middle, panel.nothing, text_anchor="middle", fill=SOFT, font_size="14")
