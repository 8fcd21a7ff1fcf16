"""Lists as the API gives them: numbers kept, odd records left out, each record as strict as a webhook."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from leads.domain.body import read_body
from leads.domain.canonical_json import JsonObject, read_json_loosely
from leads.domain.listing import ListedLead, read_listed_leads

NOW = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def listed_lead(answer: bytes) -> ListedLead:
    """The only record of a list, as JSON."""
    entry = read_json_loosely(answer)
    assert isinstance(entry, dict)
    (lead,) = read_listed_leads([entry], "lead", UTC)
    return lead


def test_numbers_keep_their_digits() -> None:
    answer = read_json_loosely(b'{"a": 18446744073709551617, "b": 1.10, "c": NaN}')
    assert answer == {"a": "18446744073709551617", "b": "1.10", "c": "NaN"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_none(content: bytes) -> None:
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
    assert [(lead.record_id, lead.modified_on) for lead in read_listed_leads(entries, "lead", zone)] == [
        ("a", NOW),
        ("b", NOW),
        ("c", None),
    ]


def test_a_listed_record_passes_the_gate_with_its_table_and_connection() -> None:
    (lead,) = read_listed_leads([{"id": "a", "name": "Lan", "source": ["-1"]}], "contact", UTC)
    delivery = lead.delivery("c1", NOW)
    assert delivery.connection_id == "c1"
    assert delivery.body.record_id == "a"
    assert delivery.body.table_name == "contact"
    assert delivery.body.source_ids == ("-1",)
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
