"""Cron 3: releases failed rows, expired claims, lost events and unsent notifications, bounded."""

import pytest

from tests.support.crons import CronHarness


def insert(harness: CronHarness, status: str, count: int = 1, columns: str = "", values: str = "") -> None:
    harness.sql(
        "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, payload, status,"
        f" arrived_at, created_at, source_ids {columns})"
        " SELECT %s, 'webhook', 'r' || n, sha256(n::text::bytea),"
        " jsonb_build_object('id', 'r' || n, 'name', 'Lan', 'phone_number', '0905' || (100000 + n)),"
        f" 'received', now(), now(), ARRAY['-1'] {values} FROM generate_series(1, %s) AS n",
        harness.connection_id,
        count,
    )
    if status != "received":
        harness.sql(
            "UPDATE pancake_webhook_event SET status = 'ingested', claim_id = gen_random_uuid(),"
            " ingested_at = clock_timestamp(), attempts = 1"
        )
    if status == "failed":
        harness.sql(
            "UPDATE pancake_webhook_event SET status = 'failed', error_code = 'contended',"
            " next_attempt_at = now() + interval '30 seconds'"
        )


def age(harness: CronHarness, minutes: int) -> None:
    """Move the times at which rows were received or claimed into the past."""
    harness.sql("ALTER TABLE pancake_webhook_event DISABLE TRIGGER notify_hasura")
    harness.sql(
        "UPDATE pancake_webhook_event SET received_at = received_at - make_interval(mins => %s),"
        " ingested_at = ingested_at - make_interval(mins => %s)",
        minutes,
        minutes,
    )
    harness.sql("ALTER TABLE pancake_webhook_event ENABLE TRIGGER notify_hasura")
    harness.sql("UPDATE hdb_catalog.event_log SET delivered = true")


def events(harness: CronHarness) -> int:
    return int(harness.one("SELECT count(*) AS n FROM hdb_catalog.event_log")["n"])


@pytest.mark.test_case("TC-014-013")
async def test_a_failed_row_is_released_at_its_next_attempt(harness: CronHarness) -> None:
    insert(harness, "failed")
    assert (await harness.run("retry_failed"))["failed"] == 0
    harness.move_clock(seconds=31)
    assert (await harness.run("retry_failed"))["failed"] == 1
    await harness.process_received()
    assert harness.one("SELECT status, outcome FROM pancake_webhook_event") == {
        "status": "processed",
        "outcome": "ticket_created",
    }


async def test_a_failed_row_is_held_at_its_next_claim_while_the_kill_switch_is_on(
    harness: CronHarness,
) -> None:
    insert(harness, "failed")
    harness.change_settings(kill_switch=True)
    harness.move_clock(seconds=31)
    assert (await harness.run("retry_failed"))["failed"] == 1
    await harness.process_received()
    row = harness.one("SELECT status, attempts, held_at FROM pancake_webhook_event")
    assert (row["status"], row["attempts"]) == ("skipped_kill_switch", 1)
    assert row["held_at"] is not None


@pytest.mark.test_case("TC-014-010")
async def test_the_claim_of_a_dead_handler_is_released_after_its_lease(harness: CronHarness) -> None:
    insert(harness, "ingested")
    assert (await harness.run("retry_failed"))["claims"] == 0
    harness.sql("UPDATE pancake_webhook_event SET ingested_at = now() - interval '61 seconds'")
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["claims"] == 1
    assert harness.one("SELECT status FROM pancake_webhook_event")["status"] == "received"


async def test_a_row_that_keeps_killing_handlers_becomes_a_dead_letter(harness: CronHarness) -> None:
    insert(harness, "ingested")
    harness.sql("UPDATE pancake_webhook_event SET attempts = 5, ingested_at = now() - interval '61 seconds'")
    assert (await harness.run("retry_failed"))["dead_letter"] == 1
    row = harness.one("SELECT status, error_code FROM pancake_webhook_event")
    assert row == {"status": "dead_letter", "error_code": "claim_expired"}


@pytest.mark.test_case("TC-014-011")
async def test_a_received_row_with_a_lost_event_is_fired_again(harness: CronHarness) -> None:
    insert(harness, "received")
    harness.sql("DELETE FROM hdb_catalog.event_log")
    assert (await harness.run("retry_failed"))["refired"] == 0, "it may still be on its way"
    age(harness, 3)
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["refired"] == 1
    assert events(harness) == 1
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["refired"] == 0


async def test_an_hour_of_pause_with_a_thousand_rows_makes_a_thousand_events(harness: CronHarness) -> None:
    insert(harness, "received", 1_000)
    harness.change_settings(processing_paused=True)
    age(harness, 60)
    harness.sql("UPDATE hdb_catalog.event_log SET delivered = false")
    for _ in range(60):
        harness.move_clock(minutes=1)
        report = await harness.run("retry_failed")
        assert report["refired"] == 0
    assert events(harness) == 1_000
    harness.change_settings(processing_paused=False)
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["refired"] == 0, "the engine still holds their events"
    assert events(harness) == 1_000


async def test_at_most_500_rows_are_fired_per_tick_oldest_first(harness: CronHarness) -> None:
    insert(harness, "received", 700)
    age(harness, 3)
    assert (await harness.run("retry_failed"))["refired"] == 500
    harness.sql("UPDATE hdb_catalog.event_log SET delivered = true")
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["refired"] == 200


async def test_failed_rows_and_claims_stay_while_processing_is_paused(harness: CronHarness) -> None:
    insert(harness, "failed")
    harness.change_settings(processing_paused=True)
    harness.move_clock(minutes=10)
    assert (await harness.run("retry_failed"))["failed"] == 0


async def test_unsent_notifications_are_sent_once(harness: CronHarness) -> None:
    harness.hasura.failing = True
    await harness.process_lead()
    assert harness.hasura.sent == {}
    harness.hasura.failing = False
    assert (await harness.run("retry_failed"))["notified"] == 0, "its sender may still be sending"
    harness.sql("UPDATE pancake_webhook_event SET notify_claimed_at = now() - interval '61 seconds'")
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["notified"] == 1
    sent = len(harness.hasura.sent)
    assert sent >= 1
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["notified"] == 0
    assert len(harness.hasura.sent) == sent
