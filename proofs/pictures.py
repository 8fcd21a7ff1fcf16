"""Draw figures over time with matplotlib, as SVG without a script, fit for paper.

A picture reads without colours: lines differ by dash and marker too, a limit has a label, a kept or broken
one a sign. Every text is written as it is, without control characters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from io import StringIO
from itertools import pairwise
from math import ceil, floor, isfinite, log2, log10, nan
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, MultipleLocator

from leads.domain.body import ICT
from ops.output import escape_unseen

PIXELS_PER_INCH, POINTS_PER_PIXEL = 96, 0.75
INK, SOFT, GRID, BAD, GOOD = "#1b1f24", "#57606a", "#d8dee4", "#b3261e", "#116329"
# Okabe and Ito, "Color Universal Design" (2008): told apart by colour-blind readers. Without its yellow,
# which is too light on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("-", (0, (7, 3)), (0, (2, 3)), (0, (9, 3, 2, 3)), (0, (14, 4)))
MARKERS = "os^DX"
KEPT = Path([(-6, 0), (-2, -5), (7, 6)])
UNITS = {
    "s": ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms")),
    "bytes": ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")),
    "short": ((1e9, "G"), (1e6, "M"), (1e3, "k")),
}
SECONDS = (1, 2, 5, 10, 15, 30, *(60 * n for n in (1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440)))
"""Between two labels of an axis of times."""
MARGIN, TITLE_HEIGHT, ROW_HEIGHT, CHARACTER_WIDTH = 12, 34, 17, 6.4
mpl.rcParams.update({
    "font.family": "DejaVu Sans", "font.size": 11 * POINTS_PER_PIXEL, "text.parse_math": False,
    "text.color": INK, "axes.edgecolor": GRID, "axes.labelcolor": SOFT, "xtick.color": SOFT,
    "ytick.color": SOFT, "grid.color": GRID, "svg.fonttype": "none", "svg.hashsalt": "pancake",
})  # fmt: skip

Points = Sequence[tuple[datetime, float | None]]


@dataclass(frozen=True, slots=True)
class Line:
    """Values in the order of their times; None, NaN and infinities are missing."""

    name: str
    points: Points

    @property
    def last(self) -> float | None:
        return next((value for _, value in reversed(self.points) if is_known(value)), None)


@dataclass(frozen=True, slots=True)
class Limit:
    """A value that a figure should not reach, or not go below; the label is drawn."""

    value: float
    is_upper: bool
    label: str

    def is_broken_by(self, figure: float) -> bool:
        return figure >= self.value if self.is_upper else figure < self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What is drawn in a box. `nothing` is drawn where there is no value, in the language of the title."""

    title: str
    unit: str
    limit: Limit | None = None
    nothing: str = "no data"
    is_cut: bool = False
    """The axis begins near the lowest value, not at 0."""
    is_stepped: bool = False
    """A value holds until the next."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a figure, in pixels from its top left corner."""

    figure: Figure
    left: float
    top: float
    width: float
    height: float

    def write(self, x: float, y: float, text: str, pixels: float = 11, **more: Any) -> None:
        """Write a text with its base line `y` pixels below the top, no longer than there is room."""
        place = self._share(self.left + x, self.top + y)
        room = max(1, int((self.width - x) / (pixels * 0.6)))
        short = text if len(text) <= room else f"{text[: room - 1].rstrip()}…"
        self.figure.text(*place, escape_unseen(short), fontsize=pixels * POINTS_PER_PIXEL, **more)

    def axes(self, left: float, top: float, right: float, bottom: float) -> Axes:
        """Add axes within these margins, without a frame."""
        width, height = self.figure.get_size_inches() * PIXELS_PER_INCH
        inner = max(20, self.width - left - right), max(12, self.height - top - bottom)
        x, y = self._share(self.left + left, self.top + top + inner[1])
        axes = self.figure.add_axes((x, y, inner[0] / width, inner[1] / height))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        return axes

    def _share(self, x: float, y: float) -> tuple[float, float]:
        width, height = self.figure.get_size_inches() * PIXELS_PER_INCH
        return x / width, 1 - y / height


