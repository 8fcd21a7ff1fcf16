"""What is drawn: panels with a title, a description for readers who cannot see the image, and values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal

from leads.domain.body import ICT
from proofs.plot.units import Unit, known, shown

Point = tuple[datetime, float | None]
"""A time and a value in the unit of the panel; None, NaN and infinities are missing values."""
Broken = Literal[">", ">=", "<", "<="]


@dataclass(frozen=True, slots=True)
class Limit:
    """A value that a figure should not pass: it is broken by a figure that is `broken` than `value`."""

    value: float
    broken: Broken
    label: str

    def is_broken_by(self, figure: float) -> bool:
        match self.broken:
            case ">":
                return figure > self.value
            case ">=":
                return figure >= self.value
            case "<":
                return figure < self.value
            case "<=":
                return figure <= self.value

    @property
    def is_upper(self) -> bool:
        return self.broken in (">", ">=")


@dataclass(frozen=True, slots=True)
class Line:
    """A series of values, in the order of their times."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with a name; None is a missing value."""

    name: str
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What every panel has. `nothing` is drawn where there is no value, in the language of the title."""

    title: str
    description: str
    unit: Unit
    limits: Sequence[Limit] = ()
    nothing: str = "no data"


@dataclass(frozen=True, slots=True, kw_only=True)
class OverTime(Panel):
    """What panels with a time axis have: its two ends, and the zone of its labels."""

    since: datetime
    until: datetime
    zone: tzinfo = ICT


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSeries(OverTime):
    """Lines over time. A line is interrupted where points are further apart than 1.5 times `step_seconds`.

    The axis begins at 0, or near the lowest value with `is_cut`. `is_stepped`: a value holds until the next.
    """

    lines: Sequence[Line]
    step_seconds: float
    is_cut: bool = False
    is_stepped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Panel):
    """One value, with a sign that says whether it keeps its limits, and the line that led to it, if given."""

    value: float | None
    line: Line | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars(Panel):
    """Values side by side, from 0, each beside its name."""

    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap(OverTime):
    """Rows of values over time, the first row at the top. A point holds from its time for `step_seconds`.

    Limits are in the description only.
    """

    rows: Sequence[Line]
    step_seconds: float


def summary(panel: Panel) -> str:
    """Return the description with the last value of each line, for readers who cannot see the image."""
    match panel:
        case TimeSeries(lines=lines) | Heatmap(rows=lines):
            values = [(line.name, last_value(line)) for line in lines]
        case Bars(bars=bars):
            values = [(bar.name, bar.value) for bar in bars]
        case Stat(value=value):
            values = [(panel.title, value)]
        case _:
            values = []
    said = [f"{name}: {shown(value, panel.unit, panel.nothing)}" for name, value in values]
    said += [limit.label for limit in panel.limits]
    return f"{panel.description} {'; '.join(said or [panel.nothing])}."


def last_value(line: Line) -> float | None:
    """Return the value of the last point that has one."""
    return next((value for _, value in reversed(line.points) if known(value) is not None), None)


def known_points(line: Line) -> list[tuple[float, float]]:
    """Return the points that have a value, with their time in seconds since 1970."""
    return [(at.timestamp(), found) for at, value in line.points if (found := known(value)) is not None]
