"""No call of a cron takes longer than ANSWER_WITHIN_SECONDS; what is left to do is done by the next ones."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from leads.adapters.database import Database, Transaction
from leads.adapters.hasura_calls import CronCall
from leads.adapters.pancake_api import TOTAL_TIMEOUT_SECONDS, PancakeApi
from leads.domain.window import day_window
from leads.services import pancake_lists
from leads.services.cron_errors import RunStuck, RunUnfinished
from leads.services.cron_runs import CRONS
from leads.services.cron_work import ANSWER_WITHIN_SECONDS, CUT_OFF_AT, CronReport, CronRun
from tests.support.crashes import Crash
from tests.support.crons import CronHarness
from tests.support.suites import IS_FULL

BUDGET_SECONDS = 1.5
"""In place of ANSWER_WITHIN_SECONDS, so that the tests are short."""
SPARE_SECONDS = 1.0
"""For a machine under load: the answer itself, and the cancelling of a statement."""
RECORDS = 70
CUT_OFF_STRIDE = 3
"""A run that is cut off takes a second, so the short suite leaves out steps."""


@contextmanager
def hanging(harness: CronHarness) -> Iterator[None]:
    """Let Pancake answer nothing, and every statement on the events wait for a lock."""
    harness.pancake.faults.slow_seconds = 60
    with psycopg.connect(harness.database_url) as other:
        other.execute("LOCK TABLE pancake_webhook_event")
        yield
    harness.pancake.faults.slow_seconds = 0


async def deliver(harness: CronHarness, name: str, due: datetime) -> httpx.Response:
    """Deliver a tick until it is not answered with Retry-After any more; return the last answer."""
    for _ in range(60):
        answer = await harness.tick(name, due)
        if "Retry-After" not in answer.headers:
            return answer
    raise AssertionError(f"{name} does not end: {answer.text}")


def interrupt(monkeypatch: pytest.MonkeyPatch, step: int, *, by_death: bool) -> list[int]:
    """Let the process die at the `step`-th round trip to Pancake or PostgreSQL, or that one never end.

    Returns a list that holds the numbers of the round trips made.
    """
    made: list[int] = []

    def patch(owner: type, method: str) -> None:
        real = getattr(owner, method)

        async def interrupted(self: Any, *args: Any, **named: Any) -> Any:
            made.append(len(made))
            if made[-1] == step and by_death:
                raise Crash
            if made[-1] == step:
                await asyncio.sleep(3600)
            return await real(self, *args, **named)

        monkeypatch.setattr(owner, method, interrupted)

    patch(PancakeApi, "_fetch")
    patch(Database, "_run_work")
    patch(Transaction, "run")
    return made


def test_a_read_of_pancake_ends_before_the_run_is_cut_off() -> None:
    assert TOTAL_TIMEOUT_SECONDS < CUT_OFF_AT * ANSWER_WITHIN_SECONDS
    assert ANSWER_WITHIN_SECONDS == 8


@pytest.mark.parametrize("name", CRONS)
async def test_every_cron_answers_in_time_whatever_hangs_and_ends_afterwards(
    harness: CronHarness, name: str
) -> None:
    runs, due = harness.runtime.cron_runs, harness.clock.now()
    runs.answer_within_seconds = BUDGET_SECONDS
    with hanging(harness):
        started = time.monotonic()
        answer = await harness.tick(name, due)
        seconds = time.monotonic() - started
    assert answer.status_code == 503, answer.text
    assert seconds < BUDGET_SECONDS + SPARE_SECONDS
    runs.answer_within_seconds = ANSWER_WITHIN_SECONDS
    answer = await deliver(harness, name, due)
    if answer.status_code == 503:
        # A step that had a whole call for itself and did not end makes the run fail; Hasura tries again.
        assert answer.json()["extensions"]["code"] == "run_failed"
        answer = await deliver(harness, name, due)
    assert answer.json().get("result") == "succeeded", answer.text


async def test_a_day_whose_comparison_never_ends_is_stuck(
    harness: CronHarness, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be delivered again and again, without a word."""
    real = Database._run_work

    async def run_work(self: Database, name: str, *args: Any) -> Any:
        await asyncio.sleep(3600 if name == "reconcile_daily/compare_day" else 0)
        return await real(self, name, *args)

    monkeypatch.setattr(Database, "_run_work", run_work)
    harness.pancake.bulk(RECORDS, day_window(day).start, day_window(day).end)
    harness.runtime.cron_runs.answer_within_seconds = BUDGET_SECONDS
    due = harness.clock.now()
    codes = [(await harness.tick("reconcile_daily", due)).json()["extensions"]["code"] for _ in range(2)]
    assert codes == ["run_unfinished", "run_stuck"]


