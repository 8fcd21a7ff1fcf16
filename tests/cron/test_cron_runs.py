"""Runs of crons: each tick once, one at a time, safe to kill and to repeat; no call too long; dry runs."""

import asyncio
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import AsyncMock

import httpx
import psycopg
import pytest

from leads.adapters.database import Database
from leads.adapters.hasura_calls import CronCall
from leads.adapters.pancake_api import PancakeApi
from leads.adapters.time_limits import CURRENT_CALL, CallLimits, limited, waiting_for_answer
from leads.domain.day_ledger import day_window
from leads.domain.errors import DatabaseUnavailable, PancakeUnavailable
from leads.domain.notifications import with_text
from leads.domain.reports import shorten
from leads.services import cron_work, missing_leads
from leads.services.cron_runs import CRONS
from leads.services.cron_work import (
    ANSWER_WITHIN_SECONDS,
    STOP_AT,
    AdminNotice,
    CronReport,
    CronRun,
    CronWork,
    RunFailed,
    RunUnderWay,
    RunUnfinished,
    _digest,
)
from tests.support.crons import LONG_CALL_SECONDS, CronHarness
from tests.support.fakes import Crash, RoundTrip, around_round_trips
from tests.support.stored_rows import insert_unsent
from tests.support.suites import IS_FULL
from tests.support.waiting import eventually_async

BUDGET_SECONDS = 1.5
"""In place of ANSWER_WITHIN_SECONDS, so that the tests are short."""
SPARE_SECONDS = 1.0
"""For a machine under load: the answer itself, and the cancelling of a statement."""
RECORDS = 40
WITH_DRY_RUN = ("retry_failed", "check_sla", "purge_events", "reconcile_daily")
CUT_OFF_SECONDS = 0.5
CUT_OFF_STRIDE = 3
"""A run that is cut off waits so long, so the short suite leaves out steps."""


def call(harness: CronHarness, name: str = "poll_records", minutes: float = 0) -> CronCall:
    due = harness.clock.now() + timedelta(minutes=minutes)
    return CronCall("id", f"pancake_{name}", due, {})


async def run(harness: CronHarness, tick: CronCall, work: CronWork) -> Mapping[str, Any]:
    return await harness.runtime.cron_runs.run(tick, work)


def reporting(report: CronReport) -> CronWork:
    async def work(run: CronRun) -> CronReport:
        return report

    return work


nothing = reporting(CronReport({"done": 1}))
speaking = reporting(CronReport({}, notices=(AdminNotice("k1", "sla_missed", "TK1", {"more": "m"}),)))


async def stepwise(run: CronRun) -> CronReport:
    step = (run.saved("step", int) or 0) + 1
    run.progress["step"] = step
    return CronReport({"step": step}, unfinished=step < 3)


def outcomes(harness: CronHarness) -> list[tuple[str, str | None]]:
    rows = harness.sql("SELECT outcome, error FROM pancake_cron_run ORDER BY scheduled_time")
    return [(row["outcome"], row["error"]) for row in rows]


async def deliver(harness: CronHarness, name: str, due: datetime) -> list[httpx.Response]:
    """Deliver a tick until it is not answered with Retry-After any more; return the answers."""
    answers: list[httpx.Response] = []
    while not answers or answers[-1].headers.get("Retry-After") == "1":
        assert len(answers) < 60, f"{name} does not end"
        answers.append(await harness.tick(name, due))
    return answers


@pytest.mark.parametrize("name", CRONS)
async def test_the_same_tick_twice_runs_once(harness: CronHarness, name: str) -> None:
    due = harness.clock.now()
    first = await harness.tick(name, due)
    second = await harness.tick(name, due)
    assert first.status_code == 200, first.text
    assert first.json()["result"] == "succeeded"
    assert second.json() == {"result": "already_done"}
    assert len(harness.sql("SELECT 1 FROM pancake_cron_run")) == 1


