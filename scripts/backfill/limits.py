"""What the backfill may cost others, and why it stops."""

from dataclasses import dataclass
from datetime import datetime

from leads.domain.window import ICT

OPENS, CLOSES = 2, 6


@dataclass(frozen=True)
class Limits:
    """Rows per batch, and times in seconds.

    `statement_seconds` bounds how long a batch may hold its row locks before it is undone and halved;
    `wait_seconds` how long another session may wait for them before the whole run stops.
    """

    batch: int = 10_000
    smallest_batch: int = 50
    pause_seconds: float = 0.1
    statement_seconds: float = 0.5
    wait_seconds: float = 1.0
    passes: int = 10
    anytime: bool = False


class Stopped(Exception):
    """The run ended before its end; what is written stays, and the next run goes on from there."""


def check_window(limits: Limits, now: datetime) -> None:
    """Raise Stopped outside 02:00 to 06:00 ICT, unless the limits allow any time."""
    local = now.astimezone(ICT)
    if not limits.anytime and not OPENS <= local.hour < CLOSES:
        raise Stopped(
            f"it is {local:%H:%M} ICT and the window is {OPENS:02}:00 to {CLOSES:02}:00: "
            "run this again inside it, or give --anytime"
        )