@pytest.mark.parametrize("by_death", [False, True], ids=["cut off", "killed"])
@pytest.mark.parametrize("name", ["poll_records", "reconcile_daily"])
async def test_a_run_that_is_interrupted_at_any_step_ends_with_everything_stored_once(
    harness: CronHarness, day: date, monkeypatch: pytest.MonkeyPatch, name: str, by_death: bool
) -> None:
    monkeypatch.setattr(pancake_lists, "LEADS_PER_GROUP", 25)
    window = day_window(day)
    harness.pancake.bulk(RECORDS, window.start, window.end)
    step, reached = 0, True
    while reached:
        harness.sql("SET pancake.delete_events = 'on'")
        harness.sql("TRUNCATE pancake_cron_run, pancake_webhook_event CASCADE")
        harness.sql("UPDATE pancake_connection SET poll_watermark = %s", window.start)
        harness.move_clock(seconds=1)
        due = harness.clock.now()
        with monkeypatch.context() as patched:
            made = interrupt(patched, step, by_death=by_death)
            harness.runtime.cron_runs.answer_within_seconds = ANSWER_WITHIN_SECONDS if by_death else 1.0
            try:
                await harness.tick(name, due)
            except Crash:
                assert by_death
        harness.runtime.cron_runs.answer_within_seconds = ANSWER_WITHIN_SECONDS
        # A poll that set its watermark and could not store its report starts anew, and counts nothing twice.
        (row,) = harness.sql("SELECT poll_watermark FROM pancake_connection")
        has_moved = row["poll_watermark"] != window.start
        answer = await deliver(harness, name, due)
        assert answer.json()["result"] in ("succeeded", "already_done"), (step, answer.text)
        stored = harness.sql(
            "SELECT count(*) AS n, count(DISTINCT record_id) AS ids FROM pancake_webhook_event"
        )
        assert stored == [{"n": RECORDS, "ids": RECORDS}], step
        if not has_moved:
            check_report(harness, name, step)
        reached, step = step in made, step + (1 if by_death or IS_FULL else CUT_OFF_STRIDE)
    assert step > 5


def check_report(harness: CronHarness, name: str, step: int) -> None:
    """The report counts each record once, however often its page was read."""
    report = harness.last_run(name)["report"]
    if name == "poll_records":
        assert report["connections"][0]["listed"] == RECORDS, step
        return
    (of_day,) = report["days"]
    assert (of_day["expected"], of_day["duplicates"]) == (RECORDS, []), step
    assert of_day["found"] + len(of_day["found_missing"]) == RECORDS, step


async def test_a_step_that_takes_longer_than_a_call_makes_the_run_fail(harness: CronHarness) -> None:
    """Retry-After would make Hasura deliver it for ever."""

    async def endless(run: CronRun) -> CronReport:
        await asyncio.sleep(3600)
        return CronReport({})

    runs = harness.runtime.cron_runs
    runs.answer_within_seconds = 0.3
    with pytest.raises(RunStuck):
        await runs.run(CronCall("id", "pancake_poll_records", harness.clock.now(), {}), endless)
    assert (
        harness.last_run("poll_records")["error"]
        == "One step of the run takes longer than a call of a cron may."
    )


async def test_the_next_tick_continues_a_run_that_never_gets_its_next_delivery(harness: CronHarness) -> None:
    async def stepwise(run: CronRun) -> CronReport:
        step = (run.saved("step", int) or 0) + 1
        run.state["step"] = step
        return CronReport({"step": step}, unfinished=step < 3)

    runs, now = harness.runtime.cron_runs, harness.clock.now()
    first, second, third = (
        CronCall("id", "pancake_poll_records", now + timedelta(minutes=5 * n), {}) for n in range(3)
    )
    for call in (first, second):
        with pytest.raises(RunUnfinished):
            await runs.run(call, stepwise)
    assert (await runs.run(first, stepwise))["result"] == "skipped"
    assert (await runs.run(third, stepwise))["report"] == {"step": 3}
    assert (await runs.run(second, stepwise))["result"] == "skipped"
    rows = harness.sql(
        "SELECT outcome, error, report ? 'state' AS s FROM pancake_cron_run ORDER BY scheduled_time"
    )
    assert [(row["outcome"], row["error"], row["s"]) for row in rows] == [
        ("skipped", None, False),
        ("skipped", None, False),
        ("succeeded", None, False),
    ]


async def test_a_failed_tick_is_left_to_a_newer_one_that_has_begun(harness: CronHarness) -> None:
    async def failing(run: CronRun) -> CronReport:
        return CronReport({}, problem="no")

    runs, now = harness.runtime.cron_runs, harness.clock.now()
    calls = [CronCall("id", "pancake_poll_records", now + timedelta(minutes=5 * n), {}) for n in range(2)]
    for call in calls:
        with pytest.raises(Exception, match="no"):
            await runs.run(call, failing)
    assert (await runs.run(calls[0], failing))["result"] == "skipped"
