"""When a failed event is tried again."""

from datetime import timedelta

MAX_ATTEMPTS = 5
DELAYS = (timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10), timedelta(hours=1))
"""The wait after attempt 1, 2, 3 and 4."""

MAX_JITTER_FRACTION = 0.2


def delay_after(attempts: int, jitter: float) -> timedelta | None:
    """Return the wait after that many attempts, or None after the last one.

    `jitter` is a random number in [-1, 1]; it changes the wait by up to 20 %.
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    return DELAYS[max(attempts, 1) - 1] * (1 + MAX_JITTER_FRACTION * jitter)
