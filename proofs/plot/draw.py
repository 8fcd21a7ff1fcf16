"""Draw a panel."""

from proofs.plot.bars import draw_bars
from proofs.plot.elements import image, text_of
from proofs.plot.heatmap import draw_heatmap
from proofs.plot.legend import legend_height
from proofs.plot.panels import Bars, Heatmap, OverTime, Stat, TimeSeries, summary
from proofs.plot.stat import draw_stat
from proofs.plot.time_series import LEAST_HEIGHT, draw_time_series

LEAST_WIDTH, MOST_PIXELS = 160, 4000


def draw(panel: TimeSeries | Stat | Bars | Heatmap, width: int = 720, height: int = 260) -> str:
    """Return the panel as the text of an SVG image, of that size in pixels; higher if its legend needs it.

    Raises ValueError: the size is not within 160 x 100 and 4000 x 4000 pixels, or the time has no length.
    """
    if not (LEAST_WIDTH <= width <= MOST_PIXELS and 100 <= height <= MOST_PIXELS):
        raise ValueError(f"{width} x {height} pixels are not within 160 x 100 and 4000 x 4000")
    if isinstance(panel, OverTime) and panel.since >= panel.until:
        raise ValueError(f"the time of {panel.title!r} ends at {panel.until}, before it begins")
    if isinstance(panel, TimeSeries):
        height = max(height, round(LEAST_HEIGHT + 70 + legend_height(panel, width)))
    svg = image(panel.title, summary(panel), width, height)
    match panel:
        case TimeSeries():
            draw_time_series(svg, panel, width, height)
        case Stat():
            draw_stat(svg, panel, width, height)
        case Bars():
            draw_bars(svg, panel, width, height)
        case Heatmap():
            draw_heatmap(svg, panel, width, height)
    return text_of(svg)
