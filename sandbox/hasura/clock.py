"""The clock of cron triggers and one-off events, which tests may move (route `/sandbox/clock`)."""

from datetime import UTC, datetime, timedelta

import anyio


class Clock:
    """The real time plus an offset; loops that sleep on it wake when it is moved."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._wake = anyio.Event()

    def now(self) -> datetime:
        """The current time here, in UTC."""
        return datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock by seconds, possibly negative."""
        self._offset += timedelta(seconds=seconds)
        self.nudge()

    def set(self, moment: datetime) -> None:
        """Let it be that moment now; the clock goes on from there."""
        self._offset = moment - datetime.now(UTC)
        self.nudge()

    def reset(self) -> None:
        """Back to the real time."""
        self._offset = timedelta()
        self.nudge()

    def nudge(self) -> None:
        """Wake whoever sleeps: there may be something due."""
        self._wake.set()
        self._wake = anyio.Event()

    async def sleep(self, seconds: float) -> bool:
        """Sleep that long in real time, or until nudged; returns whether it was nudged."""
        wake = self._wake
        with anyio.move_on_after(seconds):
            await wake.wait()
        return wake.is_set()
