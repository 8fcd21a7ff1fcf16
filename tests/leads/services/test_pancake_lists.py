"""What is loaded and read of stored events; records read one by one, each from its table."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leads.adapters.pancake_api import Access, PancakeApi
from leads.domain.coverage import Event, covering
from leads.domain.listing import ListedLead
from leads.domain.look_ups import LookUps
from leads.domain.table_record import TableRecord
from leads.services.connections import Connection
from leads.services.pancake_lists import EventRow, load_events_params, look_up_times, read_event

T0 = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)
ACCESS = Access("c1", "https://crm.pancake.test/api", 123, "key")
CONNECTION = Connection("c1", "test", "active", ("lead", "contact"), "UTC", None, ACCESS)


class FakePancake(PancakeApi):
    """Holds some records by table and id, and notes what is asked for."""

    def __init__(self, *held: tuple[str, str]) -> None:
        self.held = held
        self.asked: list[tuple[str, str]] = []

    async def record(self, access: Access, table: str, record_id: str) -> dict[str, Any] | None:
        self.asked.append((table, record_id))
        return {"id": record_id} if (table, record_id) in self.held else None

    async def look_up(self, *keys: TableRecord) -> LookUps:
        look_ups = LookUps()
        assert await look_up_times(self, CONNECTION, keys, look_ups, seconds_left=lambda: 1)
        return look_ups


async def test_a_record_of_a_known_table_is_looked_for_there_alone() -> None:
    pancake = FakePancake(("contact", "a"), ("lead", "b"))
    a, b = TableRecord("contact", "a"), TableRecord("contact", "b")
    assert await pancake.look_up(a, b) == LookUps({a: None}, {b})
    assert pancake.asked == [("contact", "a"), ("contact", "b")]


async def test_a_record_that_any_table_may_hold_is_looked_for_until_it_is_found() -> None:
    pancake = FakePancake(("lead", "a"), ("contact", "b"))
    a, b = TableRecord(None, "a"), TableRecord(None, "b")
    gone = TableRecord(None, "gone")
    assert await pancake.look_up(a, b, gone) == LookUps({a: None, b: None}, {gone})
    assert [name for table, name in pancake.asked if table == "lead"] == ["a", "b", "gone"]
    assert [name for table, name in pancake.asked if table == "contact"] == ["b", "gone"]


def listed(record_id: str, modified_on: datetime | None) -> ListedLead:
    return ListedLead("lead", record_id, modified_on, {"id": record_id, "name": "Lan"})


def test_the_bodies_loaded_are_those_of_records_listed_without_a_time() -> None:
    assert load_events_params(CONNECTION, [listed("b", T0), listed("a", None), listed("b", T0)]) == {
        "connection_id": "c1",
        "record_ids": ["a", "b"],
        "whole": ["a"],
    }


def test_a_body_that_postgresql_wrote_out_beyond_the_limit_of_ingest_is_read() -> None:
    """jsonb writes a space after every colon and comma, so what just fitted does not any more."""
    payload = json.dumps({"id": "a", "name": "Lan", **{f"k{n}": "" for n in range(25_000)}})
    assert len(payload) > 256 * 1024
    event = read_event(EventRow("lead", "a", None, T0, "processed", None, payload))
    assert covering(listed("a", T0), {"a": [event]}) == [event]


def test_an_event_loaded_without_its_body_has_no_fields() -> None:
    assert read_event(EventRow("lead", "a", T0, T0, "dead_letter", "invalid_phone", None)) == Event(
        "lead", "a", T0, {}, "dead_letter", "invalid_phone"
    )


@pytest.mark.parametrize(
    ("days_ahead", "of_arrival"), [(0, False), (2, False), (2.001, True), (20_000, True)]
)
def test_an_event_too_far_in_the_future_is_as_old_as_its_arrival(days_ahead: float, of_arrival: bool) -> None:
    modified_on = T0 + timedelta(days=days_ahead)
    event = read_event(EventRow("lead", "a", modified_on, T0, "processed", None, None))
    assert event.modified_on == (T0 if of_arrival else modified_on)
