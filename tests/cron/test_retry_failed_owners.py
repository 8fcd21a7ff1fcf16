"""Cron 3 gives tickets without an owner to available members, fairly and once, and recalls silent ones."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import psycopg
import pytest

from cron.retry_failed import assign_tickets
from leads.adapters.secrets import KeyRing
from leads.domain.assign import choose
from leads.domain.body import ICT
from leads.domain.event_states import CLAIM_LIMITS
from leads.runtime import Runtime
from leads.services.cron_work import CronRun
from leads.services.late_owners import MAX_GIVEN_PER_TICK
from ops.clients.db_session import QUERIES
from tests.support.builders import member
from tests.support.crons import CronHarness
from tests.support.fakes import Crash, crashing
from tests.support.leads import LATER, LEAD, numbered_lead
from tests.support.logs import captured_logs
from tests.support.postgres import ROSTER_LOCK, wait_for_lock_waiter
from tests.support.settings import handler_settings
from tests.support.stored_rows import insert_tickets

ALL_OFF_DUTY = "UPDATE staff SET on_duty = false WHERE role = 'telesale'"
MANAGER = "b0000000-0000-4000-8000-000000000001"


def seed_unassigned(harness: CronHarness, count: int, record: str = "night", hour: int = 18) -> list[int]:
    """Insert processed events, one second after the other, whose tickets have no owner; return their ids."""
    harness.sql("SET session_replication_role = replica")  # in their final state, not through the steps to it
    evidence = '{"assignment": {"roster": [], "skipped": [], "chosen": null}}'
    at = datetime(2026, 5, 14, hour, tzinfo=UTC)
    ids = insert_tickets(harness.session, record, count, evidence=evidence, at=at)
    harness.sql("RESET session_replication_role")
    return ids


def ticket_of(harness: CronHarness, event_id: int) -> dict[str, Any]:
    return harness.one(
        "SELECT t.* FROM ticket AS t JOIN pancake_webhook_event AS e ON e.ticket_id = t.id WHERE e.id = %s",
        event_id,
    )


def owner_of(harness: CronHarness, event_id: int) -> str:
    return str(ticket_of(harness, event_id)["assignee_id"])


def owners(harness: CronHarness) -> dict[str, int]:
    rows = harness.sql(
        "SELECT t.assignee_id::text AS owner, count(*) AS tickets FROM ticket AS t"
        " WHERE t.source_id = 'ticket_source_pancake' AND t.assignee_id IS NOT NULL GROUP BY t.assignee_id"
    )
    return {row["owner"]: row["tickets"] for row in rows}


async def assign_once(runtime: Runtime, seconds_left: float = 40) -> dict[str, object]:
    """Do the step of `retry_failed` alone, outside the lock that lets runs follow each other."""
    now = runtime.clock.now()
    return await assign_tickets(runtime, CronRun(0, now, now, {}, lambda: seconds_left))


async def tick(harness: CronHarness, minutes: float = 1) -> tuple[object, object]:
    """Run the cron some minutes later; return how many tickets were assigned, and how many have no owner."""
    report = await harness.run("retry_failed", minutes=minutes)
    return report["assigned"], report["unassigned"]


async def test_a_lead_of_the_night_gets_its_owner_in_the_morning(harness: CronHarness) -> None:
    """The evidence is that of a choice, with its time and who was skipped before."""
    staff = harness.fill_roster(3)
    harness.sql(ALL_OFF_DUTY)
    event_id, result = await harness.process_lead()
    assert (result, ticket_of(harness, event_id)["assignee_id"]) == ("ticket_created", None)
    assert [await tick(harness) for _ in range(3)] == [(0, 1)] * 3
    assert list(harness.hasura.sent) == [f"{event_id}:unassigned"], "the admins get one notice"
    harness.sql("UPDATE staff SET on_duty = true WHERE id = %s", staff[1])
    assert await tick(harness) == (1, 0)
    event, ticket = harness.event(event_id), ticket_of(harness, event_id)
    assert (str(ticket["assignee_id"]), str(event["assignee_id"])) == (staff[1], staff[1])
    assert ticket["updated_at"] > ticket["created_at"]
    sent = harness.hasura.sent[f"{event_id}:new_lead"]
    assert (sent["template_code"], sent["recipient_ids"]) == ("noti_pancake_new_lead", [staff[1]])
    data = {"ticket_id": str(event["ticket_id"]), "customer_name": LEAD["name"], "phone": "0905 111 222"}
    assert sent["data"] == data
    assert event["notified_at"] is not None
    assignment = event["evidence"]["assignment"]
    assert assignment["chosen"] == staff[1]
    skipped = [{"staff_id": each, "reason": "off_duty"} for each in (staff[0], staff[2])]
    assert sorted(assignment["skipped"], key=str) == sorted(skipped, key=str)
    assert {each["staff_id"] for each in assignment["skipped_before"]} == set(staff)
    assert assignment["assigned_at"] > event["processed_at"].isoformat()
    assert {"digests", "phone"} <= event["evidence"].keys()
    assert await tick(harness) == (0, 0)
    assert len(harness.hasura.sent) == 2


async def test_the_number_of_unassigned_tickets_and_the_oldest_are_figures(harness: CronHarness) -> None:
    """Not of those that people made."""
    harness.sql("INSERT INTO ticket (title, source_id) VALUES ('theirs', 'ticket_source_pancake')")
    name = "pancake_unassigned_ticket_oldest_timestamp_seconds"
    assert (await harness.run("retry_failed"))["oldest_unassigned_seconds"] is None
    event_id, _ = await harness.process_lead()
    harness.move_clock(hours=8)
    await harness.process_lead(id="another", phone_number="0905111333")
    report = await harness.run("retry_failed")
    assert (report["unassigned"], report["oldest_unassigned_seconds"] // 60) == (2, 480)
    oldest = ticket_of(harness, event_id)["created_at"].timestamp()
    assert await harness.scrape("pancake_unassigned_tickets") == 2
    assert await harness.scrape(name) == pytest.approx(oldest)
    harness.fill_roster(1)
    assert await tick(harness) == (2, 0)
    assert await harness.scrape("pancake_unassigned_tickets") == 0
    assert await harness.scrape(name) == 0
    assert harness.one("SELECT assignee_id FROM ticket WHERE title = 'theirs'")["assignee_id"] is None


@pytest.mark.parametrize("switch", ["kill_switch", "processing_paused"])
async def test_a_switch_keeps_tickets_unassigned_until_it_is_off(harness: CronHarness, switch: str) -> None:
    await harness.process_lead()
    harness.fill_roster(1)
    for is_on, expected in ((True, (0, 1)), (False, (1, 0))):
        harness.change_settings(**{switch: is_on})
        assert await tick(harness) == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE ticket SET assignee_id = 'b0000000-0000-4000-8000-000000000001'", "assigned_in_diva"),
        ("UPDATE ticket SET status = 'done'", "ticket_closed"),
        ("UPDATE ticket SET status = 'cancelled'", "ticket_closed"),
        ("DELETE FROM ticket", "ticket_deleted"),
    ],
)
async def test_a_ticket_people_took_is_left_alone(harness: CronHarness, change: str, reason: str) -> None:
    event_id, _ = await harness.process_lead()
    harness.sql(change + " WHERE source_id = 'ticket_source_pancake'")
    before = harness.sql("SELECT * FROM ticket ORDER BY id")
    harness.fill_roster(2)
    assert [await tick(harness) for _ in range(2)] == [(0, 0)] * 2
    assert harness.sql("SELECT * FROM ticket ORDER BY id") == before
    event = harness.event(event_id)
    assert event["evidence"]["assignment"]["settled"]["reason"] == reason
    assert (event["assignee_id"], event["evidence"]["assignment"]["chosen"]) == (None, None)
    assert harness.count("pancake_assignee", "total_assigned > 0") == 0
    assert list(harness.hasura.sent) == [f"{event_id}:unassigned"]


async def test_a_ticket_moved_to_another_source_is_assigned_too(harness: CronHarness) -> None:
    event_id, _ = await harness.process_lead()
    move = {"from_source": "ticket_source_pancake", "to_source": "ticket_source_8", "only_marked": False}
    harness.session.execute(QUERIES["tickets/update_tickets"], move | {"limit": 10})
    assert ticket_of(harness, event_id)["source_id"] == "ticket_source_8"
    staff = harness.fill_roster(1)
    assert await tick(harness) == (1, 0)
    assert owner_of(harness, event_id) == staff[0]


async def test_once_its_source_is_off_the_default_roster_serves_a_ticket(harness: CronHarness) -> None:
    (default,) = harness.fill_roster(1)
    harness.fill_roster(3, source="-1", is_active=True)
    harness.sql(ALL_OFF_DUTY)
    event_id, _ = await harness.process_lead()
    harness.sql("UPDATE staff SET on_duty = true WHERE id = %s", default)
    harness.sql("DELETE FROM pancake_assignee WHERE source_id IS NOT NULL AND staff_id = %s", default)
    assert await tick(harness) == (0, 1), "its own roster has no available member"
    harness.sql("UPDATE pancake_source SET is_active = false")
    assert await tick(harness) == (1, 0)
    assert owner_of(harness, event_id) == default


async def test_the_oldest_tickets_are_assigned_first_and_a_few_per_tick(harness: CronHarness) -> None:
    newer = seed_unassigned(harness, 30, record="b", hour=23)
    older = seed_unassigned(harness, 30, record="a", hour=20)
    harness.fill_roster(1)
    assert await tick(harness) == (MAX_GIVEN_PER_TICK, 60 - MAX_GIVEN_PER_TICK)
    assert all(harness.event(event_id)["assignee_id"] for event_id in older)
    left = harness.sql("SELECT id FROM pancake_webhook_event WHERE assignee_id IS NULL ORDER BY id")
    assert [row["id"] for row in left] == newer[MAX_GIVEN_PER_TICK - 30 :]
    assert await tick(harness) == (60 - MAX_GIVEN_PER_TICK, 0)


async def test_a_replay_keeps_the_owner_and_the_evidence_of_a_later_assignment(harness: CronHarness) -> None:
    event_id, _ = await harness.process_lead()
    staff = harness.fill_roster(2)
    assert await tick(harness) == (1, 0)
    owner, before = owner_of(harness, event_id), harness.event(event_id)
    await harness.replay(ids=[event_id])
    assert await harness.process(event_id, "UPDATE") == "no_change"
    assert harness.event(event_id)["evidence"]["assignment"] == before["evidence"]["assignment"]
    assert str(harness.event(event_id)["assignee_id"]) == owner
    await harness.process_lead(modified_on=LATER, name="Nguyễn Thị B")
    assert owner_of(harness, event_id) == owner
    assert await tick(harness) == (0, 0)
    rows = harness.sql("SELECT staff_id::text AS id, total_assigned::integer AS n FROM pancake_assignee")
    assert {row["id"]: row["n"] for row in rows} == dict.fromkeys(staff, 0) | {owner: 1}


def spread(harness: CronHarness) -> Fraction:
    """The difference between the highest and the lowest count per weight, over the default roster."""
    rows = harness.sql("SELECT assigned_count, weight FROM pancake_assignee WHERE source_id IS NULL")
    ratios = [Fraction(row["assigned_count"], row["weight"]) for row in rows]
    return max(ratios) - min(ratios)


def check_each_is_assigned_once(harness: CronHarness, tickets: int) -> None:
    """Every ticket has one owner: in the event, in the counters, and in one notification."""
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


async def test_a_crash_at_any_step_leaves_each_ticket_assigned_at_most_once(harness: CronHarness) -> None:
    harness.fill_roster(3)
    for step in itertools.count():
        seed_unassigned(harness, 2, record=f"step-{step}-")
        has_crashed = False
        try:
            with crashing(harness.runtime, step) as runtime:
                await assign_once(runtime)
        except Crash:
            has_crashed = True
        harness.expire_leases()
        await tick(harness)
        assert spread(harness) <= 1
        check_each_is_assigned_once(harness, 2 * (step + 1))
        if not has_crashed:
            break
    assert step > 15


async def test_runs_in_parallel_assign_each_ticket_once(
    harness: CronHarness, database: str, key_ring: KeyRing
) -> None:
    """Those of two processes with the same Hasura."""
    harness.fill_roster(3)
    seed_unassigned(harness, 40)
    settings = handler_settings(database, key_ring)
    second = Runtime.assemble(settings, clock=harness.clock, graphql=harness.hasura)
    async with second.running():
        reports = await asyncio.gather(*(assign_once(runtime) for runtime in (harness.runtime, second) * 2))
    assert sum(int(str(report["assigned"])) for report in reports) == 40
    assert spread(harness) <= 1
    check_each_is_assigned_once(harness, 40)


async def test_new_leads_at_the_same_time_keep_the_counters_exact(harness: CronHarness) -> None:
    harness.fill_roster(3)
    seed_unassigned(harness, 30)
    events = [(await harness.deliver(numbered_lead(n)))["event_id"] for n in range(30)]
    await asyncio.gather(assign_once(harness.runtime), *map(harness.process, events))
    assert sorted(owners(harness).values()) == [20, 20, 20]
    check_each_is_assigned_once(harness, 60)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_a_ticket_that_a_person_is_assigning_is_left_to_them(harness: CronHarness, ending: str) -> None:
    event_id, _ = await harness.process_lead()
    harness.fill_roster(1)
    with psycopg.connect(harness.database_url) as person:
        event = harness.event(event_id)
        person.execute("UPDATE ticket SET assignee_id = %s WHERE id = %s", [MANAGER, event["ticket_id"]])
        report = await asyncio.wait_for(assign_once(harness.runtime), timeout=3)
        assert (report["assigned"], report["unassigned"]) == (0, 1)
        person.commit() if ending == "commit" else person.rollback()
    harness.move_clock(minutes=2)
    report = await assign_once(harness.runtime)
    assert report["assigned"] == (0 if ending == "commit" else 1)
    assert (owner_of(harness, event_id) == MANAGER) is (ending == "commit")


async def test_a_ticket_that_changed_after_it_was_listed_is_checked_again(harness: CronHarness) -> None:
    """The run waits for the roster of the first ticket; meanwhile a person takes the second one."""
    first, second = seed_unassigned(harness, 2)
    harness.fill_roster(1)
    with psycopg.connect(harness.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(3, hashtext('default'))")
        work = asyncio.create_task(assign_once(harness.runtime))
        await wait_for_lock_waiter(harness, work, ROSTER_LOCK)
        taken = ticket_of(harness, second)["id"]
        harness.sql("UPDATE ticket SET assignee_id = %s WHERE id = %s", MANAGER, taken)
    assert (await work)["assigned"] == 1
    assert owner_of(harness, second) == MANAGER
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


async def test_an_event_that_a_handler_works_on_is_left_for_later(harness: CronHarness) -> None:
    """The handler read its unsent notifications at the claim, and marks all of them as sent."""
    event_id, _ = await harness.process_lead()
    harness.fill_roster(1)
    await harness.replay(ids=[event_id])
    harness.session.execute(QUERIES["process_record/claim_event"], {"id": event_id, **CLAIM_LIMITS})
    assert harness.event(event_id)["status"] == "ingested"
    assert (await assign_once(harness.runtime))["assigned"] == 0
    harness.expire_leases()
    assert (await harness.run("retry_failed", minutes=1))["assigned"] == 1
    assert await harness.process_received() == {event_id: "no_change"}
    assert set(harness.hasura.sent) == {f"{event_id}:unassigned", f"{event_id}:new_lead.1"}
    assert owners(harness) == {str(harness.event(event_id)["assignee_id"]): 1}


@pytest.mark.own_database
async def test_a_ticket_that_diva_refuses_to_change_does_not_stop_the_others(harness: CronHarness) -> None:
    harness.fill_roster(1)
    events = seed_unassigned(harness, 3)
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
    assert harness.count("pancake_assignee", "total_assigned = 2") == 1
    (line,) = [line for line in lines if "tickets not assigned" in line]
    assert f'"first_event_id": {events[0]}' in line
    assert "secret" not in line


async def test_a_ticket_is_listed_exactly_if_its_roster_has_a_member_to_choose(harness: CronHarness) -> None:
    seed_unassigned(harness, 1)
    (staff_id,) = harness.fill_roster(1)
    of_staff = "UPDATE staff SET is_active = %s, on_duty = %s WHERE id = %s"
    for is_active, staff_active, on_duty in itertools.product([True, False], repeat=3):
        harness.sql("UPDATE pancake_assignee SET is_active = %s", is_active)
        harness.sql(of_staff, staff_active, on_duty, staff_id)
        params = {"limit": 9, "now": harness.runtime.clock.now()}
        listed = harness.session.execute(QUERIES["late_owners/list_assignable"], params).fetchall()
        chosen = choose([member(1, is_active=is_active, staff_active=staff_active, on_duty=on_duty)])
        assert bool(listed) is (chosen.staff_id is not None)


# The edges of the day

HOURS = "mon-sun 08:00-17:30"
NIGHT = 24


def clock_in(harness: CronHarness, staff_id: str) -> None:
    harness.sql("UPDATE staff SET on_duty = true WHERE id = %s", staff_id)


def night(harness: CronHarness, **settings: Any) -> list[str]:
    """Let tickets wait for a roster of three who are off duty until the morning; return its staff ids."""
    staff = harness.fill_roster(3)
    harness.change_settings(**({"business_hours": HOURS} | settings))
    harness.sql(ALL_OFF_DUTY)
    seed_unassigned(harness, NIGHT)
    harness.move_to(7, 50)
    clock_in(harness, staff[0])
    return staff


async def test_the_tickets_of_a_night_are_shared_with_those_whose_day_begins(harness: CronHarness) -> None:
    """The shares of those who are not there yet wait for them, and they are not lifted when they come."""
    staff = night(harness)
    assert [await tick(harness, minutes) for minutes in (0, 1)] == [(8, 16), (0, 16)]
    await harness.process_lead()
    assert owners(harness) == {staff[0]: 9}, "a new lead is for those who are there"
    harness.move_to(8, 5)
    clock_in(harness, staff[1])
    assert await tick(harness, 0) == (8, 8)
    harness.move_to(8, 15)
    clock_in(harness, staff[2])
    assert await tick(harness, 0) == (8, 0)
    assert owners(harness) == {staff[0]: 9, staff[1]: 8, staff[2]: 8}
    assert spread(harness) <= 1
    (shared,) = harness.notices("tickets_shared")
    told = {"detail": "24", "assigned": "8", "waiting": "16", "kept": "16"}
    assert told.items() <= shared["data"].items()


async def test_more_waiting_tickets_than_a_tick_gives_are_told_of_in_numbers_that_add_up(
    harness: CronHarness,
) -> None:
    night(harness)
    seed_unassigned(harness, 3 * MAX_GIVEN_PER_TICK + 30 - NIGHT, "more")
    report = await harness.run("retry_failed")
    (shared,) = harness.notices("tickets_shared")
    told = {"detail": "180", "assigned": "50", "waiting": "130", "kept": "98"}
    assert {name: shared["data"][name] for name in told} == told
    assert report["unassigned"] == 130


async def test_the_share_of_one_who_does_not_come_is_given_to_the_others(harness: CronHarness) -> None:
    """After half an hour, and it is not kept a second time; who comes later is lifted like everybody."""
    staff = night(harness)
    assert await tick(harness, 0) == (8, 16)
    clock_in(harness, staff[1])
    assert await tick(harness, 9) == (8, 8)
    assert await tick(harness, 20) == (0, 8)
    assert await tick(harness, 1) == (8, 0)
    assert owners(harness) == {staff[0]: 12, staff[1]: 12}
    clock_in(harness, staff[2])
    await harness.process_lead()
    assert spread(harness) <= 1
    assert harness.reasons().count("tickets_shared") == 1


@pytest.mark.parametrize(
    ("change", "given"),
    [({"waiting_share_minutes": 0}, NIGHT), ({"business_hours": "always"}, NIGHT),
     ({"waiting_share_minutes": 9}, NIGHT), ({"waiting_share_minutes": 10}, 8),
     ({"business_hours": "mon-sun 20:00-21:00", "holidays": "none"}, NIGHT)],
    ids=str,
)  # fmt: skip
async def test_shares_are_kept_only_for_those_whose_day_begins_about_now(
    harness: CronHarness, change: dict[str, Any], given: int
) -> None:
    night(harness, **change)
    assert await tick(harness, 0) == (given, NIGHT - given)


async def test_a_shift_of_its_own_or_a_cap_decides_whether_a_member_is_expected(harness: CronHarness) -> None:
    staff = night(harness, business_hours="always")
    shift = "UPDATE pancake_assignee SET shift = %s, daily_cap = %s WHERE staff_id = %s"
    harness.sql(shift, HOURS, 100, staff[1])
    harness.sql(shift, "mon-sun 13:00-21:00", None, staff[2])
    assert await tick(harness, 0) == (12, 12)


@pytest.mark.parametrize("cron", [None, "poll_records", "reconcile_daily"])
async def test_owners_are_told_of_old_leads_in_one_notice_when_business_hours_begin(
    harness: CronHarness, cron: str | None
) -> None:
    """A replay brings them, or a cron finds them at Pancake two days after they were made."""
    staff = harness.fill_roster(2)
    harness.change_settings(business_hours=HOURS, kill_switch=cron is None)
    since = harness.clock.now()
    for number in range(6):
        lead = LEAD | {"id": f"r{number}", "phone_number": f"090511122{number}"}
        if cron:
            harness.pancake.tables["lead"].write(lead, at=since + timedelta(hours=1))
        else:
            await harness.deliver(lead)
    harness.move_to(21, days=2)
    if cron:
        harness.sql("UPDATE pancake_connection SET created_at = %s, poll_watermark = %s", since, since)
        await harness.run(cron)
    else:
        harness.change_settings(kill_switch=False)
        await harness.replay(filter={"status": "skipped_kill_switch"})
    await harness.process_received()
    assert sorted(owners(harness).values()) == [3, 3]
    await harness.run("retry_failed")
    harness.move_to(7, 59)
    await harness.run("retry_failed")
    assert set(harness.reasons()) <= {"reconciliation_miss"}
    assert (await harness.run("retry_failed", minutes=1))["told_of_old_leads"] == 2
    sent = [each for each in harness.hasura.sent.values() if "count" in each["data"]]
    assert sorted(each["recipient_ids"] for each in sent) == sorted([each] for each in staff)
    assert {(each["data"]["reason"], each["data"]["count"]) for each in sent} == {("old_leads", "3")}
    await harness.run("retry_failed", minutes=1)
    assert harness.reasons().count("old_leads") == 2


async def test_a_run_without_time_left_assigns_nothing(harness: CronHarness) -> None:
    seed_unassigned(harness, 2)
    harness.fill_roster(1)
    assert (await assign_once(harness.runtime, seconds_left=0))["assigned"] == 0
    assert (await assign_once(harness.runtime))["assigned"] == 2


async def recalled(harness: CronHarness, minutes: float) -> Any:
    return (await harness.run("retry_failed", minutes=minutes))["recalled"]


def recalls(harness: CronHarness, event_id: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = harness.event(event_id)["evidence"]["assignment"].get("recalls", [])
    return found


async def new_ticket(harness: CronHarness, size: int = 3, **settings: Any) -> tuple[int, str]:
    """Process a lead with a roster of that size; return the event's id and the owner."""
    harness.fill_roster(size)
    harness.change_settings(**settings)
    event_id, result = await harness.process_lead()
    assert result == "ticket_created"
    return event_id, owner_of(harness, event_id)


