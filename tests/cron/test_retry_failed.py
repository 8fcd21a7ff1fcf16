"""Cron 3: releases failed rows, expired claims and lost events, also after a crash; no step stops another."""

import logging
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cron import retry_failed
from cron.retry_failed import EVENT_LOCK_LEASE, STEPS
from leads.adapters.pools import CONNECTION_SETTINGS, POOL_TIMEOUT_SECONDS, SESSION_OPTIONS
from leads.services.cron_steps import Report, Step
from leads.services.cron_work import CronRun
from leads.services.runtime import Runtime
from tests.support.crons import CronHarness
from tests.support.stored_rows import insert_unsent, keys, taken

TICK = timedelta(minutes=1)
CRON_LOOP = timedelta(seconds=10 + 8)
"""The engine's loop sleeps 10 s between two looks for due ticks, and waits for the slowest cron: 8 s."""
FETCH = timedelta(seconds=1)
"""The engine's default of HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL."""
MAX_LEAD_SECONDS = 100


def insert(harness: CronHarness, status: str, count: int = 1) -> None:
    """Store leads that were received, claimed a moment ago, or failed."""
    harness.sql(
        "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, payload, status,"
        " arrived_at, created_at, source_ids) SELECT %s, 'webhook', 'r' || n, sha256(n::text::bytea),"
        " jsonb_build_object('id', 'r' || n, 'name', 'Lan', 'phone_number', '0905' || (100000 + n)),"
        " 'received', now(), now(), ARRAY['-1'] FROM generate_series(1, %s) AS n",
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


def insert_locked(harness: CronHarness, age: timedelta, locked: timedelta | None) -> None:
    """Store a lead that arrived `age` ago; the engine locked its event `locked` ago, or has not yet."""
    insert(harness, "received")
    pass_time(harness, age)
    harness.sql("UPDATE hdb_catalog.event_log SET locked = now() - %s::interval", locked)


def pass_time(harness: CronHarness, by: timedelta) -> None:
    """Let the database's clock, which tests cannot move, seem later: move what it stored into the past."""
    harness.sql("SET session_replication_role = replica")  # an update fires the event otherwise
    harness.sql("UPDATE pancake_webhook_event SET received_at = received_at - %s::interval", by)
    harness.sql("RESET session_replication_role")
    harness.sql("UPDATE hdb_catalog.event_log SET locked = locked - %s::interval", by)
    harness.move_clock(seconds=by.total_seconds())


def set_delivered(harness: CronHarness, delivered: bool) -> None:
    harness.sql("UPDATE hdb_catalog.event_log SET delivered = %s", delivered)


async def run(harness: CronHarness, figure: str, **later: float) -> int:
    """Run the cron that much later; return a figure of its report."""
    harness.move_clock(**later)
    return int((await harness.run("retry_failed"))[figure])


def events(harness: CronHarness) -> int:
    return harness.count("hdb_catalog.event_log")


@pytest.mark.test_case("TC-014-013")
async def test_a_failed_row_is_released_at_its_next_attempt(harness: CronHarness) -> None:
    insert(harness, "failed")
    assert [await run(harness, "failed"), await run(harness, "failed", seconds=31)] == [0, 1]
    await harness.process_received()
    row = harness.one("SELECT status, outcome FROM pancake_webhook_event")
    assert row == {"status": "processed", "outcome": "ticket_created"}


@pytest.mark.test_case("TC-014-010")
async def test_the_claim_of_a_dead_handler_is_released_after_its_lease(harness: CronHarness) -> None:
    insert(harness, "ingested")
    assert await run(harness, "claims") == 0
    harness.expire_leases()
    assert await run(harness, "claims", minutes=1) == 1
    assert harness.one("SELECT status FROM pancake_webhook_event")["status"] == "received"


async def test_a_row_that_keeps_killing_handlers_becomes_a_dead_letter(harness: CronHarness) -> None:
    insert(harness, "ingested")
    harness.sql("UPDATE pancake_webhook_event SET attempts = 5")
    harness.expire_leases()
    assert await run(harness, "dead_letter") == 1
    row = harness.one("SELECT status, error_code FROM pancake_webhook_event")
    assert row == {"status": "dead_letter", "error_code": "claim_expired"}


@pytest.mark.test_case("TC-014-011")
async def test_a_received_row_with_a_lost_event_is_fired_again(harness: CronHarness) -> None:
    insert(harness, "received")
    harness.sql("DELETE FROM hdb_catalog.event_log")
    assert await run(harness, "refired") == 0, "it may still be on its way"
    pass_time(harness, timedelta(minutes=3))
    assert await run(harness, "refired") == 1
    assert events(harness) == 1
    assert await run(harness, "refired", minutes=1) == 0


async def test_an_hour_of_pause_with_a_thousand_rows_makes_a_thousand_events(harness: CronHarness) -> None:
    insert(harness, "received", 1_000)
    harness.change_settings(processing_paused=True)
    pass_time(harness, timedelta(hours=1))
    for _ in range(12):
        assert await run(harness, "refired", minutes=5) == 0
    assert events(harness) == 1_000
    harness.change_settings(processing_paused=False)
    assert await run(harness, "refired", minutes=1) == 0, "the engine still holds their events"
    assert events(harness) == 1_000


async def test_at_most_500_rows_are_fired_per_tick_oldest_first(harness: CronHarness) -> None:
    insert(harness, "received", 700)
    set_delivered(harness, True)
    pass_time(harness, timedelta(minutes=3))
    assert await run(harness, "refired") == 500
    set_delivered(harness, True)
    assert await run(harness, "refired", minutes=1) == 200


async def test_failed_rows_and_claims_stay_while_processing_is_paused(harness: CronHarness) -> None:
    insert(harness, "failed")
    harness.change_settings(processing_paused=True)
    assert await run(harness, "failed", minutes=10) == 0


@pytest.mark.test_case("TC-014-012")
@pytest.mark.parametrize("locked_before_tick", [0, 19, 21, 59])
async def test_a_lead_whose_engine_was_killed_is_fired_again_in_time(
    harness: CronHarness, locked_before_tick: int
) -> None:
    waited = timedelta(seconds=locked_before_tick)
    insert_locked(harness, age=waited, locked=waited)
    while not await run(harness, "refired"):
        pass_time(harness, TICK)
        waited += TICK
    slowest = FETCH + waited + CRON_LOOP + FETCH
    assert slowest.total_seconds() <= MAX_LEAD_SECONDS
    assert harness.count("hdb_catalog.event_log", "locked IS NULL") == 1
    await harness.process_received()
    assert harness.one("SELECT outcome FROM pancake_webhook_event")["outcome"] == "ticket_created"


@pytest.mark.parametrize(
    "locked", [None, EVENT_LOCK_LEASE - timedelta(seconds=5)], ids=["waits for an engine", "just locked"]
)
async def test_an_event_that_waits_or_that_an_engine_has_just_locked_is_left_alone(
    harness: CronHarness, locked: timedelta | None
) -> None:
    insert_locked(harness, age=timedelta(hours=2), locked=locked)
    assert await run(harness, "refired") == 0


async def test_a_row_is_not_fired_again_while_its_new_event_waits(harness: CronHarness) -> None:
    insert_locked(harness, age=TICK, locked=TICK)
    assert await run(harness, "refired") == 1
    for _ in range(3):
        pass_time(harness, TICK)
        assert await run(harness, "refired") == 0


def test_a_delivery_has_claimed_its_row_before_its_lock_counts_as_left_behind() -> None:
    assert "statement_timeout=10s" in SESSION_OPTIONS
    assert timedelta(seconds=2 * POOL_TIMEOUT_SECONDS + 10) <= EVENT_LOCK_LEASE


def lose(harness: CronHarness, name: str, status: str, *, hours_ago: float = 0) -> None:
    harness.sql(
        "INSERT INTO hdb_catalog.hdb_cron_events (trigger_name, scheduled_time, status) VALUES (%s, %s, %s)",
        name,
        harness.clock.now() - timedelta(hours=hours_ago),
        status,
    )


async def test_lost_ticks_are_measured_and_told_once_and_at_most_once_an_hour(harness: CronHarness) -> None:
    async def lost(**later: float) -> Any:
        harness.move_clock(**later)
        return (await harness.run("retry_failed")).get("lost_ticks")

    assert (await lost(), harness.reasons()) == (None, [])
    lose(harness, "pancake_poll_records", "dead", hours_ago=0.1)
    lose(harness, "pancake_poll_records", "error", hours_ago=0.2)
    for name, status in [("diva_nightly", "dead"), ("pancake_check_sla", "delivered")]:
        lose(harness, name, status)
    lose(harness, "pancake_check_sla", "dead", hours_ago=25)
    told = await lost(minutes=1)
    assert (set(told), told["poll_records"]) == ({"poll_records", "until"}, 2)
    assert harness.reasons() == ["cron_ticks_lost"]
    metrics = (await harness.client.get("/metrics")).text
    assert 'pancake_lost_cron_ticks{name="poll_records"} 2.0' in metrics
    assert 'pancake_lost_cron_ticks{name="check_sla"} 0.0' in metrics
    harness.move_clock(minutes=10)
    lose(harness, "pancake_purge_events", "error")
    assert await lost() is None
    assert set(await lost(minutes=55)) == {"purge_events", "until"}
    assert await lost(minutes=70) is None
    assert harness.reasons() == ["cron_ticks_lost"] * 2


@pytest.mark.own_database
async def test_a_failing_step_stops_no_other_and_the_run_may_be_delivered_again(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is stored and logged with its digest."""
    ids, due = insert_unsent(harness), harness.clock.now()
    harness.sql("ALTER FUNCTION pancake_pending_event_ids RENAME TO moved")
    assert (await harness.tick("retry_failed", due)).status_code == 503
    assert taken(harness) == [*keys(ids)]
    run = harness.last_run("retry_failed")
    assert (run["outcome"], run["report"]["failed_steps"]) == ("failed", ["refire_received"])
    assert (run["report"]["notified"], "refired" in run["report"]) == (1, False)
    assert run["error"].startswith("refire_received: UndefinedFunction, digest ")
    (line,) = [record for record in caplog.records if record.getMessage() == "step failed"]
    assert (line.levelno, vars(line)["fields"]) == (logging.ERROR, {"step": "refire_received"})
    assert line.exc_info is not None
    harness.sql("ALTER FUNCTION moved RENAME TO pancake_pending_event_ids")
    assert (await harness.tick("retry_failed", due)).json()["result"] == "succeeded"
    run = harness.last_run("retry_failed")
    assert (run["outcome"], run["error"], run["report"]["refired"]) == ("succeeded", None, 0)


async def test_each_step_may_fail_and_all_others_are_taken(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    taken_steps: list[str] = []

    def watched(step: Step, failing: Step) -> Step:
        async def take(runtime: Runtime, run: CronRun) -> Report:
            if step is failing:
                raise ZeroDivisionError
            report = await step(runtime, run)
            taken_steps.append(step.__name__)
            return report

        take.__name__ = step.__name__
        return take

    for failing in STEPS:
        with subtests.test(failing.__name__):
            monkeypatch.setattr(retry_failed, "STEPS", tuple(watched(step, failing) for step in STEPS))
            taken_steps.clear()
            harness.move_clock(minutes=1)
            assert (await harness.tick("retry_failed")).status_code == 503
            assert taken_steps == [step.__name__ for step in STEPS if step is not failing]
            assert harness.last_run("retry_failed")["report"]["failed_steps"] == [failing.__name__]


@pytest.fixture
def short_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sessions of a process that starts afterwards wait for a lock for a moment only."""
    options = f"{CONNECTION_SETTINGS['options']} -c lock_timeout=300ms"
    monkeypatch.setitem(CONNECTION_SETTINGS, "options", options)


@pytest.mark.own_database
@pytest.mark.usefixtures("short_lock_timeout")
async def test_a_step_that_waits_for_a_lock_of_the_engine_gives_up_and_the_others_are_taken(
    harness: CronHarness,
) -> None:
    ids = insert_unsent(harness)
    insert_locked(harness, age=timedelta(minutes=1), locked=None)
    with psycopg.connect(harness.database_url) as engine:
        engine.execute("LOCK TABLE hdb_catalog.event_log IN ACCESS EXCLUSIVE MODE")
        assert (await harness.tick("retry_failed")).status_code == 503
    run = harness.last_run("retry_failed")
    assert run["report"]["failed_steps"] == ["refire_received"]
    assert taken(harness) == [*keys(ids)]
