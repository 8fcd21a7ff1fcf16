"""Axes: which part of the values they show, and where their labels are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from math import ceil, floor, log10

from proofs.plot.units import DAY, HOUR, MINUTE, Unit

STEPS = (1, 2, 2.5, 5, 10)
SECONDS = (
    1,
    2,
    5,
    10,
    15,
    30,
    *(MINUTE * n for n in (1, 2, 5, 10, 15, 30)),
    *(HOUR * n for n in (1, 2, 6, 12)),
)
TIME_STEPS = (*(MINUTE * n for n in (1, 5, 10, 15, 30)), *(HOUR * n for n in (1, 2, 3, 6, 12)))
DAYS = tuple(DAY * n for n in (1, 2, 7, 14, 28, 91, 364))


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from `low` to `high` to coordinates from `start` to `end`, others to the nearer end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        length = self.high - self.low
        share = (min(max(value, self.low), self.high) - self.low) / length if length else 0.5
        return self.start + share * (self.end - self.start)


def value_ticks(values: Iterable[float], unit: Unit, number: int, is_cut: bool) -> list[float]:
    """Return about `number` round values that enclose the values, and 0 unless `is_cut`."""
    found = [*values, *([] if is_cut else [0.0])] or [0.0]
    low, high = min(found), max(found)
    if high - low <= abs(low) * 1e-9 + 1e-9:
        is_far = is_cut and abs(low) > 1e-6
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if is_far else (min(low, 0), max(high, 1))
    if unit == Unit.RATIO:
        high = min(high, 1.0) if max(found) <= 1 else high
    step = _step((high - low) / number, unit)
    first = floor(round(low / step, 6))
    last = max(ceil(round(high / step, 6)), first + 1)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _step(least: float, unit: Unit) -> float:
    """Return the next round step that is at least that long."""
    if unit == Unit.SECONDS and least >= 1:
        fitting = next((float(step) for step in SECONDS if step >= least), None)
        return fitting or DAY * _step(least / DAY, Unit.COUNT)
    if unit == Unit.BYTES and least >= 1:
        return 2.0 ** ceil(log10(least) / log10(2))
    power = 10.0 ** floor(log10(least))
    step = power * next(each for each in STEPS if each * power >= least * (1 - 1e-9))
    return max(step, 1.0) if unit == Unit.COUNT else step


def time_ticks(since: datetime, until: datetime, zone: tzinfo, number: int) -> Iterator[tuple[datetime, str]]:
    """Yield at most `number` round times of the zone from `since` to `until`, each with its label."""
    length = (until - since).total_seconds()
    steps = (*TIME_STEPS, *DAYS)
    step = next((each for each in steps if length / each <= number), steps[-1])
    midnight = since.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight
    while at <= until:
        if at >= since:
            is_day = step >= DAY or (length > DAY and at.time() == midnight.time())
            yield at, f"{at:%d/%m}" if is_day else f"{at:%H:%M}"
        at += timedelta(seconds=step)
