"""A span of time as people read it, in its largest unit."""

from datetime import timedelta

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def duration(time: timedelta) -> str:
    """Return a span of time in a whole unit that it has twice, or once a minute: 40 s, 119 min, 47 h, 3 d."""
    seconds = max(int(time.total_seconds()), 0)
    for size, unit in UNITS:
        if seconds >= 2 * size or (seconds >= size and unit == "min"):
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
