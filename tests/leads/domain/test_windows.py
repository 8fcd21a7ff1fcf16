"""Windows of polling: bounds, filter, days, trust, progress; no schedule of writes loses a version."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from leads.domain.listing import ListedLead
from leads.domain.poll import PollProgress
from leads.domain.table_record import TableRecord
from leads.domain.timestamps import in_utc
from leads.domain.window import (
    ICT,
    OVERLAP,
    SETTLE,
    ZONE_MARGIN,
    Window,
    advance,
    day_window,
    days_owed,
    filter_bounds,
    has_explanation,
    latest_window,
    next_window,
    unreturned,
)
from tests.support.suites import IS_FULL

T0 = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_a_window_ends_before_the_present_and_reaches_back_before_the_watermark() -> None:
    window = next_window(at(0), at(300))
    assert window == Window(at(0) - OVERLAP, at(300) - SETTLE)
    assert window.start in window
    assert window.end in window
    first = next_window(None, at(0))
    assert first == Window(at(0) - SETTLE - timedelta(days=1) - OVERLAP, at(0) - SETTLE)
    assert advance(None, first, trusted=True) == first.end


def test_after_an_outage_the_watermark_catches_up_in_steps_without_a_gap() -> None:
    windows: list[Window] = []
    now = at(0)
    watermark: datetime | None = now - timedelta(days=3)
    while not windows or windows[-1].end < now - SETTLE:
        windows.append(next_window(watermark, now))
        watermark = advance(watermark, windows[-1], trusted=True)
    assert len(windows) == 3
    assert all(later.start == earlier.end - OVERLAP for earlier, later in pairwise(windows))


def test_what_is_new_is_read_besides_a_window_that_ends_before_it() -> None:
    assert latest_window(next_window(at(0), at(300)), at(300)) is None
    now = at(0) + timedelta(days=1, hours=3)
    assert latest_window(next_window(at(0), now), now) == Window(at(86_400) - OVERLAP, now - SETTLE)
    now = at(0) + timedelta(days=9)
    day = Window(now - SETTLE - timedelta(days=1) - OVERLAP, now - SETTLE)
    assert latest_window(next_window(at(0), now), now) == day


def test_a_window_that_is_not_trusted_or_ends_before_the_watermark_leaves_it() -> None:
    assert advance(at(0), next_window(at(0), at(300)), trusted=False) == at(0)
    window = next_window(at(10_000), at(0))
    assert window == Window(at(0) - SETTLE - OVERLAP, at(0) - SETTLE), "the clock went back"
    assert advance(at(10_000), window, trusted=True) == at(10_000)


@given(st.integers(-12, 14), st.floats(0, 90_000))
def test_the_filter_contains_the_window_in_whatever_zone_it_is_read(zone_hours: int, seconds: float) -> None:
    window = Window(at(seconds), at(seconds + 0.9))
    start, end = (
        datetime.fromisoformat(text).replace(tzinfo=UTC) - timedelta(hours=zone_hours)
        for text in filter_bounds(window)
    )
    assert start <= window.start
    assert window.end <= end


def test_the_filter_follows_the_vendors_grammar() -> None:
    bounds = ["2026-05-13T12:00:00", "2026-05-14T16:01:01"]
    field = {"field_name": "modified_on", "type": "$date_time", "value": bounds, "is_filter_exclude": False}
    assert Window(at(0), at(60)).record_filter() == {"is_group": False, "fields": [field]}


def test_every_closed_day_without_a_succeeded_run_is_owed_and_at_most_fourteen_back() -> None:
    now = datetime(2026, 5, 14, 19, 0, tzinfo=UTC)  # 02:00 on the 15th in Vietnam
    days = [date(2026, 5, day) for day in range(1, 15)]
    assert days_owed(now, {days[11]}) == [day for day in days if day != days[11]]


def test_an_ict_day_is_whole_does_not_overlap_and_is_closed_when_its_last_minute_has_settled() -> None:
    first, second = day_window(date(2026, 5, 14)), day_window(date(2026, 5, 15))
    assert first.start == datetime(2026, 5, 14, tzinfo=ICT)
    assert second.start - first.end == timedelta(microseconds=1)
    assert days_owed(second.start + timedelta(seconds=30), ())[-1] == date(2026, 5, 13)
    assert days_owed(second.start + SETTLE, ())[-1] == date(2026, 5, 14)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-05-14T02:35:56.123456", "UTC"),
        ("2026-05-14T09:35:56.123456", "Asia/Ho_Chi_Minh"),
        ("2026-05-14T02:35:56.123456+00:00", "Asia/Ho_Chi_Minh"),
        ("2026-05-14T09:35:56.123456+07:00", "UTC"),
    ],
)
def test_naive_times_are_read_in_the_zone_of_the_connection(text: str, zone: str) -> None:
    moment = in_utc(datetime.fromisoformat(text), ZoneInfo(zone))
    assert moment == datetime(2026, 5, 14, 2, 35, 56, 123456, UTC)


WINDOW = Window(at(0), at(600))


def test_a_record_known_by_webhook_to_lie_in_the_window_must_be_in_the_answer() -> None:
    known = {"a": at(0), "b": at(600), "c": at(601), "d": at(-1)}
    assert unreturned(WINDOW, known, {"a"}) == ["b"]


def test_only_a_record_deleted_or_changed_since_explains_its_absence() -> None:
    assert has_explanation(WINDOW, ["gone", "changed"], {"changed": at(700)})
    assert has_explanation(WINDOW, [], {})
    for modified_on in (at(600), None):
        assert not has_explanation(WINDOW, ["b"], {"b": modified_on}), "the filter is suspect"


# --- polling by windows loses no version of a record, whatever the order of writes, listing and polls

EXAMPLES = 10_000 if IS_FULL else 500
SEARCH = settings(max_examples=5_000, database=None, phases=[Phase.generate])
LAG_SECONDS = int((OVERLAP + SETTLE).total_seconds()) - 1
"""The worst the margins promise to survive: commit delay, search lag and slow clock together."""
SKEW_SECONDS = 45
"""How far the clock of a writer is ahead or behind."""


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


# --- the progress of a poll: what it counts, and that it continues from what it saved


def listed(record_id: str, modified_on: datetime | None) -> ListedLead:
    return ListedLead("lead", record_id, modified_on, {"id": record_id})


def test_an_interrupted_poll_goes_on_from_its_state() -> None:
    progress = PollProgress.start(T0 - timedelta(days=3), T0)
    inside = progress.window.start + timedelta(hours=1)
    a, b = TableRecord("lead", "a"), TableRecord("lead", "b")
    progress.expect({a: inside, b: inside, TableRecord(None, "c"): inside})
    progress.enter([listed("a", inside), listed("c", None)], ["c"])
    progress.position.advance("next", 1, 0)
    progress.look_ups.present[b] = inside
    assert progress.latest is not None
    progress.latest.position.table = 1

    resumed = PollProgress.load(json.loads(json.dumps(progress.save())))
    assert resumed == progress
    assert (resumed.suspects(), resumed.listed, resumed.missed_ids) == ([b], 2, ["c"])


def test_a_contact_in_the_list_is_not_the_lead_of_its_id() -> None:
    progress = PollProgress.start(T0 - timedelta(minutes=5), T0)
    inside = progress.window.start
    lead, unknown = TableRecord("lead", "a"), TableRecord(None, "a")
    progress.expect({lead: inside, unknown: inside})
    progress.enter([ListedLead("contact", "a", inside, {})], [])
    assert progress.suspects() == [lead]
    assert progress.report()["suspects"] == ["a"]


def test_only_leads_that_no_filter_would_return_count_as_outside() -> None:
    progress = PollProgress.start(T0 - timedelta(minutes=5), T0)
    margin = 2 * ZONE_MARGIN
    leads = [listed("near", progress.window.start - margin), listed("far", progress.window.end + margin * 2)]
    assert progress.select(leads) == []
    progress.enter(leads, [])
    assert progress.outside == 1