def new_figure(width: float, height: float) -> Figure:
    return Figure((width / PIXELS_PER_INCH, height / PIXELS_PER_INCH), facecolor="#ffffff")


def svg(figure: Figure, description: str) -> str:
    """Return the figure as SVG, with a description for readers who cannot see it."""
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    label = escape(escape_unseen(description))
    return f'<svg role="img" aria-label="{label}" ' + text.getvalue().partition("<svg ")[2]


def is_known(value: float | None) -> bool:
    return value is not None and isfinite(value) and abs(value) <= 1e15


def shown(value: float | None, unit: str, nothing: str = "–") -> str:
    """Return the value with its unit and about three digits. `unit` has Grafana's name."""
    if value is None or not is_known(value):
        return nothing
    if unit == "percentunit":
        missing = abs(1 - value) * 100
        # Near 100 % with as many digits as tell it from 100 %.
        decimals = 1 if missing == 0 or missing >= 1 else min(4, 1 - floor(log10(missing)))
        return f"{_trimmed(f'{value * 100:.{decimals}f}')} %"
    if unit == "reqps":
        return f"{_digits(value)}/s"
    if unit == "short" and abs(value) < 10_000:
        return _digits(value)
    scales = UNITS[unit]
    factor, name = next((each for each in scales if abs(value) >= each[0]), scales[-1])
    return f"{_digits(value / factor)} {name}" if value else f"0 {UNITS[unit][-1][1].removeprefix('m')}"


