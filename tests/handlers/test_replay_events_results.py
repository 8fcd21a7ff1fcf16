"""The action pancake_replay_events reports what the replayed rows became."""

from typing import Any

import pytest

from leads.services.replay_results import MAX_WAIT_SECONDS
from tests.support.handlers import HandlerHarness
from tests.support.held_leads import held_lead, hold_leads
from tests.support.leads import EARLIER

HELD = {"status": "skipped_kill_switch"}
NOTHING: dict[str, Any] = {
    "outcomes": {}, "held": {}, "failed": {}, "dead_letter": {}, "waiting": 0, "owners": [], "unassigned": 0,
}  # fmt: skip


def fire_meanwhile(harness: HandlerHarness) -> None:
    """Deliver the events of received rows while the action waits, as Hasura does."""

    async def sleep(seconds: float) -> None:
        await harness.process_received()

    harness.clock.sleep = sleep  # type: ignore[method-assign]


async def test_the_tickets_and_their_owners_are_reported(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(2)
    ids = await hold_leads(harness, 3)
    fire_meanwhile(harness)
    report = await harness.replay(filter=HELD)
    owners = report["results"].pop("owners")
    assert report["results"] | {"owners": []} == NOTHING | {"outcomes": {"ticket_created": 3}}
    assert [owner["tickets"] for owner in owners] == [2, 1]
    assert {owner["id"] for owner in owners} == set(staff)
    assert (report["replayed_ids"], report["processing_paused"]) == (ids, False)


async def test_a_ticket_of_several_rows_counts_once_for_its_owner(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await hold_leads(harness, 3, phone_number="0905111222")
    fire_meanwhile(harness)
    results = (await harness.replay(filter=HELD))["results"]
    assert results["outcomes"] == {"ticket_created": 1, "ticket_updated": 2}
    assert [owner["tickets"] for owner in results["owners"]] == [1]


async def test_tickets_without_an_owner_are_counted(harness: HandlerHarness) -> None:
    await hold_leads(harness, 2)
    fire_meanwhile(harness)
    results = (await harness.replay(filter=HELD))["results"]
    assert (results["owners"], results["unassigned"]) == ([], 2)


async def test_a_replay_that_changes_nothing_says_so_though_the_row_keeps_its_outcome(
    harness: HandlerHarness,
) -> None:
    harness.fill_roster(1)
    new, _ = await harness.process_lead()
    old, _ = await harness.process_lead(modified_on=EARLIER, name="An earlier name")
    fire_meanwhile(harness)
    report = await harness.replay(ids=[new, old])
    assert report["results"] == NOTHING | {"outcomes": {"no_change": 1, "stale": 1}}
    assert harness.event(new)["outcome"] == "ticket_created"


async def test_rows_that_are_held_again_are_reported_with_the_reason(harness: HandlerHarness) -> None:
    ids = await hold_leads(harness, 3)

    async def sleep(seconds: float) -> None:
        harness.sql("UPDATE pancake_source SET is_active = false")
        await harness.process(ids[0])
        harness.sql("UPDATE pancake_connection SET status = 'disabled'")
        await harness.process(ids[1])
        harness.change_settings(kill_switch=True)
        await harness.process(ids[2])

    harness.clock.sleep = sleep  # type: ignore[method-assign]
    report = await harness.replay(filter=HELD)
    reasons = {"connection_disabled": 1, "kill_switch": 1, "source_inactive": 1}
    assert report["results"] == NOTHING | {"held": reasons}
    assert (report["replayed"], report["returned"]) == (3, 1)


async def test_failures_are_reported_with_their_error_codes(harness: HandlerHarness) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'broken'", 99)
    dead, _ = await harness.process_lead(id="no-phone", phone_number="không có số")
    failed, _ = await harness.process_lead(id="broken")
    fire_meanwhile(harness)
    results = (await harness.replay(ids=[dead, failed]))["results"]
    assert results == NOTHING | {"failed": {"internal": 1}, "dead_letter": {"invalid_phone": 1}}


async def test_the_answer_does_not_wait_while_processing_is_paused(harness: HandlerHarness) -> None:
    await hold_leads(harness, 2)
    harness.change_settings(processing_paused=True)
    before = harness.clock.monotonic()
    report = await harness.replay(filter=HELD)
    assert harness.clock.monotonic() - before < MAX_WAIT_SECONDS
    assert (report["results"]["waiting"], report["processing_paused"]) == (2, True)


@pytest.mark.parametrize("wait", [None, True])
async def test_the_answer_comes_in_time_though_rows_still_wait(
    harness: HandlerHarness, wait: bool | None
) -> None:
    """Hasura waits 60 s for the action, 20 s of which may be the replay."""
    await hold_leads(harness, 2)
    before = harness.clock.monotonic()
    report = await harness.replay(filter=HELD, wait=wait)
    assert MAX_WAIT_SECONDS <= harness.clock.monotonic() - before < 30
    assert (report["results"]["waiting"], report["processing_paused"]) == (2, False)


async def test_without_waiting_the_rows_are_only_counted(harness: HandlerHarness) -> None:
    await hold_leads(harness, 2)
    before = harness.clock.monotonic()
    report = await harness.replay(filter=HELD, wait=False)
    assert harness.clock.monotonic() - before < MAX_WAIT_SECONDS
    assert report["results"] == NOTHING | {"waiting": 2}


async def test_a_dry_run_replays_nothing_and_has_no_results(harness: HandlerHarness) -> None:
    await hold_leads(harness, 2)
    report = await harness.replay(filter=HELD, dry_run=True)
    assert (report["results"], report["replayed_ids"]) == (None, [])


async def test_wait_is_true_or_false(harness: HandlerHarness) -> None:
    response = await harness.request_replay(ids=[1], wait="yes")
    assert (response.status_code, response.json()["message"]) == (400, "wait is neither true nor false.")


async def test_a_lead_processed_before_is_replayed_with_the_result_of_this_time(
    harness: HandlerHarness,
) -> None:
    event_id = (await harness.deliver(held_lead(1)))["event_id"]
    assert await harness.process(event_id) == "ticket_created"
    fire_meanwhile(harness)
    report = await harness.replay(ids=[event_id], force=True)
    assert report["results"]["outcomes"] == {"ticket_updated": 1}
