"""Coverage by identity: which of our rows make a listed record needless to store, and where it stands."""

from datetime import UTC, datetime, timedelta

import pytest

from leads.domain.coverage import (
    Event,
    covering,
    covers,
    group_by_record,
    missing,
    same_fields,
    standing,
)
from leads.domain.lifecycle import STATES
from leads.domain.listing import ListedLead

T0 = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def at(seconds: float | None) -> datetime | None:
    return None if seconds is None else T0 + timedelta(seconds=seconds)


def event(record_id: str, seconds: float | None, status: str = "processed", **fields: str) -> Event:
    return Event("lead", record_id, at(seconds), fields, status)


def listed(record_id: str, seconds: float | None, **fields: str) -> ListedLead:
    """A record as the list shows it."""
    return ListedLead("lead", record_id, at(seconds), {"id": record_id, **fields})


def test_a_lead_is_covered_by_an_event_that_is_not_older_to_the_millisecond() -> None:
    assert covers(event("a", 5.0001), listed("a", 5.0009))
    assert covers(event("a", 6), listed("a", 5))
    assert not covers(event("a", 5.001), listed("a", 5.002))
    assert not covers(event("b", 6), listed("a", 5))


@pytest.mark.parametrize(
    ("table_name", "listed_tables"),
    [
        ("lead", ["lead"]),
        ("contact", ["contact"]),
        (None, ["account", "contact", "lead"]),
        ("not documented", ["lead"]),
    ],
)
def test_a_lead_is_covered_by_events_of_its_table_and_by_those_without_one(
    table_name: str | None, listed_tables: list[str]
) -> None:
    stored = Event(table_name, "a", at(5), {}, "processed")
    leads = {table: ListedLead(table, "a", at(5), {}) for table in ("account", "contact", "lead")}
    assert [table for table, lead in leads.items() if covers(stored, lead)] == listed_tables


def test_without_a_time_on_either_side_the_mapped_fields_decide() -> None:
    assert covers(event("a", None, name="Lan"), listed("a", 5, name="Lan"))
    assert covers(event("a", 5, name="Lan"), listed("a", None, name="Lan"))
    assert not covers(event("a", None, name="Lan"), listed("a", None, name="Mai"))


def test_only_what_nothing_covers_is_to_be_inserted() -> None:
    leads = [listed("a", 5), listed("b", 5), listed("c", None, name="x"), listed("d", 5)]
    events = [event("a", 4), event("a", 5), event("b", 4), event("c", 1, name="y")]
    assert missing(leads, group_by_record(events)) == [leads[1], leads[2], leads[3]]


def test_a_lead_without_a_time_is_covered_by_an_event_with_the_same_fields() -> None:
    lead = listed("a", None, name="Lan", email="a@example.com")
    same, other = event("a", 3, name="Lan"), event("a", 3, name="Mai")
    assert covering(lead, group_by_record([same])) == [same]
    assert covering(lead, group_by_record([other])) == []


def test_an_event_without_a_time_covers_a_lead_with_the_same_fields() -> None:
    assert covering(listed("a", 5, name="Lan"), group_by_record([event("a", None, name="Lan")]))
    assert not covering(listed("a", 5, name="Lan"), group_by_record([event("a", None, name="Mai")]))


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


@pytest.mark.parametrize("status", sorted(STATES))
def test_every_state_has_a_word(status: str) -> None:
    assert standing([event("a", 5, status)])


def test_fields_that_only_one_body_mentions_do_not_count() -> None:
    """The webhook sends no `interested_product`, the list no tag objects."""
    assert same_fields({"name": "Lan"}, {"name": "Lan", "interested_products": ["x"]})
    assert not same_fields({"name": "Lan"}, {"email": "x"})
    assert not same_fields({}, {})