def _digits(value: float) -> str:
    decimals = max(0, 2 - floor(log10(abs(value)))) if value else 0
    return _trimmed(f"{value:,.{min(decimals, 9)}f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def draw_stat(box: Box, panel: Panel, value: float | None, history: Points = ()) -> None:
    """Draw one value, with a sign that says whether it keeps its limit, and how it came to be."""
    _title(box, panel)
    is_broken = value is not None and panel.limit is not None and panel.limit.is_broken_by(value)
    colour = SOFT if value is None else BAD if is_broken else INK
    text = shown(value, panel.unit, panel.nothing)
    pixels = min(40.0, (box.width - 2 * MARGIN) / (0.66 * len(text)))
    box.write(MARGIN, TITLE_HEIGHT + pixels, text, pixels, color=colour, weight="bold")
    known = [(at, figure) for at, figure in history if figure is not None and is_known(figure)]
    if len(known) > 1:
        axes = box.axes(MARGIN, TITLE_HEIGHT + pixels + 10, MARGIN, 34)
        axes.plot([_days(at) for at, _ in known], [figure for _, figure in known], color=COLOURS[0])
        axes.set_axis_off()
    if panel.limit:
        if value is not None:
            axes = box.axes(MARGIN, box.height - 32, box.width - MARGIN - 20, 8)
            look, sign = (BAD, "x") if is_broken else (GOOD, KEPT)
            axes.plot([0], [0], marker=sign, color=look, fillstyle="none", markeredgewidth=2, clip_on=False)
            axes.set_axis_off()
        box.write(MARGIN + 24, box.height - 16, panel.limit.label, 12, color=SOFT)


def draw_bars(box: Box, panel: Panel, bars: Sequence[tuple[str, float | None]]) -> None:
    """Draw values side by side, from 0, each beside its name."""
    _title(box, panel)
    names = [escape_unseen(_shortened(name, 30)) for name, _ in bars]
    left = MARGIN + 8 + CHARACTER_WIDTH * max(map(len, names), default=0)
    axes = box.axes(left, TITLE_HEIGHT + 4, MARGIN + 60, MARGIN + (16 if panel.limit else 0))
    values = [value if value is not None and is_known(value) else 0.0 for _, value in bars]
    if not any(is_known(value) for _, value in bars):
        _write_nothing(axes, panel)
        return
    broken = [panel.limit is not None and panel.limit.is_broken_by(value) for value in values]
    axes.barh(
        range(len(bars)), values, color=COLOURS[0], edgecolor=[BAD if each else "none" for each in broken]
    )
    for number, (_, value) in enumerate(bars):
        text, look = shown(value, panel.unit, panel.nothing), BAD if broken[number] else INK
        axes.annotate(
            text, (values[number], number), (6, 0), textcoords="offset points", va="center", color=look
        )
    limits = [panel.limit.value] if panel.limit else []
    axes.set_xlim(0, max([*values, *limits]) or 1)
    axes.set_ylim(max(len(bars), 6) - 0.5, -0.5)
    axes.set_yticks(range(len(bars)), names, color=INK)
    axes.set_xticks([])
    if panel.limit:
        axes.axvline(panel.limit.value, color=BAD, linestyle=":", linewidth=1.2)
        box.write(left, box.height - 8, panel.limit.label, color=BAD, weight="bold")


def draw_lines(
    box: Box, panel: Panel, lines: Sequence[Line], since: datetime, until: datetime, step_seconds: float
) -> None:
    """Draw lines over time, each with its last value in the legend.

    A line is interrupted where points are further apart than 1.5 steps.
    """
    _title(box, panel)
    entries = [
        escape_unseen(f"{_shortened(line.name, 28)}: {shown(line.last, panel.unit)}") for line in lines
    ]
    columns = _columns(box, entries)
    below = 22 + ROW_HEIGHT * ceil(len(lines) / columns)
    axes = box.axes(72, TITLE_HEIGHT, MARGIN, below + 8)
    for number, line in enumerate(lines):
        axes.plot(
            *_with_gaps(line.points, step_seconds), color=COLOURS[number % len(COLOURS)], linewidth=1.4,
            linestyle=DASHES[number % len(DASHES)], marker=MARKERS[number % len(MARKERS)], markersize=4,
            markerfacecolor="#ffffff", markevery=max(1, len(line.points) // 8), label=entries[number],
            drawstyle="steps-post" if panel.is_stepped else "default",
        )  # fmt: skip
    known = [value for line in lines for _, value in line.points if value is not None and is_known(value)]
    if not known:
        _write_nothing(axes, panel)
    _value_axis(axes, panel, [*known, *([panel.limit.value] if panel.limit else [])])
    _time_axis(axes, since, until, box.width)
    if panel.limit:
        _draw_limit(axes, panel.limit)
    handles = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    if handles:
        _draw_legend(box, axes, handles, columns, below)


def draw_cells(
    box: Box, panel: Panel, rows: Sequence[Line], since: datetime, until: datetime, step_seconds: float
) -> None:
    """Draw rows of values over time: the darker, the higher; a missing value is crossed out."""
    _title(box, panel)
    names = [escape_unseen(_shortened(row.name, 30)) for row in rows]
    left = MARGIN + 8 + CHARACTER_WIDTH * max(map(len, names), default=0)
    axes = box.axes(left, TITLE_HEIGHT + 4, MARGIN, 30)
    known = [value for row in rows for _, value in row.points if value is not None and is_known(value)]
    if not known:
        _write_nothing(axes, panel)
    highest = max(known, default=0.0) or 1.0
    for number, row in enumerate(rows):
        for at, length, value in _cells(row.points, since, until, step_seconds):
            share = 0.0 if value is None else max(value, 0.0) / highest
            look = mpl.colormaps["Blues"](share * 0.95) if value else "#ffffff"
            hatch = "///" if value is None else None
            axes.broken_barh([(at, length)], (number - 0.5, 1), facecolor=look, edgecolor=GRID, hatch=hatch)
            text = shown(value, panel.unit, "")
            if text and length * box.width > len(text) * 9 * (_days(until) - _days(since)):
                axes.text(at + length / 2, number, text, ha="center", va="center", fontsize=7.5,
                          color="#ffffff" if share > 0.5 else INK)  # fmt: skip
    axes.set_yticks(range(len(rows)), names, color=INK)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    _time_axis(axes, since, until, box.width)


def _days(at: datetime) -> float:
    """Return the days since 1970, as matplotlib counts them."""
    return at.timestamp() / 86400


def _title(box: Box, panel: Panel) -> None:
    box.write(MARGIN, 20, panel.title, 14, weight="bold")


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _write_nothing(axes: Axes, panel: Panel) -> None:
    axes.text(0.5, 0.5, panel.nothing, transform=axes.transAxes, ha="center", fontsize=10.5, color=SOFT)
    axes.set_xticks([])
    axes.set_yticks([])


def _columns(box: Box, entries: Sequence[str]) -> int:
    widest = max(map(len, entries), default=1) * CHARACTER_WIDTH + 50
    return max(1, min(4, len(entries) or 1, int((box.width - 2 * MARGIN) / widest)))


def _with_gaps(points: Points, step_seconds: float) -> tuple[list[float], list[float]]:
    """Return times and values, with a missing value in each gap."""
    times, values = [], []
    for (at, value), (after, _) in pairwise([*points, (datetime.max.replace(tzinfo=ICT), None)]):
        times.append(_days(at))
        values.append(value if value is not None and is_known(value) else nan)
        if (after - at).total_seconds() > 1.5 * step_seconds:
            times.append(_days(at + timedelta(seconds=step_seconds)))
            values.append(nan)
    return times, values


def _value_axis(axes: Axes, panel: Panel, values: Sequence[float]) -> None:
    low, high = min(values, default=0.0), max(values, default=0.0)
    if not panel.is_cut:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= abs(low) * 1e-9:
        low, high = low - abs(low) / 2, high + (abs(high) / 2 or 1)
    axes.set_ylim(low, high + (high - low) * 0.05)
    axes.yaxis.set_major_locator(_locator(panel.unit, high - low))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, panel.unit)))
    axes.grid(axis="y")


