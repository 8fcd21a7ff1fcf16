"""Read the timestamps of Pancake and of requests: ISO 8601, often without a time zone."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

# `fromisoformat` also takes week dates and times without separators, which Pancake does not send.
_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s*(Z|[+-]\d\d(:?\d\d)?)?", re.ASCII
)

MAX_TIME_CHARACTERS = 64
MAX_OFFSET = timedelta(hours=15, minutes=59)
"""PostgreSQL refuses a time whose zone is further from UTC."""


def read_time(value: object) -> datetime | None:
    """Read an ISO 8601 time: aware if it names a zone, else naive. None for anything else."""
    if not isinstance(value, str) or len(value) > MAX_TIME_CHARACTERS:
        return None
    text = value.strip()
    if not _ISO_8601.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        return None
    if abs(time.utcoffset() or timedelta()) > MAX_OFFSET:
        return None
    # In the years 1 and 9999 a conversion to another zone can leave the range of datetime.
    return time if 1 < time.year < 9999 else None


def in_utc(time: datetime, zone: tzinfo) -> datetime:
    """Convert to UTC; a naive time is read in `zone`."""
    return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)
