"""The kill switch and an inactive source bind rows that were received before they were switched."""

import dataclasses
from collections.abc import Iterator

import pytest

from tests.end_to_end.leads import body, lead
from tests.end_to_end.place import Place, eventually

SETTING = """
    UPDATE app_setting
    SET app_settings = jsonb_set(app_settings, ARRAY['pancake_integration', %s], to_jsonb(%s))
    WHERE id = 1
"""
SOURCE = "UPDATE pancake_source SET is_active = %s WHERE pancake_source_id = %s"


@pytest.fixture(autouse=True)
def _as_before(place: Place) -> Iterator[None]:
    yield
    place.query(SETTING, ["processing_paused", False])
    place.query(SETTING, ["kill_switch", False])
    place.query(SOURCE, [True, "-5"])


async def _received_while_paused(place: Place, number: int) -> int:
    """The id of a row that waits because processing is paused."""
    place.query(SETTING, ["processing_paused", True])
    (answer,) = await place.post([body(lead(number, source=["-5"]))])
    assert answer["status"] == "received"
    event_id = int(answer["event_id"])
    await eventually(lambda: place.events_of(event_id)[0]["tries"] > 0)
    assert _status(place, event_id) == "received"
    return event_id


def _status(place: Place, event_id: int) -> str:
    (row,) = place.query("SELECT status FROM pancake_webhook_event WHERE id = %s", [event_id])
    return str(row["status"])


async def _resume(place: Place, event_id: int) -> None:
    """Let processing go on, without waiting for the engine's Retry-After."""
    place.query(SETTING, ["processing_paused", False])
    place.query("UPDATE hdb_catalog.event_log SET next_retry_at = NULL WHERE NOT delivered")
    await eventually(lambda: place.events_of(event_id)[0]["delivered"])


async def test_what_waited_while_paused_is_processed_afterwards(place: Place) -> None:
    event_id = await _received_while_paused(place, 1)
    await _resume(place, event_id)
    assert _status(place, event_id) == "processed"


async def test_a_waiting_row_is_held_by_the_kill_switch(place: Place) -> None:
    event_id = await _received_while_paused(place, 2)
    place.query(SETTING, ["kill_switch", True])
    await _resume(place, event_id)
    assert _status(place, event_id) == "skipped_kill_switch"
    assert place.query("SELECT 1 FROM ticket WHERE title LIKE '%%Khách 2'") == []


async def test_a_waiting_row_is_held_by_its_source(place: Place) -> None:
    event_id = await _received_while_paused(place, 3)
    place.query(SOURCE, [False, "-5"])
    await _resume(place, event_id)
    assert _status(place, event_id) == "skipped_source_disabled"
    assert place.query("SELECT 1 FROM ticket WHERE title LIKE '%%Khách 3'") == []


async def test_a_new_row_is_held_at_once(place: Place) -> None:
    place.query(SETTING, ["kill_switch", True])
    (first,) = await place.post([body(lead(4))])
    place.query(SETTING, ["kill_switch", False])
    (second,) = await place.post([body(lead(5, source=["-9"]))])
    (third,) = await place.post([body(lead(6, source=[]))])
    assert [first["status"], second["status"], third["status"]] == [
        "skipped_kill_switch", "skipped_source_disabled", "skipped_source_disabled",
    ]  # fmt: skip


async def test_a_missing_switch_reads_as_on(place: Place) -> None:
    place.query("UPDATE app_setting SET app_settings = app_settings #- '{pancake_integration,kill_switch}'")
    (answer,) = await place.post([body(lead(7))])
    assert answer["status"] == "skipped_kill_switch"


async def test_an_unknown_token_stores_nothing(place: Place) -> None:
    before = place.snapshot()
    elsewhere = dataclasses.replace(place, webhook_url=place.webhook_url[:-3] + "xyz")
    (answer,) = await elsewhere.post([body(lead(8))])
    assert answer["status"] == "unknown_token"
    assert place.snapshot() == before
