"""A clock that several processes share, that runs faster than the world and can be put forward.

It is kept in a small file, `[real start, start, speed]` in seconds since 1970; processes are told its path.
"""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path


class TimeLapse:
    """`speed` seconds pass for each real one since the real start, when it was `start`."""

    def __init__(self, path: Path) -> None:
        """The clock of a file that `begin` wrote."""
        self._path = path
        self._read_at = -1
        self._real_start = self._start = self._speed = 0.0

    @classmethod
    def begin(cls, path: Path, start: datetime, speed: float) -> "TimeLapse":
        """A clock that shows `start` now."""
        _write(path, [time.time(), start.timestamp(), speed])
        return cls(path)

    def now(self) -> datetime:
        """What it shows."""
        self._refresh()
        lapsed = (time.time() - self._real_start) * self._speed
        return datetime.fromtimestamp(self._start, UTC) + timedelta(seconds=lapsed)

    def until(self, moment: datetime) -> float:
        """Real seconds until it shows that moment; 0 if it is past."""
        return max(0.0, (moment - self.now()).total_seconds() / self._speed)

    def forward(self, by: timedelta) -> None:
        """Put it forward, for every process."""
        shown = self.now() + by
        _write(self._path, [time.time(), shown.timestamp(), self._speed])

    def _refresh(self) -> None:
        written_at = os.stat(self._path).st_mtime_ns
        if written_at != self._read_at:
            self._real_start, self._start, self._speed = json.loads(self._path.read_text())
            self._read_at = written_at


def _write(path: Path, values: list[float]) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(values))
    scratch.replace(path)
