"""The header Retry-After of an answer (RFC 9110, section 10.2.3): a number of seconds, or an HTTP date."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

DEFAULT_SECONDS = 30.0
MAX_SECONDS = 3600.0
MAX_CHARACTERS = 64


def read_retry_after(value: str | None, now: datetime) -> float:
    """Return the seconds to wait, 1 to MAX_SECONDS; DEFAULT_SECONDS for a missing or unreadable one."""
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
