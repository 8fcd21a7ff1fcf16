"""Runs of crons: each tick once, one run of a cron at a time, safe to kill and to repeat."""

import asyncio
from datetime import timedelta
from functools import partial
from itertools import count

import psycopg
import pytest

from leads.adapters.hasura_calls import CronCall
from leads.domain.errors import PancakeUnavailable
from leads.domain.notice_text import with_text
from leads.domain.reports import shorten
from leads.services.cron_errors import RunFailed, RunUnfinished
from leads.services.cron_runs import CRONS, CronRuns
from leads.services.cron_work import AdminNotice, CronReport, CronRun
from tests.support.crons import LONG_CALL_SECONDS, CronHarness
from tests.support.waiting import eventually_async


@pytest.fixture
def cron_runs(harness: CronHarness) -> CronRuns:
    return harness.runtime.cron_runs


def call(harness: CronHarness, name: str = "poll_records", minutes: float = 0) -> CronCall:
    due = harness.clock.now() + timedelta(minutes=minutes)
    return CronCall("id", f"pancake_{name}", due, {})


async def nothing(run: CronRun) -> CronReport:
    return CronReport({"done": 1})


@pytest.mark.parametrize("name", CRONS)
async def test_the_same_tick_twice_runs_once(harness: CronHarness, name: str) -> None:
    due = harness.clock.now()
    first = await harness.tick(name, due)
    second = await harness.tick(name, due)
    assert first.status_code == 200, first.text
    assert first.json()["result"] == "succeeded"
    assert second.json() == {"result": "already_done"}
    assert len(harness.sql("SELECT 1 FROM pancake_cron_run")) == 1


@pytest.mark.parametrize("name", CRONS)
async def test_the_same_tick_twice_at_the_same_time_is_worked_on(harness: CronHarness, name: str) -> None:
    due = harness.clock.now()
    answers = await asyncio.gather(harness.tick(name, due), harness.tick(name, due))
    assert [answer.status_code for answer in answers] == [200, 503]
    assert answers[0].json()["result"] == "succeeded"
    assert answers[1].json()["extensions"]["code"] == "run_under_way"


