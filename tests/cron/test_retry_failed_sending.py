"""Cron 3: unsent notifications of events and runs: a fair order, growing waits, dying senders, giving up."""

import asyncio
import logging
from collections import Counter
from contextlib import nullcontext
from datetime import timedelta
from itertools import pairwise

import pytest

from cron.retry_failed import release, send_notifications
from leads.adapters.hasura_calls import CronCall
from leads.domain.sending import MAX_REFUSALS, MAX_UNKNOWNS
from leads.services.cron_errors import RunFailed
from leads.services.cron_work import AdminNotice, CronReport, CronRun
from leads.services.outbox import SEND_LEASE
from leads.services.run_notices import MAX_RUNS_PER_TICK
from leads.services.sending.time_left import SECONDS_LEFT_TO_SEND
from tests.support.crons import CronHarness
from tests.support.fakes import Crash, crashing
from tests.support.stored_rows import counted, insert_unsent, keys, sending, taken

GIVEN_UP = {"is_sent": False, "is_given_up": True, "refusals": 0, "unknowns": 0}


def new_run(harness: CronHarness, seconds_left: float = 40) -> CronRun:
    now = harness.clock.now()
    return CronRun(0, now, now, {}, lambda: seconds_left)


async def notified(harness: CronHarness, figure: str = "notified", **later: float) -> int:
    """Run the cron that much later; return how many notifications of events, or other rows, were sent."""
    harness.move_clock(**later)
    return int((await harness.run("retry_failed"))[figure])


async def die_while_sending(harness: CronHarness, step: int) -> bool:
    """Send what is due in a process that dies at that step; return whether it died. Its leases are over."""
    try:
        await send_notifications(crashing(harness.runtime, step), new_run(harness))
    except Crash:
        harness.expire_leases()
        return True
    return False


async def test_unsent_notifications_are_sent_once(harness: CronHarness) -> None:
    harness.hasura.failing = True
    await harness.process_lead()
    harness.hasura.failing = False
    assert await notified(harness) == 0, "its sender may still be sending"
    assert harness.hasura.sent == {}
    harness.expire_leases()
    assert [await notified(harness, minutes=1) for _ in range(2)] == [1, 0]
    assert len(harness.hasura.sent) == 1


async def test_three_hundred_refused_events_do_not_delay_a_newer_one(harness: CronHarness) -> None:
    harness.hasura.refused = keys(insert_unsent(harness, 300, prefix="refused"))
    good = insert_unsent(harness, prefix="good")
    assert await notified(harness) == 1
    assert set(harness.hasura.sent) == keys(good)


async def test_six_hundred_refused_events_that_are_due_do_not_delay_a_new_one(harness: CronHarness) -> None:
    harness.hasura.refused = keys(insert_unsent(harness, 600, prefix="refused"))
    await harness.run_for("retry_failed", hours=2 / 60)
    harness.move_clock(hours=1)
    good = insert_unsent(harness, prefix="good")
    assert await notified(harness) == 1
    assert set(harness.hasura.sent) == keys(good)


async def test_events_that_could_not_be_reached_are_tried_in_turn(harness: CronHarness) -> None:
    ids = insert_unsent(harness, 1_200)
    harness.hasura.failing = True
    await harness.run_for("retry_failed", hours=3 / 60)
    assert keys(ids) == {key for call in harness.hasura.calls for key in call}


async def test_a_refused_event_is_tried_at_growing_intervals(harness: CronHarness) -> None:
    harness.hasura.refused = keys(insert_unsent(harness))
    tried: list[int] = []
    for minute in range(20):
        before = len(harness.hasura.calls)
        await harness.run("retry_failed")
        harness.move_clock(minutes=1)
        tried += [minute] * (len(harness.hasura.calls) - before)
    assert [later - earlier for earlier, later in pairwise(tried)] == [1, 2, 4, 8]


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


async def test_a_sender_that_dies_at_any_point_repeats_at_most_once(harness: CronHarness) -> None:
    for step in range(9):
        harness.hasura.sent.clear()
        harness.hasura.taken.clear()
        (event_id,) = insert_unsent(harness, prefix=f"step {step} ")
        died = await die_while_sending(harness, step)
        await notified(harness, minutes=1)
        assert list(harness.hasura.sent) == [*keys([event_id])], step
        assert len(taken(harness)) <= 1 + died, step
        assert sending(harness, event_id)["is_sent"], step
        assert died == (step < 8), step


