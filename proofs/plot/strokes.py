"""How lines differ: by colour, dash and marker at the same time, so that any two of them tell lines apart."""

from dataclasses import dataclass
from xml.etree.ElementTree import Element

from proofs.plot.elements import draw_path

# Okabe and Ito, "Color Universal Design" (2008): told apart by colour-blind readers. Without its yellow,
# which is too light on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("none", "7 3", "2 3", "9 3 2 3", "14 4")
R = 3.2
MARKERS = {
    "circle": f"m{-R} 0a{R} {R} 0 1 0 {2 * R} 0a{R} {R} 0 1 0 {-2 * R} 0z",
    "square": f"m{-R} {-R}h{2 * R}v{2 * R}h{-2 * R}z",
    "triangle": f"m0 {-R - 0.6}l{R + 0.6} {2 * R}h{-2 * R - 1.2}z",
    "diamond": f"m0 {-R - 1}l{R + 1} {R + 1}l{-R - 1} {R + 1}l{-R - 1} {-R - 1}z",
    "cross": f"m{-R} {-R}l{2 * R} {2 * R}m0 {-2 * R}l{-2 * R} {2 * R}",
    "plus": f"m{-R - 0.6} 0h{2 * R + 1.2}m{-R - 0.6} {-R - 0.6}v{2 * R + 1.2}",
}
"""Paths from the middle of the marker."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """The look of a line."""

    colour: str
    dash: str
    marker: str


def stroke_of(number: int) -> Stroke:
    """Return the look of the line of that number, from 0. It repeats after 210 lines."""
    marker = tuple(MARKERS)[number % len(MARKERS)]
    return Stroke(COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)], marker)


def draw_marker(svg: Element, stroke: Stroke, x: float, y: float) -> None:
    path = f"M{x:.1f} {y:.1f}{MARKERS[stroke.marker]}"
    draw_path(svg, path, fill="#ffffff", stroke=stroke.colour, stroke_width="1.5")
