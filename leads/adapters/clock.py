"""The one clock, and the one source of chance."""

import asyncio
import random
import time
from datetime import UTC, datetime


class Clock:
    """Real time. Tests pass an object with the same methods instead."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, for measuring durations."""
        return time.monotonic()

    def jitter(self) -> float:
        """A random number in [-1, 1], to spread retries."""
        return random.uniform(-1, 1)  # noqa: S311

    async def sleep(self, seconds: float) -> None:
        """Wait, without keeping anybody else from working."""
        await asyncio.sleep(seconds)
