"""Which stretch of time to ask Pancake for, and whether its answer can be believed.

The list of records has no "changed since" and no promise of order: only a filter over `modified_on`, whose
time zone is not documented, behind a search index that may lag. So windows are closed at both ends, overlap,
end before the present, and are asked for wider than needed; what comes back is filtered again here.
This module knows nothing of HTTP or SQL: it is given times and versions and answers with times and names.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any

from leads.domain.body import read_time

OVERLAP = timedelta(minutes=10)
"""How far a window reaches back before the watermark: covers search lag, late commits and a slow clock."""
SETTLE = timedelta(minutes=1)
"""How far a window stays away from the present: versions younger than this may still be on their way."""
WIDEN = timedelta(hours=14)
"""The largest distance of a time zone from UTC: whatever zone the filter is read in, the window is inside."""
LONGEST = timedelta(days=1)
"""The longest new stretch of one window: after an outage the watermark catches up in steps."""
ICT = timezone(timedelta(hours=7), "ICT")
"""Indochina time, the zone of the operator's day; without daylight saving."""
DAYS_BACK = 14
"""How many closed days a reconciliation goes back at most."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, closed at both ends, in UTC."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment <= self.end

    def bounds(self) -> dict[str, datetime]:
        """The window as parameters of a statement."""
        return {"window_from": self.start, "window_to": self.end}

    def record_filter(self) -> dict[str, Any]:
        """The list endpoint's `filter` (an object of the vendor's grammar) for the records of the window."""
        condition = {
            "field_name": "modified_on",
            "type": "$date_time",
            "value": list(filter_bounds(self)),
            "is_filter_exclude": False,
        }
        return {"is_group": False, "fields": [condition]}


def next_window(
    watermark: datetime | None,
    now: datetime,
    *,
    overlap: timedelta = OVERLAP,
    settle: timedelta = SETTLE,
    first: timedelta = LONGEST,
    longest: timedelta = LONGEST,
) -> Window:
    """The window after `watermark`; without one, the last `first` before now.

    It never ends later than `now - settle`, and never adds more than `longest` beyond the watermark. Should
    our clock have gone back, the window is the last `overlap` before it, and `advance` keeps the watermark.
    """
    settled = now - settle
    since = settled - first if watermark is None else min(watermark, settled)
    return Window(since - overlap, min(settled, since + longest))


def latest_window(
    due: Window,
    now: datetime,
    *,
    overlap: timedelta = OVERLAP,
    settle: timedelta = SETTLE,
    longest: timedelta = LONGEST,
) -> Window | None:
    """What to read besides the window that is due if that one ends before the present: at most the last day.

    So a watermark that is far behind, or stands still because the list is not trusted, delays no new record.
    """
    settled = now - settle
    if due.end >= settled:
        return None
    return Window(max(due.end, settled - longest) - overlap, settled)


def advance(watermark: datetime | None, window: Window, *, trusted: bool) -> datetime | None:
    """The watermark after a window read to its last page: its end if trusted, never an earlier one."""
    if not trusted:
        return watermark
    return window.end if watermark is None else max(watermark, window.end)


def day_window(day: date) -> Window:
    """The whole of an ICT day."""
    start = datetime.combine(day, time(), ICT).astimezone(UTC)
    return Window(start, start + timedelta(days=1) - timedelta(microseconds=1))


def read_moment(value: object) -> datetime | None:
    """An ISO 8601 date, which is its midnight in ICT, or time, in UTC if it names no zone; None for else."""
    if not isinstance(value, str):
        return None
    if moment := read_time(value):
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return datetime.combine(date.fromisoformat(value), time(), ICT)
    except ValueError:
        return None


def days_owed(now: datetime, succeeded: Collection[date], *, at_most: int = DAYS_BACK) -> list[date]:
    """The closed ICT days without a succeeded reconciliation, oldest first, at most `at_most` days back."""
    today = (now - SETTLE).astimezone(ICT).date()
    days = (today - timedelta(days=back) for back in range(at_most, 0, -1))
    return [day for day in days if day not in succeeded]


def filter_bounds(window: Window) -> tuple[str, str]:
    """The two values of a `$date_time` filter for a window: naive ISO times in UTC, 14 h wider on each side.

    Naive because that is the only shape seen in use; to the second, rounded outwards.
    """
    start = (window.start - WIDEN).astimezone(UTC)
    end = (window.end + WIDEN + timedelta(seconds=1)).astimezone(UTC)
    return f"{start:%Y-%m-%dT%H:%M:%S}", f"{end:%Y-%m-%dT%H:%M:%S}"


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """A time in UTC; a naive one is read in `zone`."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def unreturned(window: Window, known: Mapping[str, datetime], returned: Collection[str]) -> list[str]:
    """The record ids that a complete answer had to contain and did not.

    `known` maps a record id to the newest `modified_on` that a webhook brought us; `returned` holds every id
    of the answer, also those outside the window (a record changed since then is listed under its new time).
    """
    return sorted(i for i, modified_on in known.items() if modified_on in window and i not in returned)


def trusted(window: Window, suspects: Iterable[str], now_at: Mapping[str, datetime | None]) -> bool:
    """Whether each suspect is explained by its present state, read one by one: deleted, or changed since.

    `now_at` maps the ids that still exist to their present `modified_on`; a suspect that exists and still
    lies in the window proves that the list left it out.
    """
    for record_id in suspects:
        if record_id in now_at:
            modified_on = now_at[record_id]
            if modified_on is None or modified_on in window:
                return False
    return True
