"""The loop of every command that waits for others."""

import time
from collections.abc import Iterator


def poll(seconds: float, pause_seconds: float) -> Iterator[None]:
    """Yield at once, then after each pause; the last time when the time is up.

    The caller looks in the loop, leaves it with `break`, and in `else` says what did not happen.
    """
    deadline = time.monotonic() + seconds
    while True:
        has_ended = time.monotonic() >= deadline
        yield
        if has_ended:
            return
        time.sleep(min(pause_seconds, max(0.0, deadline - time.monotonic())))
