"""Words that several checks share: lists of names, ages, counts."""

from collections.abc import Sequence
from datetime import datetime

from leads.domain.visible_text import duration
from ops.output import one_line

MAX_NAMED = 5
"""So many of what is wrong in the same way are named."""


def first(names: Sequence[str], most: int = MAX_NAMED) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return one_line(", ".join(names[:most])) + more


def age(then: datetime | None, now: datetime) -> str:
    """Return how long ago a time is, for example `4 min`."""
    return duration(now - then) if then else "an unknown time"


def count(number: int, most: int) -> str:
    """Return a number that was counted up to `most`."""
    return f"{number}" if number < most else f"{most} or more"


def times(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
