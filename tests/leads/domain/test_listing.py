"""Lists of Pancake: records as strict as webhooks, rows that cover them, the ledger of a day."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from leads.domain.body import read_body
from leads.domain.canonical_json import JsonObject, read_json_loosely
from leads.domain.coverage import (
    Event,
    covering,
    covers,
    group_by_record,
    missing,
    same_fields,
    standing,
)
from leads.domain.day_ledger import DayLedger
from leads.domain.lifecycle import STATES
from leads.domain.listing import ListedLead, read_listed_leads
from leads.domain.look_ups import LookUps
from leads.domain.reports import DayReport
from leads.domain.table_record import TableRecord
from leads.domain.window import day_window

NOW = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


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


def at(seconds: float | None) -> datetime | None:
    return None if seconds is None else NOW + timedelta(seconds=seconds)


def event(record_id: str, seconds: float | None, status: str = "processed", **fields: str) -> Event:
    return Event("lead", record_id, at(seconds), fields, status)


def listed_as(record_id: str, seconds: float | None, **fields: str) -> ListedLead:
    """A record as the list shows it."""
    return ListedLead("lead", record_id, at(seconds), {"id": record_id, **fields})


def test_a_lead_is_covered_by_an_event_that_is_not_older_to_the_millisecond() -> None:
    assert covers(event("a", 5.0001), listed_as("a", 5.0009))
    assert covers(event("a", 6), listed_as("a", 5))
    assert not covers(event("a", 5.001), listed_as("a", 5.002))
    assert not covers(event("b", 6), listed_as("a", 5))


def test_a_lead_is_covered_by_events_of_its_table_and_by_those_without_one() -> None:
    for table_name, covered in {
        "lead": ["lead"],
        "contact": ["contact"],
        None: ["account", "contact", "lead"],
        "not documented": ["lead"],
    }.items():
        stored = Event(table_name, "a", at(5), {}, "processed")
        tables = ("account", "contact", "lead")
        assert [table for table in tables if covers(stored, ListedLead(table, "a", at(5), {}))] == covered


def test_without_a_time_on_either_side_the_mapped_fields_that_both_mention_decide() -> None:
    """The webhook sends no `interested_product`, the list no tag objects."""
    for seconds, listed_seconds in ((None, 5), (5, None), (3, None)):
        lead = listed_as("a", listed_seconds, name="Lan", email="a@example.com")
        same, other = event("a", seconds, name="Lan"), event("a", seconds, name="Mai")
        assert covers(same, lead)
        assert not covers(other, lead)
        assert covering(lead, group_by_record([same])) == [same]
        assert covering(lead, group_by_record([other])) == []
    assert same_fields({"name": "Lan"}, {"name": "Lan", "interested_products": ["x"]})
    assert not same_fields({"name": "Lan"}, {"email": "x"})
    assert not same_fields({}, {})


def test_only_what_nothing_covers_is_to_be_inserted() -> None:
    leads = [listed_as("a", 5), listed_as("b", 5), listed_as("c", None, name="x"), listed_as("d", 5)]
    events = [event("a", 4), event("a", 5), event("b", 4), event("c", 1, name="y")]
    assert missing(leads, group_by_record(events)) == [leads[1], leads[2], leads[3]]


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ("processed received failed dead_letter", "processed"),
        ("dead_letter received", "pending"),
        ("ingested", "pending"),
        ("skipped_kill_switch failed", "pending"),
        ("dead_letter skipped_kill_switch", "held"),
        ("skipped_source_disabled", "held"),
        ("dead_letter", "rejected"),
    ],
)
def test_the_best_of_its_covering_rows_says_where_a_record_stands(states: str, word: str) -> None:
    assert standing(event("a", 5, status) for status in states.split()) == word


def test_every_state_has_a_word() -> None:
    assert all(standing([event("a", 5, status)]) for status in STATES)


# --- the ledger of a day: each listed record under one word, or named as missing


DAY = date(2026, 5, 14)
START = day_window(DAY).start


def item(record_id: str, hours: float | None = 1, table_name: str = "lead") -> ListedLead:
    time = None if hours is None else START + timedelta(hours=hours)
    return ListedLead(table_name, record_id, time, {"id": record_id})


def stored(record_id: str, status: str, error_code: str | None = None) -> dict[str, list[Event]]:
    """An event of the version that `item` lists."""
    return {record_id: [Event("lead", record_id, item(record_id).modified_on, {}, status, error_code)]}


def key(record_id: str) -> TableRecord:
    return TableRecord("lead", record_id)


def report_of(ledger: DayLedger) -> DayReport:
    """The report of a day without records that are stored and not listed."""
    return ledger.report(superseded=0, looked_up=[], not_looked_up=0)


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
    day = day_window(DAY)
    late = ListedLead("lead", "late", day.end + timedelta(microseconds=1), {})
    ledger = DayLedger(DAY)
    chosen = ledger.select([item("first", 0), ListedLead("lead", "last", day.end, {}), item("x", None), late])
    assert [each.record_id for each in chosen.leads] == ["first", "last", "x"]


def test_a_record_that_the_list_shows_twice_is_entered_once_and_named() -> None:
    ledger = DayLedger(DAY)
    first = ledger.select([item("a"), item("b"), item("a", 2)])
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
    looked_up = [key("gone"), key("later"), key("left")]
    ledger = DayLedger(DAY, look_ups=LookUps(present, {key("gone")}))
    resumed = DayLedger.load(DAY, json.loads(json.dumps(ledger.save())))
    assert resumed == ledger
    report = resumed.report(superseded=2, looked_up=looked_up, not_looked_up=1)
    assert (report["unexpected"], report["unlisted"]) == (["gone"], ["left"])
    assert (report["superseded"], report["not_looked_up"]) == (2, 1)


def test_what_was_selected_and_not_entered_is_selected_again() -> None:
    """A run that is cut off between the two reads the same page again."""
    ledger = DayLedger(DAY)
    again = ledger.select([item("a")])
    assert again == ledger.select([item("a")])
    ledger.enter(again, stored("a", "processed"), set())
    report = report_of(ledger)
    assert (report["expected"], report["processed"], report["duplicates"]) == (1, 1, [])


def test_an_interrupted_day_goes_on_from_its_state() -> None:
    first = DayLedger(DAY)
    first.enter(first.select([item("a")]), stored("a", "processed"), set())
    second = DayLedger.load(DAY, json.loads(json.dumps(first.save())))
    second.enter(second.select([item("a"), item("b")]), {}, {key("b")})
    report = report_of(second)
    assert (report["expected"], report["processed"], report["found_missing"]) == (2, 1, ["b"])
    assert report["duplicates"] == ["a"]
    assert not {"seen_records", "table", "cursor"} & report.keys()


def test_a_record_that_was_stored_now_is_saved_once() -> None:
    ledger = DayLedger(DAY)
    ledger.enter(ledger.select([item("id-of-b"), item("id-of-c")]), {}, {key("id-of-b"), key("id-of-c")})
    saved = json.dumps(ledger.save())
    assert (saved.count("id-of-b"), saved.count("id-of-c")) == (1, 1)
    resumed = DayLedger.load(DAY, json.loads(saved))
    assert resumed.select([item("id-of-b")]).duplicates == ["id-of-b"]
    report = report_of(resumed)
    assert (report["expected"], report["inserted"]) == (2, 2)
    assert report["found_missing"] == ["id-of-b", "id-of-c"]


def test_a_state_in_which_such_records_are_saved_twice_is_continued() -> None:
    """As an earlier release saved it."""
    ledger = DayLedger(DAY)
    ledger.enter(ledger.select([item("a")]), {}, {key("a")})
    saved = ledger.save()
    del saved["found_records"]
    saved["seen_records"]["lead"] = ["a"]
    saved["entries"]["found_missing"] = ["a"]
    resumed = DayLedger.load(DAY, json.loads(json.dumps(saved)))
    resumed.enter(resumed.select([item("a"), item("b")]), {}, {key("b")})
    report = report_of(resumed)
    assert (report["expected"], report["found_missing"]) == (2, ["a", "b"])
    assert (report["duplicates"], report["inserted"]) == (["a"], 2)


def test_a_lead_and_a_contact_of_one_id_are_two_records() -> None:
    ledger = DayLedger(DAY)
    selection = ledger.select([item("a"), item("a", table_name="contact")])
    ledger.enter(selection, stored("a", "processed"), {TableRecord("contact", "a")})
    resumed = DayLedger.load(DAY, json.loads(json.dumps(ledger.save())))
    again = resumed.select([item("a", table_name="contact")])
    assert again.leads == []
    resumed.enter(again, {}, set())
    report = report_of(resumed)
    assert (report["expected"], report["processed"], report["found_missing"]) == (2, 1, ["a"])
    assert report["duplicates"] == ["a"]


def test_a_day_that_did_not_close_is_read_again_without_forgetting_what_was_added() -> None:
    ledger = DayLedger(DAY)
    ledger.enter(ledger.select([item("a"), item("b")]), stored("a", "processed"), {key("b")})
    again = ledger.restart()
    again.enter(again.select([item("a")]), stored("a", "processed"), set())
    report = report_of(again)
    assert (report["found"], report["found_missing"], report["duplicates"]) == (1, ["b"], [])
