"""Cron 3: releases failed rows, expired claims and lost events; sends what is unsent, and gives up.

No step stops another. Unsent notifications of events and runs have a fair order and growing waits.
"""

import asyncio
import logging
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

from cron.retry_failed import EVENT_LOCK_LEASE, MAX_RUNS_PER_TICK, retry_failed, send_notifications
from leads.adapters.hasura_calls import CronCall
from leads.domain.notifications import MAX_REFUSALS, MAX_UNKNOWNS
from leads.services.cron_work import (
    SECONDS_LEFT_TO_SEND,
    AdminNotice,
    CronReport,
    CronRun,
    RunFailed,
)
from tests.support.crons import CronHarness
from tests.support.fakes import Crash, crashing
from tests.support.processing import insert_connection
from tests.support.stored_rows import NOTIFICATIONS, insert_unsent, keys, sending, taken

TICK = timedelta(minutes=1)
CRON_LOOP = timedelta(seconds=14)
"""The engine's loop sleeps 10 s between two looks for due ticks, and waits up to 4 s for the slowest cron."""
FETCH = timedelta(seconds=1)
"""The engine's default of HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL."""
MAX_LEAD_SECONDS = 90
EVENT_LOG = "hdb_catalog.event_log"
SET_DELIVERED = f"UPDATE {EVENT_LOG} SET delivered = true"


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


async def run(harness: CronHarness, figure: str, **later: float) -> int:
    """Run the cron that much later; return a figure of its report."""
    return int((await harness.run("retry_failed", **later))[figure])


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
    assert {"claims": 0, "dead_letter": 1}.items() <= (await harness.run("retry_failed")).items()
    row = harness.one("SELECT status, error_code FROM pancake_webhook_event")
    assert row == {"status": "dead_letter", "error_code": "claim_expired"}


@pytest.mark.test_case("TC-014-011")
async def test_a_received_row_with_a_lost_event_is_fired_again(harness: CronHarness) -> None:
    insert(harness, "received")
    harness.sql("DELETE FROM hdb_catalog.event_log")
    assert await run(harness, "refired") == 0, "it may still be on its way"
    pass_time(harness, timedelta(minutes=3))
    assert await run(harness, "refired") == 1
    assert harness.count(EVENT_LOG) == 1
    assert await run(harness, "refired", minutes=1) == 0


@pytest.mark.parametrize(("status", "figure"), [("received", "refired"), ("failed", "failed")])
async def test_connections_take_turns(harness: CronHarness, status: str, figure: str) -> None:
    """600 leads of one connection do not keep those of another waiting, which came later."""
    insert(harness, status, 601)
    other = insert_connection(harness, "another token")
    harness.sql("SET session_replication_role = replica")
    newest = "(SELECT max(id) FROM pancake_webhook_event)"
    harness.sql(f"UPDATE pancake_webhook_event SET connection_id = %s WHERE id = {newest}", other)
    harness.sql("UPDATE pancake_webhook_event SET received_at = received_at + id * interval '1 microsecond'")
    harness.sql("RESET session_replication_role")
    harness.sql(SET_DELIVERED)
    pass_time(harness, timedelta(minutes=3))
    assert await run(harness, figure) == 500
    fired = f"NOT delivered AND payload #>> '{{data,new,id}}' = {newest}::text"
    assert harness.count(EVENT_LOG, fired) == 1


async def test_failed_rows_and_claims_stay_while_processing_is_paused(harness: CronHarness) -> None:
    insert(harness, "failed")
    harness.change_settings(processing_paused=True)
    assert await run(harness, "failed", minutes=10) == 0


@pytest.mark.test_case("TC-014-012")
@pytest.mark.parametrize("seconds", [0, 11, 13, 59])
async def test_a_lead_of_a_killed_engine_is_unlocked_in_time(harness: CronHarness, seconds: int) -> None:
    waited = timedelta(seconds=seconds)
    insert_locked(harness, age=waited, locked=waited)
    while not await run(harness, "unlocked"):
        pass_time(harness, TICK)
        waited += TICK
    slowest = FETCH + waited + CRON_LOOP + FETCH
    assert slowest.total_seconds() <= MAX_LEAD_SECONDS
    assert harness.count(EVENT_LOG) == harness.count(EVENT_LOG, "locked IS NULL") == 1, "not fired again too"
    await harness.process_received()
    assert harness.one("SELECT outcome FROM pancake_webhook_event")["outcome"] == "ticket_created"


