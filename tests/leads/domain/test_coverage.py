"""Coverage by identity: which stored rows cover a listed record, and its state in the ledger."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leads.domain.coverage import (
    Stored,
    asked_of,
    covering,
    covers,
    missing_of,
    same_fields,
    standing,
    stored_of,
)
from leads.domain.lifecycle import STATES
from leads.domain.listing import Listed, RecordVersion

T0 = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def version(name: str, seconds: float | None, name_field: str | None = None) -> RecordVersion:
    fields = {} if name_field is None else {"name": name_field}
    return RecordVersion(name, None if seconds is None else T0 + timedelta(seconds=seconds), fields)


def item(record_id: str, seconds: float | None, **fields: str) -> Listed:
    """A record as the list shows it."""
    return Listed(version(record_id, seconds), {"id": record_id, **fields})


def row(record_id: str, seconds: float | None, status: str = "processed", **fields: str) -> dict[str, Any]:
    """A row of pancake_lists/load_events; it has a body only if fields are given."""
    return {
        "record_id": record_id,
        "modified_on": version(record_id, seconds).modified_on,
        "status": status,
        "error_code": "invalid_phone" if status == "dead_letter" else None,
        "payload": json.dumps({"id": record_id, **fields}) if fields else None,
    }


def test_a_version_is_covered_by_one_that_is_not_older_to_the_millisecond() -> None:
    assert covers(version("a", 5.0001), version("a", 5.0009))
    assert covers(version("a", 6), version("a", 5))
    assert not covers(version("a", 5.001), version("a", 5.002))
    assert not covers(version("b", 6), version("a", 5))


def test_without_a_time_on_either_side_the_mapped_fields_decide() -> None:
    assert covers(version("a", None, "Lan"), version("a", 5, "Lan"))
    assert covers(version("a", 5, "Lan"), version("a", None, "Lan"))
    assert not covers(version("a", None, "Lan"), version("a", None, "Mai"))


def test_only_records_that_no_row_covers_are_inserted() -> None:
    listed = [item("a", 5), item("b", 5), item("c", None, name="x"), item("d", 5)]
    rows = [row("a", 4), row("a", 5), row("b", 4), row("c", 1, name="y")]
    assert missing_of(listed, rows) == [listed[1], listed[2], listed[3]]


def test_a_record_without_a_time_is_covered_by_a_row_with_the_same_content() -> None:
    listed = item("a", None, name="Lan", email="a@example.com")
    assert [
        stored.version.modified_on for stored in covering(listed, stored_of([row("a", 3, name="Lan")]))
    ] == [T0 + timedelta(seconds=3)]
    assert covering(listed, stored_of([row("a", 3, name="Mai")])) == []


def test_a_row_without_a_time_covers_a_record_with_the_same_content() -> None:
    assert covering(item("a", 5, name="Lan"), stored_of([row("a", None, name="Lan")]))
    assert not covering(item("a", 5, name="Lan"), stored_of([row("a", None, name="Mai")]))


def test_a_stored_body_beyond_the_limit_of_ingest_is_read() -> None:
    """jsonb adds a space after every colon and comma, so the text can exceed the limit of ingest."""
    body = row("a", None, name="Lan", **{f"k{n}": "" for n in range(25_000)})
    assert len(body["payload"]) > 256 * 1024
    assert covering(item("a", 5, name="Lan"), stored_of([body]))


def test_bodies_are_loaded_for_records_listed_without_a_time() -> None:
    assert asked_of([item("b", 5), item("a", None), item("b", 6)], "c1") == {
        "connection_id": "c1",
        "record_ids": ["a", "b"],
        "whole": ["a"],
    }


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
def test_the_best_covering_row_gives_the_state_of_a_record(states: str, word: str) -> None:
    assert standing(Stored(version("a", 5), status) for status in states.split()) == word


@pytest.mark.parametrize("status", sorted(STATES))
def test_every_status_has_a_state_in_the_ledger(status: str) -> None:
    assert standing([Stored(version("a", 5), status)])


def test_fields_in_only_one_of_the_bodies_do_not_count() -> None:
    """The webhook sends no `interested_product`, the list no tag objects."""
    assert same_fields({"name": "Lan"}, {"name": "Lan", "interested_products": ["x"]})
    assert not same_fields({"name": "Lan"}, {"email": "x"})
    assert not same_fields({}, {})
