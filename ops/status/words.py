"""Ages and numbers as the screen shows them."""

from datetime import datetime

from leads.domain.visible_text import duration


def age(then: datetime | None, now: datetime) -> str:
    """Return how long ago a time is, for example `4 min`."""
    return duration(now - then) if then else "an unknown time"


def count(number: int, most: int) -> str:
    """Return a number that was counted up to `most`."""
    return f"{number}" if number < most else f"{most} or more"


def times(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
