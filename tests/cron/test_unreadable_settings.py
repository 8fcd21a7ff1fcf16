"""Settings that were written directly into app_setting: none stops a cron or deletes too much."""

import json
from typing import Any

import pytest

from tests.support.crons import CronHarness

ZERO_OR_LESS: list[Any] = [0, -1, "-1"]
UNREADABLE: list[Any] = ["ninety", "30 phút", 1.5, 10**30, None, {"days": 90}]
ANY = ZERO_OR_LESS + UNREADABLE
RETENTIONS = ("payload_retention_days", "cron_run_retention_days", "engine_log_retention_days")


async def store_one_row_of_each_kind(harness: CronHarness) -> None:
    """Store a processed lead, a run, and a finished event of the trigger and of a cron."""
    await harness.process_lead()
    await harness.run("check_sla")
    harness.sql(
        "INSERT INTO hdb_catalog.event_log (id, trigger_name, payload, delivered, created_at)"
        " VALUES ('x', 'pancake_webhook_event_status_update', '{}', true, now())"
    )
    harness.sql(
        "INSERT INTO hdb_catalog.hdb_cron_events (id, trigger_name, status, scheduled_time)"
        " VALUES ('x', 'pancake_check_sla', 'delivered', now())"
    )


async def purged(harness: CronHarness) -> set[str]:
    """Purge, and return the kinds of which something was purged."""
    report = await harness.run("purge_events")
    return {kind for kind, count in report.items() if isinstance(count, int) and count}


@pytest.mark.parametrize("value", ZERO_OR_LESS, ids=json.dumps)
async def test_a_retention_of_zero_or_less_empties_and_deletes_nothing(
    harness: CronHarness, value: Any
) -> None:
    await store_one_row_of_each_kind(harness)
    harness.move_clock(days=300)
    harness.change_settings(**dict.fromkeys(RETENTIONS, value))
    assert await purged(harness) == set()
    assert harness.count("pancake_webhook_event", "payload IS NOT NULL") == 1


@pytest.mark.parametrize("value", UNREADABLE, ids=json.dumps)
async def test_an_unreadable_retention_is_the_default(harness: CronHarness, value: Any) -> None:
    await store_one_row_of_each_kind(harness)
    harness.change_settings(**dict.fromkeys(RETENTIONS, value))
    harness.move_clock(days=6)
    assert await purged(harness) == set()
    harness.move_clock(days=2)
    assert await purged(harness) == {"delete_event_logs", "delete_cron_events"}
    harness.move_clock(days=81)
    assert await purged(harness) == set()
    harness.move_clock(days=2)
    assert await purged(harness) == {"empty_payloads"}
    harness.move_clock(days=90)
    assert await purged(harness) == {"delete_runs"}


@pytest.mark.parametrize("value", ANY, ids=json.dumps)
async def test_an_unreadable_limit_of_the_first_response_is_the_default(
    harness: CronHarness, value: Any
) -> None:
    await harness.process_lead()
    harness.change_settings(sla_minutes=value)
    harness.move_clock(minutes=29)
    assert (await harness.run("check_sla"))["late"] == 0
    harness.move_clock(minutes=2)
    assert (await harness.run("check_sla"))["late"] == 1


@pytest.mark.parametrize("value", ANY, ids=json.dumps)
async def test_an_unreadable_rate_of_the_replay_is_the_default(harness: CronHarness, value: Any) -> None:
    harness.change_settings(replay_rate_per_second=value)
    assert (await harness.replay(filter={"status": "failed"}))["rate_per_second"] == 20


@pytest.mark.parametrize(
    "settings", ["{}", "[]", '{"pancake_integration": null}', '{"pancake_integration": "x"}', None]
)
async def test_without_settings_the_crons_work_with_the_defaults(
    harness: CronHarness, settings: str | None
) -> None:
    await store_one_row_of_each_kind(harness)
    if settings is None:
        harness.sql("DELETE FROM app_setting")
    else:
        harness.sql("UPDATE app_setting SET app_settings = %s", settings)
    harness.move_clock(minutes=31)
    assert (await harness.run("check_sla"))["late"] == 1
    harness.move_clock(days=91)
    assert await purged(harness) == {"delete_event_logs", "delete_cron_events", "empty_payloads"}
