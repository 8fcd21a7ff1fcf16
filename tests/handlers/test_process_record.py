"""The event trigger's handler: from a received row to account, contact, ticket, owner, notifications."""

import asyncio
from collections import Counter

from tests.handlers.conftest import House


def _roster(house: House, size: int = 3) -> list[str]:
    """Put the first telesale staff on the default roster."""
    rows = house.sql(
        "INSERT INTO pancake_assignee (staff_id) SELECT id FROM staff"
        " WHERE role = 'telesale' AND is_active AND on_duty ORDER BY id LIMIT %s RETURNING staff_id::text",
        size,
    )
    return [row["staff_id"] for row in rows]


async def test_a_lead_becomes_account_contact_ticket_owner_and_notification(house: House) -> None:
    owner = _roster(house, 1)[0]
    event_id, result = await house.lead(email="a@example.com")
    event = house.event(event_id)
    assert result == "ticket_created"
    assert event["status"] == "processed"
    assert event["normalized_phone"] == "+84905111222"
    account = house.one("SELECT * FROM account WHERE id = %s", event["account_id"])
    assert (account["phone_code"], account["phone_number"]) == ("84", "0905111222")
    assert account["normalized_phone"] == "+84905111222"
    contact = house.one("SELECT * FROM contact_book WHERE primary_phone = '+84905111222'")
    assert (contact["account_id"], contact["email"]) == (event["account_id"], "a@example.com")
    ticket = house.one("SELECT * FROM ticket WHERE id = %s", event["ticket_id"])
    assert str(ticket["assignee_id"]) == owner
    assert ticket["contact_book_id"] == contact["id"]
    assert ticket["source_id"] == "ticket_source_pancake"
    (sent,) = house.hasura.sent.values()
    assert sent["template_code"] == "noti_pancake_new_lead"
    assert sent["recipient_ids"] == [owner]
    assert event["notified_at"] is not None


async def test_fifty_records_of_one_phone_give_one_account_one_contact_one_ticket(house: House) -> None:
    _roster(house)
    answers = await asyncio.gather(
        *(
            house.deliver(
                {"id": f"record-{n}", "name": f"Khách {n}", "phone_number": "0905 111 222", "source": [-1]}
            )
            for n in range(50)
        )
    )
    results = await asyncio.gather(*(house.process(answer["event_id"]) for answer in answers))
    assert Counter(results) == {"ticket_created": 1, "ticket_updated": 49}
    assert house.one("SELECT count(*) FROM account WHERE normalized_phone = '+84905111222'")["count"] == 1
    assert house.one("SELECT count(*) FROM contact_book WHERE primary_phone = '+84905111222'")["count"] == 1
    assert house.one("SELECT count(*) FROM ticket WHERE source_id = 'ticket_source_pancake'")["count"] == 1


async def test_without_anybody_available_the_ticket_is_made_and_the_admins_are_told(house: House) -> None:
    _roster(house)
    await house.lead(id="before", phone_number="0905111000")
    house.sql("UPDATE staff SET on_duty = false WHERE role = 'telesale'")
    event_id, result = await house.lead()
    event = house.event(event_id)
    assert (result, event["assignee_id"]) == ("ticket_created", None)
    sent = house.hasura.sent[f"{event_id}:unassigned"]
    assert sent["template_code"] == "noti_pancake_needs_attention"
    assert {skip["reason"] for skip in event["evidence"]["assignment"]["skipped"]} == {"off_duty"}
    assert house.one("SELECT sum(total_assigned)::integer AS sum FROM pancake_assignee")["sum"] == 1
