"""process_record with several versions of one record, in any order."""

import asyncio
from collections import Counter

import psycopg
import pytest

from tests.support.handlers import HandlerHarness
from tests.support.leads import EARLIER, LATER, PHONE, RECORD_ID
from tests.support.locks import PHONE_LOCK, wait_for_lock_waiter


@pytest.mark.test_case("TC-009")
async def test_an_older_version_changes_nothing(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await harness.process_lead(name="New")
    ticket = harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'")
    event_id, result = await harness.process_lead(name="Old", modified_on=EARLIER)
    assert result == "stale"
    assert harness.event(event_id)["ticket_id"] == ticket["id"]
    assert harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'") == ticket
    assert len(harness.hasura.sent) == 1


async def test_a_later_version_without_changes_writes_and_notifies_nothing(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await harness.process_lead()
    event_id, result = await harness.process_lead(modified_on=LATER, owner=["another-user"])
    assert result == "no_change"
    assert harness.event(event_id)["notifications"] == []
    assert len(harness.hasura.sent) == 1


@pytest.mark.test_case("TC-007")
async def test_a_later_version_updates_the_ticket_and_notifies_its_owner(harness: HandlerHarness) -> None:
    owner = harness.fill_roster(1)[0]
    first, _ = await harness.process_lead()
    harness.fill_roster(1, source="-1")
    second, result = await harness.process_lead(modified_on=LATER, name="Nguyễn Văn B", email="b@example.com")
    assert result == "ticket_updated"
    assert harness.event(first)["ticket_id"] == harness.event(second)["ticket_id"]
    ticket = harness.one("SELECT * FROM ticket WHERE id = %s", harness.event(second)["ticket_id"])
    assert (ticket["title"], str(ticket["assignee_id"])) == ("Lead Pancake: Nguyễn Văn B", owner)
    sent = harness.hasura.sent[f"{second}:lead_updated"]
    assert (sent["template_code"], sent["recipient_ids"]) == ("noti_pancake_lead_updated", [owner])


async def test_versions_in_any_order_end_in_the_newest(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    record = {"id": "r", "phone_number": "0905111222", "source": [-1]}
    answers = [
        await harness.deliver(record | {"name": f"v{day}", "modified_on": f"2026-05-0{day}T00:00"})
        for day in (3, 1, 5, 2, 4)
    ]
    await asyncio.gather(*(harness.process(a["event_id"]) for a in answers))
    assert harness.one("SELECT title FROM ticket WHERE source_id = 'ticket_source_pancake'") == {
        "title": "Lead Pancake: v5"
    }


async def test_versions_with_different_phones_at_once_are_one_record_with_one_ticket(
    harness: HandlerHarness,
) -> None:
    harness.slow_down("ticket", 0.05)
    record = {"id": "r", "source": [-1]}
    answers = [
        await harness.deliver(
            record | {"phone_number": f"090511122{day}", "modified_on": f"2026-05-0{day}T00:00"}
        )
        for day in (2, 1, 4, 3)
    ]
    results = await asyncio.gather(*(harness.process(a["event_id"]) for a in answers))
    assert Counter(results)["ticket_created"] == 1
    account = harness.one(
        "SELECT a.normalized_phone FROM ticket AS t JOIN account AS a ON a.id = t.account_id"
        " WHERE t.source_id = 'ticket_source_pancake'"
    )
    assert account == {"normalized_phone": "+84905111224"}


async def test_fields_missing_from_a_later_version_stay_in_the_contact(harness: HandlerHarness) -> None:
    await harness.process_lead(email="a@example.com", full_address="Hà Nội")
    await harness.process_lead(modified_on=LATER, name="B")
    contact = harness.one("SELECT name, email, address FROM contact_book WHERE primary_phone = %s", PHONE)
    assert contact == {"name": "B", "email": "a@example.com", "address": "Hà Nội"}


async def test_a_record_with_a_changed_phone_waits_for_the_lock_of_the_old_phone(
    harness: HandlerHarness,
) -> None:
    await harness.process_lead()
    answer = await harness.deliver(
        {"id": RECORD_ID, "phone_number": "0905999888", "source": [-1], "modified_on": LATER}
    )
    with psycopg.connect(harness.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(2, hashtext(%s))", (PHONE,))
        work = asyncio.create_task(harness.process(answer["event_id"]))
        await wait_for_lock_waiter(harness, work, PHONE_LOCK)
        other.rollback()
    assert await work == "ticket_updated"


async def test_an_id_with_white_space_is_the_same_record(harness: HandlerHarness) -> None:
    await harness.process_lead(id=" r ")
    _, result = await harness.process_lead(id="r", name="Old", modified_on=EARLIER)
    assert result == "stale"