def _locator(unit: str, length: float) -> Locator:
    """Return where a value axis has labels: at round values of its unit."""
    if unit == "bytes":
        return MultipleLocator(2.0 ** ceil(log2(max(length, 5) / 5)))
    if unit == "s" and 5 <= length <= 5 * SECONDS[-1]:
        return MultipleLocator(next(step for step in SECONDS if step >= length / 5))
    return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=unit == "short")


def _time_axis(axes: Axes, since: datetime, until: datetime, width: float) -> None:
    axes.set_xlim(_days(since), _days(until))
    labels = AutoDateLocator(tz=ICT, minticks=1, maxticks=max(2, int(width / 90)))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(labels)
    length = until - since
    form = "%d/%m %H:%M" if length > timedelta(days=1) else "%H:%M"
    if length < timedelta(minutes=5):
        form = "%H:%M:%S"
    axes.xaxis.set_major_formatter(DateFormatter(form, tz=ICT))  # type: ignore[no-untyped-call]


def _draw_limit(axes: Axes, limit: Limit) -> None:
    """Draw a limit as a line with its label, and tint the side where it is broken."""
    low, high = axes.get_ylim()
    axes.axhspan(*((limit.value, high) if limit.is_upper else (low, limit.value)), color=BAD, alpha=0.06)
    axes.axhline(limit.value, color=BAD, linestyle=":", linewidth=1.2)
    is_above = limit.value < low + 0.85 * (high - low)
    axes.annotate(
        limit.label, (1, limit.value), (-4, 3 if is_above else -3), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", va="bottom" if is_above else "top", color=BAD, weight="bold",
        bbox={"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )  # fmt: skip


def _draw_legend(box: Box, axes: Axes, handles: Sequence[Line2D], columns: int, below: float) -> None:
    x, y = box._share(box.left + MARGIN, box.top + box.height - below + 20)
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(x, y), bbox_transform=box.figure.transFigure,
        ncols=columns, frameon=False, borderaxespad=0, borderpad=0, labelspacing=0.45, handlelength=3.2,
    )  # fmt: skip


def _cells(
    points: Points, since: datetime, until: datetime, step_seconds: float
) -> Iterator[tuple[float, float, float | None]]:
    """Yield begin, length and value of each cell; equal values that follow each other are one."""
    step = step_seconds / 86400
    before: tuple[float, float, float | None] | None = None
    for moment, figure in points:
        if not since <= moment < until:
            continue
        at, value = _days(moment), figure if is_known(figure) else None
        if before and before[2] == value and at - before[0] - before[1] < step / 2:
            before = (before[0], at - before[0] + step, value)
            continue
        if before:
            yield before
        before = (at, step, value)
    if before:
        yield before
