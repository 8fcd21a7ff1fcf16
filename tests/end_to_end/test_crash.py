"""The handlers are killed amid 200 leads and start again: each lead has one ticket, one notification."""

import asyncio
from collections import Counter

import httpx
import pytest

from sandbox.stack.stack import Sandbox
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


def _retry(place: Place, records: str) -> None:
    """Time passes, an operator helps: leases run out, the engine tries again, what is stuck starts over."""
    place.query(LEASES_RUN_OUT)
    place.query("UPDATE hdb_catalog.event_log SET next_retry_at = NULL WHERE NOT delivered AND NOT error")
    place.query(
        "UPDATE pancake_webhook_event SET status = 'received' WHERE record_id LIKE %s"
        " AND status IN ('ingested', 'failed') AND ingested_at < clock_timestamp() - interval '2 minutes'",
        [records],
    )
    unsent = place.query(
        "SELECT id FROM pancake_webhook_event"
        " WHERE record_id LIKE %s AND status = 'processed' AND notified_at IS NULL",
        [records],
    )
    for row in unsent:
        event = place.events_of(row["id"])[-1]
        if event["delivered"]:
            place.metadata_api("pg_redeliver_event", {"event_id": event["id"]})


@pytest.mark.parametrize("moment", KILL_WHEN)
async def test_no_lead_is_lost_or_doubled(place: Place, moment: str) -> None:
    if place.sandbox is None:
        pytest.skip("kills the handlers, which only our own sandbox can start again")
    first = 1000 * (1 + list(KILL_WHEN).index(moment))
    bodies = [body(lead(number)) for number in range(first, first + COUNT)]
    records = f"lead-{first // 1000:03d}%"
    delivering = asyncio.create_task(_deliver(place, bodies))
    await eventually(lambda: bool(place.query(KILL_WHEN[moment], [records])[0]["now"]))
    await asyncio.to_thread(_crash_and_restart, place.sandbox)
    await delivering
    await _until_done(place, records)
    _assert_each_once(place, records)


def _crash_and_restart(sandbox: Sandbox) -> None:
    sandbox.handlers.kill()
    sandbox.handlers.start()
    sandbox.handlers.wait_ready()


async def _until_done(place: Place, records: str) -> None:
    """Let time pass until every lead has come out of the edge's spool, is processed and notified."""

    async def done() -> bool:
        (row,) = place.query(
            "SELECT count(*) AS done FROM pancake_webhook_event"
            " WHERE record_id LIKE %s AND status = 'processed' AND notified_at IS NOT NULL",
            [records],
        )
        if row["done"] < COUNT:
            await asyncio.to_thread(_retry, place, records)
            await asyncio.sleep(0.5)
        return bool(row["done"] == COUNT)

    await eventually(done, 60)


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
