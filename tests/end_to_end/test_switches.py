"""The kill switch and an inactive source also hold rows that were received before."""

import dataclasses
from collections.abc import Iterator

import pytest

from tests.support.end_to_end import EndToEndHarness
from tests.support.leads import body, numbered_lead
from tests.support.waiting import eventually_async

SETTING = """
    UPDATE app_setting
    SET app_settings = jsonb_set(app_settings, ARRAY['pancake_integration', %s], to_jsonb(%s))
    WHERE id = 1
"""
SOURCE = "UPDATE pancake_source SET is_active = %s WHERE pancake_source_id = %s"


@pytest.fixture(autouse=True)
def _as_before(harness: EndToEndHarness) -> Iterator[None]:
    yield
    harness.query(SETTING, ["processing_paused", False])
    harness.query(SETTING, ["kill_switch", False])
    harness.query(SOURCE, [True, "-5"])


async def _received_while_paused(harness: EndToEndHarness, number: int) -> int:
    """Store a row while processing is paused; return its id."""
    harness.query(SETTING, ["processing_paused", True])
    (answer,) = await harness.post([body(numbered_lead(number, source=["-5"]))])
    assert answer["status"] == "received"
    event_id = int(answer["event_id"])
    await eventually_async(lambda: harness.events_of(event_id)[0]["tries"] > 0)
    assert _status(harness, event_id) == "received"
    return event_id


def _status(harness: EndToEndHarness, event_id: int) -> str:
    (row,) = harness.query("SELECT status FROM pancake_webhook_event WHERE id = %s", [event_id])
    return str(row["status"])


async def _resume(harness: EndToEndHarness, event_id: int) -> None:
    """Resume processing without waiting for Retry-After."""
    harness.query(SETTING, ["processing_paused", False])
    harness.query("UPDATE hdb_catalog.event_log SET next_retry_at = NULL WHERE NOT delivered")
    await eventually_async(lambda: harness.events_of(event_id)[0]["delivered"])


async def test_rows_received_while_paused_are_processed_afterwards(harness: EndToEndHarness) -> None:
    event_id = await _received_while_paused(harness, 1)
    await _resume(harness, event_id)
    assert _status(harness, event_id) == "processed"


@pytest.mark.test_case("TC-011")
async def test_a_waiting_row_is_held_by_the_kill_switch(harness: EndToEndHarness) -> None:
    event_id = await _received_while_paused(harness, 2)
    harness.query(SETTING, ["kill_switch", True])
    await _resume(harness, event_id)
    assert _status(harness, event_id) == "skipped_kill_switch"
    assert harness.query("SELECT 1 FROM ticket WHERE title LIKE '%%Khách 2'") == []


@pytest.mark.test_case("TC-012")
async def test_a_waiting_row_is_held_by_its_source(harness: EndToEndHarness) -> None:
    event_id = await _received_while_paused(harness, 3)
    harness.query(SOURCE, [False, "-5"])
    await _resume(harness, event_id)
    assert _status(harness, event_id) == "skipped_source_disabled"
    assert harness.query("SELECT 1 FROM ticket WHERE title LIKE '%%Khách 3'") == []


async def test_a_new_row_is_held_at_once(harness: EndToEndHarness) -> None:
    harness.query(SETTING, ["kill_switch", True])
    (first,) = await harness.post([body(numbered_lead(4))])
    harness.query(SETTING, ["kill_switch", False])
    (second,) = await harness.post([body(numbered_lead(5, source=["-9"]))])
    (third,) = await harness.post([body(numbered_lead(6, source=[]))])
    assert [first["status"], second["status"], third["status"]] == [
        "skipped_kill_switch", "skipped_source_disabled", "skipped_source_disabled",
    ]  # fmt: skip


async def test_a_missing_kill_switch_counts_as_on(harness: EndToEndHarness) -> None:
    harness.query("UPDATE app_setting SET app_settings = app_settings #- '{pancake_integration,kill_switch}'")
    (answer,) = await harness.post([body(numbered_lead(7))])
    assert answer["status"] == "skipped_kill_switch"


async def test_an_unknown_token_stores_nothing(harness: EndToEndHarness) -> None:
    before = harness.snapshot()
    elsewhere = dataclasses.replace(harness, webhook_url=harness.webhook_url[:-3] + "xyz")
    (answer,) = await elsewhere.post([body(numbered_lead(8))])
    assert answer["status"] == "unknown_token"
    assert harness.snapshot() == before