async def test_a_tick_that_another_process_gave_up_for_the_lock_is_worked_on(
    harness: CronHarness, cron_runs: CronRuns
) -> None:
    """Two processes get one tick: the other one stores it as skipped before the lock's holder has its row."""
    tick = call(harness)
    with psycopg.connect(harness.runtime.settings.database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(7, hashtext('poll_records'))")
        assert (await cron_runs.run(tick, nothing))["result"] == "skipped"
    held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 7"
    await eventually_async(lambda: not harness.sql(held))
    assert (await cron_runs.run(tick, nothing))["result"] == "succeeded"
    assert harness.last_run("poll_records")["outcome"] == "succeeded"


@pytest.mark.parametrize("name", CRONS)
async def test_a_burst_of_sixty_late_ticks_does_the_work_once(harness: CronHarness, name: str) -> None:
    now = harness.clock.now()
    answers = await asyncio.gather(*(harness.tick(name, now - timedelta(minutes=m)) for m in range(60)))
    results = [answer.json().get("result") for answer in answers]
    assert results.count("succeeded") == 1
    assert results.count("skipped") == 59
    outcomes = harness.sql("SELECT outcome, count(*) AS n FROM pancake_cron_run GROUP BY outcome")
    assert {row["outcome"]: row["n"] for row in outcomes} == {"succeeded": 1, "skipped": 59}


async def test_two_ticks_of_one_cron_never_overlap(harness: CronHarness, cron_runs: CronRuns) -> None:
    running, gate = asyncio.Event(), asyncio.Event()

    async def slow(run: CronRun) -> CronReport:
        running.set()
        await gate.wait()
        return CronReport({})

    first_call = call(harness)
    first = asyncio.create_task(cron_runs.run(first_call, slow))
    await running.wait()
    later = call(harness, minutes=5)
    for _ in range(2):  # Hasura may deliver it again
        assert (await cron_runs.run(later, nothing))["result"] == "skipped"
    with pytest.raises(Exception, match="being worked on"):
        await cron_runs.run(first_call, nothing)
    assert (await cron_runs.run(call(harness, "check_sla"), nothing))["result"] == "succeeded"
    gate.set()
    assert (await first)["result"] == "succeeded"


async def test_an_unfinished_run_resumes_from_its_saved_progress(
    harness: CronHarness, cron_runs: CronRuns
) -> None:
    seen: list[dict[str, object]] = []

    async def stepwise(run: CronRun) -> CronReport:
        seen.append(dict(run.state))
        step = (run.saved("step", int) or 0) + 1
        run.state["step"] = step
        return CronReport({"step": step}, unfinished=step < 3)

    tick = call(harness)
    for _ in range(2):
        with pytest.raises(RunUnfinished):
            await cron_runs.run(tick, stepwise)
    assert (await cron_runs.run(tick, stepwise))["report"] == {"step": 3}
    assert seen == [{}, {"step": 1}, {"step": 2}]
    assert harness.last_run("poll_records")["report"] == {"step": 3, "notifications": []}


async def test_an_unfinished_run_is_answered_with_503_and_retry_after_1(harness: CronHarness) -> None:
    """Retry-After makes Hasura deliver the tick again without counting an attempt."""
    harness.clock.monotonic = partial(next, count(0, LONG_CALL_SECONDS / 3))  # type: ignore[method-assign]
    harness.pancake.bulk(
        100, harness.clock.now() - timedelta(hours=1), harness.clock.now() - timedelta(minutes=5)
    )
    due = harness.clock.now()
    answers = [await harness.tick("poll_records", due)]
    while answers[-1].status_code == 503 and len(answers) < 9:
        answers.append(await harness.tick("poll_records", due))
    *unfinished, last = answers
    assert len(unfinished) > 1
    assert {answer.headers["Retry-After"] for answer in unfinished} == {"1"}
    assert last.json()["result"] == "succeeded"
    assert len(harness.sql("SELECT 1 FROM pancake_webhook_event WHERE origin = 'poll'")) == 100


async def test_the_run_of_a_process_that_died_is_taken_over(
    harness: CronHarness, cron_runs: CronRuns
) -> None:
    tick = call(harness)
    harness.sql(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, report)"
        " VALUES ('poll_records', %s, now(), '{\"state\": {\"page\": 7}}')",
        tick.scheduled_time,
    )
    states: list[dict[str, object]] = []

    async def work(run: CronRun) -> CronReport:
        states.append(dict(run.state))
        return CronReport({})

    assert (await cron_runs.run(tick, work))["result"] == "succeeded"
    assert states == [{"page": 7}]


async def test_a_later_tick_closes_the_run_of_a_process_that_died(
    harness: CronHarness, cron_runs: CronRuns
) -> None:
    harness.sql(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at)"
        " VALUES ('poll_records', now() - interval '5 minutes', now() - interval '5 minutes')"
    )
    await cron_runs.run(call(harness), nothing)
    rows = harness.sql("SELECT outcome, error FROM pancake_cron_run ORDER BY scheduled_time")
    assert [(row["outcome"], row["error"]) for row in rows] == [
        ("failed", "interrupted"),
        ("succeeded", None),
    ]