async def test_a_tick_that_another_process_gave_up_for_the_lock_is_worked_on(harness: CronHarness) -> None:
    """Two processes get one tick: the other one stores it as skipped before the lock's holder has its row."""
    tick = call(harness)
    with psycopg.connect(harness.runtime.settings.database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(7, hashtext('poll_records'))")
        assert (await run(harness, tick, nothing))["result"] == "skipped"
    held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 7"
    await eventually_async(lambda: not harness.sql(held))
    assert (await run(harness, tick, nothing))["result"] == "succeeded"
    assert harness.last_run("poll_records")["outcome"] == "succeeded"


async def test_two_ticks_of_one_cron_never_overlap(harness: CronHarness) -> None:
    running, gate = asyncio.Event(), asyncio.Event()

    async def slow(run: CronRun) -> CronReport:
        running.set()
        await gate.wait()
        return CronReport({})

    first_call = call(harness)
    first = asyncio.create_task(run(harness, first_call, slow))
    await running.wait()
    later = call(harness, minutes=5)
    for _ in range(2):  # Hasura may deliver it again
        assert (await run(harness, later, nothing))["result"] == "skipped"
    with pytest.raises(RunUnderWay, match="being worked on"):
        await run(harness, first_call, nothing)
    assert (await run(harness, call(harness, "check_sla"), nothing))["result"] == "succeeded"
    gate.set()
    assert (await first)["result"] == "succeeded"


async def test_the_next_tick_continues_a_run_that_never_gets_its_next_delivery(harness: CronHarness) -> None:
    first, second, third = (call(harness, minutes=5 * n) for n in range(3))
    for tick in (first, second):
        with pytest.raises(RunUnfinished):
            await run(harness, tick, stepwise)
    assert (await run(harness, first, stepwise))["result"] == "skipped"
    assert (await run(harness, third, stepwise))["report"] == {"step": 3}
    assert (await run(harness, second, stepwise))["result"] == "skipped"
    assert outcomes(harness) == [("skipped", None), ("skipped", None), ("succeeded", None)]
    assert harness.count("pancake_cron_run", "report ? 'state'") == 0


@pytest.mark.parametrize("name", ["sync_sources", "check_connection", "poll_records"])
async def test_a_run_without_time_for_every_connection_goes_on_at_its_next_delivery(
    harness: CronHarness, other_connection: str, name: str
) -> None:
    harness.clock.monotonic = partial(next, count(0, LONG_CALL_SECONDS / 3))  # type: ignore[method-assign]
    *unfinished, last = await deliver(harness, name, harness.clock.now())
    assert {answer.status_code for answer in unfinished} == {503}
    assert last.json()["result"] == "succeeded"
    found = [report["connection_id"] for report in harness.last_run(name)["report"]["connections"]]
    assert sorted(found) == sorted((other_connection, harness.connection_id))


async def test_the_run_of_a_dead_process_is_taken_over_and_an_older_one_closed(harness: CronHarness) -> None:
    tick = call(harness)
    insert = (
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, report) VALUES (%s, %s, now(), %s)"
    )
    harness.sql(insert, "poll_records", tick.scheduled_time - timedelta(minutes=5), "{}")
    harness.sql(insert, "poll_records", tick.scheduled_time, '{"state": {"page": 7, "reports": {"a": {}}}}')
    found: list[tuple[object, object]] = []

    async def work(run: CronRun) -> CronReport:
        found.append((run.progress, run.reports))
        return CronReport({})

    assert (await run(harness, tick, work))["result"] == "succeeded"
    assert found == [({"page": 7}, {"a": {}})]
    assert outcomes(harness) == [("failed", "interrupted"), ("succeeded", None)]


