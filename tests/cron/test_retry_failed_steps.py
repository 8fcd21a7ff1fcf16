"""Cron 3: a step that fails does not stop those behind it; the run fails and names it."""

import logging
from datetime import timedelta

import psycopg
import pytest

from cron import retry_failed
from cron.retry_failed import STEPS
from leads.services.cron_steps import Report, Step
from leads.services.cron_work import CronRun
from leads.services.runtime import Runtime
from tests.support.crons import CronHarness
from tests.support.locked_events import insert_locked
from tests.support.unsent import insert_unsent, keys, taken

BREAK = "ALTER FUNCTION pancake_pending_event_ids RENAME TO moved"
REPAIR = "ALTER FUNCTION moved RENAME TO pancake_pending_event_ids"


@pytest.mark.own_database
async def test_a_failing_step_stops_no_other(harness: CronHarness) -> None:
    ids = insert_unsent(harness)
    harness.sql(BREAK)
    assert (await harness.tick("retry_failed")).status_code == 503
    assert taken(harness) == [*keys(ids)]
    run = harness.last_run("retry_failed")
    assert (run["outcome"], run["report"]["failed_steps"]) == ("failed", ["refire_received"])
    assert run["report"]["notified"] == 1
    assert "refired" not in run["report"]


@pytest.mark.parametrize("failing", STEPS, ids=lambda step: step.__name__)
async def test_each_step_may_fail_and_all_others_are_taken(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch, failing: Step
) -> None:
    taken_steps: list[str] = []

    def watched(step: Step) -> Step:
        async def take(runtime: Runtime, run: CronRun) -> Report:
            if step is failing:
                raise ZeroDivisionError
            report = await step(runtime, run)
            taken_steps.append(step.__name__)
            return report

        take.__name__ = step.__name__
        return take

    monkeypatch.setattr(retry_failed, "STEPS", tuple(map(watched, STEPS)))
    assert (await harness.tick("retry_failed")).status_code == 503
    assert taken_steps == [step.__name__ for step in STEPS if step is not failing]
    assert harness.last_run("retry_failed")["report"]["failed_steps"] == [failing.__name__]


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


@pytest.mark.own_database
async def test_the_error_of_a_step_is_stored_and_logged_with_its_digest(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.sql(BREAK)
    await harness.tick("retry_failed")
    error = harness.last_run("retry_failed")["error"]
    assert error.startswith("refire_received: UndefinedFunction, digest ")
    (line,) = [record for record in caplog.records if record.getMessage() == "step failed"]
    assert (line.levelno, vars(line)["fields"]) == (logging.ERROR, {"step": "refire_received"})
    assert line.exc_info is not None


async def test_a_run_with_a_failed_step_may_be_delivered_again(harness: CronHarness) -> None:
    due = harness.clock.now()
    harness.sql(BREAK)
    await harness.tick("retry_failed", due)
    harness.sql(REPAIR)
    assert (await harness.tick("retry_failed", due)).json()["result"] == "succeeded"
    run = harness.last_run("retry_failed")
    assert (run["outcome"], run["error"], run["report"]["refired"]) == ("succeeded", None, 0)


async def test_each_step_is_taken_when_all_others_fail(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []

    async def refuse(name: str, *_: object) -> None:
        statements.append(name)
        raise KeyError("0905111222")

    monkeypatch.setattr(harness.runtime.db, "_run_work", refuse)
    assert (await harness.tick("retry_failed")).status_code == 503
    run = harness.last_run("retry_failed")
    assert run["report"]["failed_steps"] == [step.__name__ for step in STEPS]
    assert len(statements) == len(STEPS)
    assert "0905" not in run["error"]
