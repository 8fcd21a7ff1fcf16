"""Clocks that a test controls."""

from datetime import UTC, datetime, timedelta

from leads.adapters.clock import Clock


class SteadyClock(Clock):
    """Real time without jitter."""

    def jitter(self) -> float:
        return 0.0


class MovableClock(SteadyClock):
    """Real time plus `ahead`. A sleep adds to `ahead` and returns at once."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)
        await super().sleep(0)
