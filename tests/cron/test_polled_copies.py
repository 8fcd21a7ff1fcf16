"""What polling stores, and the webhook's copy of a version that polling stored first."""

import asyncio

import psycopg

from tests.support.crons import CronHarness
from tests.support.locks import RECORD_LOCK, wait_for_lock_waiter


async def test_a_field_that_only_the_webhooks_copy_of_a_polled_version_names_is_applied(
    harness: CronHarness,
) -> None:
    harness.pancake.faults.drop = 1
    record = harness.pancake.save({"name": "Lan", "phone_number": "0905 111 222", "source": ["-1"]})
    harness.move_clock(minutes=5)
    await harness.run("poll_records")
    polled = harness.one("SELECT id, origin, modified_on FROM pancake_webhook_event")
    assert polled["origin"] == "poll"
    assert await harness.process(polled["id"]) == "ticket_created"
    copy = await harness.deliver(record | {"email": "lan@example.com"})
    assert await harness.process(copy["event_id"]) == "ticket_updated"
    versions = harness.sql("SELECT DISTINCT record_id, modified_on FROM pancake_webhook_event")
    assert versions == [{"record_id": record["id"], "modified_on": polled["modified_on"]}]
    ticket = harness.one("SELECT data FROM ticket WHERE source_id = 'ticket_source_pancake'")
    assert ticket["data"]["pancake"]["email"] == "lan@example.com"
    contact = harness.one("SELECT email FROM contact_book WHERE primary_phone = '+84905111222'")
    assert contact == {"email": "lan@example.com"}


async def test_a_version_that_the_webhook_brings_while_a_poll_waits_is_stored_once(
    harness: CronHarness,
) -> None:
    harness.pancake.faults.drop = 1
    record = harness.pancake.new_lead()
    harness.move_clock(minutes=5)
    with psycopg.connect(harness.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(1, hashtext(%s))", (record["id"],))
        work = asyncio.create_task(harness.run("poll_records"))
        await wait_for_lock_waiter(harness, work, RECORD_LOCK)
        await harness.deliver({**record, "table_id": "lead", "event_type": "insert"})
    await work
    assert harness.count("pancake_webhook_event") == 1


async def test_a_poll_stores_a_lead_whose_source_another_process_creates_meanwhile(
    harness: CronHarness,
) -> None:
    harness.pancake.faults.drop = 1
    harness.pancake.save({"name": "Lan", "phone_number": "0905 111 222", "source": ["777"]})
    harness.move_clock(minutes=5)
    with psycopg.connect(harness.database_url) as other:
        other.execute(
            "INSERT INTO pancake_source (connection_id, pancake_source_id) VALUES (%s, '777')",
            [harness.connection_id],
        )
        work = asyncio.create_task(harness.run("poll_records"))
        await wait_for_lock_waiter(harness, work)
    (report,) = (await work)["connections"]
    assert (report["missed"], report.get("error")) == (1, None)
    assert harness.one("SELECT status FROM pancake_webhook_event")["status"] == "skipped_source_disabled"
    assert harness.count("pancake_source", "pancake_source_id = '777'") == 1


async def test_a_polled_record_has_its_phone_before_it_is_processed(harness: CronHarness) -> None:
    harness.pancake.faults.drop = 1
    harness.pancake.save({"name": "Lan", "phone_number": "0905 111 222", "source": ["-1"]})
    harness.move_clock(minutes=5)
    await harness.run("poll_records")
    polled = harness.one("SELECT origin, normalized_phone FROM pancake_webhook_event")
    assert polled == {"origin": "poll", "normalized_phone": "+84905111222"}
