"""process_record and open tickets: which one is updated, when a new one is created."""

import asyncio

import psycopg
import pytest

from tests.support.handlers import HandlerHarness
from tests.support.leads import LATER, PHONE
from tests.support.locks import wait_for_lock_waiter


@pytest.mark.test_case("TC-006")
async def test_a_new_record_of_a_customer_with_an_open_ticket_updates_it(harness: HandlerHarness) -> None:
    await harness.process_lead()
    _, result = await harness.process_lead(id="another record", name="B")
    assert (result, harness.count_tickets()) == ("ticket_updated", 1)
    harness.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_pancake'")
    _, result = await harness.process_lead(id="a third record", name="C")
    assert (result, harness.count_tickets()) == ("ticket_created", 2)


async def test_open_tickets_of_other_sources_are_not_changed(harness: HandlerHarness) -> None:
    before = harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_1'")
    _, result = await harness.process_lead(phone_number="0912345678")
    assert result == "ticket_created"
    assert harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_1'") == before


async def test_another_phone_moves_the_ticket_to_the_other_customer(harness: HandlerHarness) -> None:
    owner = harness.fill_roster(1)[0]
    first, _ = await harness.process_lead()
    second, result = await harness.process_lead(modified_on=LATER, phone_number="0912345678")
    before, after = harness.event(first), harness.event(second)
    assert result == "ticket_updated"
    assert after["ticket_id"] == before["ticket_id"]
    assert str(after["account_id"]) == "d0000000-0000-4000-8000-000000000001"
    ticket = harness.one("SELECT * FROM ticket WHERE id = %s", after["ticket_id"])
    assert ticket["account_id"] == after["account_id"]
    assert after["evidence"]["phone_changed"] == {
        "account_before": str(before["account_id"]),
        "phone_before": PHONE,
        "ticket_before": str(before["ticket_id"]),
    }
    attention = harness.hasura.sent[f"{second}:phone_changed"]
    assert attention["template_code"] == "noti_pancake_needs_attention"
    assert owner in attention["recipient_ids"]
    assert len(attention["recipient_ids"]) == 4


async def test_accounts_and_contacts_update_the_customer_and_create_no_ticket(
    harness: HandlerHarness,
) -> None:
    for table in ("account", "contact"):
        event_id, result = await harness.process_lead(table_id=table, id=table, name=table)
        assert (result, harness.count_tickets()) == ("contact_updated", 0)
        assert harness.one("SELECT name FROM contact_book WHERE primary_phone = %s", PHONE) == {"name": table}
        assert harness.hasura.sent == {}
        assert harness.event(event_id)["ticket_id"] is None


async def test_a_ticket_closed_while_a_lead_is_processed_does_not_absorb_the_lead(
    harness: HandlerHarness,
) -> None:
    harness.fill_roster(2)
    before, _ = await harness.process_lead()
    with psycopg.connect(harness.database_url) as telesale:
        telesale.execute(
            "UPDATE ticket SET status = 'done' WHERE id = %s", (harness.event(before)["ticket_id"],)
        )
        work = asyncio.create_task(harness.process_lead(modified_on=LATER, interested_product=["Gói B"]))
        await wait_for_lock_waiter(harness, work)
        telesale.commit()
    event_id, result = await work
    assert result == "ticket_created"
    owner = str(harness.event(event_id)["assignee_id"])
    assert harness.hasura.sent[f"{event_id}:new_lead"]["recipient_ids"] == [owner]
    assert owner != str(harness.event(before)["assignee_id"])
    assert harness.one("SELECT title FROM ticket WHERE id = %s", harness.event(before)["ticket_id"]) == {
        "title": "Lead Pancake: Nguyễn Văn A"
    }
