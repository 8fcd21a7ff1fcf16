"""Cron 3: notifications that cannot be sent are given up; the row says why, and the admins are told."""

import logging
from datetime import timedelta

import pytest

from leads.domain.sending import MAX_REFUSALS, MAX_UNKNOWNS
from tests.support.crons import CronHarness
from tests.support.unsent import counted, insert_unsent, keys, sending, taken

GIVEN_UP = {"is_sent": False, "is_given_up": True}


async def test_an_event_is_given_up_after_twenty_refusals(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    (event_id,) = insert_unsent(harness)
    harness.hasura.refused = keys([event_id])
    await harness.run_for("retry_failed", hours=23.5, step_minutes=30)
    assert sum(call == [*keys([event_id])] for call in harness.hasura.calls) == MAX_REFUSALS
    state = {"attempts": 20, "refusals": 20, "unknowns": 0, "error": "refused"}
    assert sending(harness, event_id) == state | GIVEN_UP
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
    state = {"attempts": 3, "refusals": 0, "unknowns": 0, "error": "unreached"}
    assert sending(harness, event_id) == state | GIVEN_UP
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
    harness.hasura.slow = True
    await harness.run_for("retry_failed", hours=24, step_minutes=30)
    assert taken(harness) == [*keys([event_id])] * MAX_UNKNOWNS
    state = {"attempts": 5, "refusals": 0, "unknowns": 5, "error": "unknown"}
    assert sending(harness, event_id) == state | GIVEN_UP
    assert counted(harness, "failed") == 0
    # The event's notification, then the notice to the administrators that it was given up.
    assert counted(harness, "unknown") == 2 * MAX_UNKNOWNS
    assert harness.count("pancake_cron_run", "notify_given_up_at IS NOT NULL") == 1


async def test_a_handler_that_had_no_answer_counts_for_the_bound(harness: CronHarness) -> None:
    harness.fill_roster(1)
    harness.hasura.slow = True
    event_id, _ = await harness.process_lead()
    assert sending(harness, event_id)["unknowns"] == 1
    await harness.run_for("retry_failed", hours=24, step_minutes=30)
    assert len(taken(harness)) == MAX_UNKNOWNS


async def test_an_event_without_recipients_is_given_up_at_once_and_blocks_nothing(
    harness: CronHarness, caplog: pytest.LogCaptureFixture
) -> None:
    empty = insert_unsent(harness, 600, recipients=(), prefix="empty")
    good = insert_unsent(harness, prefix="good")
    await harness.run_for("retry_failed", hours=2 / 60)
    assert set(taken(harness)) == keys(good)
    state = {"attempts": 1, "refusals": 0, "unknowns": 0, "error": "no_recipients"}
    assert sending(harness, empty[0]) == state | GIVEN_UP
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
    state = {"attempts": 0, "refusals": 0, "unknowns": 0, "error": None}
    assert sending(harness, event_id) == state | {"is_sent": True, "is_given_up": False}


async def test_the_administrators_are_told_once_an_hour_of_what_was_given_up(harness: CronHarness) -> None:
    for number in range(5):
        insert_unsent(harness, 2, recipients=(), prefix=f"batch {number} ")
        await harness.run_for("retry_failed", hours=20 / 60)
    assert harness.reasons() == ["notifications_given_up"] * 2
    details = [notice["data"]["detail"] for notice in harness.hasura.sent.values()]
    assert details == ["events: 2, cron runs: 0", "events: 6, cron runs: 0"]


async def test_the_notice_of_what_was_given_up_ends_without_another_one(harness: CronHarness) -> None:
    insert_unsent(harness, recipients=())
    harness.hasura.failing = True
    await harness.run_for("retry_failed", hours=50, step_minutes=30)
    rows = harness.sql(
        "SELECT notify_error, notify_given_up_at - scheduled_time > %s AS is_late FROM pancake_cron_run"
        " WHERE report -> 'notifications' <> '[]'",
        timedelta(hours=23),
    )
    assert rows == [{"notify_error": "unreached", "is_late": True}]