async def test_an_event_that_waits_or_was_just_locked_is_left_alone(harness: CronHarness) -> None:
    insert_locked(harness, age=timedelta(hours=2), locked=None)
    for case, locked in {"waits": None, "just locked": EVENT_LOCK_LEASE - timedelta(seconds=5)}.items():
        harness.sql(f"UPDATE {EVENT_LOG} SET locked = now() - %s::interval", locked)
        report = await harness.run("retry_failed", seconds=1)
        assert (report["unlocked"], report["refired"]) == (0, 0), case


async def test_a_locked_event_is_left_alone_while_processing_is_paused(harness: CronHarness) -> None:
    insert_locked(harness, age=TICK, locked=TICK)
    harness.change_settings(processing_paused=True)
    assert await run(harness, "unlocked") == 0
    harness.change_settings(processing_paused=False)
    assert await run(harness, "unlocked", minutes=1) == 1


@pytest.mark.own_database
async def test_a_row_whose_event_cannot_be_unlocked_is_fired_again_once(harness: CronHarness) -> None:
    """And not while its new event waits."""
    insert_locked(harness, age=TICK, locked=TICK)
    harness.sql("REVOKE EXECUTE ON FUNCTION pancake_unlock_events FROM pancake_handlers")
    for refired in (1, 0, 0):
        assert (await harness.tick("retry_failed")).status_code == 503
        report = harness.last_run("retry_failed")["report"]
        assert (report["failed_steps"], report["refired"]) == (["unlock_events"], refired)
        pass_time(harness, TICK)


def lose(harness: CronHarness, name: str, status: str, *, hours_ago: float = 0) -> None:
    harness.sql(
        "INSERT INTO hdb_catalog.hdb_cron_events (trigger_name, scheduled_time, status) VALUES (%s, %s, %s)",
        name,
        harness.clock.now() - timedelta(hours=hours_ago),
        status,
    )


async def test_lost_ticks_are_measured_and_announced_at_most_once_an_hour(harness: CronHarness) -> None:
    async def lost(**later: float) -> Any:
        return (await harness.run("retry_failed", **later)).get("lost_ticks")

    assert (await lost(), harness.reasons()) == (None, [])
    lose(harness, "pancake_poll_records", "dead", hours_ago=0.1)
    lose(harness, "pancake_poll_records", "error", hours_ago=0.2)
    for name, status in [("diva_nightly", "dead"), ("pancake_check_sla", "delivered")]:
        lose(harness, name, status)
    lose(harness, "pancake_check_sla", "dead", hours_ago=25)
    found = await lost(minutes=1)
    assert (set(found), found["poll_records"]) == ({"poll_records", "until"}, 2)
    assert harness.reasons() == ["cron_ticks_lost"]
    (notification,) = harness.hasura.sent.values()
    assert "(số lần): poll_records: 2." in str(notification)
    for cron, lost_ticks in (("poll_records", 2), ("check_sla", 0)):
        assert await harness.scrape("pancake_lost_cron_ticks", name=cron) == lost_ticks
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


# Unsent notifications

GIVEN_UP = {"is_sent": False, "is_given_up": True, "refusals": 0, "unknowns": 0}


def new_run(harness: CronHarness, seconds_left: float = 40) -> CronRun:
    now = harness.clock.now()
    return CronRun(0, now, now, {}, lambda: seconds_left)


async def die_while_sending(harness: CronHarness, step: int) -> bool:
    """Send what is due in a process that dies at that step; return whether it died. Its leases are over."""
    try:
        with crashing(harness.runtime, step) as runtime:
            await send_notifications(runtime, new_run(harness))
    except Crash:
        harness.expire_leases()
        return True
    return False


