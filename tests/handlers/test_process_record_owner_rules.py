"""process_record assigns the ticket: former owners, shifts and caps; with the defaults none counts."""

from datetime import UTC, datetime
from typing import Any

import pytest

from leads.domain.window import ICT
from tests.support.handlers import HandlerHarness

CLOSE = "UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_pancake'"


async def lead(harness: HandlerHarness, number: int, phone: int | None = None) -> dict[str, Any]:
    """Process the lead of that number, with the phone of another one if given; return its event."""
    name = f"0905111{100 + (number if phone is None else phone)}"
    event_id, _ = await harness.process_lead(id=f"lead-{number}", phone_number=name)
    return harness.event(event_id)


def assignment(event: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = event["evidence"]["assignment"]
    return found


def owner(event: dict[str, Any]) -> str:
    return str(event["assignee_id"])


def skipped(event: dict[str, Any]) -> dict[str, str]:
    return {each["staff_id"]: each["reason"] for each in assignment(event)["skipped"]}


async def test_with_the_defaults_a_returning_customer_gets_the_next_in_turn(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(2)
    first = await lead(harness, 1)
    harness.sql(CLOSE)
    again = await lead(harness, 2, phone=1)
    assert {owner(first), owner(again)} == set(staff)
    assert "former_owner" not in assignment(again)


async def test_a_returning_customer_gets_the_former_owner_who_is_counted(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(3)
    harness.change_settings(former_owner="on")
    first = await lead(harness, 1)
    assert "former_owner" not in assignment(first)
    harness.sql(CLOSE)
    again = await lead(harness, 2, phone=1)
    assert owner(again) == owner(first)
    assert assignment(again)["former_owner"] == {"staff_id": owner(first), "result": "chosen"}
    assert assignment(again)["chosen"] == owner(first)
    others = [owner(await lead(harness, number)) for number in (3, 4, 5, 6)]
    assert sorted(others) == sorted(2 * [each for each in staff if each != owner(first)])
    counts = harness.sql("SELECT assigned_count, total_assigned FROM pancake_assignee")
    assert [tuple(row.values()) for row in counts] == [(2, 2)] * 3


async def test_a_former_owner_off_duty_loses_the_turn_to_others(harness: HandlerHarness) -> None:
    harness.fill_roster(2)
    harness.change_settings(former_owner="on")
    first = await lead(harness, 1)
    harness.sql(CLOSE)
    harness.sql("UPDATE staff SET on_duty = false WHERE id = %s", first["assignee_id"])
    again = await lead(harness, 2, phone=1)
    assert owner(again) != owner(first)
    assert assignment(again)["former_owner"] == {"staff_id": owner(first), "result": "off_duty"}


async def test_the_former_owner_is_that_of_the_newest_ticket_by_whomever_it_was_given(
    harness: HandlerHarness,
) -> None:
    """A person moved the ticket to somebody in the roster: the customer knows that one."""
    staff = harness.fill_roster(2)
    harness.change_settings(former_owner="on")
    first = await lead(harness, 1)
    (other,) = (each for each in staff if each != owner(first))
    harness.sql(
        "UPDATE ticket SET assignee_id = %s, status = 'done' WHERE id = %s", other, first["ticket_id"]
    )
    assert owner(await lead(harness, 2, phone=1)) == other


async def test_a_former_owner_too_far_ahead_waits_for_the_turn(harness: HandlerHarness) -> None:
    harness.fill_roster(2)
    harness.change_settings(former_owner="on", max_tickets_ahead=2)
    first = await lead(harness, 1)
    results = []
    for number in (2, 3, 4):
        harness.sql(CLOSE)
        again = await lead(harness, number, phone=1)
        results.append(assignment(again)["former_owner"]["result"])
    assert results[0] == "chosen"
    assert "too_far_ahead" in results
    counts = [row["assigned_count"] for row in harness.sql("SELECT assigned_count FROM pancake_assignee")]
    assert (sum(counts), max(counts) - min(counts)) in ((4, 0), (4, 2))
    assert owner(first) is not None


async def test_a_member_outside_the_shift_is_skipped(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(2)
    day = datetime.now(UTC).astimezone(ICT)
    others = ", ".join(
        f"{name} 00:00-24:00"
        for number, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))
        if number not in (day.weekday(), (day.weekday() + 1) % 7)
    )
    harness.sql("UPDATE pancake_assignee SET shift = %s WHERE staff_id = %s", others, staff[0])
    found = await lead(harness, 1)
    assert (owner(found), skipped(found)) == (staff[1], {staff[0]: "outside_shift"})
    harness.sql("UPDATE pancake_assignee SET shift = 'mon-sun 00:00-12:00, mon-sun 12:00-24:00'")
    assert owner(await lead(harness, 2)) == staff[0]


async def test_a_daily_cap_counts_the_tickets_of_the_day_in_vietnam(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(2)
    harness.sql("UPDATE pancake_assignee SET daily_cap = 1 WHERE staff_id = %s", staff[0])
    found = [await lead(harness, number) for number in range(4)]
    assert [owner(each) for each in found].count(staff[0]) == 1
    assert skipped(found[-1]) == {staff[0]: "daily_cap"}
    harness.sql("UPDATE pancake_assignee SET assigned_on = assigned_on - 1")
    later = [await lead(harness, number) for number in (4, 5)]
    assert [owner(each) for each in later].count(staff[0]) == 1
    row = harness.one(
        "SELECT assigned_today, total_assigned FROM pancake_assignee WHERE staff_id = %s", staff[0]
    )
    assert (row["assigned_today"], row["total_assigned"]) == (1, 2)


async def test_an_open_cap_counts_the_open_tickets_of_all_of_diva(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(2)
    harness.sql("UPDATE pancake_assignee SET open_cap = 1 WHERE staff_id = %s", staff[0])
    harness.sql(
        "INSERT INTO ticket (title, source_id, assignee_id) VALUES ('x', 'ticket_source_1', %s)",
        staff[0],
    )
    found = await lead(harness, 1)
    assert (owner(found), skipped(found)) == (staff[1], {staff[0]: "open_cap"})
    harness.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_1'")
    assert owner(await lead(harness, 2)) == staff[0]


async def test_if_all_are_at_their_cap_the_ticket_has_no_owner(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(1)
    harness.sql("UPDATE pancake_assignee SET daily_cap = 1")
    await lead(harness, 1)
    found = await lead(harness, 2)
    assert (found["assignee_id"], skipped(found)) == (None, {staff[0]: "daily_cap"})
    assert harness.hasura.sent[f"{found['id']}:unassigned"]["data"]["reason"] == "unassigned"


@pytest.mark.parametrize("former_owner", ["off", "on"])
async def test_a_dry_run_announces_the_same_owner(harness: HandlerHarness, former_owner: str) -> None:
    harness.fill_roster(3)
    harness.change_settings(former_owner=former_owner)
    first = await lead(harness, 1)
    harness.sql(CLOSE)
    harness.change_settings(kill_switch=True)
    held = await harness.deliver({"id": "lead-2", "phone_number": "0905111101", "source": ["-1"]})
    harness.change_settings(kill_switch=False)
    (announced,) = (await harness.replay(ids=[held["event_id"]], dry_run=True))["changes"]
    await harness.replay(ids=[held["event_id"]])
    assert list((await harness.process_received()).values()) == ["ticket_created"]
    chosen = owner(harness.event(held["event_id"]))
    assert announced["ticket"]["after"]["assignee_id"] == chosen
    assert (chosen == owner(first)) == (former_owner == "on")
