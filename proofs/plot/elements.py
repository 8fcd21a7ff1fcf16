"""Elements of an SVG image. Text is escaped; there is no style sheet, no id, no link and no script."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, tostring

from ops.output import escape_unseen

INK, SOFT, GRID, BAD = "#1b1f24", "#57606a", "#d8dee4", "#b3261e"
FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
EM_PER_CHARACTER = 0.62
"""The mean width of a character in a wide font: how wide a text is depends on the fonts of its reader."""


def image(title: str, description: str, width: float, height: float) -> Element:
    """Return a white image with its name and description for readers who cannot see it."""
    svg = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "role": "img",
            "viewBox": f"0 0 {width:g} {height:g}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "font-family": FONT,
            "font-size": "11",
            "fill": INK,
        },
    )
    SubElement(svg, "title").text = escape_unseen(title)
    SubElement(svg, "desc").text = escape_unseen(description)
    draw_box(svg, 0, 0, width, height, "#ffffff")
    return svg


def text_of(svg: Element) -> str:
    return tostring(svg, encoding="unicode")


def draw_box(svg: Element, x: float, y: float, width: float, height: float, fill: str, **more: str) -> None:
    size = {"x": _n(x), "y": _n(y), "width": _n(width), "height": _n(height)}
    SubElement(svg, "rect", {**size, "fill": fill, **_attributes(more)})


def draw_line(
    svg: Element, x1: float, y1: float, x2: float, y2: float, stroke: str = GRID, **more: str
) -> None:
    ends = {"x1": _n(x1), "y1": _n(y1), "x2": _n(x2), "y2": _n(y2)}
    SubElement(svg, "line", {**ends, "stroke": stroke, **_attributes(more)})


def draw_polyline(svg: Element, points: Iterable[tuple[float, float]], stroke: str, **more: str) -> None:
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    attributes = {"points": path, "fill": "none", "stroke": stroke, "stroke-linejoin": "round"}
    SubElement(svg, "polyline", {**attributes, **_attributes(more)})


def draw_path(svg: Element, path: str, **more: str) -> None:
    SubElement(svg, "path", {"d": path, **_attributes(more)})


def write(svg: Element, x: float, y: float, text: str, room: float | None = None, **more: str) -> None:
    """Write a text with its base line at y, shortened to `room`; then its title is the whole text."""
    size = float(more.get("font_size", "11"))
    whole = escape_unseen(text)
    element = SubElement(svg, "text", {"x": _n(x), "y": _n(y), **_attributes(more)})
    element.text = whole if room is None else shortened(whole, room, size)
    if element.text != whole:
        SubElement(element, "title").text = whole


def text_width(text: str, size: float = 11) -> float:
    return len(text) * size * EM_PER_CHARACTER


def shortened(text: str, room: float, size: float = 11) -> str:
    """Return the text, or as much of it as is sure to fit, with an ellipsis."""
    most = max(1, int(room / (size * EM_PER_CHARACTER) + 0.01))
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _attributes(more: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in more.items()}


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
