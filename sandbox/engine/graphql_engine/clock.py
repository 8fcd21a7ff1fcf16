"""The clock of cron triggers and one-off events, which tests may move (route `/sandbox/clock`)."""

from datetime import UTC, datetime, timedelta

import anyio


class Clock:
    """The real time plus an offset; loops that sleep on it wake when it is moved."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._wake = anyio.Event()
        self.nudges = 0

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
        self.nudges += 1
        self._wake.set()
        self._wake = anyio.Event()

    async def sleep(self, seconds: float, nudges: int) -> bool:
        """Sleep that long in real time, or until nudged; returns whether it was nudged.

        nudges: how many the caller knew of when it last looked, so that none in between is lost.
        """
        with anyio.move_on_after(seconds):
            while self.nudges == nudges:
                await self._wake.wait()
        return self.nudges != nudges
