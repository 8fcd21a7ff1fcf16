"""Ages and numbers as the screen shows them."""

from datetime import datetime


def age(then: datetime | None, now: datetime) -> str:
    """Return how long ago a time is, in its largest unit, for example `4 min`."""
    if then is None:
        return "an unknown time"
    seconds = max(0, int((now - then).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and unit == "min"):
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def count(number: int, most: int) -> str:
    """Return a number that was counted up to `most`."""
    return f"{number}" if number < most else f"{most} or more"


def times(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