async def test_a_sender_that_always_dies_does_not_repeat_for_ever(harness: CronHarness) -> None:
    """It dies when the call has arrived: before and after list and claim, before and after the call."""
    (event_id,) = insert_unsent(harness)
    for _ in range(MAX_UNKNOWNS + 3):
        await die_while_sending(harness, step=5)
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


async def test_an_event_is_given_up_after_twenty_refusals(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    (event_id,) = insert_unsent(harness)
    harness.hasura.refused = keys([event_id])
    await harness.run_for("retry_failed", hours=23.5, step_minutes=30)
    assert sum(call == [*keys([event_id])] for call in harness.hasura.calls) == MAX_REFUSALS
    assert sending(harness, event_id) == GIVEN_UP | {"attempts": 20, "refusals": 20, "error": "refused"}
    (line,) = [record for record in caplog.records if record.getMessage() == "notifications given up"]
    assert line.levelno == logging.ERROR
    fields = {"rows": "events", "count": 1, "ids": [event_id], "reasons": {"refused": 1}}
    assert vars(line)["fields"] == fields
    assert (counted(harness, "failed"), counted(harness, "given_up")) == (20, 1)


async def test_an_event_that_cannot_be_reached_is_given_up_after_a_day(harness: CronHarness) -> None:
    (event_id,) = insert_unsent(harness)
    harness.hasura.failing = True
    await harness.run("retry_failed")
    harness.move_clock(hours=23, minutes=59, seconds=50)
    await harness.run("retry_failed")
    assert not sending(harness, event_id)["is_given_up"]
    harness.move_clock(seconds=10)
    await harness.run("retry_failed")
    assert sending(harness, event_id) == GIVEN_UP | {"attempts": 3, "error": "unreached"}
    harness.hasura.calls.clear()
    await harness.run_for("retry_failed", hours=2, step_minutes=30)
    assert [*keys([event_id])] not in harness.hasura.calls


@pytest.mark.test_case("TC-014-014")
async def test_after_an_outage_the_waiting_notifications_are_sent_within_five_minutes(
    harness: CronHarness,
) -> None:
    ids = insert_unsent(harness, 20)
    harness.hasura.failing = True
    await harness.run_for("retry_failed", hours=3, step_minutes=5)
    harness.hasura.failing = False
    await harness.run_for("retry_failed", hours=5 / 60)
    assert set(harness.hasura.sent) == keys(ids)


async def test_a_slow_service_that_ignores_keys_gets_five_sends_of_a_notification(
    harness: CronHarness,
) -> None:
    (event_id,) = insert_unsent(harness)
    harness.fill_roster(1)
    harness.hasura.slow = True
    processed, _ = await harness.process_lead()  # the handler's own attempt counts for the bound
    await harness.run_for("retry_failed", hours=24, step_minutes=30)
    sends = Counter(taken(harness))
    assert sends == dict.fromkeys((*keys([event_id]), f"{processed}:new_lead"), MAX_UNKNOWNS)
    state = {"attempts": 5, "unknowns": 5, "error": "unknown"}
    assert [sending(harness, each) for each in (event_id, processed)] == [GIVEN_UP | state] * 2
    assert counted(harness, "failed") == 0
    # Those of the events, then the notice to the administrators that they were given up.
    assert counted(harness, "unknown") == 3 * MAX_UNKNOWNS
    assert harness.count("pancake_cron_run", "notify_given_up_at IS NOT NULL") == 1


async def test_an_event_without_recipients_is_given_up_at_once_and_blocks_nothing(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    empty = insert_unsent(harness, 600, recipients=(), prefix="empty")
    good = insert_unsent(harness, prefix="good")
    await harness.run_for("retry_failed", hours=2 / 60)
    assert set(taken(harness)) == keys(good)
    assert sending(harness, empty[0]) == GIVEN_UP | {"attempts": 1, "error": "no_recipients"}
    assert counted(harness, "given_up") == 600
    assert {record.levelname for record in caplog.records if "given up" in record.getMessage()} == {"ERROR"}


async def test_a_new_notification_of_an_event_that_was_given_up_is_sent(harness: CronHarness) -> None:
    harness.hasura.refused = {"1:unassigned"}
    event_id, _ = await harness.process_lead()
    assert sending(harness, event_id)["refusals"] == 1
    await harness.run_for("retry_failed", hours=23.5, step_minutes=30)
    assert sending(harness, event_id)["is_given_up"]
    harness.hasura.refused = set()
    await harness.run("check_sla")
    assert f"{event_id}:sla_missed" in harness.hasura.sent
    state = {"attempts": 0, "is_sent": True, "is_given_up": False, "error": None}
    assert sending(harness, event_id) == GIVEN_UP | state


async def test_the_administrators_are_told_once_an_hour_of_what_was_given_up(harness: CronHarness) -> None:
    for number in range(5):
        insert_unsent(harness, 2, recipients=(), prefix=f"batch {number} ")
        await harness.run_for("retry_failed", hours=20 / 60, step_minutes=5)
    assert harness.reasons() == ["notifications_given_up"] * 2
    details = [notice["data"]["detail"] for notice in harness.hasura.sent.values()]
    assert details == ["events: 2, cron runs: 0", "events: 6, cron runs: 0"]


async def test_the_notice_of_what_was_given_up_ends_without_another_one(harness: CronHarness) -> None:
    insert_unsent(harness, recipients=())
    harness.hasura.failing = True
    await harness.run_for("retry_failed", hours=50, step_minutes=60)
    rows = harness.sql(
        "SELECT notify_error, notify_given_up_at - scheduled_time > %s AS is_late FROM pancake_cron_run"
        " WHERE report -> 'notifications' <> '[]'",
        timedelta(hours=23),
    )
    assert rows == [{"notify_error": "unreached", "is_late": True}]


async def run_speaking(
    harness: CronHarness, *keys: str, tick: CronCall | None = None, problem: str = ""
) -> CronCall:
    """Run a tick of a cron, or one again, that tells the administrators something; it may fail."""
    tick = tick or CronCall("id", "pancake_sync_sources", harness.clock.now(), {})

    async def work(run: CronRun) -> CronReport:
        notices = tuple(AdminNotice(key, "new_source", key) for key in keys)
        return CronReport({}, notices=notices, problem=problem or None)

    with pytest.raises(RunFailed) if problem else nullcontext():
        await harness.runtime.cron_runs.run(tick, work)
    return tick


def insert_runs(harness: CronHarness, count: int, prefix: str, age: timedelta = timedelta()) -> list[str]:
    """Insert runs whose notice no sender has claimed; return the keys."""
    rows = harness.sql(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
        " SELECT 'sync_sources', t.at, t.at, t.at, 'succeeded', jsonb_build_object('notifications',"
        " jsonb_build_array(jsonb_build_object('template_code', 't', 'recipient_ids', '[1]'::jsonb,"
        " 'data', '{}'::jsonb, 'idempotency_key', %s || n))) FROM generate_series(1, %s) AS n,"
        " LATERAL (SELECT now() - %s - n * interval '1 second' AS at) AS t"
        " RETURNING report #>> '{notifications,0,idempotency_key}' AS key",
        prefix,
        count,
        age,
    )
    return [row["key"] for row in rows]


def state(harness: CronHarness) -> dict[str, object]:
    """What the only row of sync_sources says of the sending of its notices."""
    return harness.one(
        "SELECT notify_refusals AS refusals, notify_unknowns AS unknowns, notify_error AS error,"
        " notified_at IS NOT NULL AS is_sent, notify_given_up_at IS NOT NULL AS is_given_up"
        " FROM pancake_cron_run WHERE name = 'sync_sources'"
    )


async def test_refused_runs_that_are_due_do_not_starve_a_new_one(harness: CronHarness) -> None:
    """They are more than two ticks take, and all older."""
    refused = insert_runs(harness, 2 * MAX_RUNS_PER_TICK + 50, "refused", timedelta(hours=1))
    harness.hasura.refused = {*refused}
    harness.sql(
        "UPDATE pancake_cron_run SET notify_attempts = 1, notify_refusals = 1, notify_error = 'refused',"
        " notify_unsent_since = now() - interval '1 hour', notify_next_at = now() - interval '1 minute'"
    )
    good = insert_runs(harness, 1, "good")
    assert await notified(harness, "runs_notified") == 1
    assert list(harness.hasura.sent) == good


async def test_runs_while_no_administrator_is_active_do_not_starve_a_later_one(harness: CronHarness) -> None:
    """They are more than a tick takes, and were to tell something that had no recipient."""
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'admin'")
    await run_speaking(harness, "k1", "k2")
    assert counted(harness, "dropped") == 2
    harness.sql(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
        " SELECT r.name, r.scheduled_time - n * interval '1 minute', r.started_at, r.finished_at, r.outcome,"
        " r.report FROM pancake_cron_run AS r, generate_series(1, %s) AS n",
        MAX_RUNS_PER_TICK + 50,
    )
    harness.sql("UPDATE staff SET is_active = true WHERE role = 'admin'")
    good = insert_runs(harness, 1, "good")
    assert await notified(harness, "runs_notified") == 1
    assert list(harness.hasura.sent) == good


async def test_a_notice_older_than_a_day_is_sent(harness: CronHarness) -> None:
    old = insert_runs(harness, 1, "old", timedelta(days=3))
    assert await notified(harness, "runs_notified") == 1
    assert list(harness.hasura.sent) == old


async def test_a_notice_is_given_up_after_twenty_refusals_and_another_notice_says_so(
    harness: CronHarness,
) -> None:
    harness.hasura.refused = {"k1"}
    await run_speaking(harness, "k1")
    await harness.run_for("retry_failed", hours=23.5, step_minutes=30)
    assert harness.hasura.calls.count(["k1"]) == MAX_REFUSALS
    given_up = {"refusals": 20, "unknowns": 0, "error": "refused", "is_sent": False, "is_given_up": True}
    assert state(harness) == given_up
    (notice,) = harness.hasura.sent.values()
    assert notice["data"]["detail"] == "events: 0, cron runs: 1"
    assert "0 lead và 1 lượt chạy cron có thông báo bị bỏ" in notice["data"]["text"]


async def test_a_slow_service_that_ignores_keys_gets_five_sends_of_a_notice(harness: CronHarness) -> None:
    harness.hasura.slow = True
    await run_speaking(harness, "k1")
    await harness.run_for("retry_failed", hours=12, step_minutes=30)
    assert harness.hasura.taken.count("k1") == MAX_UNKNOWNS
    assert (state(harness)["error"], state(harness)["is_given_up"]) == ("unknown", True)


async def test_a_refused_notice_does_not_hold_back_another_of_its_run(harness: CronHarness) -> None:
    harness.hasura.refused = {"k1"}
    await run_speaking(harness, "k1", "k2")
    assert await notified(harness, "runs_notified", minutes=1) == 0
    harness.hasura.refused = set()
    assert await notified(harness, "runs_notified", minutes=2) == 1
    assert harness.hasura.taken == ["k2", "k1"]


async def test_a_tick_that_is_delivered_again_keeps_the_notices_that_are_not_sent(
    harness: CronHarness,
) -> None:
    """Their cause may be gone: check_connection tells of a change that it has stored."""
    harness.hasura.failing = True
    tick = await run_speaking(harness, "k1", problem="one connection failed")
    await run_speaking(harness, "k2", tick=tick)
    harness.hasura.failing = False
    assert await notified(harness, "runs_notified", minutes=1) == 1
    assert list(harness.hasura.sent) == ["k1", "k2"]


async def test_a_tick_that_is_delivered_again_sends_nothing_twice(harness: CronHarness) -> None:
    tick = await run_speaking(harness, "k1", problem="one connection failed")
    await run_speaking(harness, "k1", tick=tick, problem="one connection failed")
    await run_speaking(harness, "k1", tick=tick)
    assert harness.hasura.taken == ["k1"]
    assert state(harness)["is_sent"]


async def test_a_notice_that_a_sender_has_claimed_is_left_to_it(harness: CronHarness) -> None:
    insert_runs(harness, 2, "n")
    ids = [row["id"] for row in harness.sql("SELECT id FROM pancake_cron_run")]
    claim = {"ids": ids, "lease": SEND_LEASE, "now": harness.clock.now()}
    claimed = await harness.runtime.db.fetch_all("run_notices/claim_notifications", claim)
    assert sorted(row["id"] for row in claimed) == sorted(ids)
    assert await harness.runtime.db.fetch_all("run_notices/claim_notifications", claim) == []
