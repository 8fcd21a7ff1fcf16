"""Cron 3: unsent notifications are sent in a fair order and with growing waits; senders may die."""

import asyncio
from itertools import pairwise

import pytest

from cron.retry_failed import release, send_notifications
from leads.domain.sending import MAX_UNKNOWNS
from leads.services.cron_work import CronRun
from leads.services.outbox import SEND_LEASE
from leads.services.sending.time_left import SECONDS_LEFT_TO_SEND
from tests.support.crashes import Crash, crashing
from tests.support.crons import CronHarness
from tests.support.unsent import insert_unsent, keys, sending, taken

STEPS_UNTIL_SENT = 5
"""Round trips before and after a call to database and Hasura: list, claim, and the call before its answer."""


def new_run(harness: CronHarness, seconds_left: float = 40) -> CronRun:
    now = harness.clock.now()
    return CronRun(0, now, now, {}, lambda: seconds_left)


async def die_while_sending(harness: CronHarness, step: int) -> bool:
    """Send what is due in a process that dies at that step; return whether it died. Its leases are over."""
    try:
        await send_notifications(crashing(harness.runtime, step), new_run(harness))
    except Crash:
        harness.expire_leases()
        return True
    return False


@pytest.mark.parametrize("refused_before", [False, True])
async def test_three_hundred_refused_events_do_not_delay_a_newer_one(
    harness: CronHarness, refused_before: bool
) -> None:
    refused = insert_unsent(harness, 300, prefix="refused")
    harness.hasura.refused = keys(refused)
    if refused_before:
        await harness.run("retry_failed")
        harness.move_clock(minutes=1)
    good = insert_unsent(harness, prefix="good")
    assert (await harness.run("retry_failed"))["notified"] == 1
    assert set(harness.hasura.sent) == keys(good)


async def test_a_thousand_refused_events_that_are_due_do_not_delay_a_new_one(harness: CronHarness) -> None:
    harness.hasura.refused = keys(insert_unsent(harness, 1_000, prefix="refused"))
    await harness.run_for("retry_failed", hours=2 / 60)
    harness.move_clock(hours=1)
    good = insert_unsent(harness, prefix="good")
    assert (await harness.run("retry_failed"))["notified"] == 1
    assert set(harness.hasura.sent) == keys(good)


async def test_events_that_could_not_be_reached_are_tried_in_turn(harness: CronHarness) -> None:
    ids = insert_unsent(harness, 1_200)
    harness.hasura.failing = True
    await harness.run_for("retry_failed", hours=3 / 60)
    assert keys(ids) == {key for call in harness.hasura.calls for key in call}


async def test_a_refused_event_is_tried_at_growing_intervals(harness: CronHarness) -> None:
    harness.hasura.refused = keys(insert_unsent(harness))
    tried: list[int] = []
    for minute in range(130):
        before = len(harness.hasura.calls)
        await harness.run("retry_failed")
        harness.move_clock(minutes=1)
        tried += [minute] * (len(harness.hasura.calls) - before)
    assert [later - earlier for earlier, later in pairwise(tried)] == [
        1, 2, 4, 8, 16, 32, 64,
    ]  # fmt: skip


async def test_a_refused_notification_does_not_hold_back_another_of_its_event(harness: CronHarness) -> None:
    (event_id,) = insert_unsent(harness, names=("new_lead", "phone_changed"))
    harness.hasura.refused = keys([event_id], "phone_changed")
    await harness.run_for("retry_failed", hours=1, step_minutes=10)
    assert taken(harness) == [f"{event_id}:new_lead"]
    assert harness.event(event_id)["notify_sent"] == ["new_lead"]
    harness.hasura.refused = set()
    await harness.run_for("retry_failed", hours=2, step_minutes=10)
    assert taken(harness) == [f"{event_id}:new_lead", f"{event_id}:phone_changed"]
    assert sending(harness, event_id)["is_sent"]


async def test_one_event_that_cannot_be_read_does_not_stop_the_others(harness: CronHarness) -> None:
    broken, good = insert_unsent(harness, prefix="broken"), insert_unsent(harness, prefix="good")
    harness.sql("UPDATE pancake_webhook_event SET notifications = '[{}]' WHERE id = %s", broken[0])
    for _ in range(MAX_UNKNOWNS):
        assert (await harness.tick("retry_failed")).status_code == 503
        harness.expire_leases()
        harness.move_clock(minutes=1)
    assert harness.last_run("retry_failed")["report"]["failed_steps"] == ["send_notifications"]
    await harness.run("retry_failed")
    assert taken(harness) == [*keys(good)]
    assert sending(harness, broken[0])["is_given_up"]


@pytest.mark.parametrize("step", range(9))
async def test_a_sender_that_dies_at_any_point_repeats_at_most_once(harness: CronHarness, step: int) -> None:
    (event_id,) = insert_unsent(harness)
    died = await die_while_sending(harness, step)
    harness.move_clock(minutes=1)
    await harness.run("retry_failed")
    assert list(harness.hasura.sent) == [*keys([event_id])]
    assert len(taken(harness)) <= 1 + died
    assert sending(harness, event_id)["is_sent"]
    assert died == (step < 8)


async def test_a_sender_that_always_dies_does_not_repeat_for_ever(harness: CronHarness) -> None:
    (event_id,) = insert_unsent(harness)
    for _ in range(MAX_UNKNOWNS + 3):
        await die_while_sending(harness, STEPS_UNTIL_SENT)
    assert taken(harness) == [*keys([event_id])] * MAX_UNKNOWNS
    assert sending(harness, event_id)["is_given_up"]


async def test_two_runs_at_the_same_time_send_each_notification_once(harness: CronHarness) -> None:
    ids = insert_unsent(harness, 400)
    reports = await asyncio.gather(*(release(harness.runtime, new_run(harness)) for _ in range(2)))
    assert sorted(taken(harness)) == sorted(keys(ids))
    assert sum(int(str(report.body["notified"])) for report in reports) == 400


async def test_what_a_run_has_no_time_for_stays_as_it_was(harness: CronHarness) -> None:
    harness.hasura.refused = keys(insert_unsent(harness, 120))
    run = new_run(harness, seconds_left=SECONDS_LEFT_TO_SEND - 0.1)
    report = await release(harness.runtime, run)
    assert report.unfinished
    assert "send_notifications" not in run.reports
    assert harness.count("pancake_webhook_event", "notify_attempts = 0 AND notify_claimed_at IS NULL") == 120
    assert harness.hasura.calls == []


async def test_a_sender_whose_claim_ended_marks_nothing(harness: CronHarness) -> None:
    (event_id,) = insert_unsent(harness)
    claim = {"ids": [event_id], "lease": SEND_LEASE, "now": harness.clock.now()}
    (late,) = await harness.runtime.db.fetch_all("outbox/claim_notifications", claim)
    harness.expire_leases()
    (newer,) = await harness.runtime.db.fetch_all("outbox/claim_notifications", claim)
    mark = {"ids": [event_id], "claimed_ats": [late["notify_claimed_at"]], "now": harness.clock.now()}
    await harness.runtime.db.fetch_all("outbox/mark_notified", mark)
    assert not sending(harness, event_id)["is_sent"]
    mark["claimed_ats"] = [newer["notify_claimed_at"]]
    await harness.runtime.db.fetch_all("outbox/mark_notified", mark)
    assert sending(harness, event_id)["is_sent"]
