"""The handlers are killed amid 200 leads and start again: each lead has one ticket, one notification."""

import asyncio
from collections import Counter
from itertools import count
from uuid import uuid4

import httpx
import pytest

from tests.end_to_end.leads import body, lead
from tests.end_to_end.place import Place, eventually

COUNT = 200
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


async def _deliver(place: Place, bodies: list[bytes]) -> None:
    """Post as Pancake does: whatever is not answered 200 is sent again until it is."""
    limit = asyncio.Semaphore(16)

    async def one(client: httpx.AsyncClient, raw: bytes) -> None:
        async with limit:
            while True:
                answer = await client.post(place.webhook_url, content=raw)
                if answer.status_code == 200:
                    return
                await asyncio.sleep(0.2)

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(one(client, raw) for raw in bodies))


async def _tick(place: Place, number: int) -> None:
    """A minute passes: the engine tries again, the cron `retry_failed` ticks."""
    place.query("UPDATE hdb_catalog.event_log SET next_retry_at = NULL WHERE NOT delivered AND NOT error")
    tick = {
        "id": str(uuid4()),
        "name": "pancake_retry_failed",
        "scheduled_time": f"2026-11-20T{number // 60:02d}:{number % 60:02d}:00Z",
        "payload": {},
    }
    async with httpx.AsyncClient(timeout=60) as client:
        headers = {"X-Handler-Secret": place.handler_secret}
        answer = await client.post(f"{place.handlers_url}/cron/retry_failed", json=tick, headers=headers)
    assert answer.is_success, answer.text


@pytest.mark.parametrize("moment", KILL_WHEN)
async def test_no_lead_is_lost_or_doubled(place: Place, moment: str) -> None:
    if place.sandbox is None:
        pytest.skip("kills the handlers, which only our own sandbox can start again")
    first = 1000 * (1 + list(KILL_WHEN).index(moment))
    bodies = [body(lead(number)) for number in range(first, first + COUNT)]
    records = f"lead-{first // 1000:03d}%"
    delivering = asyncio.create_task(_deliver(place, bodies))
    await eventually(lambda: bool(place.query(KILL_WHEN[moment], [records])[0]["now"]))
    await asyncio.to_thread(_crash_and_restart, place)
    await delivering
    await _until_done(place, records, first_tick=first // 10)
    _assert_each_once(place, records)


def _crash_and_restart(place: Place) -> None:
    """Kill the handlers, let their leases run out, start them again."""
    assert place.sandbox is not None
    place.sandbox.handlers.kill()
    place.query(LEASES_RUN_OUT)
    place.sandbox.handlers.start()
    place.sandbox.handlers.wait_ready()


async def _until_done(place: Place, records: str, first_tick: int) -> None:
    """Let time pass until every lead has come out of the edge's spool, is processed and notified."""

    ticks = count(first_tick)

    async def done() -> bool:
        (row,) = place.query(
            "SELECT count(*) AS done FROM pancake_webhook_event"
            " WHERE record_id LIKE %s AND status = 'processed' AND notified_at IS NOT NULL",
            [records],
        )
        if row["done"] < COUNT:
            await _tick(place, next(ticks))
            await asyncio.sleep(0.5)
        return bool(row["done"] == COUNT)

    await eventually(done, 120)


def _assert_each_once(place: Place, records: str) -> None:
    events = place.query(
        "SELECT id, outcome, ticket_id, account_id FROM pancake_webhook_event WHERE record_id LIKE %s",
        [records],
    )
    assert Counter(event["outcome"] for event in events) == {"ticket_created": COUNT}
    assert len({event["ticket_id"] for event in events}) == COUNT
    assert len({event["account_id"] for event in events}) == COUNT
    (tickets,) = place.query(
        "SELECT count(*) AS number FROM ticket WHERE data -> 'pancake' ->> 'record_id' LIKE %s", [records]
    )
    assert tickets["number"] == COUNT
    sent = place.observer().sent()
    assert {event["id"]: dict(sent[event["id"]]) for event in events} == {
        event["id"]: {"noti_pancake_new_lead": 1} for event in events
    }
