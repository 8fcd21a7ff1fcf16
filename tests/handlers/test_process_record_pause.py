"""process_record during and after a pause: Hasura uses up no retries, repeated deliveries take turns."""

import asyncio

import psycopg
import pytest

from tests.support.handlers import HandlerHarness
from tests.support.held_leads import held_lead

TURNS = "SELECT pg_advisory_xact_lock(6, 0)"


async def _received(harness: HandlerHarness, number: int) -> int:
    return int((await harness.deliver(held_lead(number)))["event_id"])


async def test_a_repeated_delivery_waits_for_its_turn_and_a_new_one_does_not(
    harness: HandlerHarness,
) -> None:
    """Another process has the turn."""
    repeated, new = [await _received(harness, number) for number in (1, 2)]
    with psycopg.connect(harness.database_url) as other:
        other.execute(TURNS)
        waiting = asyncio.create_task(harness.fire(repeated, current_retry=3))
        assert (await harness.fire(new)).json()["result"] == "ticket_created"
        assert not waiting.done()
        assert harness.event(repeated)["status"] == "received"
        other.rollback()
        assert (await waiting).json()["result"] == "ticket_created"


async def test_repeated_deliveries_beyond_the_line_come_back_later_and_change_nothing(
    harness: HandlerHarness,
) -> None:
    harness.change_settings(replay_rate_per_second=2)
    ids = [await _received(harness, number) for number in range(8)]
    with psycopg.connect(harness.database_url) as other:
        other.execute(TURNS)
        firing = [asyncio.create_task(harness.fire(event_id, current_retry=1)) for event_id in ids]
        done, waiting = await asyncio.wait(firing, timeout=3)
        other.rollback()
    refused = [task.result() for task in done]
    assert len(refused) == 6
    assert {(answer.status_code, answer.json()["extensions"]["code"]) for answer in refused} == {
        (503, "deferred")
    }
    assert sorted(int(answer.headers["Retry-After"]) for answer in refused) == [2, 2, 3, 3, 4, 4]
    assert {(await task).status_code for task in waiting} == {200}
    assert harness.count("pancake_webhook_event", "status = 'received' AND attempts = 0") == 6


async def test_a_repeated_delivery_of_a_finished_event_is_answered_at_once(harness: HandlerHarness) -> None:
    event_id = await _received(harness, 1)
    await harness.process(event_id)
    with psycopg.connect(harness.database_url) as other:
        other.execute(TURNS)
        async with asyncio.timeout(3):
            answer = await harness.fire(event_id, current_retry=5)
    assert answer.json()["result"] == "already_processed"


@pytest.mark.parametrize("current_retry", [0, 1, 40])
async def test_every_503_names_a_time_so_that_hasura_never_gives_the_event_up(
    harness: HandlerHarness, current_retry: int
) -> None:
    """After a pause an event has more tries than retries: the first 503 without a time would be its last."""
    event_id = await _received(harness, 1)
    harness.change_settings(processing_paused=True)
    answers = [await harness.fire(event_id, current_retry=current_retry)]
    harness.change_settings(processing_paused=False)
    slots, harness.runtime.db._work_slots = harness.runtime.db._work_slots, asyncio.Semaphore(0)
    harness.runtime.db._work.timeout = 0.1
    answers.append(await harness.fire(event_id, current_retry=current_retry))
    harness.runtime.db._work_slots = slots
    await harness.runtime.db.close()
    answers.append(await harness.fire(event_id, current_retry=current_retry))
    found = [
        (answer.status_code, answer.json()["extensions"]["code"], answer.headers.get("Retry-After"))
        for answer in answers
    ]
    assert found == [
        (503, "processing_paused", "60"),
        (503, "overloaded", "15"),
        (503, "database_unavailable", "15"),
    ]


async def test_a_cron_and_an_action_name_no_time_when_the_database_is_away(harness: HandlerHarness) -> None:
    """Hasura would repeat the tick without end; the next one is due in minutes."""
    await harness.runtime.db.close()
    tick = {"id": "c", "name": "pancake_retry_failed", "scheduled_time": "2026-05-14T00:00:00Z"}
    cron = await harness.client.post("/cron/retry_failed", json=tick, headers=harness.headers)
    replay = await harness.request_replay(ids=[1])
    assert [(answer.status_code, "Retry-After" in answer.headers) for answer in (cron, replay)] == [
        (503, False)
    ] * 2
