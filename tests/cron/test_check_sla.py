"""Cron 4: tickets without a first response in time."""

from datetime import timedelta

import psycopg
import pytest

from tests.support.crons import CronHarness
from tests.support.leads import LEAD


def late(harness: CronHarness) -> list[str]:
    return [reason for reason in harness.reasons() if reason == "sla_missed"]


@pytest.fixture
async def ticket(harness: CronHarness) -> str:
    """Id of a ticket of the integration, created half an hour ago."""
    event_id, _ = await harness.process_lead()
    ticket_id = str(harness.event(event_id)["ticket_id"])
    harness.move_clock(minutes=31)
    return ticket_id


async def test_managers_are_notified_once_of_a_ticket_without_a_first_response(
    harness: CronHarness, ticket: str
) -> None:
    assert (await harness.run("check_sla"))["late"] == 1
    harness.move_clock(minutes=5)
    assert (await harness.run("check_sla"))["late"] == 0
    assert late(harness) == ["sla_missed"]
    managers = {str(row["id"]) for row in harness.sql("SELECT id FROM staff WHERE role = 'manager'")}
    notifications = next(n for n in harness.hasura.sent.values() if n["data"].get("reason") == "sla_missed")
    assert set(notifications["recipient_ids"]) == managers
    assert notifications["data"]["ticket_id"] == ticket


async def test_a_ticket_answered_in_time_or_closed_is_not_late(harness: CronHarness, ticket: str) -> None:
    harness.sql(
        "UPDATE ticket SET first_response_at = created_at + interval '10 minutes' WHERE id = %s", ticket
    )
    report = await harness.run("check_sla")
    assert report["late"] == 0
    assert report["kpi"]["response"] == {"tickets": 1, "unanswered": 0} | dict.fromkeys(
        ("p50_minutes", "p95_minutes", "p50_business_minutes", "p95_business_minutes"), 10
    )
    harness.sql("UPDATE ticket SET first_response_at = NULL, status = 'cancelled' WHERE id = %s", ticket)
    harness.move_clock(minutes=5)
    assert (await harness.run("check_sla"))["late"] == 0


async def test_the_limit_is_a_setting(harness: CronHarness, ticket: str) -> None:
    harness.change_settings(sla_minutes=45)
    assert (await harness.run("check_sla"))["late"] == 0
    harness.move_clock(minutes=15)
    assert (await harness.run("check_sla"))["late"] == 1


async def test_an_update_of_the_lead_does_not_notify_again(harness: CronHarness, ticket: str) -> None:
    await harness.run("check_sla")
    await harness.process_lead(modified_on="2026-05-15T02:35:56.000000", name="Nguyễn Văn B")
    harness.move_clock(minutes=31)
    assert (await harness.run("check_sla"))["late"] == 0
    assert late(harness) == ["sla_missed"]


async def test_an_unanswered_ticket_counts_with_its_current_age(harness: CronHarness, ticket: str) -> None:
    response = (await harness.run("check_sla"))["kpi"]["response"]
    assert response["unanswered"] == 1
    assert 31 <= response["p95_minutes"] <= 32


async def test_the_retry_cron_notifies_if_the_service_was_unavailable(
    harness: CronHarness, ticket: str
) -> None:
    harness.hasura.failing = True
    await harness.run("check_sla")
    harness.hasura.failing = False
    assert late(harness) == []
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["notified"] == 1
    assert late(harness) == ["sla_missed"]


async def test_a_late_ticket_is_flagged_while_older_notifications_of_its_event_wait(
    harness: CronHarness,
) -> None:
    harness.hasura.refused = {"1:unassigned"}
    event_id, _ = await harness.process_lead()
    harness.move_clock(minutes=31)
    assert (await harness.run("check_sla"))["late"] == 1
    harness.hasura.refused = set()
    harness.move_clock(minutes=1)
    await harness.run("retry_failed")
    assert set(harness.hasura.sent) == {f"{event_id}:unassigned", f"{event_id}:sla_missed"}


async def test_an_event_whose_notifications_are_being_sent_is_left_for_a_later_tick(
    harness: CronHarness, ticket: str
) -> None:
    """Their sender marks all of them as sent, also one that is added meanwhile."""
    harness.sql("UPDATE pancake_webhook_event SET notified_at = NULL, notify_claimed_at = clock_timestamp()")
    assert (await harness.run("check_sla"))["late"] == 0
    harness.expire_leases()
    harness.move_clock(minutes=5)
    assert (await harness.run("check_sla"))["late"] == 1


async def test_an_event_that_a_handler_works_on_is_left_for_a_later_tick(
    harness: CronHarness, ticket: str
) -> None:
    with psycopg.connect(harness.runtime.settings.database_url) as handler:
        handler.execute("SELECT id FROM pancake_webhook_event FOR UPDATE")
        assert (await harness.run("check_sla"))["late"] == 0
    harness.move_clock(minutes=5)
    assert (await harness.run("check_sla"))["late"] == 1