async def test_a_failed_run_stores_its_reason_and_may_be_delivered_again(harness: CronHarness) -> None:
    """Of an internal error it stores a digest without the message."""

    def raising(error: Exception) -> CronWork:
        async def work(run: CronRun) -> CronReport:
            raise error

        return work

    tick = call(harness)
    with pytest.raises(PancakeUnavailable):
        await run(harness, tick, raising(PancakeUnavailable("Pancake answered 503.")))
    assert harness.last_run("poll_records")["error"] == "Pancake answered 503."
    with pytest.raises(KeyError):
        await run(harness, tick, raising(KeyError("0905111222")))
    error = harness.last_run("poll_records")["error"]
    assert (error.startswith("KeyError, digest "), "0905" in error) == (True, False)
    with pytest.raises(RunFailed):
        await run(harness, tick, reporting(CronReport({"half": True}, problem="one connection failed")))
    assert harness.last_run("poll_records")["outcome"] == "failed"
    assert (await run(harness, tick, nothing))["result"] == "succeeded"


async def test_a_run_has_succeeded_although_its_notifications_could_not_be_claimed(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = AsyncMock(side_effect=DatabaseUnavailable)
    monkeypatch.setattr(harness.runtime.cron_runs.notices, "claim_and_send", lost)
    answer = await run(harness, call(harness), speaking)
    assert (answer["result"], harness.hasura.sent) == ("succeeded", {})
    monkeypatch.undo()
    for sent in (1, 0):
        assert (await harness.run("retry_failed", minutes=2))["runs_notified"] == sent
    (notification,) = harness.hasura.sent.values()
    assert notification["data"] == with_text({"reason": "sla_missed", "detail": "TK1", "more": "m"})
    assert len(notification["recipient_ids"]) == 3


def test_an_answer_shows_long_lists_by_their_length() -> None:
    report = {"ids": [0] * 21, "few": [1, {"a": (2,)}]}
    assert shorten(report) == {"ids": "21 items", "few": [1, {"a": [2]}]}


def interrupt(monkeypatch: pytest.MonkeyPatch, step: int, *, by_death: bool) -> list[int]:
    """Let the process die at the `step`-th round trip to Pancake or PostgreSQL, or that one never end.

    Returns a list that holds the numbers of the round trips made.
    """
    made: list[int] = []

    async def interrupted(round_trip: RoundTrip) -> Any:
        made.append(len(made))
        if made[-1] == step and by_death:
            raise Crash
        if made[-1] == step:
            await asyncio.sleep(3600)
        return await round_trip()

    around_round_trips(monkeypatch, interrupted, (PancakeApi, "_fetch"))
    return made


async def test_only_an_answer_that_is_asked_for_in_time_gives_a_call_more_time() -> None:
    now = asyncio.get_running_loop().time
    began = now()
    CURRENT_CALL.set(CallLimits(began + 0.1))
    answered = 0.0

    async def ask_twice() -> None:
        nonlocal answered
        async with limited(began + 0.2):
            with waiting_for_answer():
                await asyncio.sleep(0.5)
            answered = now()
            with waiting_for_answer():
                await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        await ask_twice()
    assert answered + 0.05 < now() < answered + SPARE_SECONDS


async def test_a_call_stores_a_page_that_came_late_and_asks_for_no_other(
    harness: CronHarness, day: date
) -> None:
    """Hasura delivers every other cron after this one."""
    window = day_window(day)
    harness.pancake.bulk(RECORDS, window.start, window.end)
    harness.pancake.faults.slow_seconds = ANSWER_WITHIN_SECONDS * STOP_AT + 0.5
    harness.runtime.cron_runs.answer_within_seconds = ANSWER_WITHIN_SECONDS
    due = harness.clock.now()
    answer = await harness.tick("reconcile_daily", due)
    assert answer.json()["extensions"]["code"] == "run_unfinished"
    stored = harness.count("pancake_webhook_event")
    assert 0 < stored < RECORDS
    harness.pancake.faults.slow_seconds = 0
    assert (await deliver(harness, "reconcile_daily", due))[-1].json()["result"] == "succeeded"
    assert harness.count("pancake_webhook_event") == RECORDS


@pytest.mark.serial
async def test_the_crons_answer_in_time_whatever_hangs_and_end_later(harness: CronHarness) -> None:
    runs, due = harness.runtime.cron_runs, harness.clock.now()
    runs.answer_within_seconds = harness.runtime.pancake._total_timeout_seconds = BUDGET_SECONDS
    harness.pancake.faults.slow_seconds = 60
    with psycopg.connect(harness.database_url) as other:
        other.execute("LOCK TABLE pancake_webhook_event")
        started = time.monotonic()
        answers = await asyncio.gather(*(harness.tick(name, due) for name in CRONS))
        seconds = time.monotonic() - started
    harness.pancake.faults.slow_seconds = 0
    assert [answer.status_code for answer in answers] == [503] * len(CRONS)
    assert seconds < 2 * BUDGET_SECONDS + SPARE_SECONDS
    runs.answer_within_seconds = ANSWER_WITHIN_SECONDS
    for name in CRONS:
        answer = (await deliver(harness, name, due))[-1]
        if answer.status_code == 503:
            # A step that had a whole call for itself and did not end makes the run fail; Hasura tries again.
            assert answer.json()["extensions"]["code"] == "run_failed"
            answer = (await deliver(harness, name, due))[-1]
        assert answer.json().get("result") == "succeeded", answer.text


def delay(monkeypatch: pytest.MonkeyPatch, *statements: str, seconds: float = 3600) -> Any:
    """Let statements take so long; return the method before."""
    real = Database._run_work

    async def run_work(self: Database, name: str, *args: Any) -> Any:
        await asyncio.sleep(seconds if name in statements else 0)
        return await real(self, name, *args)

    monkeypatch.setattr(Database, "_run_work", run_work)
    return real


async def test_a_step_that_is_late_at_every_tick_starves_no_other(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes last from then on, and the others are taken in the first delivery of a tick."""
    real = delay(monkeypatch, "retry_failed/release_claims")
    monkeypatch.setattr(cron_work, "SECONDS_LEFT_TO_SEND", 0.1)
    harness.runtime.cron_runs.answer_within_seconds = BUDGET_SECONDS
    for number, deliveries in enumerate((2, 1)):
        insert_unsent(harness, prefix=f"tick-{number}-")
        due = harness.clock.now()
        for delivery in range(deliveries):
            assert len(harness.hasura.sent) == number, f"not before delivery {delivery}"
            assert (await harness.tick("retry_failed", due)).headers["Retry-After"] == "1"
        assert len(harness.hasura.sent) == number + 1
        last = (await deliver(harness, "retry_failed", due))[-1]
        assert last.json()["extensions"]["code"] == "run_failed"
        assert harness.last_run("retry_failed")["report"]["failed_steps"] == ["release_claims"]
        harness.move_clock(minutes=1)
    monkeypatch.setattr(Database, "_run_work", real)
    await harness.run("retry_failed")
    assert "failed_steps" not in harness.last_run("retry_failed")["report"]


async def test_a_day_is_closed_in_two_calls_if_one_is_too_short_for_both_statements(
    harness: CronHarness, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay(monkeypatch, "reconcile_daily/compare_day", "reconcile_daily/count_first_seen", seconds=2)
    harness.pancake.bulk(RECORDS, day_window(day).start, day_window(day).end)
    harness.runtime.cron_runs.answer_within_seconds = 4
    answers = await deliver(harness, "reconcile_daily", harness.clock.now())
    assert len(answers) > 1
    assert answers[-1].json()["result"] == "succeeded"


async def test_a_day_whose_comparison_never_ends_is_stuck(
    harness: CronHarness, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Retry-After, Hasura would deliver it again and again."""
    delay(monkeypatch, "reconcile_daily/compare_day")
    harness.pancake.bulk(RECORDS, day_window(day).start, day_window(day).end)
    harness.runtime.cron_runs.answer_within_seconds = BUDGET_SECONDS
    due = harness.clock.now()
    codes = [(await harness.tick("reconcile_daily", due)).json()["extensions"]["code"] for _ in range(2)]
    assert codes == ["run_unfinished", "run_stuck"]
    error = harness.last_run("reconcile_daily")["error"]
    assert error == "One step of the run takes longer than a call of a cron may."
    assert _digest({"a": 1, "b": 2}) == _digest({"b": 2, "a": 1}), "a stored state has its keys in any order"


@pytest.mark.parametrize("by_death", [False, True], ids=["cut off", "killed"])
@pytest.mark.parametrize("name", ["poll_records", "reconcile_daily"])
async def test_a_run_that_is_interrupted_at_any_step_ends_with_everything_stored_once(
    harness: CronHarness, day: date, monkeypatch: pytest.MonkeyPatch, name: str, by_death: bool
) -> None:
    """The report counts each record once, however often its page was read."""
    monkeypatch.setattr(missing_leads, "LEADS_PER_GROUP", 15)
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
            harness.runtime.cron_runs.answer_within_seconds = (
                ANSWER_WITHIN_SECONDS if by_death else CUT_OFF_SECONDS
            )
            try:
                await harness.tick(name, due)
            except Crash:
                assert by_death
        harness.runtime.cron_runs.answer_within_seconds = ANSWER_WITHIN_SECONDS
        # A poll that set its watermark and could not store its report starts anew, and counts nothing twice.
        has_moved = harness.connection()["poll_watermark"] != window.start
        answer = (await deliver(harness, name, due))[-1]
        assert answer.json()["result"] in ("succeeded", "already_done"), (step, answer.text)
        stored = "SELECT count(*) AS n, count(DISTINCT record_id) AS ids FROM pancake_webhook_event"
        assert harness.one(stored) == {"n": RECORDS, "ids": RECORDS}, step
        report = harness.last_run(name)["report"]
        if not has_moved and name == "poll_records":
            assert report["connections"][0]["listed"] == RECORDS, step
        elif not has_moved:
            (of_day,) = report["days"]
            assert (of_day["expected"], of_day["duplicates"]) == (RECORDS, []), step
            assert of_day["found"] + len(of_day["found_missing"]) == RECORDS, step
        reached, step = step in made, step + (1 if by_death or IS_FULL else CUT_OFF_STRIDE)
    assert step > 5


async def test_a_failed_tick_is_left_to_a_newer_one_that_has_begun(harness: CronHarness) -> None:
    failing = reporting(CronReport({}, problem="no"))
    calls = [call(harness, minutes=5 * n) for n in range(2)]
    for tick in calls:
        with pytest.raises(RunFailed, match="no"):
            await run(harness, tick, failing)
    assert (await run(harness, calls[0], failing))["result"] == "skipped"


async def dry_run(harness: CronHarness, name: str, payload: object = True) -> tuple[int, Any]:
    body = {"id": "dry", "name": f"pancake_{name}", "payload": {"dry_run": payload}}
    due = harness.clock.now().isoformat()
    answer = await harness.client.post(
        f"/cron/{name}", json={**body, "scheduled_time": due}, headers=harness.headers
    )
    return answer.status_code, answer.json()


async def announced(harness: CronHarness, name: str) -> dict[str, Any]:
    """Make a dry run, which must change nothing and send nothing, then the run; both report the same."""
    before, sent = harness.digests(), dict(harness.hasura.sent)
    code, answer = await dry_run(harness, name)
    assert (code, answer["result"], answer["unfinished"]) == (200, "dry_run", False), answer
    assert harness.digests() == before
    assert harness.hasura.sent == sent
    if name != "reconcile_daily":  # its report says what was inserted
        varying = {
            "kpi", "emptied_to", "held_emptied_to", "oldest_unassigned_seconds", "notifications", "shared",
        }  # fmt: skip
        done, planned = await harness.run(name), answer["report"]
        assert {key: value for key, value in done.items() if key not in varying} == {
            key: value for key, value in planned.items() if key not in varying
        }
    return answer  # type: ignore[no-any-return]


async def test_retry_failed_is_announced_with_its_owners_and_notifications(harness: CronHarness) -> None:
    harness.fill_roster(2)
    harness.sql("UPDATE staff SET on_duty = false WHERE role = 'telesale'")
    for number in range(3):
        await harness.process_lead(id=f"r{number}", phone_number=f"090511122{number}")
    harness.sql("UPDATE staff SET on_duty = true WHERE role = 'telesale'")
    harness.hasura.sent.clear()
    answer = await announced(harness, "retry_failed")
    assert answer["report"]["assigned"] == 3
    assert [each["template_code"] for each in answer["would_send"]] == [
        *["noti_pancake_new_lead"] * 3, "noti_pancake_needs_attention",
    ]  # fmt: skip
    assert "0905111" not in str(answer)
    keys = {each["idempotency_key"] for each in answer["would_send"]}
    assert {
        key for key in keys ^ harness.hasura.sent.keys() if not key.startswith("tickets_shared:")
    } == set()


async def test_late_tickets_and_the_clean_up_are_announced(harness: CronHarness) -> None:
    harness.fill_roster(1)
    event_id, _ = await harness.process_lead()
    harness.hasura.sent.clear()
    harness.move_clock(hours=2)
    answer = await announced(harness, "check_sla")
    assert answer["report"]["late"] == 1
    assert [each["reason"] for each in answer["would_send"]] == harness.reasons() == ["sla_missed"]
    harness.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '91 days'")
    answer = await announced(harness, "purge_events")
    assert answer["report"]["empty_payloads"] == 1
    assert harness.event(event_id)["payload"] is None


async def test_a_reconciliation_reads_pancake_and_inserts_nothing(harness: CronHarness, day: date) -> None:
    window = day_window(day)
    harness.pancake.bulk(3, window.start, window.end)
    answer = await announced(harness, "reconcile_daily")
    (report,) = answer["report"]["days"]
    assert (report["day"], report["expected"], report["inserted"]) == (day.isoformat(), 3, 0)
    assert len(report["left_missing"]) == 3
    assert [each["reason"] for each in answer["would_send"]] == ["reconciliation_miss"]
    assert (await harness.run("reconcile_daily"))["days"][0]["inserted"] == 3


async def test_a_dry_run_that_a_cron_lacks_or_another_payload_than_true_is_refused(
    harness: CronHarness, subtests: pytest.Subtests
) -> None:
    before = harness.digests()
    cases: list[tuple[str, object, str]] = [
        *((name, True, f"pancake_{name} has no dry run.") for name in CRONS if name not in WITH_DRY_RUN),
        *(("retry_failed", payload, "payload.dry_run is not true.") for payload in (False, "true", 1, None)),
    ]
    for name, payload, message in cases:
        with subtests.test(name, payload=payload):
            code, answer = await dry_run(harness, name, payload)
            assert (code, answer["message"]) == (400, message)
            assert harness.digests() == before
    assert harness.pancake.counts["rest_requests"] == 0


@pytest.mark.own_database
async def test_an_error_in_a_step_is_reported_and_nothing_of_the_others_stays(harness: CronHarness) -> None:
    await harness.process_lead()
    harness.move_clock(hours=2)
    harness.sql("UPDATE staff SET is_active = false WHERE role <> 'telesale'")
    harness.sql("ALTER TABLE pancake_webhook_event RENAME COLUMN notify_claimed_at TO renamed")
    before = harness.digests()
    code, answer = await dry_run(harness, "check_sla")
    assert (code, answer["result"]) == (200, "dry_run")
    assert answer["problem"].startswith("notify_late: UndefinedColumn")
    assert harness.digests() == before
