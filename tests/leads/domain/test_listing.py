"""Lists from the API: numbers are kept, invalid entries skipped, each record as strict as a webhook."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from leads.domain.body import read_delivery
from leads.domain.listing import RecordVersion, arrival_of, listed, read_answer

NOW = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def test_numbers_keep_their_digits() -> None:
    answer = read_answer(b'{"a": 18446744073709551617, "b": 1.10, "c": NaN}')
    assert answer == {"a": "18446744073709551617", "b": "1.10", "c": "NaN"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_text_that_is_no_json_gives_none(content: bytes) -> None:
    assert read_answer(content) is None


def test_versions_use_modified_on_then_created_on_then_nothing() -> None:
    zone = ZoneInfo("Asia/Ho_Chi_Minh")
    entries: list[dict[str, object]] = [
        {"id": "a", "modified_on": "2026-05-14T09:00:00", "created_on": "2026-05-01T00:00:00"},
        {"id": "b", "modified_on": None, "created_on": "2026-05-14T02:00:00Z"},
        {"id": "c"},
        {"id": ""},
        {"name": "no id"},
    ]
    assert [item.version for item in listed(entries, zone)] == [
        RecordVersion("a", NOW),
        RecordVersion("b", NOW),
        RecordVersion("c", None),
    ]


def test_a_listed_record_becomes_a_delivery_with_its_table_and_connection() -> None:
    (item,) = listed([{"id": "a", "name": "Lan", "source": ["-1"]}], UTC)
    arrival = arrival_of(item, "c1", "contact", NOW)
    assert arrival.connection_id == "c1"
    assert arrival.delivery.record_id == "a"
    assert arrival.delivery.table_name == "contact"
    assert arrival.delivery.source_ids == ("-1",)
    assert item.with_fields().mapped == {"name": "Lan", "sources": ["-1"]}


def test_a_listed_record_that_is_not_strict_json_becomes_a_dead_letter() -> None:
    for text, code in [
        (b'"\\ud800"', "invalid_json"),
        (b"NaN", "invalid_json"),
        (b"[" * 40 + b"]" * 40, "too_deep"),
        (b'"' + b"x" * 300_000 + b'"', "too_large"),
        (b"1e100", "unstorable"),
        (b"[-2.5E-99999]", "unstorable"),
    ]:
        (item,) = listed([read_answer(b'{"id": "a", "name": %b}' % text)], UTC)
        assert arrival_of(item, "c1", "lead", NOW).delivery.error_code == code


def test_a_plain_record_is_read_like_a_webhook_with_the_same_content() -> None:
    text = '{"source": ["-1"], "id": "a", "name": "Lan \\u0000", "n": 1.10, "created_on": "2026-05-14"}'
    (item,) = listed([read_answer(text.encode())], UTC)
    assert arrival_of(item, "c1", "lead", NOW).delivery == replace(
        read_delivery(text.encode()), table_name="lead"
    )
