"""Read the timestamps of Pancake and of requests: ISO 8601, often without a time zone."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

MAX_FUTURE = timedelta(hours=48)
"""How far ahead of its arrival a version is believed to be: a wrong time zone is off by less."""

# `fromisoformat` also takes week dates and times without separators, which Pancake does not send.
_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s*(Z|[+-]\d\d(:?\d\d)?)?", re.ASCII
)


def read_time(value: object) -> datetime | None:
    """Read an ISO 8601 time: aware if it names a zone, else naive. None for anything else."""
    if not isinstance(value, str) or not _ISO_8601.fullmatch(value.strip()):
        return None
    try:
        time = datetime.fromisoformat(value.strip().replace(",", "."))
    except ValueError:
        return None
    # In the years 1 and 9999 a conversion to another zone can leave the range of datetime.
    return time if 1 < time.year < 9999 else None


def in_utc(time: datetime, zone: tzinfo) -> datetime:
    """Convert to UTC; a naive time is read in `zone`."""
    return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)


def version_time(modified_on: datetime | None, arrived_at: datetime) -> datetime | None:
    """Return the time of a stored version: of one too far in the future, that of its arrival."""
    if modified_on is None or modified_on <= arrived_at + MAX_FUTURE:
        return modified_on
    return arrived_at
