"""The only clock and the only source of random numbers."""

import asyncio
import random
import time
from datetime import UTC, datetime


class Clock:
    """Real time. Tests pass an object with the same methods instead."""

    def now(self) -> datetime:
        """Return the present time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some fixed moment, for measuring durations."""
        return time.monotonic()

    def jitter(self) -> float:
        """Return a random number in [-1, 1], to spread retries."""
        return random.uniform(-1, 1)  # noqa: S311

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
