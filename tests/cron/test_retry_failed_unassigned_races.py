"""Tickets without an owner are assigned fairly and once: parallel runs, crashes, people at work."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction

import psycopg
import pytest

from leads.adapters.queries import QUERIES
from leads.adapters.secrets import KeyRing
from leads.domain.assign import choose
from leads.services.runtime import Runtime
from leads.services.unassigned_tickets import (
    MAX_ASSIGNED_PER_TICK,
    assign_tickets,
)
from tests.support.builders import member
from tests.support.crashes import Crash, crashing
from tests.support.crons import CronHarness
from tests.support.leads import numbered_lead
from tests.support.locks import wait_for_lock_waiter
from tests.support.logs import captured_logs
from tests.support.settings import handler_settings
from tests.support.unassigned import assign_once, new_run, owners, seed_unassigned, ticket_of

MANAGER = "b0000000-0000-4000-8000-000000000001"


@pytest.fixture
async def second(harness: CronHarness, database: str, key_ring: KeyRing) -> AsyncIterator[Runtime]:
    """A second process on the same database, with the same Hasura."""
    settings = handler_settings(database, key_ring)
    runtime = Runtime.assemble(settings, clock=harness.clock, graphql=harness.hasura)
    async with runtime.running():
        yield runtime


def spread(harness: CronHarness) -> Fraction:
    """The difference between the highest and the lowest count per weight, over the default roster."""
    rows = harness.sql("SELECT assigned_count, weight FROM pancake_assignee WHERE source_id IS NULL")
    ratios = [Fraction(row["assigned_count"], row["weight"]) for row in rows]
    return max(ratios) - min(ratios)


def check_each_is_assigned_once(harness: CronHarness, tickets: int) -> None:
    """Every ticket has one owner, whom the event names, the counters count, and one notification told."""
    wrong = harness.sql(
        "SELECT e.id FROM pancake_webhook_event AS e JOIN ticket AS t ON t.id = e.ticket_id"
        " WHERE t.assignee_id IS NULL OR t.assignee_id IS DISTINCT FROM e.assignee_id"
        " OR e.notified_at IS NULL"
        " OR t.assignee_id::text IS DISTINCT FROM e.evidence #>> '{assignment,chosen}'"
        " OR e.notifications -> 0 -> 'recipient_ids' <> jsonb_build_array(t.assignee_id)"
    )
    assert wrong == []
    counted = harness.sql("SELECT staff_id::text AS id, total_assigned::integer AS n FROM pancake_assignee")
    assert {row["id"]: row["n"] for row in counted if row["n"]} == owners(harness)
    assert sum(owners(harness).values()) == tickets
    assert sum(key.endswith(":new_lead") for key in harness.hasura.sent) == tickets


async def test_two_hundred_tickets_are_shared_by_weight_over_several_ticks_and_a_crash(
    harness: CronHarness,
) -> None:
    staff = harness.fill_roster(4)
    for weight, staff_id in enumerate(staff, start=1):
        harness.sql("UPDATE pancake_assignee SET weight = %s WHERE staff_id = %s", weight, staff_id)
    seed_unassigned(harness, harness.connection_id, 200)
    for minute in range(200 // MAX_ASSIGNED_PER_TICK):
        if minute == 1:
            with pytest.raises(Crash):
                await assign_once(crashing(harness.runtime, 90))
            assert 0 < sum(owners(harness).values()) - MAX_ASSIGNED_PER_TICK < MAX_ASSIGNED_PER_TICK
        assert spread(harness) <= 1
        harness.move_clock(minutes=1)
        await harness.run("retry_failed")
        assert spread(harness) <= 1
    assert owners(harness) == {staff_id: 20 * weight for weight, staff_id in enumerate(staff, start=1)}
    check_each_is_assigned_once(harness, 200)


async def test_a_crash_at_any_step_leaves_each_ticket_assigned_once_or_not_at_all(
    harness: CronHarness,
) -> None:
    harness.fill_roster(3)
    for step in itertools.count():
        seed_unassigned(harness, harness.connection_id, 2, record=f"step-{step}-")
        has_crashed = False
        try:
            await assign_once(crashing(harness.runtime, step))
        except Crash:
            has_crashed = True
        harness.expire_leases()
        harness.move_clock(minutes=1)
        await harness.run("retry_failed")
        assert spread(harness) <= 1
        check_each_is_assigned_once(harness, 2 * (step + 1))
        if not has_crashed:
            break
    assert step > 15


async def test_runs_in_parallel_assign_each_ticket_once(harness: CronHarness, second: Runtime) -> None:
    harness.fill_roster(3)
    seed_unassigned(harness, harness.connection_id, 40)
    runs = [assign_once(runtime) for runtime in (harness.runtime, second) * 2]
    reports = await asyncio.gather(*runs)
    assert sum(int(str(report["assigned"])) for report in reports) == 40
    assert spread(harness) <= 1
    check_each_is_assigned_once(harness, 40)


async def test_new_leads_at_the_same_time_keep_the_counters_exact(harness: CronHarness) -> None:
    harness.fill_roster(3)
    seed_unassigned(harness, harness.connection_id, 30)
    events = [(await harness.deliver(numbered_lead(n)))["event_id"] for n in range(30)]
    await asyncio.gather(assign_once(harness.runtime), *map(harness.process, events))
    assert sorted(owners(harness).values()) == [20, 20, 20]
    check_each_is_assigned_once(harness, 60)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_a_ticket_that_a_person_is_assigning_is_left_to_them(harness: CronHarness, ending: str) -> None:
    event_id, _ = await harness.process_lead()
    harness.fill_roster(1)
    with psycopg.connect(harness.database_url) as person:
        person.execute(
            "UPDATE ticket SET assignee_id = %s WHERE source_id = 'ticket_source_pancake'", [MANAGER]
        )
        report = await asyncio.wait_for(assign_once(harness.runtime), timeout=3)
        assert (report["assigned"], report["unassigned"]) == (0, 1)
        person.commit() if ending == "commit" else person.rollback()
    harness.move_clock(minutes=2)
    report = await assign_once(harness.runtime)
    assert report["assigned"] == (0 if ending == "commit" else 1)
    owner = str(ticket_of(harness, event_id)["assignee_id"])
    assert (owner == MANAGER) is (ending == "commit")


async def test_a_ticket_that_changed_after_it_was_listed_is_checked_again(harness: CronHarness) -> None:
    """The run waits for the roster of the first ticket; meanwhile a person takes the second one."""
    first, second = seed_unassigned(harness, harness.connection_id, 2)
    harness.fill_roster(1)
    with psycopg.connect(harness.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(3, hashtext('default'))")
        work = asyncio.create_task(assign_once(harness.runtime))
        await wait_for_lock_waiter(harness, work, "locktype = 'advisory' AND classid = 3")
        harness.sql("UPDATE ticket SET assignee_id = %s WHERE title = 'Lead' AND id = %s",
                    MANAGER, ticket_of(harness, second)["id"])  # fmt: skip
    assert (await work)["assigned"] == 1
    assert str(ticket_of(harness, second)["assignee_id"]) == MANAGER
    assert harness.event(second)["assignee_id"] is None
    assert harness.event(first)["assignee_id"] is not None


async def test_an_unsent_notice_of_the_night_is_kept_beside_the_new_one(harness: CronHarness) -> None:
    harness.hasura.failing = True
    event_id, _ = await harness.process_lead()
    harness.fill_roster(1)
    harness.hasura.failing = False
    harness.sql("UPDATE pancake_webhook_event SET notify_claimed_at = clock_timestamp()")
    assert (await assign_once(harness.runtime))["assigned"] == 0, "its sender may still be sending"
    harness.expire_leases()
    assert (await assign_once(harness.runtime))["assigned"] == 1
    assert set(harness.hasura.sent) == {f"{event_id}:unassigned", f"{event_id}:new_lead"}
    assert harness.event(event_id)["notified_at"] is not None


async def test_a_notification_that_cannot_be_sent_now_is_sent_by_a_later_tick(harness: CronHarness) -> None:
    event_id, _ = await harness.process_lead()
    harness.fill_roster(1)
    harness.hasura.failing = True
    assert (await assign_once(harness.runtime))["assigned"] == 1
    harness.hasura.failing = False
    harness.expire_leases()
    harness.move_clock(minutes=1)
    await harness.run("retry_failed")
    assert f"{event_id}:new_lead" in harness.hasura.sent
    check_each_is_assigned_once(harness, 1)


async def test_an_event_that_a_handler_works_on_is_left_for_a_later_tick(harness: CronHarness) -> None:
    """The handler read its unsent notifications at the claim, and marks all of them as sent."""
    event_id, _ = await harness.process_lead()
    harness.fill_roster(1)
    await harness.replay(ids=[event_id])
    harness.session.execute(QUERIES["process_record/claim_event"], {"id": event_id})
    assert harness.event(event_id)["status"] == "ingested"
    assert (await assign_once(harness.runtime))["assigned"] == 0
    harness.expire_leases()
    harness.move_clock(minutes=1)
    assert (await harness.run("retry_failed"))["assigned"] == 1
    assert await harness.process_received() == {event_id: "no_change"}
    assert set(harness.hasura.sent) == {f"{event_id}:unassigned", f"{event_id}:new_lead.1"}
    assert owners(harness) == {str(harness.event(event_id)["assignee_id"]): 1}


@pytest.mark.own_database
async def test_a_ticket_that_diva_refuses_to_change_does_not_stop_the_others(harness: CronHarness) -> None:
    harness.fill_roster(1)
    events = seed_unassigned(harness, harness.connection_id, 3)
    harness.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'secret of ticket %%', NEW.id; END $$"
    )
    harness.sql(
        "CREATE TRIGGER refuse BEFORE UPDATE ON ticket FOR EACH ROW"
        f" WHEN (OLD.id = '{ticket_of(harness, events[0])['id']}') EXECUTE FUNCTION refuse()"
    )
    with captured_logs() as lines:
        report = await assign_once(harness.runtime)
    assert (report["assigned"], report["unassigned"]) == (2, 1)
    assert harness.one("SELECT sum(total_assigned)::integer AS n FROM pancake_assignee")["n"] == 2
    (line,) = [line for line in lines if "tickets not assigned" in line]
    assert f'"first_event_id": {events[0]}' in line
    assert "secret" not in line


async def test_a_ticket_is_listed_if_and_only_if_its_roster_has_a_member_to_choose(
    harness: CronHarness,
) -> None:
    seed_unassigned(harness, harness.connection_id, 1)
    (staff_id,) = harness.fill_roster(1)
    for is_active, staff_active, on_duty in itertools.product([True, False], repeat=3):
        harness.sql("UPDATE pancake_assignee SET is_active = %s", is_active)
        harness.sql(
            "UPDATE staff SET is_active = %s, on_duty = %s WHERE id = %s", staff_active, on_duty, staff_id
        )
        params = {"limit": 9, "now": harness.runtime.clock.now()}
        listed = harness.session.execute(QUERIES["unassigned_tickets/list_events"], params).fetchall()
        chosen = choose([member(1, is_active=is_active, staff_active=staff_active, on_duty=on_duty)])
        assert bool(listed) is (chosen.staff_id is not None)


async def test_a_run_without_time_left_assigns_nothing(harness: CronHarness) -> None:
    seed_unassigned(harness, harness.connection_id, 2)
    harness.fill_roster(1)
    run = replace(new_run(harness.clock.now()), seconds_left=lambda: 0.0)
    assert (await assign_tickets(harness.runtime, run))["assigned"] == 0
    assert (await assign_once(harness.runtime))["assigned"] == 2
