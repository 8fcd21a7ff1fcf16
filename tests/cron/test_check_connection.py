"""Cron 2: the status of a connection, its history, and who is told."""

from typing import Any

import pytest

from leads.adapters.pancake_api import Access
from tests.cron.conftest import Ward


async def check(ward: Ward, minutes: float = 5) -> str:
    """Let time pass, poll and check as the crons would; returns the status."""
    ward.move(minutes=minutes)
    await ward.tick("poll_records")
    await ward.run("check_connection")
    return str(ward.connection()["status"])


def history(ward: Ward) -> list[tuple[str, str]]:
    rows = ward.sql("SELECT * FROM view_pancake_connection_status ORDER BY scheduled_time")
    return [(row["status_before"], row["status_after"]) for row in rows]


async def lead(ward: Ward, count: int = 1) -> None:
    for _ in range(count):
        ward.pancake.new_lead()
    await ward.pancake.sender.idle()


async def test_a_silent_webhook_is_noticed_then_taken_for_suspended_and_comes_back(ward: Ward) -> None:
    await lead(ward)
    assert await check(ward) == "active"
    ward.pancake.sender.suspend()
    await lead(ward, 3)
    assert await check(ward) == "silent"
    await lead(ward, 9)
    assert await check(ward, 29) == "silent"
    assert await check(ward, 5) == "suspended"
    assert await check(ward, 5) == "suspended"
    ward.pancake.sender.enable()
    ward.move(minutes=1)
    await lead(ward)
    assert await check(ward) == "active"
    assert history(ward) == [("active", "silent"), ("silent", "suspended"), ("suspended", "active")]
    assert ward.reasons() == ["connection_silent", "connection_suspended", "connection_active"]
    (row,) = ward.sql("SELECT count(DISTINCT record_id) AS n FROM pancake_webhook_event")
    assert row["n"] == 14, "polling brought what the webhook did not"


async def test_a_rejected_key_is_told_once_and_forgiven_when_it_works_again(ward: Ward) -> None:
    ward.pancake.faults.unauthorized = True
    assert await check(ward) == "key_invalid"
    assert await check(ward) == "key_invalid"
    ward.pancake.faults.reset()
    assert await check(ward) == "active"
    assert history(ward) == [("active", "key_invalid"), ("key_invalid", "active")]
    assert ward.reasons() == ["connection_key_invalid", "connection_active"]


async def test_success_false_counts_as_a_rejected_key(ward: Ward) -> None:
    ward.pancake.faults.success_false = True
    assert await check(ward) == "key_invalid"


async def test_an_outage_is_both_channels_down_for_two_checks(ward: Ward) -> None:
    await lead(ward)
    ward.pancake.faults.down = True
    assert await check(ward, 20) == "active"
    assert await check(ward) == "outage"
    assert await check(ward) == "outage"
    ward.pancake.faults.reset()
    assert await check(ward) == "active"
    assert history(ward) == [("active", "outage"), ("outage", "active")]
    assert ward.reasons() == ["connection_outage", "connection_active"]


async def test_a_failing_api_is_no_outage_while_webhooks_come(ward: Ward) -> None:
    ward.pancake.faults.down = True
    for _ in range(4):
        assert await check(ward) == "active"
        await lead(ward)
    assert history(ward) == []


async def test_a_quiet_night_raises_nothing(ward: Ward) -> None:
    await lead(ward)
    for _ in range(12):
        assert await check(ward, 45) == "active"
    assert history(ward) == []
    assert ward.reasons() == []


async def test_a_disabled_connection_is_left_alone(ward: Ward) -> None:
    ward.sql("UPDATE pancake_connection SET status = 'disabled'")
    ward.pancake.faults.unauthorized = True
    assert await check(ward) == "disabled"
    assert ward.pancake.counts["rest_requests"] == 0


async def test_a_fault_of_ours_is_no_outage_of_pancakes(ward: Ward, caplog: pytest.LogCaptureFixture) -> None:
    async def bug(access: Access) -> list[dict[str, Any]]:
        raise KeyError("0905111222")

    ward.runtime.pancake.sources = bug  # type: ignore[method-assign]
    for _ in range(2):
        ward.move(minutes=20)
        assert (await ward.tick("check_connection")).status_code == 503
    run = ward.last_run("check_connection")
    assert (run["report"]["connections"], ward.connection()["status"]) == ([], "active")
    assert f"{ward.connection_id}: KeyError, digest " in run["error"]
    assert "0905" not in run["error"]
    (fault, _) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert fault.exc_info is not None
