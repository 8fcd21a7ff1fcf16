"""The time that a measurement covers."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ops.golive.criterion import Criterion, Window
from ops.golive.records import Kind, Record, newest

LENGTHS = {Window.DAY: timedelta(days=1), Window.WEEK: timedelta(days=7)}
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` (included) to `end` (excluded), both aware."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        """Return its length in whole seconds, at least 1."""
        return max(1, int((self.end - self.start).total_seconds()))


class WaveNotBegun(Exception):
    """The window begins with a wave that has no record of its beginning; the text names the wave."""


def period_of(criterion: Criterion, wave: str | None, at: datetime, records: tuple[Record, ...]) -> Period:
    """Return the window of a criterion up to `at`. Raises WaveNotBegun."""
    window = criterion.window
    if window is Window.NONE:
        return Period(LONG_AGO, at)
    if length := LENGTHS.get(window):
        return Period(at - length, at)
    begun = beginning(wave if window is Window.WAVE and wave else "W1", at, records)
    return Period(begun, at)


def beginning(wave: str, at: datetime, records: tuple[Record, ...]) -> datetime:
    """Return when a wave began. Raises WaveNotBegun."""
    record = newest(records, Kind.BEGIN, wave, at)
    if record is None:
        raise WaveNotBegun(wave)
    return record.holds_at