async def test_six_hundred_refused_events_that_are_due_do_not_delay_a_new_one(harness: CronHarness) -> None:
    harness.hasura.refused = keys(insert_unsent(harness, 600, prefix="refused"))
    await harness.run_for("retry_failed", hours=2 / 60)
    harness.move_clock(hours=1)
    good = insert_unsent(harness, prefix="good")
    assert await run(harness, "notified") == 1
    assert set(harness.hasura.sent) == keys(good)


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


async def test_a_sender_that_dies_at_any_point_repeats_at_most_once(
    harness: CronHarness, subtests: pytest.Subtests
) -> None:
    for step in range(9):
        with subtests.test(step=step):
            harness.hasura.sent.clear()
            harness.hasura.taken.clear()
            (event_id,) = insert_unsent(harness, prefix=f"step {step} ")
            died = await die_while_sending(harness, step)
            await run(harness, "notified", minutes=1)
            assert list(harness.hasura.sent) == [*keys([event_id])]
            assert len(taken(harness)) <= 1 + died
            assert sending(harness, event_id)["is_sent"]
            assert died == (step < 8)


async def test_a_sender_that_always_dies_does_not_repeat_for_ever(harness: CronHarness) -> None:
    """It dies when the call has arrived: before and after list and claim, before and after the call."""
    (event_id,) = insert_unsent(harness)
    for _ in range(MAX_UNKNOWNS + 3):
        await die_while_sending(harness, step=5)
    assert taken(harness) == [*keys([event_id])] * MAX_UNKNOWNS
    assert sending(harness, event_id)["is_given_up"]


async def test_two_runs_at_the_same_time_send_each_notification_once(harness: CronHarness) -> None:
    ids = insert_unsent(harness, 400)
    reports = await asyncio.gather(*(retry_failed(harness.runtime, new_run(harness)) for _ in range(2)))
    assert sorted(taken(harness)) == sorted(keys(ids))
    assert sum(int(str(report.body["notified"])) for report in reports) == 400


async def test_what_a_run_has_no_time_for_stays_as_it_was(harness: CronHarness) -> None:
    harness.hasura.refused = keys(insert_unsent(harness, 120))
    run = new_run(harness, seconds_left=SECONDS_LEFT_TO_SEND - 0.1)
    report = await retry_failed(harness.runtime, run)
    assert report.unfinished
    assert "send_notifications" not in run.reports
    assert harness.count("pancake_webhook_event", "notify_attempts = 0 AND notify_claimed_at IS NULL") == 120
    assert harness.hasura.calls == []
    assert new_run(harness, seconds_left=SECONDS_LEFT_TO_SEND).has_time_to_send()


