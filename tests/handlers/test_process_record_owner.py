"""process_record assigns the ticket: rosters, availability, weights, former owners, shifts, caps.

With the defaults neither former owners nor shifts nor caps count.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest

from leads.domain.body import ICT
from tests.support.handlers import HandlerHarness
from tests.support.leads import LATER
from tests.support.postgres import wait_for_lock_waiter
from tests.support.processing import (
    Processed,
    Row,
    another_session,
    close_tickets,
    process,
    process_at_once,
    stored,
)

LATEST = "2026-05-16T02:35:56"


async def lead(harness: HandlerHarness, number: int, phone: int | None = None) -> Processed:
    """Process the lead of that number, with the phone of another one if given."""
    name = f"0905111{100 + (number if phone is None else phone)}"
    return await process(harness, id=f"lead-{number}", phone_number=name)


def assignment(lead: Processed) -> Row:
    found: Row = lead.evidence["assignment"]
    return found


def skipped(lead: Processed) -> dict[str, str]:
    return {each["staff_id"]: each["reason"] for each in assignment(lead)["skipped"]}


def active(harness: HandlerHarness, role: str) -> set[str]:
    rows = harness.sql("SELECT id::text FROM staff WHERE role = %s AND is_active", role)
    return {row["id"] for row in rows}


async def test_without_a_roster_there_is_no_owner_and_admins_are_notified(harness: HandlerHarness) -> None:
    found = await process(harness)
    sent = found.sent("unassigned")
    assert (found.result, found.owner) == ("ticket_created", None)
    assert set(sent["recipient_ids"]) == active(harness, "admin")
    assert (sent["template_code"], len(sent["recipient_ids"])) == ("noti_pancake_needs_attention", 3)
    assert sent["data"]["reason"] == "unassigned"


async def test_admins_who_could_not_be_told_of_the_first_waiting_ticket_are_told_of_the_next(
    harness: HandlerHarness,
) -> None:
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'admin'")
    untold = await lead(harness, 1)
    assert (untold.event["notifications"], untold.evidence["dropped"]) == ([], ["unassigned"])
    harness.sql("UPDATE staff SET is_active = true WHERE role = 'admin'")
    assert (await lead(harness, 2)).sent("unassigned")
    assert (await lead(harness, 3)).event["notifications"] == []


async def test_without_managers_the_admins_are_notified_and_without_both_it_is_logged(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    """An update of a ticket without an owner goes to the managers, if there are any."""
    await process(harness)
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'manager'")
    updated = await process(harness, modified_on=LATER, name="B")
    assert set(updated.sent("lead_updated")["recipient_ids"]) == active(harness, "admin")
    harness.sql("UPDATE staff SET is_active = false")
    dropped = await process(harness, modified_on=LATEST, name="C")
    assert dropped.event["notifications"] == []
    assert any("notification dropped" in line and "lead_updated" in line for line in capture_logs)
    assert await harness.scrape("pancake_notifications_total", result="dropped") == 1


async def test_a_changed_weight_keeps_the_share_of_the_member(harness: HandlerHarness) -> None:
    harness.fill_roster(1, weight=2, assigned_count=7)
    harness.sql("UPDATE pancake_assignee SET weight = 4")
    assert harness.one("SELECT assigned_count FROM pancake_assignee")["assigned_count"] == 14


async def test_a_weight_changed_during_a_choice_keeps_the_members_share(harness: HandlerHarness) -> None:
    """The second of the two updates of the counts starts from the result of the first."""
    harness.fill_roster(2, assigned_count=10, was_available=True)
    with another_session(harness) as admin:
        admin.execute(
            "UPDATE pancake_assignee SET weight = 5"
            " WHERE id = (SELECT id FROM pancake_assignee ORDER BY id LIMIT 1)"
        )
        work = asyncio.create_task(process(harness))
        await wait_for_lock_waiter(harness, work)
    assert (await work).result == "ticket_created"
    rows = harness.sql("SELECT weight, assigned_count FROM pancake_assignee ORDER BY weight")
    assert [(row["weight"], row["assigned_count"]) for row in rows] in (
        [(1, 11), (5, 50)],
        [(1, 10), (5, 51)],
    )


@pytest.mark.test_case("TC-008")
async def test_fifty_concurrent_leads_are_distributed_evenly(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    staff = harness.fill_roster(4)
    ids = [await stored(harness, id=f"r-{n}", phone_number=f"09051112{n:02}") for n in range(50)]
    results = await process_at_once(ids, harness, second_harness)
    assert set(results) == {"ticket_created"}
    rows = harness.sql("SELECT assignee_id::text FROM ticket WHERE source_id = 'ticket_source_pancake'")
    owned = Counter(row["assignee_id"] for row in rows)
    assert sum(owned.values()) == 50
    assert max(owned[s] for s in staff) - min(owned[s] for s in staff) <= 1
    members = harness.sql("SELECT staff_id::text, assigned_count, total_assigned FROM pancake_assignee")
    assert {m["staff_id"]: m["total_assigned"] for m in members} == owned
    assert [m["assigned_count"] for m in members] == [m["total_assigned"] for m in members]


# Former owners


async def test_a_returning_customer_gets_the_former_owner_who_is_counted(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(3)
    harness.change_settings(former_owner="on")
    first = await lead(harness, 1)
    assert "former_owner" not in assignment(first)
    close_tickets(harness)
    again = await lead(harness, 2, phone=1)
    assert again.owner == assignment(again)["chosen"] == first.owner
    assert assignment(again)["former_owner"] == {"staff_id": first.owner, "result": "chosen"}
    others = [str((await lead(harness, number)).owner) for number in (3, 4, 5, 6)]
    assert sorted(others) == sorted(2 * [each for each in staff if each != first.owner])
    counts = harness.sql("SELECT assigned_count, total_assigned FROM pancake_assignee")
    assert [tuple(row.values()) for row in counts] == [(2, 2)] * 3


async def test_the_former_owner_is_of_the_newest_ticket_until_too_far_ahead(harness: HandlerHarness) -> None:
    """A person moved the ticket to another member of the roster: the customer knows that one."""
    staff = harness.fill_roster(2)
    harness.change_settings(former_owner="on", max_tickets_ahead=2)
    first = await lead(harness, 1)
    (other,) = (each for each in staff if each != first.owner)
    harness.sql("UPDATE ticket SET assignee_id = %s WHERE id = %s", other, first.event["ticket_id"])
    for number in (2, 3, 4, 5):
        close_tickets(harness)
        again = await lead(harness, number, phone=1)
        result = "chosen" if number < 5 else "too_far_ahead"
        assert assignment(again)["former_owner"] == {"staff_id": other, "result": result}
        assert (again.owner == other) == (number < 5)


# Shifts and caps


async def test_a_member_outside_the_shift_is_skipped(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(2)
    weekday = (datetime.now(UTC).astimezone(ICT).weekday() + 3) % 7
    other_day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[weekday]
    shift = f"{other_day} 00:00-24:00"
    harness.sql("UPDATE pancake_assignee SET shift = %s WHERE staff_id = %s", shift, staff[0])
    found = await lead(harness, 1)
    assert (found.owner, skipped(found)) == (staff[1], {staff[0]: "outside_shift"})
    harness.sql("UPDATE pancake_assignee SET shift = 'mon-sun 00:00-12:00, mon-sun 12:00-24:00'")
    assert (await lead(harness, 2)).owner == staff[0]


async def test_a_daily_cap_counts_the_tickets_of_the_day_in_vietnam(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(2)
    harness.sql("UPDATE pancake_assignee SET daily_cap = 1 WHERE staff_id = %s", staff[0])
    found = [await lead(harness, number) for number in range(4)]
    assert [each.owner for each in found].count(staff[0]) == 1
    assert skipped(found[-1]) == {staff[0]: "daily_cap"}
    harness.sql("UPDATE pancake_assignee SET assigned_on = assigned_on - 1")
    later = [await lead(harness, number) for number in (4, 5)]
    assert [each.owner for each in later].count(staff[0]) == 1
    row = harness.one(
        "SELECT assigned_today, total_assigned FROM pancake_assignee WHERE staff_id = %s", staff[0]
    )
    assert (row["assigned_today"], row["total_assigned"]) == (1, 2)


async def test_an_open_cap_counts_the_open_tickets_of_all_of_diva(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(2)
    harness.sql("UPDATE pancake_assignee SET open_cap = 1 WHERE staff_id = %s", staff[0])
    harness.sql(
        "INSERT INTO ticket (title, source_id, assignee_id) VALUES ('x', 'ticket_source_1', %s)", staff[0]
    )
    found = await lead(harness, 1)
    assert (found.owner, skipped(found)) == (staff[1], {staff[0]: "open_cap"})
    harness.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_1'")
    assert (await lead(harness, 2)).owner == staff[0]