async def test_a_silent_ticket_goes_to_the_next_member_and_both_are_notified(harness: CronHarness) -> None:
    """The recall is counted for the new owner."""
    event_id, first = await new_ticket(harness)
    assert (await recalled(harness, 1400), owner_of(harness, event_id)) == (0, first), "the default is never"
    harness.change_settings(recall_after_minutes=1410)
    assert (await recalled(harness, 9), await recalled(harness, 2)) == (0, 1)
    event, second = harness.event(event_id), owner_of(harness, event_id)
    assert second != first
    assert (str(event["assignee_id"]), event["evidence"]["assignment"]["chosen"]) == (second, second)
    (hop,) = recalls(harness, event_id)
    assert (hop["from"], hop["to"], hop["reason"]) == (first, second, "no_first_response")
    assert event["evidence"]["assignment"]["skipped"] == [{"staff_id": first, "reason": "had_the_ticket"}]
    gained = harness.hasura.sent[f"{event_id}:new_lead_after_recall_1"]
    assert (gained["template_code"], gained["recipient_ids"]) == ("noti_pancake_new_lead", [second])
    lost = harness.hasura.sent[f"{event_id}:ticket_recalled_1"]
    assert (lost["recipient_ids"], lost["data"]["reason"]) == ([first], "ticket_recalled")
    counts = [row["assigned_count"] for row in harness.sql("SELECT assigned_count FROM pancake_assignee")]
    assert sorted(counts) == [0, 1, 1]
    assert await recalled(harness, 60) == 0, "once, by default"