async def test_an_event_is_given_up_after_twenty_refusals_and_its_next_notification_is_sent(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.hasura.refused = {"1:unassigned"}
    event_id, _ = await harness.process_lead()
    await harness.run_for("retry_failed", hours=23.5, step_minutes=30)
    assert harness.hasura.calls.count([f"{event_id}:unassigned"]) == MAX_REFUSALS
    assert sending(harness, event_id) == GIVEN_UP | {"attempts": 20, "refusals": 20, "error": "refused"}
    (line,) = [record for record in caplog.records if record.getMessage() == "notifications given up"]
    assert line.levelno == logging.ERROR
    fields = {"rows": "events", "count": 1, "ids": [event_id], "reasons": {"refused": 1}}
    assert vars(line)["fields"] == fields
    assert (
        harness.value(NOTIFICATIONS, result="failed"),
        harness.value(NOTIFICATIONS, result="given_up"),
    ) == (20, 1)
    harness.hasura.refused = set()
    await harness.run("check_sla")
    assert f"{event_id}:sla_missed" in harness.hasura.sent
    state = {"attempts": 0, "is_sent": True, "is_given_up": False, "error": None}
    assert sending(harness, event_id) == GIVEN_UP | state


@pytest.mark.test_case("TC-014-014")
async def test_after_an_outage_waiting_notices_are_sent_within_five_minutes(harness: CronHarness) -> None:
    ids = insert_unsent(harness, 20)
    harness.hasura.failing = True
    await harness.run_for("retry_failed", hours=3, step_minutes=5)
    harness.hasura.failing = False
    await harness.run_for("retry_failed", hours=5 / 60)
    assert set(harness.hasura.sent) == keys(ids)


async def test_an_event_without_recipients_is_given_up_at_once_and_blocks_nothing(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    empty = insert_unsent(harness, 600, recipients=(), prefix="empty")
    good = insert_unsent(harness, prefix="good")
    await harness.run_for("retry_failed", hours=2 / 60)
    assert set(taken(harness)) == keys(good)
    assert sending(harness, empty[0]) == GIVEN_UP | {"attempts": 1, "error": "no_recipients"}
    assert harness.value(NOTIFICATIONS, result="given_up") == 600
    assert {record.levelname for record in caplog.records if "given up" in record.getMessage()} == {"ERROR"}


async def test_what_was_given_up_is_announced_to_administrators_once_an_hour(harness: CronHarness) -> None:
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
    """They are more than two ticks take, and all older. A notice older than a day is sent, too."""
    refused = insert_runs(harness, 2 * MAX_RUNS_PER_TICK + 50, "refused", timedelta(hours=1))
    harness.hasura.refused = {*refused}
    harness.sql(
        "UPDATE pancake_cron_run SET notify_attempts = 1, notify_refusals = 1, notify_error = 'refused',"
        " notify_unsent_since = now() - interval '1 hour', notify_next_at = now() - interval '1 minute'"
    )
    good = [*insert_runs(harness, 1, "old", timedelta(days=3)), *insert_runs(harness, 1, "new")]
    assert await run(harness, "runs_notified") == 2
    assert {*harness.hasura.sent} == {*good}


async def test_runs_while_no_administrator_is_active_do_not_starve_a_later_one(harness: CronHarness) -> None:
    """They are more than a tick takes, and were to tell something that had no recipient."""
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'admin'")
    await run_speaking(harness, "k1", "k2")
    assert harness.value(NOTIFICATIONS, result="dropped") == 2
    harness.sql(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
        " SELECT r.name, r.scheduled_time - n * interval '1 minute', r.started_at, r.finished_at, r.outcome,"
        " r.report FROM pancake_cron_run AS r, generate_series(1, %s) AS n",
        MAX_RUNS_PER_TICK + 50,
    )
    harness.sql("UPDATE staff SET is_active = true WHERE role = 'admin'")
    good = insert_runs(harness, 1, "good")
    assert await run(harness, "runs_notified") == 1
    assert list(harness.hasura.sent) == good


async def test_a_refused_notice_does_not_hold_back_another_of_its_run(harness: CronHarness) -> None:
    harness.hasura.refused = {"k1"}
    await run_speaking(harness, "k1", "k2")
    assert await run(harness, "runs_notified", minutes=1) == 0
    harness.hasura.refused = set()
    assert await run(harness, "runs_notified", minutes=2) == 1
    assert harness.hasura.taken == ["k2", "k1"]


async def test_a_tick_that_is_delivered_again_keeps_its_unsent_notices(harness: CronHarness) -> None:
    """Their cause may be gone: check_connection tells of a change that it has stored."""
    harness.hasura.failing = True
    tick = await run_speaking(harness, "k1", problem="one connection failed")
    await run_speaking(harness, "k2", tick=tick)
    harness.hasura.failing = False
    assert await run(harness, "runs_notified", minutes=1) == 1
    assert list(harness.hasura.sent) == ["k1", "k2"]


async def test_a_tick_that_is_delivered_again_sends_nothing_twice(harness: CronHarness) -> None:
    tick = await run_speaking(harness, "k1", problem="one connection failed")
    await run_speaking(harness, "k1", tick=tick, problem="one connection failed")
    await run_speaking(harness, "k1", tick=tick)
    assert harness.hasura.taken == ["k1"]
    assert state(harness)["is_sent"]
