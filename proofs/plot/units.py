"""Units of values, by the names that Grafana has for them, and how a value is written."""

from enum import StrEnum
from math import floor, log10


class Unit(StrEnum):
    """The ids of Grafana's units."""

    COUNT = "short"
    RATIO = "percentunit"
    SECONDS = "s"
    BYTES = "bytes"
    PER_SECOND = "reqps"


MINUTE, HOUR, DAY = 60, 3600, 86400
DURATIONS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s"), (0.001, "ms"))
SIZES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
MOST = 1e15
WRITTEN_OUT_BELOW = 10_000
"""Counts below are written with all their digits."""


def known(value: float | None) -> float | None:
    """Return the value, or None for one that is no figure: NaN, an infinity, or above any count."""
    return value if value is not None and abs(value) <= MOST else None


def shown(value: float | None, unit: Unit, nothing: str = "–") -> str:
    """Return the value with its unit and about three digits."""
    value = known(value)
    if value is None:
        return nothing
    match unit:
        case Unit.RATIO:
            return _ratio(value)
        case Unit.SECONDS:
            return "0 s" if value == 0 else _scaled(value, DURATIONS)
        case Unit.BYTES:
            return _scaled(value, SIZES)
        case Unit.PER_SECOND:
            return f"{_count(value)}/s"
        case Unit.COUNT:
            return _count(value)


def _ratio(value: float) -> str:
    """Return a percentage; one near 100 % with as many digits as tell it from 100 %."""
    if abs(value) < 0.01:
        return f"{_digits(value * 100)} %"
    missing = abs(1 - value) * 100
    decimals = 1 if missing == 0 or missing >= 1 else min(4, 1 - floor(log10(missing)))
    return f"{_trimmed(f'{value * 100:.{decimals}f}')} %"


def _count(value: float) -> str:
    if abs(value) < WRITTEN_OUT_BELOW:
        return f"{value:,.0f}" if value == round(value) else _digits(value)
    factor, prefix = next(each for each in COUNTS if abs(value) >= each[0])
    return f"{_digits(value / factor)} {prefix}"


def _scaled(value: float, scales: tuple[tuple[float, str], ...]) -> str:
    factor, name = next((each for each in scales if abs(value) >= each[0]), scales[-1])
    return f"{_digits(value / factor)} {name}"


def _digits(value: float) -> str:
    """Return the value with three digits, no exponent, and no zeros at the end."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - floor(log10(abs(value))))
    return _trimmed(f"{value:,.{min(decimals, 9)}f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
