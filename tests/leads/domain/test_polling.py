"""Lists of Pancake: windows of polling, records like webhooks, rows that cover them, the ledger of a day."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from leads.domain import poll
from leads.domain.body import ICT, read_body
from leads.domain.canonical_json import JsonObject, read_json_loosely
from leads.domain.day_ledger import Comparison, DayLedger, DayReport, day_window, days_owed
from leads.domain.listing import (
    SETTLE,
    ZONE_MARGIN,
    Event,
    ListedLead,
    LookUps,
    TableRecord,
    Window,
    covering,
    covers,
    filter_bounds,
    group_by_record,
    not_covered,
    read_listed_leads,
    record_state,
    same_fields,
)
from leads.domain.poll import OVERLAP, PollProgress, latest_window, next_window
from tests.support.suites import IS_FULL

NOW = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def listed_lead(answer: bytes) -> ListedLead:
    """The only record of a list, as JSON."""
    entry = read_json_loosely(answer)
    assert isinstance(entry, dict)
    (lead,) = read_listed_leads([entry], "lead", UTC)
    return lead


def test_numbers_keep_their_digits_and_what_is_no_json_is_none() -> None:
    answer = read_json_loosely(b'{"a": 18446744073709551617, "b": 1.10, "c": NaN}')
    assert answer == {"a": "18446744073709551617", "b": "1.10", "c": "NaN"}
    for content in (b"", b"{", b"\xff", b"[" * 100_000):
        assert read_json_loosely(content) is None


def test_versions_use_modified_on_then_created_on_then_nothing() -> None:
    zone = ZoneInfo("Asia/Ho_Chi_Minh")
    entries: list[JsonObject] = [
        {"id": "a", "modified_on": "2026-05-14T09:00:00", "created_on": "2026-05-01T00:00:00"},
        {"id": "b", "modified_on": None, "created_on": "2026-05-14T02:00:00Z"},
        {"id": "c"},
        {"id": ""},
        {"name": "no id"},
    ]
    leads = read_listed_leads(entries, "lead", zone)
    assert [(lead.record_id, lead.modified_on) for lead in leads] == [("a", NOW), ("b", NOW), ("c", None)]


def test_a_listed_record_passes_the_gate_with_its_table_and_connection() -> None:
    (lead,) = read_listed_leads([{"id": "a", "name": "Lan", "source": ["-1"]}], "contact", UTC)
    delivery = lead.delivery("c1", NOW)
    assert (delivery.connection_id, delivery.body.record_id) == ("c1", "a")
    assert (delivery.body.table_name, delivery.body.source_ids) == ("contact", ("-1",))
    assert lead.fields() == {"name": "Lan", "sources": ["-1"]}


def test_a_listed_record_that_is_not_strict_json_becomes_a_dead_letter() -> None:
    for text, code in [
        (b'"\\ud800"', "invalid_json"),
        (b"NaN", "invalid_json"),
        (b"[" * 40 + b"]" * 40, "too_deep"),
        (b'"' + b"x" * 300_000 + b'"', "too_large"),
        (b"1e100", "unstorable"),
        (b"[-2.5E-99999]", "unstorable"),
    ]:
        lead = listed_lead(b'{"id": "a", "name": %b}' % text)
        assert lead.delivery("c1", NOW).body.error_code == code


def test_a_plain_record_is_read_as_a_webhook_with_the_same_words_would_be() -> None:
    text = '{"source": ["-1"], "id": "a", "name": "Lan \\u0000", "n": 1.10, "created_on": "2026-05-14"}'
    lead = listed_lead(text.encode())
    assert lead.delivery("c1", NOW).body == replace(read_body(text.encode()), table_name="lead")


# --- coverage by identity: which of our rows make a listed record needless to store, and where it stands


def event(record_id: str, seconds: float | None, status: str = "processed", **fields: str) -> Event:
    return Event("lead", record_id, None if seconds is None else at(seconds), fields, status)


def listed(
    record_id: str, modified_on: datetime | None, table_name: str = "lead", **fields: str
) -> ListedLead:
    """A record as the list shows it."""
    return ListedLead(table_name, record_id, modified_on, {"id": record_id, **fields})


def test_a_lead_is_covered_by_an_event_that_is_not_older_to_the_millisecond() -> None:
    assert covers(event("a", 5.0001), listed("a", at(5.0009)))
    assert covers(event("a", 6), listed("a", at(5)))
    assert not covers(event("a", 5.001), listed("a", at(5.002)))
    assert not covers(event("b", 6), listed("a", at(5)))


def test_a_lead_is_covered_by_events_of_its_table_and_by_those_without_one(subtests: pytest.Subtests) -> None:
    for table_name, covered in {
        "lead": ["lead"],
        "contact": ["contact"],
        None: ["account", "contact", "lead"],
        "not documented": ["lead"],
    }.items():
        with subtests.test(table_name=table_name, covered=covered):
            stored = Event(table_name, "a", at(5), {}, "processed")
            tables = ("account", "contact", "lead")
            assert [table for table in tables if covers(stored, listed("a", at(5), table))] == covered


def test_without_a_time_on_either_side_the_mapped_fields_that_both_mention_decide() -> None:
    """The webhook sends no `interested_product`, the list no tag objects."""
    for seconds, modified_on in ((None, at(5)), (5, None), (3, None)):
        lead = listed("a", modified_on, name="Lan", email="a@example.com")
        same, other = event("a", seconds, name="Lan"), event("a", seconds, name="Mai")
        assert covers(same, lead)
        assert not covers(other, lead)
        assert covering(lead, group_by_record([same])) == [same]
        assert covering(lead, group_by_record([other])) == []
    assert same_fields({"name": "Lan"}, {"name": "Lan", "interested_products": ["x"]})
    assert not same_fields({"name": "Lan"}, {"email": "x"})
    assert not same_fields({}, {})


def test_only_what_nothing_covers_is_to_be_inserted() -> None:
    leads = [listed("a", at(5)), listed("b", at(5)), listed("c", None, name="x"), listed("d", at(5))]
    events = [event("a", 4), event("a", 5), event("b", 4), event("c", 1, name="y")]
    assert not_covered(leads, group_by_record(events)) == [leads[1], leads[2], leads[3]]


def test_the_best_of_its_covering_rows_says_where_a_record_stands(subtests: pytest.Subtests) -> None:
    for states, word in {
        "processed received failed dead_letter": "processed",
        "dead_letter received": "pending",
        "ingested": "pending",
        "skipped_kill_switch failed": "pending",
        "dead_letter skipped_kill_switch": "held",
        "skipped_source_disabled": "held",
        "dead_letter": "rejected",
    }.items():
        with subtests.test(states):
            assert record_state(event("a", 5, status) for status in states.split()) == word


# --- the ledger of a day: each listed record under one word, or named as missing


DAY = date(2026, 5, 14)
START = day_window(DAY).start


def item(record_id: str, hours: float = 1, table_name: str = "lead") -> ListedLead:
    return listed(record_id, START + timedelta(hours=hours), table_name)


def stored(record_id: str, status: str, error_code: str | None = None) -> dict[str, list[Event]]:
    """An event of the version that `item` lists."""
    return {record_id: [Event("lead", record_id, item(record_id).modified_on, {}, status, error_code)]}


def key(record_id: str) -> TableRecord:
    return TableRecord("lead", record_id)


def resume(ledger: DayLedger) -> DayLedger:
    return DayLedger.load(DAY, json.loads(json.dumps(ledger.save())))


def report_of(ledger: DayLedger) -> DayReport:
    """The report of a day without records that are stored and not listed."""
    return ledger.report({"superseded": 0, "unlisted": [], "not_looked_up": 0})


def test_each_listed_record_is_counted_under_the_word_of_its_rows() -> None:
    ledger = DayLedger(DAY)
    rows = (
        stored("a", "processed")
        | stored("b", "skipped_kill_switch")
        | stored("c", "dead_letter", "invalid_phone")
        | stored("d", "failed")
        | stored("f", "skipped_source_disabled")
    )
    ledger.enter(ledger.select([item(name) for name in "abcdefg"]), rows, {key("e")})
    report = report_of(ledger)
    assert (report["expected"], report["found"]) == (7, 5)
    assert (report["processed"], report["held"], report["pending"]) == (1, 2, 1)
    assert report["rejected"] == [["c", "invalid_phone"]]
    assert (report["found_missing"], report["left_missing"], report["inserted"]) == (["e"], ["g"], 1)


def test_the_day_is_closed_at_both_ends_and_a_record_without_a_time_belongs_to_it() -> None:
    end = day_window(DAY).end
    late = listed("late", end + timedelta(microseconds=1))
    chosen = DayLedger(DAY).select([item("first", 0), listed("last", end), listed("x", None), late])
    assert [each.record_id for each in chosen.leads] == ["first", "last", "x"]


def test_a_record_that_the_list_shows_twice_is_entered_once_and_named() -> None:
    """What was selected and not entered is selected again: a run that is cut off reads the page again."""
    ledger = DayLedger(DAY)
    page = [item("a"), item("b"), item("a", 2)]
    first = ledger.select(page)
    assert ledger.select(page) == first
    ledger.enter(first, {}, set())
    second = ledger.select([item("b")])
    ledger.enter(second, {}, set())
    assert (len(first.leads), len(second.leads)) == (2, 0)
    assert report_of(ledger)["duplicates"] == ["a", "b"]


def test_one_in_ten_of_the_day_before_is_looked_at_again_outside_the_ledger() -> None:
    ledger = DayLedger(DAY)
    sample = ledger.select(item(f"r{n}", -1) for n in range(1_000))
    first = sample.leads[0].record_id
    assert 60 < len(sample.leads) < 140
    ledger.enter(sample, stored(first, "processed"), set())
    report = report_of(ledger)
    assert (report["expected"], report["found"]) == (0, 0)
    assert report["sampled"] == len(sample.leads)
    assert first not in report["sample_missing"]


def test_a_record_of_ours_that_is_not_listed_is_gone_or_changed_later_or_was_left_out() -> None:
    present: dict[TableRecord, datetime | None] = {
        key("later"): datetime(2026, 5, 20, tzinfo=UTC),
        key("left"): START + timedelta(hours=1),
    }
    unlisted: list[Any] = [list(key(name)) for name in ("gone", "later", "left")]
    compared: Comparison = {"superseded": 2, "unlisted": unlisted, "not_looked_up": 1}
    ledger = DayLedger(DAY, comparison=compared, look_ups=LookUps(present, {key("gone")}))
    assert resume(ledger) == ledger
    report = ledger.report(compared)
    assert (report["unexpected"], report["unlisted"]) == (["gone"], ["left"])
    assert (report["superseded"], report["not_looked_up"]) == (2, 1)
    ledger.enter(ledger.select([item("new")]), {}, set())
    assert ledger.comparison is None, "it was made without that record"


def test_an_interrupted_day_goes_on_from_its_state() -> None:
    """A lead and a contact of one id are two records. What was stored now is saved once."""
    first, contact = DayLedger(DAY), item("id-of-a", table_name="contact")
    inserted = {TableRecord("contact", "id-of-a"), key("id-of-b")}
    page = [item("id-of-a"), contact, item("id-of-b")]
    first.enter(first.select(page), stored("id-of-a", "processed"), inserted)
    saved = json.dumps(first.save())
    assert (saved.count("id-of-a"), saved.count("id-of-b")) == (2, 1)
    of_version_before = first.save()
    del of_version_before["comparison"]
    assert DayLedger.load(DAY, of_version_before) == first
    second = resume(first)
    again = second.select([contact, item("id-of-c")])
    assert again.leads == [item("id-of-c")]
    second.enter(again, {}, {key("id-of-c")})
    report = report_of(second)
    assert (report["expected"], report["processed"], report["inserted"]) == (4, 1, 3)
    assert report["found_missing"] == ["id-of-a", "id-of-b", "id-of-c"]
    assert report["duplicates"] == ["id-of-a"]
    assert not {"seen_records", "table", "cursor"} & report.keys()


def test_a_day_that_did_not_close_is_read_again_without_forgetting_what_was_added() -> None:
    ledger = DayLedger(DAY)
    ledger.enter(ledger.select([item("a"), item("b")]), stored("a", "processed"), {key("b")})
    again = ledger.restart()
    again.enter(again.select([item("a")]), stored("a", "processed"), set())
    report = report_of(again)
    assert (report["found"], report["found_missing"], report["duplicates"]) == (1, ["b"], [])


# --- windows: bounds, filter, days, trust


def test_a_window_ends_before_the_present_and_reaches_back_before_the_watermark() -> None:
    window = next_window(at(0), at(300))
    assert window == Window(at(0) - OVERLAP, at(300) - SETTLE)
    assert window.start in window
    assert window.end in window
    first = next_window(None, NOW)
    assert first == Window(NOW - SETTLE - timedelta(days=1) - OVERLAP, NOW - SETTLE)
    assert PollProgress(first).watermark_after(None, trusted=True) == first.end


def test_after_an_outage_the_watermark_catches_up_in_steps_without_a_gap() -> None:
    windows: list[Window] = []
    now = at(0)
    watermark: datetime | None = now - timedelta(days=3)
    while not windows or windows[-1].end < now - SETTLE:
        windows.append(next_window(watermark, now))
        watermark = PollProgress(windows[-1]).watermark_after(watermark, trusted=True)
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
    assert PollProgress(next_window(at(0), at(300))).watermark_after(at(0), trusted=False) == at(0)
    window = next_window(at(10_000), at(0))
    assert window == Window(at(0) - SETTLE - OVERLAP, at(0) - SETTLE), "the clock went back"
    assert PollProgress(window).watermark_after(at(10_000), trusted=True) == at(10_000)


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
    """A day is closed when its last minute has settled."""
    now = datetime(2026, 5, 14, 19, 0, tzinfo=UTC)  # 02:00 on the 15th in Vietnam
    days = [date(2026, 5, day) for day in range(1, 15)]
    assert days_owed(now, {days[11]}) == [day for day in days if day != days[11]]
    first, second = day_window(date(2026, 5, 14)), day_window(date(2026, 5, 15))
    assert first.start == datetime(2026, 5, 14, tzinfo=ICT)
    assert second.start - first.end == timedelta(microseconds=1), "whole days that do not overlap"
    assert days_owed(second.start + timedelta(seconds=30), ())[-1] == date(2026, 5, 13)
    assert days_owed(second.start + SETTLE, ())[-1] == date(2026, 5, 14)


def test_a_record_known_to_lie_in_the_window_must_be_in_the_answer_unless_deleted_or_changed_since() -> None:
    progress = PollProgress(Window(at(0), at(600)))
    keys = {name: TableRecord("lead", name) for name in ("a", "b", "c", "d")}
    progress.expect(dict(zip(keys.values(), (at(0), at(600), at(601), at(-1)), strict=True)))
    progress.enter([listed("a", at(0))], [])
    assert list(progress.awaited) == [keys["b"]]
    assert progress.has_explanation(), "deleted"
    progress.look_ups = LookUps(present={keys["b"]: at(700)})
    assert progress.has_explanation(), "changed"
    for modified_on in (at(600), None):
        progress.look_ups = LookUps(present={keys["b"]: modified_on})
        assert not progress.has_explanation(), "the filter is suspect"
    assert PollProgress(progress.window).has_explanation()


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


Versions = set[tuple[str, datetime | None]]


def lost(schedule: Schedule, overlap: timedelta = OVERLAP, settle: timedelta = SETTLE) -> Versions:
    """The newest versions that polling by windows never saw; a version that was replaced is not lost."""
    found: Versions = set()
    watermark: datetime | None = at(-3_600)
    for now in schedule.polls:
        with patch.multiple(poll, OVERLAP=overlap, SETTLE=settle, MAX_STEP=timedelta(days=30)):
            window = next_window(watermark, at(now))
        read = ((v.record_id, v.modified_on) for v in schedule.read(window, now))
        found |= {(name, time) for name, time in read if time is None or time in window}
        watermark = PollProgress(window).watermark_after(watermark, trusted=True)
    newest = {w.record: w for w in schedule.writes}
    wanted: Versions = {(str(w.record), at(w.stamp)) for w in newest.values()}
    return wanted - found


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules())
def test_no_schedule_loses_the_newest_version_of_a_record(schedule: Schedule) -> None:
    assert lost(schedule) == set()


@pytest.mark.parametrize("margin", ["settle", "overlap"])
def test_less_than_settled_overlapping_windows_loses_a_record(margin: str) -> None:
    """The model is strong enough to find what each margin is for."""
    found = find(schedules(), lambda s: bool(lost(s, **{margin: timedelta(0)})), settings=SEARCH)
    assert lost(found) == set()


# --- the progress of a poll: what it counts, and that it continues from what it saved


def test_an_interrupted_poll_goes_on_from_its_state() -> None:
    progress = PollProgress.start(NOW - timedelta(days=3), NOW)
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
    assert (list(resumed.awaited), resumed.listed, resumed.missed_ids) == ([b], 2, ["c"])


def test_a_contact_in_the_list_is_not_the_lead_of_its_id() -> None:
    progress = PollProgress.start(NOW - timedelta(minutes=5), NOW)
    inside = progress.window.start
    lead, unknown = TableRecord("lead", "a"), TableRecord(None, "a")
    progress.expect({lead: inside, unknown: inside})
    progress.enter([listed("a", inside, "contact")], [])
    assert list(progress.awaited) == [lead]
    assert progress.report()["suspects"] == ["a"]


def test_only_leads_that_no_filter_would_return_count_as_outside() -> None:
    progress = PollProgress.start(NOW - timedelta(minutes=5), NOW)
    margin = 2 * ZONE_MARGIN
    leads = [listed("near", progress.window.start - margin), listed("far", progress.window.end + margin * 2)]
    assert progress.select(leads) == []
    progress.enter(leads, [])
    assert progress.outside == 1
