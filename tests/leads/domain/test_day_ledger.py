"""The ledger of a day: each listed record has one state or is reported as missing."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from leads.domain.coverage import Stored
from leads.domain.day_ledger import Reckoning
from leads.domain.listing import Listed, RecordVersion
from leads.domain.window import day_window

DAY = date(2026, 5, 14)
START = day_window(DAY).start
NOTHING: dict[str, Any] = {"superseded": 0, "strangers": []}


def item(record_id: str, hours: float | None = 1) -> Listed:
    time = None if hours is None else START + timedelta(hours=hours)
    return Listed(RecordVersion(record_id, time), {"id": record_id})


def stored(record_id: str, status: str, error_code: str | None = None) -> dict[str, list[Stored]]:
    """The stored row of the version that `item` lists."""
    return {record_id: [Stored(item(record_id).version, status, error_code)]}


def test_each_listed_record_is_counted_by_the_state_of_its_rows() -> None:
    reckoning = Reckoning(DAY, {})
    rows = (
        stored("a", "processed")
        | stored("b", "skipped_kill_switch")
        | stored("c", "dead_letter", "invalid_phone")
        | stored("d", "failed")
        | stored("f", "skipped_source_disabled")
    )
    reckoning.enter(reckoning.select([item(name) for name in "abcdefg"]), rows, {"e": "received"})
    report = reckoning.report(NOTHING, [], {})
    assert (report["expected"], report["found"]) == (7, 5)
    assert (report["processed"], report["held"], report["pending"]) == (1, 2, 1)
    assert report["rejected"] == [["c", "invalid_phone"]]
    assert (report["found_missing"], report["left_missing"], report["inserted"]) == (["e"], ["g"], 1)


def test_a_record_stored_by_another_layer_meanwhile_does_not_count_as_found() -> None:
    reckoning = Reckoning(DAY, {})
    reckoning.enter(reckoning.select([item("a")]), {}, {"a": "duplicate"})
    assert reckoning.report(NOTHING, [], {})["left_missing"] == ["a"]


def test_the_day_is_closed_at_both_ends_and_a_record_without_a_time_belongs_to_it() -> None:
    day = day_window(DAY)
    late = Listed(RecordVersion("late", day.end + timedelta(microseconds=1)), {})
    reckoning = Reckoning(DAY, {})
    chosen = reckoning.select(
        [item("first", 0), Listed(RecordVersion("last", day.end), {}), item("x", None), late]
    )
    assert [each.record_id for each in chosen] == ["first", "last", "x"]


def test_a_record_listed_twice_is_counted_once_and_reported() -> None:
    reckoning = Reckoning(DAY, {})
    assert len(reckoning.select([item("a"), item("b"), item("a", 2)])) == 2
    assert len(reckoning.select([item("b")])) == 0
    assert reckoning.report(NOTHING, [], {})["duplicates"] == ["a", "b"]


def test_one_in_ten_of_the_day_before_is_checked_again_outside_the_ledger() -> None:
    reckoning = Reckoning(DAY, {})
    sample = reckoning.select(item(f"r{n}", -1) for n in range(1_000))
    assert 60 < len(sample) < 140
    reckoning.enter(sample, stored(sample[0].record_id, "processed"), {})
    report = reckoning.report(NOTHING, [], {})
    assert (report["expected"], report["found"]) == (0, 0)
    assert report["sampled"] == len(sample)
    assert sample[0].record_id not in report["sample_missing"]


def test_a_stored_record_that_is_not_listed_is_deleted_changed_later_or_omitted() -> None:
    ours = {"superseded": 2, "strangers": [{"record_id": name} for name in ("gone", "later", "left", "many")]}
    present = {"later": datetime(2026, 5, 20, tzinfo=UTC), "left": START + timedelta(hours=1)}
    report = Reckoning(DAY, {}).report(ours, ["gone", "later", "left"], present)
    assert (report["unexpected"], report["unlisted"]) == (["gone"], ["left"])
    assert (report["superseded"], report["not_looked_up"]) == (2, 1)


def test_an_interrupted_day_resumes_from_its_saved_progress() -> None:
    state: dict[str, Any] = {}
    first = Reckoning(DAY, state)
    first.enter(first.select([item("a")]), stored("a", "processed"), {})
    second = Reckoning(DAY, state)
    second.enter(second.select([item("a"), item("b")]), {}, {"b": "received"})
    report = second.report(NOTHING, [], {})
    assert (report["expected"], report["processed"], report["found_missing"]) == (2, 1, ["b"])
    assert report["duplicates"] == ["a"]
    assert not {"seen", "table", "cursor"} & report.keys()