async def test_a_terminated_session_releases_the_lock(harness: CronHarness, cron_runs: CronRuns) -> None:
    with psycopg.connect(harness.runtime.settings.database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(7, hashtext('poll_records'))")
        assert (await cron_runs.run(call(harness), nothing))["result"] == "skipped"
    held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 7"
    await eventually_async(lambda: not harness.sql(held))
    assert (await cron_runs.run(call(harness, minutes=1), nothing))["result"] == "succeeded"


async def test_a_failed_run_stores_its_reason_and_may_be_delivered_again(
    harness: CronHarness, cron_runs: CronRuns
) -> None:
    async def fails(run: CronRun) -> CronReport:
        raise PancakeUnavailable("Pancake answered 503.")

    async def partly(run: CronRun) -> CronReport:
        return CronReport({"half": True}, problem="one connection failed")

    tick = call(harness)
    with pytest.raises(PancakeUnavailable):
        await cron_runs.run(tick, fails)
    assert harness.last_run("poll_records")["error"] == "Pancake answered 503."
    with pytest.raises(RunFailed):
        await cron_runs.run(tick, partly)
    assert harness.last_run("poll_records")["outcome"] == "failed"
    assert (await cron_runs.run(tick, nothing))["result"] == "succeeded"


async def test_an_internal_error_is_stored_as_a_digest_without_its_message(
    harness: CronHarness, cron_runs: CronRuns
) -> None:
    async def bug(run: CronRun) -> CronReport:
        raise KeyError("0905111222")

    with pytest.raises(KeyError):
        await cron_runs.run(call(harness), bug)
    error = harness.last_run("poll_records")["error"]
    assert error.startswith("KeyError, digest ")
    assert "0905" not in error


async def test_notifications_of_a_run_are_sent_once_even_if_the_service_was_unavailable(
    harness: CronHarness, cron_runs: CronRuns
) -> None:
    async def speaks(run: CronRun) -> CronReport:
        return CronReport({}, notices=(AdminNotice("k1", "sla_missed", "TK1", {"more": "m"}),))

    harness.hasura.failing = True
    await cron_runs.run(call(harness), speaks)
    assert harness.hasura.sent == {}
    harness.hasura.failing = False
    harness.move_clock(minutes=2)
    assert (await harness.run("retry_failed"))["runs_notified"] == 1
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["runs_notified"] == 0
    (notification,) = harness.hasura.sent.values()
    data = {"reason": "sla_missed", "detail": "TK1", "more": "m"}
    assert notification["data"] == with_text(data)
    assert len(notification["recipient_ids"]) == 3


async def test_a_run_without_recipients_stores_no_notification(
    harness: CronHarness, cron_runs: CronRuns
) -> None:
    """It would be refused and sent again every minute; the report and the log contain it."""

    async def speaks(run: CronRun) -> CronReport:
        return CronReport({}, notices=(AdminNotice("k1", "connection_silent", "detail"),))

    harness.sql("UPDATE staff SET is_active = false WHERE role = 'admin'")
    await cron_runs.run(call(harness), speaks)
    assert harness.last_run("poll_records")["outcome"] == "succeeded"
    harness.move_clock(minutes=2)
    assert (await harness.run("retry_failed"))["runs_notified"] == 0
    assert harness.hasura.sent == {}


async def test_the_retry_cron_sends_notifications_that_the_service_did_not_accept(
    harness: CronHarness, cron_runs: CronRuns
) -> None:
    """An answer that counts fewer notifications than were sent is a failure."""

    async def speaks(run: CronRun) -> CronReport:
        return CronReport(
            {}, notices=(AdminNotice("k1", "new_source", "one"), AdminNotice("k2", "new_source", "two"))
        )

    harness.hasura.accepted_per_call = 1
    await cron_runs.run(call(harness), speaks)
    assert "notified_at" not in harness.last_run("poll_records")["report"]
    harness.hasura.accepted_per_call = None
    harness.move_clock(minutes=2)
    assert (await harness.run("retry_failed"))["runs_notified"] == 1
    assert list(harness.hasura.sent) == ["k1", "k2"]


def test_an_answer_shows_long_lists_by_their_length() -> None:
    assert shorten({"ids": list(range(21)), "few": [1, {"a": (2,)}]}) == {
        "ids": "21 items",
        "few": [1, {"a": [2]}],
    }
