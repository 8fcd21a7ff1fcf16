"""process_record under the pause, the kill switch and inactive sources."""

import pytest

from handlers.process_record import Processed, process_claim
from leads.services.process_record.claim import claim_event
from tests.support.handlers import HandlerHarness


async def test_the_pause_answers_503_with_retry_after_and_changes_nothing(
    harness: HandlerHarness,
) -> None:
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    before = harness.event(event_id)
    harness.change_settings(processing_paused=True)
    for op in ("INSERT", "UPDATE", "MANUAL"):
        response = await harness.fire(event_id, op)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
        assert response.json()["extensions"] == {"code": "processing_paused"}
    assert harness.event(event_id) == before
    harness.change_settings(processing_paused=False)
    assert await harness.process(event_id) == "ticket_created"


async def test_the_switches_are_read_again_at_the_claim(harness: HandlerHarness) -> None:
    first = (await harness.deliver({"id": "a", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    second = (await harness.deliver({"id": "b", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    harness.change_settings(kill_switch=True)
    assert await harness.process(first) == "skipped_kill_switch"
    harness.change_settings(kill_switch=False)
    harness.sql("UPDATE pancake_source SET is_active = false")
    assert await harness.process(second) == "skipped_source_disabled"
    for event_id in (first, second):
        event = harness.event(event_id)
        assert (event["attempts"], event["ingested_at"], event["claim_id"]) == (0, None, None)
        assert event["held_at"] is not None
    assert harness.count_tickets() == 0


@pytest.mark.parametrize("switch", ["skipped_kill_switch", "skipped_source_disabled"])
async def test_a_switch_turned_between_claim_and_work_holds_the_row(
    harness: HandlerHarness, switch: str
) -> None:
    event_id = (await harness.deliver({"id": "a", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    claim = await claim_event(harness.runtime.db, event_id)
    assert claim is not None
    if switch == "skipped_kill_switch":
        harness.change_settings(kill_switch=True)
    else:
        harness.sql("UPDATE pancake_source SET is_active = false")
    assert await process_claim(harness.runtime, claim) == Processed(switch)
    assert harness.event(event_id)["status"] == switch
    assert harness.count_tickets() == 0
