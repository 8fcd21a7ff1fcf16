"""Which window of time to request from Pancake, and whether the answer is complete.

The list of records has no "changed since" filter and no guaranteed order: only a filter over `modified_on`,
whose time zone is not documented, on a search index that may lag. So windows include both ends, overlap, end
before the present, and are requested wider than needed; the answer is filtered again here.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import TypeVar

from leads.domain.body import MAX_TIME_CHARACTERS, read_time

OVERLAP = timedelta(minutes=10)
"""How far a window starts before the watermark: covers search lag, late commits and clock skew."""
SETTLE = timedelta(minutes=1)
"""How far before the present a window ends: younger versions may not be listed yet."""
ZONE_MARGIN = timedelta(hours=14)
"""The largest offset of a zone from UTC: in whichever zone the filter is read, it contains the window."""
MAX_STEP = timedelta(days=1)
"""How far one window advances the watermark at most: after an outage it catches up in steps."""
ICT = timezone(timedelta(hours=7), "ICT")
"""Indochina time, the zone of the operator's day; without daylight saving."""
MAX_DAYS_BACK = 14
"""How many closed days before today are reconciled at most."""

Key = TypeVar("Key")
"""What identifies a record."""


@dataclass(frozen=True, slots=True)
class Window:
    """A period of time in UTC, including both ends."""

    start: datetime
    end: datetime

    def __contains__(self, time: datetime) -> bool:
        return self.start <= time <= self.end

    def record_filter(self) -> dict[str, object]:
        """Return the list endpoint's `filter` for the records of the window, in the vendor's grammar."""
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
    max_step: timedelta = MAX_STEP,
) -> Window:
    """Return the window after `watermark`; without one, the last `max_step` before now.

    It ends at `now - settle` at the latest, and at most `max_step` after the watermark. If the clock was set
    back, the window is the last `overlap` before now, and `advance` keeps the watermark.
    """
    settled = now - settle
    since = settled - max_step if watermark is None else min(watermark, settled)
    return Window(since - overlap, min(settled, since + max_step))


def latest_window(
    due: Window,
    now: datetime,
    *,
    overlap: timedelta = OVERLAP,
    settle: timedelta = SETTLE,
    max_step: timedelta = MAX_STEP,
) -> Window | None:
    """Return the newest window, to be read too if the window that is due ends before it; at most `max_step`.

    Thus new records are not delayed while the watermark is far behind or kept back by an untrusted list.
    """
    settled = now - settle
    if due.end >= settled:
        return None
    return Window(max(due.end, settled - max_step) - overlap, settled)


def advance(watermark: datetime | None, window: Window, *, trusted: bool) -> datetime | None:
    """Return the watermark after a window was read: the window's end if trusted, never an earlier time."""
    if not trusted:
        return watermark
    return window.end if watermark is None else max(watermark, window.end)


def day_window(day: date) -> Window:
    """Return the window of a whole ICT day."""
    start = datetime.combine(day, time(), ICT).astimezone(UTC)
    return Window(start, start + timedelta(days=1) - timedelta(microseconds=1))


def read_moment(value: object) -> datetime | None:
    """Read an ISO 8601 date (its midnight in ICT) or time (naive: UTC); None for anything else."""
    if not isinstance(value, str) or len(value) > MAX_TIME_CHARACTERS:
        return None
    if moment := read_time(value):
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return datetime.combine(date.fromisoformat(value), time(), ICT)
    except ValueError:
        return None


def days_owed(
    now: datetime, succeeded: Collection[date], *, max_days_back: int = MAX_DAYS_BACK
) -> list[date]:
    """Return the closed ICT days without a succeeded reconciliation, oldest first."""
    today = _settled_day(now)
    days = (today - timedelta(days=back) for back in range(max_days_back, 0, -1))
    return [day for day in days if day not in succeeded]


def is_over(day: date, now: datetime) -> bool:
    """Whether an ICT day is over, so that its ledger can be closed."""
    return day < _settled_day(now)


def _settled_day(now: datetime) -> date:
    """Return the present ICT day; the day before lasts until its last versions have settled."""
    return (now - SETTLE).astimezone(ICT).date()


def filter_bounds(window: Window) -> tuple[str, str]:
    """Return the two values of a `$date_time` filter: naive ISO times in UTC, 14 h wider on each side.

    Naive because no other form was seen in use; whole seconds, rounded outwards.
    """
    start = (window.start - ZONE_MARGIN).astimezone(UTC)
    end = (window.end + ZONE_MARGIN + timedelta(seconds=1)).astimezone(UTC)
    return f"{start:%Y-%m-%dT%H:%M:%S}", f"{end:%Y-%m-%dT%H:%M:%S}"


def unreturned(window: Window, known: Mapping[Key, datetime], returned: Collection[Key]) -> list[Key]:
    """Return the records that a complete answer had to contain and did not, in the order of `known`.

    `known` maps a record to the newest `modified_on` that the webhook brought; `returned` holds every record
    of the answer, those outside the window too (a record changed since then is listed under its new time).
    """
    return [key for key, modified_on in known.items() if modified_on in window and key not in returned]


def has_explanation(window: Window, suspects: Iterable[Key], present: Mapping[Key, datetime | None]) -> bool:
    """Whether the present state of each suspect explains that it was not listed: deleted, or changed since.

    `present` maps the records that still exist to their `modified_on`. A suspect that exists and still lies
    in the window proves that the list left it out.
    """
    for key in suspects:
        if key in present:
            modified_on = present[key]
            if modified_on is None or modified_on in window:
                return False
    return True
