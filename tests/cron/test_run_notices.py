"""The notices of cron runs are sent in a fair order, not for ever, and are not lost."""

from datetime import timedelta

from leads.adapters.hasura_calls import CronCall
from leads.domain.sending import MAX_REFUSALS, MAX_UNKNOWNS
from leads.services.cron_errors import RunFailed
from leads.services.cron_work import AdminNotice, CronReport, CronRun, CronWork
from leads.services.outbox import SEND_LEASE
from leads.services.run_notices import MAX_RUNS_PER_TICK
from tests.support.crons import CronHarness
from tests.support.unsent import counted


def speaking(*keys: str, problem: str | None = None) -> CronWork:
    """The work of a cron that tells the administrators something."""

    async def work(run: CronRun) -> CronReport:
        return CronReport(
            {}, notices=tuple(AdminNotice(key, "new_source", key) for key in keys), problem=problem
        )

    return work


async def run_speaking(harness: CronHarness, *keys: str, problem: str | None = None) -> CronCall:
    """Run a tick of a cron with these notices."""
    tick = CronCall("id", "pancake_sync_sources", harness.clock.now(), {})
    await deliver(harness, tick, *keys, problem=problem)
    return tick


async def deliver(harness: CronHarness, tick: CronCall, *keys: str, problem: str | None = None) -> None:
    try:
        work = speaking(*keys, problem=problem)
        await harness.runtime.cron_runs.run(tick, work)
    except RunFailed:
        assert problem


def insert_runs(
    harness: CronHarness, count: int, prefix: str, age: timedelta = timedelta(), recipients: str = "[1]"
) -> list[str]:
    """Insert runs whose notice no sender has claimed; return the keys."""
    rows = harness.sql(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
        " SELECT 'sync_sources', t.at, t.at, t.at, 'succeeded', jsonb_build_object('notifications',"
        " jsonb_build_array(jsonb_build_object('template_code', 't', 'recipient_ids', %s::jsonb,"
        " 'data', '{}'::jsonb, 'idempotency_key', %s || n))) FROM generate_series(1, %s) AS n,"
        " LATERAL (SELECT now() - %s - n * interval '1 second' AS at) AS t"
        " RETURNING report #>> '{notifications,0,idempotency_key}' AS key",
        recipients,
        prefix,
        count,
        age,
    )
    return [row["key"] for row in rows]


def state(harness: CronHarness) -> dict[str, object]:
    return harness.one(
        "SELECT notify_refusals AS refusals, notify_unknowns AS unknowns, notify_error AS error,"
        " notified_at IS NOT NULL AS is_sent, notify_given_up_at IS NOT NULL AS is_given_up"
        " FROM pancake_cron_run WHERE name = 'sync_sources'"
    )


async def test_sixty_refused_runs_do_not_delay_a_newer_one(harness: CronHarness) -> None:
    harness.hasura.refused = {*insert_runs(harness, 60, "refused", timedelta(minutes=5))}
    good = insert_runs(harness, 1, "good")
    assert (await harness.run("retry_failed"))["runs_notified"] == 1
    assert list(harness.hasura.sent) == good


async def test_refused_runs_that_are_due_do_not_starve_a_new_one(harness: CronHarness) -> None:
    """They are more than two ticks take, and all older."""
    refused = insert_runs(harness, 2 * MAX_RUNS_PER_TICK + 50, "refused", timedelta(hours=1))
    harness.hasura.refused = {*refused}
    harness.sql(
        "UPDATE pancake_cron_run SET notify_attempts = 1, notify_refusals = 1, notify_error = 'refused',"
        " notify_unsent_since = now() - interval '1 hour', notify_next_at = now() - interval '1 minute'"
    )
    good = insert_runs(harness, 1, "good")
    assert (await harness.run("retry_failed"))["runs_notified"] == 1
    assert list(harness.hasura.sent) == good


async def test_stored_notices_without_recipients_do_not_starve_one_with_some(harness: CronHarness) -> None:
    """They are more than a tick takes. Each is given up at once, so the second tick comes to the other."""
    insert_runs(harness, MAX_RUNS_PER_TICK + 50, "empty", timedelta(hours=1), recipients="[]")
    good = insert_runs(harness, 1, "good")
    reports = [await harness.run("retry_failed") for _ in range(2)]
    assert [report["runs_notified"] for report in reports] == [0, 1]
    assert good[0] in harness.hasura.sent


async def test_runs_while_no_administrator_is_active_do_not_starve_a_later_one(harness: CronHarness) -> None:
    """They are more than a tick takes, and were to tell something that had no recipient."""
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'admin'")
    await run_speaking(harness, "k0")
    harness.sql(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
        " SELECT r.name, r.scheduled_time - n * interval '1 minute', r.started_at, r.finished_at, r.outcome,"
        " r.report FROM pancake_cron_run AS r, generate_series(1, %s) AS n",
        MAX_RUNS_PER_TICK + 50,
    )
    harness.sql("UPDATE staff SET is_active = true WHERE role = 'admin'")
    good = insert_runs(harness, 1, "good")
    assert (await harness.run("retry_failed"))["runs_notified"] == 1
    assert list(harness.hasura.sent) == good


async def test_a_notice_older_than_a_day_is_sent(harness: CronHarness) -> None:
    old = insert_runs(harness, 1, "old", timedelta(days=3))
    assert (await harness.run("retry_failed"))["runs_notified"] == 1
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
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["runs_notified"] == 0
    harness.hasura.refused = set()
    harness.move_clock(minutes=2)
    assert (await harness.run("retry_failed"))["runs_notified"] == 1
    assert harness.hasura.taken == ["k2", "k1"]


async def test_a_tick_that_is_delivered_again_keeps_the_notices_that_are_not_sent(
    harness: CronHarness,
) -> None:
    """Their cause may be gone: check_connection tells of a change that it has stored."""
    harness.hasura.failing = True
    tick = await run_speaking(harness, "k1", problem="one connection failed")
    await deliver(harness, tick, "k2")
    harness.hasura.failing = False
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["runs_notified"] == 1
    assert list(harness.hasura.sent) == ["k1", "k2"]


async def test_a_tick_that_is_delivered_again_sends_nothing_twice(harness: CronHarness) -> None:
    tick = await run_speaking(harness, "k1", problem="one connection failed")
    await deliver(harness, tick, "k1", problem="one connection failed")
    await deliver(harness, tick, "k1")
    assert harness.hasura.taken == ["k1"]
    assert state(harness)["is_sent"]


async def test_notices_without_an_active_administrator_are_counted(harness: CronHarness) -> None:
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'admin'")
    await run_speaking(harness, "k1", "k2")
    assert counted(harness, "dropped") == 2


async def test_a_notice_that_a_sender_has_claimed_is_left_to_it(harness: CronHarness) -> None:
    insert_runs(harness, 2, "n")
    ids = [row["id"] for row in harness.sql("SELECT id FROM pancake_cron_run")]
    claim = {"ids": ids, "lease": SEND_LEASE, "now": harness.clock.now()}
    claimed = await harness.runtime.db.fetch_all("run_notices/claim_notifications", claim)
    assert sorted(row["id"] for row in claimed) == sorted(ids)
    assert await harness.runtime.db.fetch_all("run_notices/claim_notifications", claim) == []
