"""Cron expressions of five fields, as our cron triggers have them: when one is due, and when late."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

MINUTES, HOURS = (0, 59), (0, 23)
_BOUNDS = (MINUTES, HOURS, (1, 31), (1, 12), (0, 7))
"""Minute, hour, day of the month, month, day of the week; Sunday is 0 and 7."""
_MINUTE = timedelta(minutes=1)
_LONGEST_SEARCH_MINUTES = 8 * 24 * 60
"""Our crons are due at least once a day; eight days also find those of a week."""
SPARED_TICKS = 2
"""So many ticks may fail, one after the other, before a cron is late."""
LONGEST_GRACE = timedelta(hours=1)
SHORTEST_GRACE = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The values that each field of an expression allows, in UTC."""

    fields: tuple[frozenset[int], ...]

    @classmethod
    def parse(cls, expression: str) -> "Schedule":
        """Read `*`, `*/n`, numbers, ranges and lists. Raises ValueError for anything else.

        Also for a day of the month together with one of the week: cron programs differ in what that means.
        """
        fields = expression.split()
        if len(fields) != len(_BOUNDS):
            raise ValueError(f"{expression!r} does not have five fields")
        if fields[2] != "*" and fields[4] != "*":
            raise ValueError(f"{expression!r} names days of the month and of the week")
        *others, weekdays = (frozenset(values_of(*each)) for each in zip(fields, _BOUNDS, strict=True))
        return cls((*others, frozenset(day % 7 for day in weekdays)))

    def next_after(self, time: datetime) -> datetime:
        """Return the first tick after a time in UTC. Raises ValueError if there is none within eight days."""
        return self._search(time.replace(second=0, microsecond=0) + _MINUTE, _MINUTE)

    def last_before(self, time: datetime) -> datetime:
        """Return the last tick at or before a time in UTC. Raises ValueError as `next_after` does."""
        return self._search(time.replace(second=0, microsecond=0), -_MINUTE)

    def overdue_since(self, succeeded_tick: datetime | None, now: datetime) -> datetime | None:
        """Return the tick whose work is overdue at `now`; None if a later one succeeded, or it has time left.

        Two ticks may fail before that; a tick of a daily cron has an hour.
        """
        last = self.last_before(now)
        period = self.next_after(last) - last
        grace = max(SHORTEST_GRACE, min(LONGEST_GRACE, SPARED_TICKS * period))
        due = self.last_before(now - grace)
        return None if succeeded_tick is not None and succeeded_tick >= due else due

    def _search(self, time: datetime, step: timedelta) -> datetime:
        for _ in range(_LONGEST_SEARCH_MINUTES):
            if self._has(time):
                return time
            time += step
        raise ValueError("the schedule has no tick within eight days")

    def _has(self, time: datetime) -> bool:
        parts = (time.minute, time.hour, time.day, time.month, time.isoweekday() % 7)
        return all(part in allowed for part, allowed in zip(parts, self.fields, strict=True))


def values_of(field: str, bounds: tuple[int, int]) -> Iterator[int]:
    """Yield the numbers that a field names; one with a step and no end goes up to the last of its bounds."""
    low, high = bounds
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin, end = (low, high) if span == "*" else (int(first), int(last or (high if step else first)))
        if not (low <= begin <= end <= high) or (step and int(step) < 1):
            raise ValueError(f"{field!r} is out of its bounds")
        yield from range(begin, end + 1, int(step or 1))
