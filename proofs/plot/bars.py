"""Draw values side by side."""

from xml.etree.ElementTree import Element

from proofs.plot.elements import BAD, INK, SOFT, draw_box, draw_line, text_width, write
from proofs.plot.frame import LABEL, MARGIN, TITLE_HEIGHT, Area, draw_nothing, draw_title
from proofs.plot.panels import Bar, Bars
from proofs.plot.scales import Scale
from proofs.plot.strokes import COLOURS
from proofs.plot.units import known, shown

MOST_ROW_HEIGHT = 26.0
LIMIT_HEIGHT = 16.0


def draw_bars(svg: Element, panel: Bars, width: float, height: float) -> None:
    draw_title(svg, panel, width)
    area = _area(panel, width, height)
    values = [value for bar in panel.bars if (value := known(bar.value)) is not None]
    if not values:
        draw_nothing(svg, panel, area)
        return
    highest = max([*values, *(limit.value for limit in panel.limits), 0])
    x = Scale(0, highest or 1, area.left, area.right)
    row = min(MOST_ROW_HEIGHT, area.height / len(panel.bars))
    for number, bar in enumerate(panel.bars):
        _draw_bar(svg, panel, bar, area.top + number * row, row, x)
    bottom = area.top + row * len(panel.bars)
    for limit in panel.limits:
        at = x(limit.value)
        draw_line(svg, at, area.top - 2, at, bottom, BAD, stroke_width="1.5", stroke_dasharray="2 3")
        write(
            svg, max(at, area.left + text_width(limit.label)), bottom + 12, limit.label, area.right, **LABEL
        )


def _area(panel: Bars, width: float, height: float) -> Area:
    """Return where the bars are: the names to the left, the values to the right, limits below."""
    names = max((text_width(bar.name) for bar in panel.bars), default=0)
    values = max((text_width(shown(bar.value, panel.unit)) for bar in panel.bars), default=0)
    left = MARGIN + min(names, width * 0.55) + 8
    bottom = height - MARGIN - (LIMIT_HEIGHT if panel.limits else 0)
    return Area(left, TITLE_HEIGHT + 4, width - MARGIN - values - 8, bottom)


def _draw_bar(svg: Element, panel: Bars, bar: Bar, top: float, row: float, x: Scale) -> None:
    base = top + row / 2 + 4
    write(svg, x.start - 8, base, bar.name, x.start - 8 - MARGIN, text_anchor="end")
    value = known(bar.value)
    is_bad = value is not None and any(limit.is_broken_by(value) for limit in panel.limits)
    if value is not None:
        edge = BAD if is_bad else COLOURS[0]
        top, end = top + row * 0.15, x(value)
        draw_box(svg, x.start, top, end - x.start, row * 0.7, COLOURS[0], stroke=edge, stroke_width="2")
    colour, weight = (SOFT, "400") if value is None else (BAD, "600") if is_bad else (INK, "400")
    text = shown(value, panel.unit, panel.nothing)
    write(svg, x(value or 0) + 6, base, text, fill=colour, font_weight=weight)
