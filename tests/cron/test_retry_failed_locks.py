"""Cron 3 after a crash of the engine: what it left locked is fired again, what merely waits is left alone."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from cron.retry_failed import EVENT_LOCK_LEASE
from leads.adapters.pools import POOL_TIMEOUT_SECONDS, SESSION_OPTIONS
from tests.support.crons import CronHarness
from tests.support.locked_events import insert_locked, pass_time

ROOT = Path(__file__).parents[2]
TICK = timedelta(minutes=1)
CRON_LOOP = timedelta(seconds=10 + 8)
"""The engine's loop sleeps 10 s between two looks for due ticks, and waits for the slowest cron: 8 s."""
FETCH = timedelta(seconds=1)
"""The engine's default of HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL."""
MAX_LEAD_SECONDS = 100


async def refired(harness: CronHarness) -> int:
    return int((await harness.run("retry_failed"))["refired"])


@pytest.mark.test_case("TC-014-012")
@pytest.mark.parametrize("locked_before_tick", [0, 1, 15, 19, 21, 40, 59])
async def test_a_lead_whose_engine_was_killed_is_fired_again_in_time(
    harness: CronHarness, locked_before_tick: int
) -> None:
    waited = timedelta(seconds=locked_before_tick)
    insert_locked(harness, age=waited, locked=waited)
    while not await refired(harness):
        pass_time(harness, TICK)
        waited += TICK
    slowest = FETCH + waited + CRON_LOOP + FETCH
    assert slowest.total_seconds() <= MAX_LEAD_SECONDS
    (pending,) = harness.sql("SELECT count(*) AS n FROM hdb_catalog.event_log WHERE locked IS NULL")
    assert pending["n"] == 1
    await harness.process_received()
    assert harness.one("SELECT outcome FROM pancake_webhook_event")["outcome"] == "ticket_created"


async def test_an_unlocked_event_is_left_alone_however_long_it_waits(harness: CronHarness) -> None:
    insert_locked(harness, age=timedelta(hours=2), locked=None)
    assert await refired(harness) == 0


async def test_an_event_that_an_engine_has_just_locked_is_left_alone(harness: CronHarness) -> None:
    insert_locked(harness, age=timedelta(hours=2), locked=EVENT_LOCK_LEASE - timedelta(seconds=5))
    assert await refired(harness) == 0


async def test_a_row_is_not_fired_again_while_its_new_event_waits(harness: CronHarness) -> None:
    insert_locked(harness, age=TICK, locked=TICK)
    assert await refired(harness) == 1
    for _ in range(3):
        pass_time(harness, TICK)
        assert await refired(harness) == 0


def test_a_delivery_has_claimed_its_row_before_its_lock_counts_as_left_behind() -> None:
    assert "statement_timeout=10s" in SESSION_OPTIONS
    assert timedelta(seconds=2 * POOL_TIMEOUT_SECONDS + 10) <= EVENT_LOCK_LEASE


def test_the_tick_is_due_each_minute() -> None:
    crons = yaml.safe_load((ROOT / "hasura/metadata/cron_triggers.yaml").read_text())
    assert {cron["schedule"] for cron in crons if cron["name"] == "pancake_retry_failed"} == {"* * * * *"}
