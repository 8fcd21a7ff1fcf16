"""process_record assigns the ticket: rosters, availability, weights."""

import asyncio

import psycopg

from tests.support.handlers import HandlerHarness
from tests.support.locks import wait_for_lock_waiter


async def test_without_a_roster_the_ticket_has_no_owner_and_admins_are_notified(
    harness: HandlerHarness,
) -> None:
    event_id, result = await harness.process_lead()
    assert result == "ticket_created"
    assert harness.event(event_id)["assignee_id"] is None
    sent = harness.hasura.sent[f"{event_id}:unassigned"]
    assert (sent["template_code"], len(sent["recipient_ids"])) == ("noti_pancake_needs_attention", 3)
    assert sent["data"]["reason"] == "unassigned"


async def test_a_source_with_a_roster_of_its_own_uses_it(harness: HandlerHarness) -> None:
    harness.fill_roster(3)
    own = harness.fill_roster(1, source="-1")[0]
    leads = [await harness.process_lead(id=str(n), phone_number=f"090511133{n}") for n in range(3)]
    owners = {str(harness.event(event_id)["assignee_id"]) for event_id, _ in leads}
    assert owners == {own}


async def test_members_off_duty_are_skipped_and_the_reason_is_recorded(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(3)
    harness.sql("UPDATE staff SET on_duty = false WHERE id = %s", staff[0])
    harness.sql("UPDATE staff SET is_active = false WHERE id = %s", staff[1])
    event_id, _ = await harness.process_lead()
    assignment = harness.event(event_id)["evidence"]["assignment"]
    assert assignment["chosen"] == staff[2]
    assert {s["staff_id"]: s["reason"] for s in assignment["skipped"]} == {
        staff[0]: "off_duty",
        staff[1]: "staff_inactive",
    }


async def test_without_an_available_member_the_ticket_is_created_and_admins_are_notified(
    harness: HandlerHarness,
) -> None:
    harness.fill_roster(3)
    await harness.process_lead(id="before", phone_number="0905111000")
    harness.sql("UPDATE staff SET on_duty = false WHERE role = 'telesale'")
    event_id, result = await harness.process_lead()
    event = harness.event(event_id)
    assert (result, event["assignee_id"]) == ("ticket_created", None)
    sent = harness.hasura.sent[f"{event_id}:unassigned"]
    assert sent["template_code"] == "noti_pancake_needs_attention"
    assert {skip["reason"] for skip in event["evidence"]["assignment"]["skipped"]} == {"off_duty"}
    assert harness.one("SELECT sum(total_assigned)::integer AS sum FROM pancake_assignee")["sum"] == 1


async def test_a_changed_weight_keeps_the_share_of_the_member(harness: HandlerHarness) -> None:
    harness.fill_roster(1, weight=2, assigned_count=7)
    harness.sql("UPDATE pancake_assignee SET weight = 4")
    assert harness.one("SELECT assigned_count FROM pancake_assignee")["assigned_count"] == 14


async def test_a_weight_changed_during_a_choice_keeps_the_share_of_the_member(
    harness: HandlerHarness,
) -> None:
    """The second of the two updates of the counts starts from the result of the first."""
    harness.fill_roster(2, assigned_count=10, was_available=True)
    with psycopg.connect(harness.database_url) as admin:
        admin.execute(
            "UPDATE pancake_assignee SET weight = 5"
            " WHERE id = (SELECT id FROM pancake_assignee ORDER BY id LIMIT 1)"
        )
        work = asyncio.create_task(harness.process_lead())
        await wait_for_lock_waiter(harness, work)
        admin.commit()
    assert (await work)[1] == "ticket_created"
    rows = harness.sql("SELECT weight, assigned_count FROM pancake_assignee ORDER BY weight")
    assert [(row["weight"], row["assigned_count"]) for row in rows] in (
        [(1, 11), (5, 50)],
        [(1, 10), (5, 51)],
    )
