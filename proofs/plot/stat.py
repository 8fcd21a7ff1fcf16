"""Draw one value."""

from xml.etree.ElementTree import Element

from proofs.plot.elements import BAD, INK, SOFT, draw_path, draw_polyline, write
from proofs.plot.frame import MARGIN, TITLE_HEIGHT, Area, draw_title
from proofs.plot.panels import Line, Stat, known_points
from proofs.plot.scales import Scale
from proofs.plot.strokes import COLOURS
from proofs.plot.units import known, shown

GOOD = "#116329"
KEPT, BROKEN = "m-6 0l4 5l9 -11", "m-6 -6l12 12m0 -12l-12 12"
"""A tick and a cross, as paths: not every font has them."""
LIMIT_HEIGHT = 18.0


def draw_stat(svg: Element, panel: Stat, width: float, height: float) -> None:
    draw_title(svg, panel, width)
    value = known(panel.value)
    below = height - MARGIN - LIMIT_HEIGHT * len(panel.limits)
    text = shown(value, panel.unit, panel.nothing)
    size = min(40.0, (below - TITLE_HEIGHT) * 0.6, (width - 2 * MARGIN) / (0.66 * len(text)))
    colour = SOFT if value is None else BAD if _is_broken(panel, value) else INK
    base = TITLE_HEIGHT + size
    write(svg, MARGIN, base, text, font_size=f"{size:.0f}", font_weight="600", fill=colour)
    if panel.line:
        _draw_history(svg, panel.line, Area(MARGIN, base + 8, width - MARGIN, below - 4))
    for number, limit in enumerate(panel.limits):
        y = below + LIMIT_HEIGHT * (number + 0.7)
        if value is not None:
            is_broken = limit.is_broken_by(value)
            sign, look = (BROKEN, BAD) if is_broken else (KEPT, GOOD)
            draw_path(svg, f"M{MARGIN + 6:g} {y - 4:g}{sign}", fill="none", stroke=look, stroke_width="2.5")
        write(svg, MARGIN + 20, y, limit.label, width - 2 * MARGIN - 20, fill=SOFT, font_size="12")


def _is_broken(panel: Stat, value: float) -> bool:
    return any(limit.is_broken_by(value) for limit in panel.limits)


def _draw_history(svg: Element, line: Line, area: Area) -> None:
    """Draw the line without axes, if there is room and more than one value."""
    marks = known_points(line)
    if len(marks) < 2 or area.height < 12:
        return
    x = Scale(marks[0][0], marks[-1][0], area.left, area.right)
    values = [value for _, value in marks]
    y = Scale(min(values), max(values), area.bottom, area.top)
    draw_polyline(svg, [(x(at), y(value)) for at, value in marks], COLOURS[0], stroke_width="1.5")
