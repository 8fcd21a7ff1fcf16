"""Cron 2: the status of a connection, its history, its notifications."""

from typing import Literal

import psycopg
import pytest
from psycopg.rows import dict_row

from cron.check_connection import PROBE_OF_ERROR
from leads.adapters.breaker import FAILURES_TO_OPEN, BreakerOpen
from leads.adapters.pancake_api import Access
from leads.domain.canonical_json import JsonObject
from leads.domain.errors import PancakeKeyRejected, PancakeUnavailable
from ops.daily.connection_secrets import change_status
from tests.support.crons import CronHarness


async def check(harness: CronHarness, minutes: float = 5) -> str:
    """Move the clock, poll and check as the crons do; return the status."""
    harness.move_clock(minutes=minutes)
    await harness.tick("poll_records")
    await harness.run("check_connection")
    return str(harness.connection()["status"])


def history(harness: CronHarness) -> list[tuple[str, str]]:
    rows = harness.sql("SELECT * FROM view_pancake_connection_status ORDER BY scheduled_time")
    return [(row["status_before"], row["status_after"]) for row in rows]


async def lead(harness: CronHarness, count: int = 1) -> None:
    for _ in range(count):
        harness.pancake.new_lead()
    await harness.pancake.sender.idle()


async def test_a_silent_webhook_becomes_suspended_and_then_active_again(harness: CronHarness) -> None:
    await lead(harness)
    assert await check(harness) == "active"
    harness.pancake.sender.suspend()
    await lead(harness, 3)
    assert await check(harness) == "silent"
    await lead(harness, 9)
    assert await check(harness, 29) == "silent"
    assert [await check(harness) for _ in range(2)] == ["suspended"] * 2
    harness.pancake.sender.enable()
    harness.move_clock(minutes=1)
    await lead(harness)
    assert await check(harness) == "active"
    assert history(harness) == [("active", "silent"), ("silent", "suspended"), ("suspended", "active")]
    assert harness.reasons() == ["connection_silent", "connection_suspended", "connection_active"]
    (row,) = harness.sql("SELECT count(DISTINCT record_id) AS n FROM pancake_webhook_event")
    assert row["n"] == 14, "polling brought what the webhook did not"


@pytest.mark.parametrize("fault", ["unauthorized", "success_false"])
async def test_a_rejected_key_and_its_recovery_are_notified_once(harness: CronHarness, fault: str) -> None:
    harness.pancake.faults.change({fault: True})
    assert [await check(harness) for _ in range(2)] == ["key_invalid"] * 2
    harness.pancake.faults.reset()
    assert await check(harness) == "active"
    assert history(harness) == [("active", "key_invalid"), ("key_invalid", "active")]
    assert harness.reasons() == ["connection_key_invalid", "connection_active"]


async def test_an_outage_is_both_channels_down_for_two_checks(harness: CronHarness) -> None:
    """An open circuit breaker is a failed probe like any other."""
    await lead(harness)
    harness.pancake.faults.down = True
    assert await check(harness, 20) == "active"
    await lead(harness)
    assert await check(harness) == "active", "webhooks arrive"
    harness.move_clock(minutes=20)
    for _ in range(FAILURES_TO_OPEN):
        await harness.tick("poll_records")
    (finding,) = (await harness.run("check_connection"))["connections"]
    assert (finding["probe"], finding["after"]) == ("unavailable", "outage")
    assert await check(harness, 20) == "outage"
    harness.pancake.faults.reset()
    assert await check(harness) == "active"
    assert history(harness) == [("active", "outage"), ("outage", "active")]
    assert harness.reasons() == ["connection_outage", "connection_active"]
    assert set(PROBE_OF_ERROR) >= {PancakeUnavailable.code, BreakerOpen.code}


