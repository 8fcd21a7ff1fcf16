"""A clock that several processes share, that runs faster than real time and can be advanced.

Its state is a file with `[real start, start, speed]`, the first two in seconds since 1970. Each process is
given the path of the file.
"""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path


class AcceleratedClock:
    """Shows `start` at the real start; from then on `speed` seconds pass in each real second."""

    def __init__(self, path: Path) -> None:
        """Read the clock from a file that `begin` wrote."""
        self._path = path
        self._read_mtime_ns = -1
        self._real_start = self._start = self._speed = 0.0

    @classmethod
    def begin(cls, path: Path, start: datetime, speed: float) -> "AcceleratedClock":
        """Create the file of a clock that shows `start` now."""
        _write(path, [time.time(), start.timestamp(), speed])
        return cls(path)

    def now(self) -> datetime:
        self._refresh()
        elapsed_seconds = (time.time() - self._real_start) * self._speed
        return datetime.fromtimestamp(self._start, UTC) + timedelta(seconds=elapsed_seconds)

    def seconds_until(self, moment: datetime) -> float:
        """Return the real seconds until the clock shows a moment; 0 if that is past."""
        return max(0.0, (moment - self.now()).total_seconds() / self._speed)

    def advance(self, by: timedelta) -> None:
        """Advance the clock for every process."""
        shown = self.now() + by
        _write(self._path, [time.time(), shown.timestamp(), self._speed])

    def _refresh(self) -> None:
        written_mtime_ns = os.stat(self._path).st_mtime_ns
        if written_mtime_ns != self._read_mtime_ns:
            self._real_start, self._start, self._speed = json.loads(self._path.read_text())
            self._read_mtime_ns = written_mtime_ns


def _write(path: Path, values: list[float]) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(values))
    scratch.replace(path)
