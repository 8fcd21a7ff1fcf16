"""Spans of time: as people read them, and as the header Retry-After gives them."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
DEFAULT_SECONDS = 30.0
MAX_SECONDS = 3600.0
MAX_CHARACTERS = 64


def duration(time: timedelta) -> str:
    """Return a span of time in a whole unit that it has twice, or once a minute: 40 s, 119 min, 47 h, 3 d."""
    seconds = max(int(time.total_seconds()), 0)
    for size, unit in UNITS:
        if seconds >= 2 * size or (seconds >= size and unit == "min"):
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def read_retry_after(value: str | None, now: datetime) -> float:
    """Return the seconds to wait, 1 to MAX_SECONDS; DEFAULT_SECONDS for a missing or unreadable header.

    RFC 9110, section 10.2.3: a number of seconds, or an HTTP date.
    """
    seconds = DEFAULT_SECONDS
    if value and len(value) > MAX_CHARACTERS:
        return DEFAULT_SECONDS
    try:
        if value and value.strip().isdigit():
            seconds = float(value)
        elif value:
            moment = parsedate_to_datetime(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = (moment - now).total_seconds()
    except (ValueError, OverflowError):
        return DEFAULT_SECONDS
    return min(max(seconds, 1.0), MAX_SECONDS)