@pytest.mark.parametrize("cron", ["check_connection", "sync_sources", "poll_records", "reconcile_daily"])
async def test_no_cron_calls_pancake_for_a_disabled_connection(harness: CronHarness, cron: str) -> None:
    harness.sql("UPDATE pancake_connection SET status = 'disabled'")
    harness.pancake.faults.unauthorized = True
    await harness.run(cron)
    assert harness.connection()["status"] == "disabled"
    assert harness.pancake.counts["rest_requests"] == 0


def set_status(harness: CronHarness, status: Literal["active", "disabled"]) -> None:
    """Do what `leads connection disable` or `enable` does, at the time of the test's clock."""
    with psycopg.connect(harness.database_url, row_factory=dict_row) as db:
        change_status(db, harness.connection_id, status, "moving", harness.clock.now())


async def test_disabling_and_enabling_a_connection_notifies_admins_once(harness: CronHarness) -> None:
    await check(harness)
    statuses: tuple[Literal["active", "disabled"], ...] = ("disabled", "active")
    for status in statuses:
        set_status(harness, status)
        for _ in range(2):
            assert await check(harness) == status
    assert harness.reasons() == ["connection_disabled", "connection_active"]
    assert history(harness) == [("active", "disabled"), ("disabled", "active")]


async def test_a_connection_disabled_during_a_check_stays_disabled(harness: CronHarness) -> None:
    async def disabled_meanwhile(access: Access) -> list[JsonObject]:
        set_status(harness, "disabled")
        raise PancakeKeyRejected("x", status=401)

    harness.runtime.pancake.sources = disabled_meanwhile  # type: ignore[method-assign]
    await harness.run("check_connection")
    assert harness.connection()["status"] == "disabled"


async def test_an_internal_error_is_no_outage(harness: CronHarness, caplog: pytest.LogCaptureFixture) -> None:
    async def bug(access: Access) -> list[JsonObject]:
        raise KeyError("0905111222")

    harness.runtime.pancake.sources = bug  # type: ignore[method-assign]
    for _ in range(2):
        harness.move_clock(minutes=20)
        assert (await harness.tick("check_connection")).status_code == 503
    run = harness.last_run("check_connection")
    assert (run["report"]["connections"], harness.connection()["status"]) == ([], "active")
    assert f"{harness.connection_id}: KeyError, digest " in run["error"]
    assert "0905" not in run["error"]
    (fault, _) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert fault.exc_info is not None


def setting_notices(harness: CronHarness) -> list[str]:
    sent = [notification["data"] for notification in harness.hasura.sent.values()]
    return [data["detail"] for data in sent if data["reason"] == "settings_unreadable"]


async def test_unreadable_settings_are_notified_and_logged_once_for_each_value(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """The cron's answer, which Hasura logs, names them without their values."""
    await check(harness)
    assert setting_notices(harness) == []
    harness.change_settings(sla_minutes="30 phút")
    for _ in range(3):
        await check(harness)
    assert setting_notices(harness) == ['sla_minutes must be 1 to 1440, not "30 phút"']
    harness.change_settings(sla_minutes=0, payload_retention_days=-1)
    await check(harness)
    answer = await harness.tick("check_connection")
    assert answer.json()["report"]["settings"]["unreadable"] == ["payload_retention_days", "sla_minutes"]
    assert "must be" not in answer.text
    harness.change_settings(sla_minutes=30, payload_retention_days=90)
    await check(harness)
    harness.change_settings(sla_minutes="30 phút")
    await check(harness)
    assert setting_notices(harness)[1:] == [
        "payload_retention_days must be 7 to 3650, not -1; sla_minutes must be 1 to 1440, not 0",
        'sla_minutes must be 1 to 1440, not "30 phút"',
    ]
    lines = [record for record in caplog.records if record.message == "settings unreadable"]
    assert [record.__dict__["fields"] for record in lines] == [
        {"settings": ["sla_minutes"]},
        {"settings": ["payload_retention_days", "sla_minutes"]},
        {"settings": ["sla_minutes"]},
    ]
