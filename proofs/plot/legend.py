"""The legend below a panel with lines: the look of each, its name, its last value."""

from math import ceil
from xml.etree.ElementTree import Element

from proofs.plot.elements import draw_line, shortened, text_width, write
from proofs.plot.frame import MARGIN
from proofs.plot.panels import TimeSeries, last_value
from proofs.plot.strokes import draw_marker, stroke_of
from proofs.plot.units import shown

ROW_HEIGHT = 17.0
SAMPLE_WIDTH = 30.0
MOST_COLUMNS = 4


def legend_height(panel: TimeSeries, width: float) -> float:
    return ROW_HEIGHT * ceil(len(panel.lines) / _columns(panel, width))


def draw_legend(svg: Element, panel: TimeSeries, width: float, top: float) -> None:
    columns = _columns(panel, width)
    room = (width - 2 * MARGIN) / columns
    for number, line in enumerate(panel.lines):
        row, column = divmod(number, columns)
        x, y = MARGIN + column * room, top + row * ROW_HEIGHT + 8
        stroke = stroke_of(number)
        draw_line(
            svg, x, y, x + SAMPLE_WIDTH, y, stroke.colour, stroke_width="1.8", stroke_dasharray=stroke.dash
        )
        draw_marker(svg, stroke, x + SAMPLE_WIDTH / 2, y)
        value = shown(last_value(line), panel.unit)
        # The value is whole in any case; the name is shortened.
        name_room = room - SAMPLE_WIDTH - 14 - text_width(f": {value}")
        shown_name = line.name if text_width(line.name) <= name_room else shortened(line.name, name_room)
        write(svg, x + SAMPLE_WIDTH + 6, y + 4, f"{shown_name}: {value}")


def _entries(panel: TimeSeries) -> list[str]:
    return [f"{line.name}: {shown(last_value(line), panel.unit)}" for line in panel.lines]


def _columns(panel: TimeSeries, width: float) -> int:
    """Return how many of the widest entry fit side by side."""
    widest = max((text_width(entry) for entry in _entries(panel)), default=1) + SAMPLE_WIDTH + 14
    return max(1, min(MOST_COLUMNS, len(panel.lines) or 1, int((width - 2 * MARGIN) / widest)))
