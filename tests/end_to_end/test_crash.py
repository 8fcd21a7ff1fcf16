"""The handlers are killed while they process 200 leads: each lead has one ticket, one notification."""

import asyncio
from collections import Counter
from functools import partial
from itertools import count
from uuid import uuid4

import httpx
import pytest

from tests.support.end_to_end import EndToEndHarness
from tests.support.leads import body, numbered_lead
from tests.support.waiting import eventually_async

COUNT = 200
MAX_SECONDS = 120
KILL_WHEN = {
    "while ingesting": "SELECT count(*) >= 50 AS now FROM pancake_webhook_event WHERE record_id LIKE %s",
    "while processing": "SELECT count(*) >= 40 AS now FROM pancake_webhook_event"
    " WHERE record_id LIKE %s AND status = 'processed'",
}
LEASES_RUN_OUT = """
    UPDATE pancake_webhook_event
    SET
        ingested_at = ingested_at - interval '5 minutes',
        received_at = received_at - interval '5 minutes',
        notify_claimed_at = notify_claimed_at - interval '5 minutes'
    WHERE status IN ('received', 'ingested') OR (notified_at IS NULL AND notify_claimed_at IS NOT NULL)
"""


async def _deliver(harness: EndToEndHarness, bodies: list[bytes]) -> None:
    """Post each body until it is answered with 200, as Pancake does."""
    limit = asyncio.Semaphore(16)

    async def post(raw: bytes) -> bool:
        return (await client.post(harness.webhook_url, content=raw)).status_code == 200

    async def deliver(raw: bytes) -> None:
        async with limit:
            await eventually_async(partial(post, raw), MAX_SECONDS, poll_seconds=0.2)

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*map(deliver, bodies))


async def _tick(harness: EndToEndHarness, number: int) -> None:
    """Simulate a minute: the engine retries its events and the cron `retry_failed` runs."""
    harness.query("UPDATE hdb_catalog.event_log SET next_retry_at = NULL WHERE NOT delivered AND NOT error")
    tick = {
        "id": str(uuid4()),
        "name": "pancake_retry_failed",
        "scheduled_time": f"2026-11-20T{number // 60:02d}:{number % 60:02d}:00Z",
        "payload": {},
    }
    async with httpx.AsyncClient(timeout=60) as client:
        headers = {"X-Handler-Secret": harness.handler_secret}
        answer = await client.post(f"{harness.handlers_url}/cron/retry_failed", json=tick, headers=headers)
    assert answer.is_success, answer.text


@pytest.mark.parametrize("moment", KILL_WHEN)
async def test_no_lead_is_lost_or_doubled(harness: EndToEndHarness, moment: str) -> None:
    if harness.sandbox is None:
        pytest.skip("kills the handlers, which only our own sandbox can start again")
    first = 1000 * (1 + list(KILL_WHEN).index(moment))
    bodies = [body(numbered_lead(number)) for number in range(first, first + COUNT)]
    records = f"lead-{first // 1000:03d}%"
    delivering = asyncio.create_task(_deliver(harness, bodies))
    await eventually_async(lambda: bool(harness.query(KILL_WHEN[moment], [records])[0]["now"]))
    await asyncio.to_thread(_crash_and_restart, harness)
    await delivering
    await _until_done(harness, records, first_tick=first // 10)
    _assert_each_once(harness, records)


def _crash_and_restart(harness: EndToEndHarness) -> None:
    """Kill the handlers, expire their leases and start them again."""
    assert harness.sandbox is not None
    harness.sandbox.handlers.kill()
    harness.query(LEASES_RUN_OUT)
    harness.sandbox.handlers.start()
    harness.sandbox.handlers.wait_ready()


async def _until_done(harness: EndToEndHarness, records: str, first_tick: int) -> None:
    """Wait until every lead has left the edge's spool, is processed and notified."""

    ticks = count(first_tick)

    async def done() -> bool:
        (row,) = harness.query(
            "SELECT count(*) AS done FROM pancake_webhook_event"
            " WHERE record_id LIKE %s AND status = 'processed' AND notified_at IS NOT NULL",
            [records],
        )
        if row["done"] < COUNT:
            await _tick(harness, next(ticks))
        return bool(row["done"] == COUNT)

    await eventually_async(done, MAX_SECONDS, poll_seconds=0.5)


def _assert_each_once(harness: EndToEndHarness, records: str) -> None:
    events = harness.query(
        "SELECT id, outcome, ticket_id, account_id FROM pancake_webhook_event WHERE record_id LIKE %s",
        [records],
    )
    assert Counter(event["outcome"] for event in events) == {"ticket_created": COUNT}
    assert len({event["ticket_id"] for event in events}) == COUNT
    assert len({event["account_id"] for event in events}) == COUNT
    (tickets,) = harness.query(
        "SELECT count(*) AS number FROM ticket WHERE data -> 'pancake' ->> 'record_id' LIKE %s", [records]
    )
    assert tickets["number"] == COUNT
    sent = harness.observer().sent()
    assert {event["id"]: dict(sent[event["id"]]) for event in events} == {
        event["id"]: {"noti_pancake_new_lead": 1} for event in events
    }
