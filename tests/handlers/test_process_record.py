"""The event trigger's handler: from a received row to account, contact, ticket, owner, notifications."""

import asyncio
from collections import Counter

import pytest

from tests.support.handlers import HandlerHarness
from tests.support.leads import PHONE, RECORD_ID


@pytest.mark.test_case("TC-004")
async def test_a_lead_becomes_account_contact_ticket_owner_and_notification(harness: HandlerHarness) -> None:
    owner = harness.fill_roster(1)[0]
    event_id, result = await harness.process_lead(email="a@example.com")
    event = harness.event(event_id)
    assert result == "ticket_created"
    assert (event["status"], event["outcome"], event["attempts"]) == ("processed", "ticket_created", 1)
    assert event["received_at"] <= event["ingested_at"] <= event["processed_at"]
    assert event["normalized_phone"] == PHONE
    account = harness.one("SELECT * FROM account WHERE id = %s", event["account_id"])
    assert (account["phone_code"], account["phone_number"]) == ("84", "0905111222")
    assert account["normalized_phone"] == PHONE
    assert account["pancake_metadata"]["record_id"] == RECORD_ID
    contact = harness.one("SELECT * FROM contact_book WHERE primary_phone = %s", PHONE)
    assert (contact["account_id"], contact["email"]) == (event["account_id"], "a@example.com")
    ticket = harness.one("SELECT * FROM ticket WHERE id = %s", event["ticket_id"])
    assert str(ticket["assignee_id"]) == str(event["assignee_id"]) == owner
    assert ticket["contact_book_id"] == contact["id"]
    assert (ticket["source_id"], ticket["status"]) == ("ticket_source_pancake", "new")
    (sent,) = harness.hasura.sent.values()
    assert sent["template_code"] == "noti_pancake_new_lead"
    assert sent["recipient_ids"] == [owner]
    assert sent["idempotency_key"] == f"{event_id}:new_lead"
    assert event["notified_at"] is not None
    assert event["evidence"]["assignment"]["chosen"] == owner
    assert event["evidence"]["phone"]["winner"] == str(event["account_id"])


@pytest.mark.test_case("TC-005")
async def test_fifty_records_of_one_phone_give_one_account_one_contact_one_ticket(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    harness.fill_roster()
    answers = await asyncio.gather(
        *(
            harness.deliver(
                {"id": f"record-{n}", "name": f"Khách {n}", "phone_number": "0905 111 222", "source": [-1]}
            )
            for n in range(50)
        )
    )
    results = await asyncio.gather(
        *((harness, second_harness)[n % 2].process(a["event_id"]) for n, a in enumerate(answers))
    )
    assert Counter(results) == {"ticket_created": 1, "ticket_updated": 49}
    assert harness.count("account", f"normalized_phone = '{PHONE}'") == 1
    assert harness.count("contact_book", f"primary_phone = '{PHONE}'") == 1
    assert harness.count_tickets() == 1


@pytest.mark.test_case("TC-008")
async def test_fifty_concurrent_leads_are_distributed_evenly(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    staff = harness.fill_roster(4)
    answers = await asyncio.gather(
        *(
            harness.deliver({"id": f"r-{n}", "phone_number": f"09051112{n:02}", "source": [-1]})
            for n in range(50)
        )
    )
    results = await asyncio.gather(
        *((harness, second_harness)[n % 2].process(a["event_id"]) for n, a in enumerate(answers))
    )
    assert set(results) == {"ticket_created"}
    rows = harness.sql("SELECT assignee_id::text FROM ticket WHERE source_id = 'ticket_source_pancake'")
    owned = Counter(row["assignee_id"] for row in rows)
    assert sum(owned.values()) == 50
    assert max(owned[s] for s in staff) - min(owned[s] for s in staff) <= 1
    members = harness.sql("SELECT staff_id::text, assigned_count, total_assigned FROM pancake_assignee")
    assert {m["staff_id"]: m["total_assigned"] for m in members} == owned
    assert [m["assigned_count"] for m in members] == [m["total_assigned"] for m in members]