async def test_it_is_recalled_so_many_times_and_never_to_one_who_had_it(harness: CronHarness) -> None:
    event_id, first = await new_ticket(harness, recall_after_minutes=10, recall_max_times=5)
    owners = [first]
    for _ in range(2):
        assert await recalled(harness, 11) == 1
        owners.append(owner_of(harness, event_id))
    assert len(set(owners)) == 3
    assert await recalled(harness, 11) == 0, "all three had it"
    assert [hop["from"] for hop in recalls(harness, event_id)] == owners[:2]
    harness.change_settings(recall_max_times=2)
    harness.fill_roster(1, source="-1")
    assert await recalled(harness, 11) == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ticket SET first_response_at = now()",
        "UPDATE ticket SET status = 'in_progress'",
        "UPDATE ticket SET status = 'done'",
        "UPDATE ticket SET assignee_id = 'b0000000-0000-4000-8000-000000000001'",
        "UPDATE ticket SET assignee_id = NULL",
        "DELETE FROM ticket",
    ],
)
async def test_a_ticket_that_people_touched_is_never_recalled(harness: CronHarness, change: str) -> None:
    event_id, _ = await new_ticket(harness, recall_after_minutes=10)
    harness.sql(change + " WHERE source_id = 'ticket_source_pancake'")
    before = harness.sql("SELECT * FROM ticket ORDER BY id")
    assert await recalled(harness, 60) == 0
    assert harness.sql("SELECT * FROM ticket ORDER BY id") == before
    assert recalls(harness, event_id) == []