async def test_without_an_active_manager_the_administrators_are_notified(
    harness: CronHarness, ticket: str
) -> None:
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'manager'")
    await harness.run("check_sla")
    (notification,) = [n for n in harness.hasura.sent.values() if n["data"].get("reason") == "sla_missed"]
    admins = harness.sql("SELECT id::text FROM staff WHERE role = 'admin' AND is_active")
    assert set(notification["recipient_ids"]) == {row["id"] for row in admins}


async def test_without_active_staff_nothing_is_stored_and_a_late_ticket_is_notified_when_an_admin_is_active(
    harness: CronHarness, ticket: str, caplog: pytest.LogCaptureFixture
) -> None:
    harness.sql("UPDATE staff SET is_active = false WHERE role IN ('manager', 'admin')")
    before = harness.one("SELECT notifications, evidence FROM pancake_webhook_event")
    report = await harness.run("check_sla")
    assert (report["late"], report["late_untold"]) == (0, 1)
    assert harness.one("SELECT notifications, evidence FROM pancake_webhook_event") == before
    (line,) = [each for each in caplog.records if each.message == "notifications dropped"]
    assert (line.__dict__["fields"]["name"], line.__dict__["fields"]["count"]) == ("sla_missed", 1)
    assert (
        'pancake_notifications_total{result="dropped"} 1.0' in harness.runtime.metrics.exposition().decode()
    )
    harness.sql("UPDATE staff SET is_active = true WHERE role = 'admin'")
    harness.move_clock(minutes=5)
    report = await harness.run("check_sla")
    assert (report["late"], report["late_untold"]) == (1, 0)
    assert late(harness) == ["sla_missed"]


async def hold_lead(harness: CronHarness, **lead: str) -> None:
    harness.sql("UPDATE pancake_source SET is_active = false")
    await harness.process_lead(**lead)
    harness.sql("UPDATE pancake_source SET is_active = true")


async def release_leads(harness: CronHarness) -> None:
    await harness.replay(filter={"status": "skipped_source_disabled"})
    await harness.process_received()


async def test_a_lead_held_for_days_is_notified_like_any_other(harness: CronHarness) -> None:
    await hold_lead(harness)
    harness.move_clock(days=4)
    await release_leads(harness)
    harness.move_clock(minutes=31)
    assert (await harness.run("check_sla"))["late"] == 1
    harness.move_clock(minutes=5)
    assert (await harness.run("check_sla"))["late"] == 0
    assert late(harness) == ["sla_missed"]


@pytest.mark.parametrize("waited", [timedelta(hours=23), timedelta(hours=25), timedelta(days=300)], ids=str)
async def test_a_lead_that_waited_without_a_replay_is_told_within_three_days_of_its_ticket(
    harness: CronHarness, waited: timedelta
) -> None:
    """As in a pause. What was stored lately and what waited for more than a day are found apart."""
    await harness.deliver(LEAD)
    harness.clock.ahead += waited
    await harness.process_received()
    harness.move_clock(days=2, hours=23)
    assert (await harness.run("check_sla"))["late"] == 1


async def test_a_lead_held_for_most_of_a_year_is_notified_like_any_other(harness: CronHarness) -> None:
    await hold_lead(harness)
    harness.move_clock(days=300)
    await release_leads(harness)
    harness.move_clock(minutes=31)
    assert (await harness.run("check_sla"))["late"] == 1
    assert late(harness) == ["sla_missed"]


async def test_an_older_version_released_later_does_not_notify_again(harness: CronHarness) -> None:
    await hold_lead(harness, modified_on="2026-05-13T02:35:56.000000")
    await harness.process_lead()
    harness.move_clock(minutes=31)
    assert (await harness.run("check_sla"))["late"] == 1
    await release_leads(harness)
    outcomes = harness.sql("SELECT outcome FROM pancake_webhook_event ORDER BY id")
    assert [row["outcome"] for row in outcomes] == ["stale", "ticket_created"]
    harness.move_clock(minutes=5)
    assert (await harness.run("check_sla"))["late"] == 0
    assert late(harness) == ["sla_missed"]


async def test_the_second_ticket_of_an_event_is_notified_too(harness: CronHarness, ticket: str) -> None:
    assert (await harness.run("check_sla"))["late"] == 1
    harness.sql("UPDATE ticket SET status = 'cancelled' WHERE id = %s", ticket)
    (event,) = harness.sql("SELECT id FROM pancake_webhook_event")
    await harness.replay(ids=[event["id"]], force=True)
    await harness.process_received()
    harness.move_clock(minutes=31)
    assert (await harness.run("check_sla"))["late"] == 1
    notifications = [n for n in harness.hasura.sent.values() if n["data"].get("reason") == "sla_missed"]
    assert len({n["data"]["ticket_id"] for n in notifications}) == 2
