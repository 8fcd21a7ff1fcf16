"""Polling by windows loses no version of a record, whatever the order of writes, listing and polls."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from leads.domain.listing import ListedLead
from leads.domain.window import (
    OVERLAP,
    SETTLE,
    Window,
    advance,
    filter_bounds,
    next_window,
)
from tests.support.suites import IS_FULL

EXAMPLES = 10_000 if IS_FULL else 500
T0 = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)
SEARCH = settings(max_examples=5_000, database=None, phases=[Phase.generate])
LAG_SECONDS = int((OVERLAP + SETTLE).total_seconds()) - 1
"""The worst the margins promise to survive: commit delay, search lag and slow clock together."""
SKEW_SECONDS = 45
"""How far the clock of a writer is ahead or behind."""


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Write:
    """One version of a record: stamped at `stamp`, to be seen in the list from `listed` on (seconds)."""

    record: int
    stamp: int
    listed: int


@dataclass(frozen=True)
class Schedule:
    """A history of writes and the polls that meet it."""

    writes: tuple[Write, ...]
    polls: tuple[int, ...]
    page_size: int
    page_seconds: int
    descending: bool
    zone_hours: int

    def present(self, now: int) -> dict[int, Write]:
        """What the search index shows at `now`: of each record the last version listed by then."""
        shown: dict[int, Write] = {}
        for write in self.writes:
            if write.listed <= now:
                shown[write.record] = write
        return shown

    def read(self, window: Window, now: int) -> list[ListedLead]:
        """Page through the filtered list, while time passes and rows move between pages."""
        start, end = (self.reads_filter(text) for text in filter_bounds(window))
        found: list[ListedLead] = []
        cursor: tuple[int, int] | None = None
        while True:
            keys = [(w.stamp, w.record) for w in self.present(now).values() if start <= at(w.stamp) <= end]
            keys.sort(reverse=self.descending)
            if cursor is not None:
                keys = [k for k in keys if (k < cursor if self.descending else k > cursor)]
            page = keys[: self.page_size]
            if not page:
                return found
            found += [ListedLead("lead", str(record), at(stamp), {}) for stamp, record in page]
            cursor, now = page[-1], now + self.page_seconds

    def reads_filter(self, text: str) -> datetime:
        """The server reads naive filter values in a zone that is not documented."""
        return datetime.fromisoformat(text).replace(tzinfo=UTC) - timedelta(hours=self.zone_hours)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Up to twelve versions of five records, at equal, close or distant times; polls with outages between."""
    writes: list[Write] = []
    clock, last_listed = 0, dict.fromkeys(range(5), 0)
    for gap in draw(st.lists(st.sampled_from((0, 0, 1, 7, 200, 290, 310, 900, 7_000)), max_size=12)):
        clock += gap
        record = draw(st.integers(0, 4))
        skew = draw(st.sampled_from((0, 0, -SKEW_SECONDS, SKEW_SECONDS)))
        delay = draw(st.sampled_from((0, 0, 5, 59, 61, 300, 599, 601, LAG_SECONDS)))
        listed = clock + min(delay, LAG_SECONDS - max(-skew, 0))
        last_listed[record] = listed = max(listed, last_listed[record])
        writes.append(Write(record, clock + skew, listed))
    end = clock + LAG_SECONDS + SKEW_SECONDS + 700
    polls, now = [], draw(st.integers(-400, 0))
    while now < end:
        polls.append(now)
        now += draw(st.sampled_from((1, 300, 300, 310, 3_700, 90_000)))
    polls += [now + 100_000 * step for step in range(3)]
    return Schedule(
        tuple(w for w in writes if w.listed - w.stamp <= LAG_SECONDS),
        tuple(polls),
        draw(st.integers(1, 4)),
        draw(st.sampled_from((0, 1, 20))),
        draw(st.booleans()),
        draw(st.integers(-12, 14)),
    )


Found = set[tuple[str, datetime | None]]
Reader = Callable[[Schedule], Found]


def by_window(schedule: Schedule, overlap: timedelta = OVERLAP, settle: timedelta = SETTLE) -> Found:
    """Every version found by polling with windows."""
    found: Found = set()
    watermark: datetime | None = at(-3_600)
    for now in schedule.polls:
        window = next_window(watermark, at(now), overlap=overlap, settle=settle, max_step=timedelta(days=30))
        read = ((v.record_id, v.modified_on) for v in schedule.read(window, now))
        found |= {(name, time) for name, time in read if time is None or time in window}
        watermark = advance(watermark, window, trusted=True)
    return found


def by_cursor(schedule: Schedule) -> Found:
    """What a poller finds that asks for everything newer than the newest it has seen."""
    found: Found = set()
    newest = at(-3_600)
    for now in schedule.polls:
        rows = schedule.read(Window(newest, at(now)), now)
        new: Found = {(v.record_id, v.modified_on) for v in rows if v.modified_on and v.modified_on > newest}
        found |= new
        newest = max((moment for _, moment in new if moment), default=newest)
    return found


def lost(schedule: Schedule, reader: Reader) -> Found:
    """The newest versions that the reader never saw; a version that was replaced is superseded, not lost."""
    newest = {w.record: w for w in schedule.writes}
    wanted: Found = {(str(w.record), at(w.stamp)) for w in newest.values()}
    return wanted - reader(schedule)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules())
def test_no_schedule_loses_the_newest_version_of_a_record(schedule: Schedule) -> None:
    assert lost(schedule, by_window) == set()


@pytest.mark.parametrize(
    "reader",
    [
        pytest.param(by_cursor, id="a cursor on the newest time seen"),
        pytest.param(lambda s: by_window(s, settle=timedelta(0)), id="windows without the settle margin"),
        pytest.param(lambda s: by_window(s, overlap=timedelta(0)), id="windows without overlap"),
    ],
)
def test_less_than_settled_overlapping_windows_loses_a_record(reader: Reader) -> None:
    """The model is strong enough to break each weaker reader."""
    found = find(schedules(), lambda s: bool(lost(s, reader)), settings=SEARCH)
    assert lost(found, by_window) == set()
