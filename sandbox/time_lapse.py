"""A clock that several processes share and that runs faster than the world: an hour in a minute.

It is handed from process to process as text, `real start,lapsed start,speed`, in seconds since 1970.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class TimeLapse:
    """`speed` seconds pass for each real one since `real_start`, when it was `start`."""

    real_start: float
    start: float
    speed: float

    @classmethod
    def beginning(cls, start: datetime, speed: float) -> "TimeLapse":
        """A clock that shows `start` now."""
        return cls(time.time(), start.timestamp(), speed)

    @classmethod
    def parse(cls, text: str) -> "TimeLapse":
        """Read what `str` wrote. Raises ValueError."""
        real_start, start, speed = (float(part) for part in text.split(","))
        return cls(real_start, start, speed)

    def __str__(self) -> str:
        return f"{self.real_start!r},{self.start!r},{self.speed!r}"

    def now(self) -> datetime:
        """What it shows."""
        lapsed = (time.time() - self.real_start) * self.speed
        return datetime.fromtimestamp(self.start, UTC) + timedelta(seconds=lapsed)

    def until(self, moment: datetime) -> float:
        """Real seconds until it shows that moment; 0 if it is past."""
        return max(0.0, (moment - self.now()).total_seconds() / self.speed)
