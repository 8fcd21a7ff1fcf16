"""process_record claims an event: one worker at a time, every redelivery without effect."""

import asyncio
from collections import Counter
from typing import Any

import psycopg
import pytest

from handlers.process_record import Processed, process_claim
from leads.services.process_record.claim import claim_event, mark_failed
from tests.support.handlers import HandlerHarness
from tests.support.leads import PHONE
from tests.support.locks import PHONE_LOCK, RECORD_LOCK, ROSTER_LOCK, count_deadlocks, wait_for_lock_waiter


async def test_a_redelivered_event_changes_nothing(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    event_id, _ = await harness.process_lead()
    before = harness.event(event_id)
    results = [await harness.process(event_id, op) for op in ("INSERT", "UPDATE", "INSERT")]
    assert results == ["already_processed"] * 3
    assert harness.event(event_id) == before
    assert (harness.count_tickets(), len(harness.hasura.sent), len(harness.hasura.calls)) == (1, 1, 1)


async def test_an_event_delivered_concurrently_is_processed_once(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    results = await asyncio.gather(*((harness, second_harness)[n % 2].process(event_id) for n in range(20)))
    assert set(results) <= {"ticket_created", "already_processed", "under_way"}
    assert results.count("ticket_created") == 1
    assert harness.event(event_id)["attempts"] == 1
    assert (harness.count_tickets(), len(harness.hasura.sent)) == (1, 1)


async def test_an_event_of_a_missing_row_is_answered(harness: HandlerHarness) -> None:
    assert await harness.process(999_999) == "unknown_id"
    assert await harness.process(10**17) == "unknown_id"


async def test_a_row_set_to_received_by_hand_is_processed_again_without_duplicates(
    harness: HandlerHarness,
) -> None:
    harness.fill_roster(2)
    event_id, _ = await harness.process_lead()
    first = harness.event(event_id)
    harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    assert await harness.process(event_id, "UPDATE") == "no_change"
    event = harness.event(event_id)
    assert (harness.count_tickets(), len(harness.hasura.sent)) == (1, 1)
    assert (event["replay_count"], event["replayed_by"], event["attempts"]) == (1, "postgres", 1)
    kept = ("outcome", "assignee_id", "ticket_id", "account_id")
    assert {key: event[key] for key in kept} == {key: first[key] for key in kept}


async def test_two_processes_with_every_event_in_opposite_order_process_each_once(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    harness.fill_roster(3)
    phones = [f"09051113{n:02}" for n in range(12)]
    bodies: list[dict[str, Any]] = [
        {"id": f"r-{n}", "phone_number": [phones[n % 12], phones[(n * 5 + 1) % 12]], "source": [-1]}
        for n in range(60)
    ]
    ids = [(await harness.deliver(body))["event_id"] for body in bodies]
    async with asyncio.timeout(60):
        results = await asyncio.gather(
            *(harness.process(event_id) for event_id in ids),
            *(second_harness.process(event_id) for event_id in reversed(ids)),
        )
    counts = Counter(results)
    assert counts["already_processed"] + counts["under_way"] == 60
    assert harness.count("pancake_webhook_event", "status = 'processed'") == 60
    doubled = "SELECT normalized_phone FROM account GROUP BY 1 HAVING count(*) > 1 AND normalized_phone <> ''"
    assert harness.sql(doubled) == []
    assert await count_deadlocks(harness, second_harness) == 0


async def test_a_lost_claim_writes_nothing(harness: HandlerHarness, second_harness: HandlerHarness) -> None:
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    late = await claim_event(harness.runtime.db, event_id)
    assert late is not None
    harness.expire_leases()
    harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    assert await second_harness.process(event_id) == "ticket_created"
    assert await process_claim(harness.runtime, late) == Processed("claim_lost")
    assert (harness.count_tickets(), len(harness.hasura.sent)) == (1, 1)


async def test_a_row_being_processed_cannot_be_released_even_after_its_lease(
    harness: HandlerHarness,
) -> None:
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    with psycopg.connect(harness.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(2, hashtext(%s))", (PHONE,))
        work = asyncio.create_task(harness.process(event_id))
        await wait_for_lock_waiter(harness, work, PHONE_LOCK)
        other.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", (event_id,))
        other.rollback()
    assert await work == "ticket_created"


async def test_a_valid_lease_cannot_be_released_by_hand(harness: HandlerHarness) -> None:
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    await claim_event(harness.runtime.db, event_id)
    with pytest.raises(psycopg.errors.CheckViolation, match="lease"):
        harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)


async def test_a_lost_claim_writes_nothing_while_a_newer_one_works(harness: HandlerHarness) -> None:
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    late = await claim_event(harness.runtime.db, event_id)
    assert late is not None
    harness.expire_leases()
    harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    newer = await claim_event(harness.runtime.db, event_id)
    assert newer is not None
    assert await process_claim(harness.runtime, late) == Processed("claim_lost")
    await mark_failed(harness.runtime.db, late, "internal", "", next_attempt_at=None, error={})
    row = harness.one("SELECT status, claim_id FROM pancake_webhook_event WHERE id = %s", event_id)
    assert row == {"status": "ingested", "claim_id": newer.claim_id}
    assert harness.count_tickets() == 0


async def test_processing_waits_for_another_session_that_holds_its_record(harness: HandlerHarness) -> None:
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    with psycopg.connect(harness.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(1, hashtext('r'))")
        work = asyncio.create_task(harness.process(event_id))
        await wait_for_lock_waiter(harness, work, RECORD_LOCK)
    assert await work == "ticket_created"


async def test_processing_waits_for_another_session_that_holds_its_roster(harness: HandlerHarness) -> None:
    harness.fill_roster(3)
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    with psycopg.connect(harness.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(3, hashtext('default'))")
        work = asyncio.create_task(harness.process(event_id))
        await wait_for_lock_waiter(harness, work, ROSTER_LOCK)
    assert await work == "ticket_created"
