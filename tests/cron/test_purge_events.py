"""Cron 5: retention of bodies, runs and engine logs."""

from functools import partial
from typing import Any

import pytest

from tests.support.crons import CronHarness


async def test_old_bodies_are_deleted_and_their_identity_is_kept(harness: CronHarness) -> None:
    old, _ = await harness.process_lead(id="old")
    harness.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '91 days'")
    young, _ = await harness.process_lead(id="young", phone_number="0905333444")
    assert (await harness.run("purge_events"))["empty_payloads"] == 1
    row = harness.event(old)
    assert row["payload"] is None
    assert (row["record_id"], row["status"], row["outcome"]) == ("old", "processed", "ticket_created")
    assert harness.event(young)["payload"] is not None
    record = {"id": "old", "name": "Nguyễn Văn A", "phone_number": "0905111222", "source": ["-1"]}
    again = await harness.deliver(record | {"modified_on": "2026-05-14T02:35:56.000000"})
    assert again["status"] == "duplicate", "dedupe is permanent"


async def test_an_unchanged_lead_listed_after_its_body_was_deleted_is_no_change(harness: CronHarness) -> None:
    """Reassigning many old leads in Pancake opens no tickets; a new request does."""
    harness.fill_roster(1)
    await harness.process_lead(email="a@example.com", owner=["Lan"])
    harness.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_pancake'")
    harness.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '91 days'")
    assert (await harness.run("purge_events"))["empty_payloads"] == 1
    touched: dict[str, Any] = {"email": "a@example.com", "owner": ["Minh"], "interested_product": []}
    _, result = await harness.process_lead(**touched, modified_on="2026-05-15T00:00:00")
    assert result == "no_change"
    assert len(harness.hasura.sent) == 1
    _, result = await harness.process_lead(
        **touched | {"interested_product": ["Gói B"]}, modified_on="2026-05-16T00:00:00"
    )
    assert result == "ticket_created"


@pytest.mark.parametrize("by", ["webhook", "poll"])
async def test_held_leads_with_deleted_bodies_are_stored_again_once_their_source_is_active(
    harness: CronHarness, by: str
) -> None:
    """They come from Pancake's list: as new rows, or in the old row if the body is identical."""
    await harness.run("poll_records")
    start = harness.connection()["poll_watermark"]
    harness.sql("UPDATE pancake_source SET is_active = false")
    harness.pancake.faults.drop = 5 if by == "poll" else 0
    record_id = harness.pancake.new_lead()["id"]
    await harness.pancake.sender.idle()
    harness.move_clock(minutes=5)
    await harness.run("poll_records")
    harness.move_clock(days=366)
    assert (await harness.run("purge_events"))["empty_held"] == 1
    back = "UPDATE pancake_connection SET poll_watermark = %s"
    harness.sql(back, start)
    await harness.run("poll_records")
    assert harness.sql("SELECT 1 FROM pancake_webhook_event WHERE payload IS NOT NULL") == [], (
        "it is still held"
    )
    harness.sql("UPDATE pancake_source SET is_active = true")
    harness.sql(back, start)
    (report,) = (await harness.run("poll_records"))["connections"]
    assert report["missed_ids"] == [record_id]
    (row,) = harness.sql("SELECT * FROM pancake_webhook_event WHERE payload IS NOT NULL")
    assert (row["status"], row["origin"]) == ("received", "poll")
    assert row["normalized_phone"], "the phone is filled as it was when the row was stored"
    assert harness.one("SELECT count(*) FROM pancake_webhook_event")["count"] == (1 if by == "poll" else 2)
    assert await harness.process(row["id"]) == "ticket_created"
    harness.sql(back, start)
    (report,) = (await harness.run("poll_records"))["connections"]
    assert report["missed_ids"] == []


async def test_unfinished_events_are_not_purged(harness: CronHarness) -> None:
    answer = await harness.deliver({"id": "waiting", "name": "Lan", "source": ["-1"]})
    harness.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '91 days'")
    assert (await harness.run("purge_events"))["empty_payloads"] == 0
    assert harness.event(answer["event_id"])["payload"] is not None


async def test_the_retention_is_a_setting(harness: CronHarness) -> None:
    await harness.process_lead()
    harness.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '11 days'")
    harness.change_settings(payload_retention_days=10)
    assert (await harness.run("purge_events"))["empty_payloads"] == 1


HELD = ("skipped_kill_switch", "skipped_source_disabled", "dead_letter")


async def hold_one_of_each(harness: CronHarness) -> dict[str, int]:
    """Store one event of each status in HELD; return their ids."""
    record = {"phone_number": "0905111222", "source": ["-1"]}
    harness.change_settings(kill_switch=True)
    held = [await harness.deliver(record | {"id": "kill switch"})]
    harness.change_settings(kill_switch=False)
    harness.sql("UPDATE pancake_source SET is_active = false")
    held.append(await harness.deliver(record | {"id": "source"}))
    harness.sql("UPDATE pancake_source SET is_active = true")
    held.append(await harness.deliver("no JSON"))
    assert [answer["status"] for answer in held] == list(HELD)
    return {answer["status"]: answer["event_id"] for answer in held}


async def test_held_bodies_are_emptied_after_a_longer_limit(harness: CronHarness) -> None:
    ids = await hold_one_of_each(harness)
    bodies = "payload IS NOT NULL OR raw IS NOT NULL"
    harness.move_clock(days=91)
    assert (await harness.run("purge_events"))["empty_held"] == 0
    harness.move_clock(days=273)
    assert (await harness.run("purge_events"))["empty_held"] == 0
    assert harness.count("pancake_webhook_event", bodies) == len(ids)
    harness.move_clock(days=2)
    assert (await harness.run("purge_events"))["empty_held"] == len(ids)
    assert harness.count("pancake_webhook_event", bodies) == 0