async def test_a_ticket_from_before_the_holidays_is_recalled_after_them(harness: CronHarness) -> None:
    harness.move_to(17)
    today = harness.clock.now().astimezone(ICT).date()
    holidays = f"{today + timedelta(days=1)}..{today + timedelta(days=8)}"
    await new_ticket(harness, recall_after_minutes=60, business_hours=HOURS, holidays=holidays)
    harness.move_to(8, 20, days=9)
    assert await recalled(harness, 0) == 0, "50 minutes of business hours"
    assert await recalled(harness, 15) == 1


@pytest.mark.parametrize(
    ("stop", "go"),
    [({"kill_switch": True}, {"kill_switch": False}),
     ({"processing_paused": True}, {"processing_paused": False}),
     ({"business_hours": "mon 00:00-00:01", "holidays": "none"}, {"business_hours": "always"})],
    ids=str,
)  # fmt: skip
async def test_a_switch_stops_recalls_until_it_is_off_and_the_minutes_are_business_hours(
    harness: CronHarness, stop: dict[str, Any], go: dict[str, Any]
) -> None:
    await new_ticket(harness, recall_after_minutes=10)
    harness.change_settings(**stop)
    assert await recalled(harness, 300) == 0
    harness.change_settings(**go)
    assert await recalled(harness, 1) == 1
