"""Cron 4: tickets without a first response in time."""

from datetime import timedelta

import pytest

from tests.cron.conftest import Ward


def late(ward: Ward) -> list[str]:
    return [reason for reason in ward.reasons() if reason == "sla_missed"]


@pytest.fixture
async def ticket(ward: Ward) -> str:
    """A ticket of ours, made half an hour ago."""
    event_id, _ = await ward.lead()
    ticket_id = str(ward.event(event_id)["ticket_id"])
    ward.move(minutes=31)
    return ticket_id


async def test_a_ticket_without_a_first_response_is_told_to_the_managers_once(
    ward: Ward, ticket: str
) -> None:
    assert (await ward.run("check_sla"))["late"] == 1
    ward.move(minutes=5)
    assert (await ward.run("check_sla"))["late"] == 0
    assert late(ward) == ["sla_missed"]
    managers = {str(row["id"]) for row in ward.sql("SELECT id FROM staff WHERE role = 'manager'")}
    told = next(n for n in ward.hasura.sent.values() if n["data"].get("reason") == "sla_missed")
    assert set(told["recipient_ids"]) == managers
    assert told["data"]["ticket_id"] == ticket


async def test_a_ticket_answered_in_time_or_closed_is_nobodys_business(ward: Ward, ticket: str) -> None:
    ward.sql("UPDATE ticket SET first_response_at = created_at + interval '10 minutes' WHERE id = %s", ticket)
    report = await ward.run("check_sla")
    assert report["late"] == 0
    assert report["kpi"]["response"] == {"tickets": 1, "unanswered": 0, "p95_minutes": 10}
    ward.sql("UPDATE ticket SET first_response_at = NULL, status = 'cancelled' WHERE id = %s", ticket)
    ward.move(minutes=5)
    assert (await ward.run("check_sla"))["late"] == 0


async def test_the_limit_is_a_setting(ward: Ward, ticket: str) -> None:
    ward.switch(sla_minutes=45)
    assert (await ward.run("check_sla"))["late"] == 0
    ward.move(minutes=15)
    assert (await ward.run("check_sla"))["late"] == 1


async def test_an_update_of_the_lead_does_not_tell_again(ward: Ward, ticket: str) -> None:
    await ward.run("check_sla")
    await ward.lead(modified_on="2026-05-15T02:35:56.000000", name="Nguyễn Văn B")
    ward.move(minutes=31)
    assert (await ward.run("check_sla"))["late"] == 0
    assert late(ward) == ["sla_missed"]


async def test_an_unanswered_ticket_counts_with_its_present_age(ward: Ward, ticket: str) -> None:
    response = (await ward.run("check_sla"))["kpi"]["response"]
    assert response["unanswered"] == 1
    assert 31 <= response["p95_minutes"] <= 32


async def test_if_the_service_is_away_the_retry_cron_tells(ward: Ward, ticket: str) -> None:
    ward.hasura.failing = True
    await ward.run("check_sla")
    ward.hasura.failing = False
    assert late(ward) == []
    ward.sql("UPDATE pancake_webhook_event SET notify_claimed_at = now() - interval '61 seconds'")
    assert (await ward.run("retry_failed"))["notified"] == 1
    assert late(ward) == ["sla_missed"]


def on_the_hour(ward: Ward) -> None:
    """Move the clock to the first tick of the next hour."""
    now = ward.clock.now()
    ward.clock.ahead += now.replace(minute=0, second=1, microsecond=0) + timedelta(hours=1) - now


async def test_a_lead_that_was_held_for_days_is_told_like_any_other(ward: Ward) -> None:
    ward.sql("UPDATE pancake_source SET is_active = false")
    await ward.lead()
    ward.sql("UPDATE pancake_source SET is_active = true")
    ward.move(days=4)
    await ward.replay(filter={"status": "skipped_source_disabled"})
    await ward.drain()
    ward.move(minutes=31)
    on_the_hour(ward)
    assert (await ward.run("check_sla"))["late"] == 1
    on_the_hour(ward)
    assert (await ward.run("check_sla"))["late"] == 0
    assert late(ward) == ["sla_missed"]


async def test_an_older_version_that_is_released_later_does_not_tell_again(ward: Ward) -> None:
    ward.sql("UPDATE pancake_source SET is_active = false")
    await ward.lead(modified_on="2026-05-13T02:35:56.000000")
    ward.sql("UPDATE pancake_source SET is_active = true")
    await ward.lead()
    ward.move(minutes=31)
    assert (await ward.run("check_sla"))["late"] == 1
    await ward.replay(filter={"status": "skipped_source_disabled"})
    await ward.drain()
    assert [row["outcome"] for row in ward.sql("SELECT outcome FROM pancake_webhook_event ORDER BY id")] == [
        "stale",
        "ticket_created",
    ]
    ward.move(minutes=5)
    assert (await ward.run("check_sla"))["late"] == 0
    assert late(ward) == ["sla_missed"]


async def test_the_second_ticket_of_an_event_is_told_too(ward: Ward, ticket: str) -> None:
    assert (await ward.run("check_sla"))["late"] == 1
    ward.sql("UPDATE ticket SET status = 'cancelled' WHERE id = %s", ticket)
    (event,) = ward.sql("SELECT id FROM pancake_webhook_event")
    await ward.replay(ids=[event["id"]], force=True)
    await ward.drain()
    ward.move(minutes=31)
    assert (await ward.run("check_sla"))["late"] == 1
    told = [n for n in ward.hasura.sent.values() if n["data"].get("reason") == "sla_missed"]
    assert len({n["data"]["ticket_id"] for n in told}) == 2
