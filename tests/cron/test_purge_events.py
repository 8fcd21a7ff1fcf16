"""Cron 5: retention."""

from functools import partial
from typing import Any

import pytest

from tests.cron.conftest import Ward


async def test_old_bodies_are_emptied_and_identity_stays(ward: Ward) -> None:
    old, _ = await ward.lead(id="old")
    ward.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '91 days'")
    young, _ = await ward.lead(id="young", phone_number="0905333444")
    assert (await ward.run("purge_events"))["empty_payloads"] == 1
    row = ward.event(old)
    assert row["payload"] is None
    assert (row["record_id"], row["status"], row["outcome"]) == ("old", "processed", "ticket_created")
    assert ward.event(young)["payload"] is not None
    record = {"id": "old", "name": "Nguyễn Văn A", "phone_number": "0905111222", "source": ["-1"]}
    again = await ward.deliver(record | {"modified_on": "2026-05-14T02:35:56.000000"})
    assert again["status"] == "duplicate", "dedupe is permanent"


async def test_a_lead_that_is_touched_after_its_body_was_emptied_is_no_news(ward: Ward) -> None:
    """A reassignment of many old leads in Pancake opens no tickets; a change in what we map still does."""
    ward.roster(1)
    await ward.lead(email="a@example.com", owner=["Lan"])
    ward.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_pancake'")
    ward.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '91 days'")
    assert (await ward.run("purge_events"))["empty_payloads"] == 1
    touched: dict[str, Any] = {"email": "a@example.com", "owner": ["Minh"], "interested_product": []}
    _, result = await ward.lead(**touched, modified_on="2026-05-15T00:00:00")
    assert result == "no_change"
    assert len(ward.hasura.sent) == 1
    _, result = await ward.lead(**touched | {"email": "b@example.com"}, modified_on="2026-05-16T00:00:00")
    assert result == "ticket_created"


@pytest.mark.parametrize("by", ["webhook", "poll"])
async def test_held_leads_whose_bodies_were_emptied_come_again_once_their_source_is_active(
    ward: Ward, by: str
) -> None:
    """The list brings them: as rows of their own, or in the old row if the body is the very same."""
    await ward.run("poll_records")
    start = ward.connection()["poll_watermark"]
    ward.sql("UPDATE pancake_source SET is_active = false")
    ward.pancake.faults.drop = 5 if by == "poll" else 0
    record_id = ward.pancake.new_lead()["id"]
    await ward.pancake.sender.idle()
    ward.move(minutes=5)
    await ward.run("poll_records")
    ward.move(days=91)
    assert (await ward.run("purge_events"))["empty_payloads"] == 1
    back = "UPDATE pancake_connection SET poll_watermark = %s"
    ward.sql(back, start)
    await ward.run("poll_records")
    assert ward.sql("SELECT 1 FROM pancake_webhook_event WHERE payload IS NOT NULL") == [], "it is still held"
    ward.sql("UPDATE pancake_source SET is_active = true")
    ward.sql(back, start)
    (report,) = (await ward.run("poll_records"))["connections"]
    assert report["missed_ids"] == [record_id]
    (row,) = ward.sql("SELECT * FROM pancake_webhook_event WHERE payload IS NOT NULL")
    assert (row["status"], row["origin"]) == ("received", "poll")
    assert ward.one("SELECT count(*) FROM pancake_webhook_event")["count"] == (1 if by == "poll" else 2)
    assert await ward.process(row["id"]) == "ticket_created"
    ward.sql(back, start)
    (report,) = (await ward.run("poll_records"))["connections"]
    assert report["missed_ids"] == []


async def test_what_is_unfinished_is_not_touched(ward: Ward) -> None:
    answer = await ward.deliver({"id": "waiting", "name": "Lan", "source": ["-1"]})
    ward.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '91 days'")
    assert (await ward.run("purge_events"))["empty_payloads"] == 0
    assert ward.event(answer["event_id"])["payload"] is not None


async def test_the_retention_is_a_setting(ward: Ward) -> None:
    await ward.lead()
    ward.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '11 days'")
    ward.switch(payload_retention_days=10)
    assert (await ward.run("purge_events"))["empty_payloads"] == 1


async def test_old_runs_go_but_changes_of_a_status_stay(ward: Ward) -> None:
    ward.pancake.faults.unauthorized = True
    await ward.run("check_connection")
    ward.move(minutes=5)
    await ward.run("check_connection")
    await ward.run("check_sla")
    ward.sql("UPDATE pancake_cron_run SET scheduled_time = scheduled_time - interval '181 days'")
    assert (await ward.run("purge_events"))["delete_runs"] == 2
    (kept,) = ward.sql("SELECT * FROM view_pancake_connection_status")
    assert (kept["status_before"], kept["status_after"]) == ("active", "key_invalid")


async def test_the_engines_logs_of_our_triggers_go_when_old_and_finished(ward: Ward) -> None:
    ward.sql(
        "INSERT INTO hdb_catalog.event_log (id, trigger_name, payload, delivered, locked, created_at) VALUES"
        " ('old', 'pancake_webhook_event_status_update', '{}', true, NULL, now() - interval '8 days'),"
        " ('young', 'pancake_webhook_event_status_update', '{}', true, NULL, now() - interval '6 days'),"
        " ('pending', 'pancake_webhook_event_status_update', '{}', false, NULL, now() - interval '8 days'),"
        " ('locked', 'pancake_webhook_event_status_update', '{}', true, now(), now() - interval '8 days'),"
        " ('foreign', 'stringee_call', '{}', true, NULL, now() - interval '8 days')"
    )
    ward.sql(
        "INSERT INTO hdb_catalog.event_invocation_logs (event_id) VALUES ('old'), ('young'), ('foreign')"
    )
    ward.sql(
        "INSERT INTO hdb_catalog.hdb_cron_events (id, trigger_name, status, scheduled_time) VALUES"
        " ('old', 'pancake_check_sla', 'delivered', now() - interval '8 days'),"
        " ('dead', 'pancake_check_sla', 'dead', now() - interval '8 days'),"
        " ('due', 'pancake_check_sla', 'scheduled', now() - interval '8 days'),"
        " ('foreign', 'other_cron', 'delivered', now() - interval '8 days')"
    )
    ward.sql("INSERT INTO hdb_catalog.hdb_cron_event_invocation_logs (event_id) VALUES ('old'), ('foreign')")
    report = await ward.run("purge_events")
    assert (report["delete_event_logs"], report["delete_cron_events"]) == (1, 2)
    left = {
        name: sorted(row["id"] for row in ward.sql(f"SELECT {column} AS id FROM hdb_catalog.{name}"))
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


async def test_a_purge_that_runs_out_of_time_goes_on_at_the_next_delivery(ward: Ward) -> None:
    ward.sql(
        "INSERT INTO hdb_catalog.event_log (trigger_name, payload, delivered, created_at)"
        " SELECT 'pancake_webhook_event_status_update', '{}', true, now() - interval '8 days'"
        " FROM generate_series(1, 2500)"
    )
    ward.clock.monotonic = partial(next, iter(range(0, 1_000_000, 22)))  # type: ignore[method-assign]
    due = ward.clock.now()
    answers = [await ward.tick("purge_events", due) for _ in range(20)]
    assert answers[0].status_code == 503
    assert answers[-1].json() == {"result": "already_done"}
    assert ward.last_run("purge_events")["report"]["delete_event_logs"] == 2_500
