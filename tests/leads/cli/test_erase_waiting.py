"""`leads erase` beside processing, and after retention."""

import asyncio
import json
from pathlib import Path

import psycopg
import pytest

from tests.support.crons import CronHarness
from tests.support.erasure import PERSON, dump, found_in, run_erase
from tests.support.locks import wait_for_lock_waiter

PHONE = ("--phone", "0905111222", "--yes", "--json")
PHONE_LOCK = "locktype = 'advisory' AND classid = 2"


@pytest.fixture
def harness(cron_harness: CronHarness) -> CronHarness:
    cron_harness.sql("UPDATE ticket SET data = '{}'")
    return cron_harness


async def test_it_waits_for_the_lock_of_the_phone_and_sees_what_was_stored_meanwhile(
    harness: CronHarness, tmp_path: Path
) -> None:
    await harness.process_lead(**PERSON)
    with psycopg.connect(harness.database_url) as processing:
        processing.execute("SELECT pg_advisory_xact_lock(2, hashtext('+84905111222'))")
        erasing = asyncio.create_task(asyncio.to_thread(run_erase, harness, tmp_path, *PHONE))
        await wait_for_lock_waiter(harness, erasing, PHONE_LOCK)
        await harness.deliver(PERSON | {"id": "meanwhile"})
        assert not erasing.done()
    result = await erasing
    assert result.exit_code == 0, result.output
    assert '"events": 2' in result.stdout
    assert found_in([dump(harness)["public.pancake_webhook_event"]]) == set()


async def test_a_claimed_event_that_waited_for_the_erasure_is_erased(
    harness: CronHarness, tmp_path: Path
) -> None:
    """It was claimed before the erasure began, and takes the lock of the phone after it."""
    answer = await harness.deliver(PERSON)
    with psycopg.connect(harness.database_url) as erasing:
        erasing.execute("SELECT pg_advisory_xact_lock(2, hashtext('+84905111222'))")
        processing = asyncio.create_task(harness.process(answer["event_id"]))
        await wait_for_lock_waiter(harness, processing, PHONE_LOCK)
        digests = harness.runtime.digester.digest("erased phone", "+84905111222")
        erasing.execute(
            "INSERT INTO customer_erasure (digest, erased_at, requested_by, run_by, counts)"
            " VALUES (%s, now(), 'a', 'a', '{}')",
            [digests],
        )
    assert await processing == "dead_letter"
    assert harness.count("account", "normalized_phone = '+84905111222'") == 0


async def test_after_retention_all_contacts_are_found(harness: CronHarness, tmp_path: Path) -> None:
    await harness.process_lead(**PERSON)
    harness.move_clock(days=91)
    await harness.run("purge_events")
    assert run_erase(harness, tmp_path, *PHONE).exit_code == 0
    harness.sql("UPDATE account SET display_name = NULL, phone_number = NULL")
    assert {table: found for table, text in dump(harness).items() if (found := found_in([text]))} == {}


async def test_while_it_waits_for_an_event_that_is_worked_on_it_holds_no_phone(
    harness: CronHarness, tmp_path: Path
) -> None:
    """Processing has its event and takes the phone after it: in the other order both would wait."""
    event_id, _ = await harness.process_lead(**PERSON)
    with psycopg.connect(harness.database_url) as processing:
        processing.execute("SELECT FROM pancake_webhook_event WHERE id = %s FOR UPDATE", [event_id])
        erasing = asyncio.create_task(asyncio.to_thread(run_erase, harness, tmp_path, *PHONE))
        await wait_for_lock_waiter(harness, erasing)
        locked = processing.execute("SELECT pg_try_advisory_xact_lock(2, hashtext('+84905111222'))")
        is_free = locked.fetchone()
    result = await erasing
    assert (is_free, result.exit_code) == ((True,), 0), result.output


async def test_a_text_that_a_person_changes_meanwhile_is_left_to_diva(
    harness: CronHarness, tmp_path: Path
) -> None:
    await harness.process_lead(**PERSON)
    text = "description = 'gọi sau 17h'"
    with psycopg.connect(harness.database_url) as person:
        person.execute(f"UPDATE ticket SET {text} WHERE source_id = 'ticket_source_pancake'".encode())
        erasing = asyncio.create_task(asyncio.to_thread(run_erase, harness, tmp_path, *PHONE))
        await wait_for_lock_waiter(harness, erasing)
    result = await erasing
    assert result.exit_code == 0, result.output
    (ticket,) = harness.sql("SELECT code FROM ticket WHERE source_id = 'ticket_source_pancake'")
    assert json.loads(result.stdout)["diva_tickets"] == [ticket["code"]]
    assert harness.count("ticket", text) == 1
