"""The limits of the load that the backfill puts on other sessions, and the error that stops it."""

from dataclasses import dataclass
from datetime import datetime

from leads.domain.body import ICT

WINDOW_START_HOUR, WINDOW_END_HOUR = 2, 6
"""Hours in ICT between which the backfill runs."""


@dataclass(frozen=True)
class Limits:
    """Accounts per batch, and times in seconds.

    `max_batch_seconds`: a batch that holds its row locks longer is rolled back and halved.
    `max_wait_seconds`: the run stops when another session waits longer for these locks.
    """

    rows_per_batch: int = 10_000
    min_rows_per_batch: int = 50
    pause_seconds: float = 0.1
    max_batch_seconds: float = 0.5
    max_wait_seconds: float = 1.0
    max_passes: int = 10
    anytime: bool = False


class Stopped(Exception):
    """The run stopped early. What is written stays, and the next run continues from there."""


def check_window(limits: Limits, now: datetime) -> None:
    """Raise Stopped outside the time window, unless the limits allow any time."""
    local = now.astimezone(ICT)
    if not limits.anytime and not WINDOW_START_HOUR <= local.hour < WINDOW_END_HOUR:
        raise Stopped(
            f"It is {local:%H:%M} ICT, and the backfill runs from {WINDOW_START_HOUR:02}:00 to "
            f"{WINDOW_END_HOUR:02}:00: run it again then, or give --anytime"
        )