@pytest.mark.parametrize("status", HELD[:2])
async def test_a_lead_replayed_after_the_limit_of_processed_bodies_is_emptied_by_the_next_purge(
    harness: CronHarness, status: str
) -> None:
    held = (await hold_one_of_each(harness))[status]
    for _ in range(2):
        harness.move_clock(days=100)
        await harness.run("purge_events")
    await harness.replay(ids=[held])
    assert await harness.process_received() == {held: "ticket_created"}
    assert harness.event(held)["payload"] is not None
    harness.move_clock(days=1)
    report = await harness.run("purge_events")
    assert (report["empty_replayed"], report["empty_held"], harness.event(held)["payload"]) == (1, 0, None)


@pytest.mark.parametrize("days", [30, "a year", None])
async def test_a_limit_of_held_bodies_below_the_other_is_not_used(harness: CronHarness, days: object) -> None:
    """The default is used, or the other limit if that is longer."""
    await hold_one_of_each(harness)
    harness.change_settings(held_retention_days=days)
    harness.move_clock(days=364)
    assert (await harness.run("purge_events"))["empty_held"] == 0
    harness.change_settings(payload_retention_days=400)
    harness.move_clock(days=35)
    assert (await harness.run("purge_events"))["empty_held"] == 0
    harness.move_clock(days=2)
    assert (await harness.run("purge_events"))["empty_held"] == 3


async def test_the_limit_of_held_bodies_is_a_setting(harness: CronHarness) -> None:
    await hold_one_of_each(harness)
    harness.change_settings(held_retention_days=100)
    harness.move_clock(days=101)
    assert (await harness.run("purge_events"))["empty_held"] == 3


async def test_old_runs_are_deleted_except_those_that_changed_a_status(harness: CronHarness) -> None:
    harness.pancake.faults.unauthorized = True
    await harness.run("check_connection")
    harness.move_clock(minutes=5)
    await harness.run("check_connection")
    await harness.run("check_sla")
    harness.sql(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome)"
        " VALUES ('connection_status', now(), now(), now(), 'succeeded')"
    )
    harness.sql("UPDATE pancake_cron_run SET scheduled_time = scheduled_time - interval '181 days'")
    assert (await harness.run("purge_events"))["delete_runs"] == 2
    assert harness.count("pancake_cron_run", "name = 'connection_status'") == 1
    (kept,) = harness.sql("SELECT * FROM view_pancake_connection_status")
    assert (kept["status_before"], kept["status_after"]) == ("active", "key_invalid")


async def test_old_finished_engine_logs_of_our_triggers_are_deleted(harness: CronHarness) -> None:
    harness.sql(
        "INSERT INTO hdb_catalog.event_log (id, trigger_name, payload, delivered, locked, created_at) VALUES"
        " ('old', 'pancake_webhook_event_status_update', '{}', true, NULL, now() - interval '8 days'),"
        " ('young', 'pancake_webhook_event_status_update', '{}', true, NULL, now() - interval '6 days'),"
        " ('pending', 'pancake_webhook_event_status_update', '{}', false, NULL, now() - interval '8 days'),"
        " ('locked', 'pancake_webhook_event_status_update', '{}', true, now(), now() - interval '8 days'),"
        " ('foreign', 'stringee_call', '{}', true, NULL, now() - interval '8 days')"
    )
    harness.sql(
        "INSERT INTO hdb_catalog.event_invocation_logs (event_id) VALUES ('old'), ('young'), ('foreign')"
    )
    harness.sql(
        "INSERT INTO hdb_catalog.hdb_cron_events (id, trigger_name, status, scheduled_time) VALUES"
        " ('old', 'pancake_check_sla', 'delivered', now() - interval '8 days'),"
        " ('dead', 'pancake_check_sla', 'dead', now() - interval '8 days'),"
        " ('due', 'pancake_check_sla', 'scheduled', now() - interval '8 days'),"
        " ('foreign', 'other_cron', 'delivered', now() - interval '8 days')"
    )
    harness.sql(
        "INSERT INTO hdb_catalog.hdb_cron_event_invocation_logs (event_id) VALUES ('old'), ('foreign')"
    )
    report = await harness.run("purge_events")
    assert (report["delete_event_logs"], report["delete_cron_events"]) == (1, 2)
    left = {
        name: sorted(row["id"] for row in harness.sql(f"SELECT {column} AS id FROM hdb_catalog.{name}"))
        for name, column in [
            ("event_log", "id"),
            ("event_invocation_logs", "event_id"),
            ("hdb_cron_events", "id"),
            ("hdb_cron_event_invocation_logs", "event_id"),
        ]
    }
    assert left == {
        "event_log": ["foreign", "locked", "pending", "young"],
        "event_invocation_logs": ["foreign", "young"],
        "hdb_cron_events": ["due", "foreign"],
        "hdb_cron_event_invocation_logs": ["foreign"],
    }


async def test_a_purge_that_runs_out_of_time_resumes_at_the_next_delivery(harness: CronHarness) -> None:
    harness.sql(
        "INSERT INTO hdb_catalog.event_log (trigger_name, payload, delivered, created_at)"
        " SELECT 'pancake_webhook_event_status_update', '{}', true, now() - interval '8 days'"
        " FROM generate_series(1, 2500)"
    )
    harness.clock.monotonic = partial(next, iter(range(0, 1_000_000, 11)))  # type: ignore[method-assign]
    due = harness.clock.now()
    answers = [await harness.tick("purge_events", due) for _ in range(20)]
    assert answers[0].status_code == 503
    assert answers[-1].json() == {"result": "already_done"}
    assert harness.last_run("purge_events")["report"]["delete_event_logs"] == 2_500
