"""The clock of cron triggers and one-off events; tests move it through `/sandbox/clock`."""

from datetime import UTC, datetime, timedelta

import anyio


class Clock:
    """The real time plus an offset. Moving the clock wakes the loops that sleep on it."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._wake = anyio.Event()
        self.nudges = 0

    def now(self) -> datetime:
        """Return the current time of this clock, in UTC."""
        return datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock by seconds, possibly negative."""
        self._offset += timedelta(seconds=seconds)
        self.nudge()

    def set(self, moment: datetime) -> None:
        """Set the clock; it runs on from there."""
        self._offset = moment - datetime.now(UTC)
        self.nudge()

    def reset(self) -> None:
        """Return to the real time."""
        self._offset = timedelta()
        self.nudge()

    def nudge(self) -> None:
        """Wake the sleeping loops: an event may be due."""
        self.nudges += 1
        self._wake.set()
        self._wake = anyio.Event()

    async def sleep(self, seconds: float, nudges: int) -> bool:
        """Sleep in real time until the timeout or a nudge; return whether it was a nudge.

        nudges: the caller's last known count of nudges, so that a nudge in between is not lost.
        """
        with anyio.move_on_after(seconds):
            while self.nudges == nudges:
                await self._wake.wait()
        return self.nudges != nudges
