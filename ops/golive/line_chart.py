"""A figure of each day as a line with its target: an SVG image without style sheet, id, link and script."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from itertools import groupby
from math import ceil, floor, log10
from pathlib import Path
from typing import Literal, NamedTuple

from leads.domain.body import ICT
from ops.golive.criterion import SIGNS, Criterion
from ops.output import render_page

TEMPLATE = Path(__file__).with_name("line_chart.svg.j2")
WIDTH, HEIGHT = 400, 220
"""In pixels: a phone shows it about as large as it is drawn."""
MARGIN, TITLE_HEIGHT, AXIS_HEIGHT = 12.0, 36.0, 22.0
PIXELS_PER_CHARACTER = 6.8
"""The mean width of a character in a wide font of 11 pixels."""
PIXELS_PER_DAY_LABEL, PIXELS_PER_TICK = 60, 40
STEPS = (1, 2, 2.5, 5, 10)
ROUND_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
DURATIONS = (86_400, 3600, 60, 1, 0.001)
Language = Literal["vi", "en"]


class Words(NamedTuple):
    """What a chart says in a language; `durations` are the units of DURATIONS."""

    target: str
    nothing: str
    point: str
    durations: tuple[str, ...]


WORDS: Mapping[Language, Words] = {
    "vi": Words(
        "mục tiêu", "không có số liệu", "Mỗi điểm là một ngày", ("ngày", "giờ", "phút", "giây", "ms")
    ),
    "en": Words("target", "no data", "Each point is a day", ("d", "h", "min", "s", "ms")),
}
Point = tuple[datetime, float | None]
"""A time and a value; None is a missing one."""


class Unit(Enum):
    """How values are written: as they are, as a percentage, or as a time."""

    COUNT = "count"
    RATIO = "share"
    SECONDS = "s"


UNITS = {"share": (Unit.RATIO, 1), "s": (Unit.SECONDS, 1), "min": (Unit.SECONDS, 60)}
"""By the unit of a criterion: how its values are drawn, and the factor to that."""


def draw(criterion: Criterion, title: str, points: Sequence[Point], language: Language) -> str:
    """Return the values of a criterion with its target as the text of an image.

    The axis begins at 0, or near the lowest share of good ones.
    """
    words = WORDS[language]
    unit, factor = UNITS.get(criterion.unit, (Unit.COUNT, 1))
    sign = SIGNS.get(criterion.operator, criterion.operator)
    is_upper = criterion.operator not in (">=", ">")
    target = criterion.target * factor
    points = [(at, None if value is None else value * factor) for at, value in points]
    found = [value for _, value in points if value is not None]
    is_cut = unit is Unit.RATIO and not is_upper
    ticks = value_ticks([*found, target], unit, HEIGHT // PIXELS_PER_TICK, is_cut)
    names = [shown(tick, unit, language) for tick in ticks]
    left = MARGIN + 6 + PIXELS_PER_CHARACTER * max(map(len, names))
    right, bottom = WIDTH - MARGIN, HEIGHT - AXIS_HEIGHT
    times = [at.timestamp() for at, _ in points] or [0.0]
    x = _scale(times[0], times[-1], left + 8, right - 8)
    y = _scale(ticks[0], ticks[-1], bottom, TITLE_HEIGHT)
    every = max(1, ceil(len(points) * PIXELS_PER_DAY_LABEL / (right - left)))
    runs = groupby(points, lambda point: point[1] is not None)
    text = render_page(
        TEMPLATE, title=title, is_upper=is_upper, point=words.point, nothing=words.nothing,
        target_label=f"{words.target} {sign} {shown(target, unit, language)}",
        width=WIDTH, height=HEIGHT, left=left, right=right, top=TITLE_HEIGHT, bottom=bottom,
        target=y(target), last=shown(found[-1], unit, language) if found else words.nothing,
        ticks=[(y(tick), name) for tick, name in zip(ticks, names, strict=True)],
        days=[(x(at.timestamp()), f"{at.astimezone(ICT):%d/%m}") for at, _ in points[::every]],
        pieces=[
            [(x(at.timestamp()), y(value)) for at, value in run if value is not None]
            for is_there, run in runs
            if is_there
        ],
    )  # fmt: skip
    return text.replace("\n", "")


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return what maps values from `low` to `high` to pixels from `start` to `end`."""
    return lambda value: start + (end - start) * ((value - low) / (high - low) if high > low else 0.5)


def shown(value: float, unit: Unit, language: Language) -> str:
    text = _shown(value, unit, WORDS[language].durations)
    return with_comma(text) if language == "vi" else text


def with_comma(number: str) -> str:
    """Write a number as in Vietnam, with a comma before the decimals."""
    return number.translate(str.maketrans(",.", ".,"))


def _shown(value: float, unit: Unit, durations: Sequence[str]) -> str:
    if unit is Unit.SECONDS:
        units = [each for each in zip(DURATIONS, durations, strict=True) if abs(value) >= each[0]]
        factor, name = units[0] if units else (DURATIONS[-1], durations[-1])
        return f"{_digits(value / factor)} {name}" if value else f"0 {durations[3]}"
    if unit is Unit.COUNT:
        return f"{value:,.0f}" if value == round(value) else _digits(value)
    # As many digits as tell a share from 100 %.
    missing = abs(1 - value) * 100
    if abs(value) < 0.01 or missing == 0 or missing >= 1:
        return f"{_digits(value * 100)} %"
    return f"{_trimmed(f'{value * 100:.{min(4, 1 - floor(log10(missing)))}f}')} %"


def value_ticks(values: Sequence[float], unit: Unit, number: int, is_cut: bool) -> list[float]:
    """Return about `number` round values that enclose the values, and 0 unless `is_cut`."""
    found = [*values, *([] if is_cut else [0.0])]
    low, high = min(found), max(found)
    if high - low <= abs(low) * 1e-9 + 1e-9:
        low, high = min(low, 0.0), max(high, 1.0)
    if unit is Unit.RATIO and max(found) <= 1:
        high = min(high, 1.0)
    step = _round_step((high - low) / number, unit)
    first = floor(round(low / step, 6))
    last = max(ceil(round(high / step, 6)), first + 1)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _round_step(least: float, unit: Unit) -> float:
    if unit is Unit.SECONDS and 1 <= least <= ROUND_SECONDS[-1]:
        return next(float(step) for step in ROUND_SECONDS if step >= least)
    power = 10.0 ** floor(log10(least))
    step = power * next(each for each in STEPS if each * power >= least * (1 - 1e-9))
    return max(step, 1.0) if unit is Unit.COUNT else step


def _digits(value: float) -> str:
    decimals = max(0, 2 - floor(log10(abs(value)))) if value else 0
    return _trimmed(f"{value:,.{min(decimals, 9)}f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
