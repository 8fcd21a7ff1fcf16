"""process_record respects what people did in Diva: moves, merges, texts, absences."""

import asyncio
from typing import Any

import psycopg

from tests.support.handlers import HandlerHarness
from tests.support.leads import EARLIER, LATER, PHONE
from tests.support.locks import wait_for_lock_waiter

LATEST = "2026-05-16T02:35:56"


def ticket(harness: HandlerHarness) -> dict[str, Any]:
    return harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'")


def new_account(harness: HandlerHarness, phone: str | None = None) -> Any:
    return harness.one(
        "INSERT INTO account (display_name, normalized_phone) VALUES ('by hand', %s) RETURNING id", phone
    )["id"]


async def test_a_ticket_that_a_person_moved_stays_moved(harness: HandlerHarness) -> None:
    first, _ = await harness.process_lead()
    target = new_account(harness, "+84912000111")
    harness.sql("UPDATE ticket SET account_id = %s WHERE source_id = 'ticket_source_pancake'", target)
    event_id, result = await harness.process_lead(modified_on=LATER, name="B")
    assert (result, harness.event(event_id)["ticket_id"]) == (
        "ticket_updated",
        harness.event(first)["ticket_id"],
    )
    assert (ticket(harness)["account_id"], ticket(harness)["title"]) == (target, "Lead Pancake: B")
    assert "phone_changed" not in harness.event(event_id)["evidence"]
    assert f"{event_id}:phone_changed" not in harness.hasura.sent


async def test_accounts_that_a_person_merged_stay_merged(harness: HandlerHarness) -> None:
    first, _ = await harness.process_lead()
    merged, target = harness.event(first)["account_id"], new_account(harness, "+84912000111")
    harness.sql("UPDATE ticket SET account_id = %s WHERE source_id = 'ticket_source_pancake'", target)
    harness.sql("UPDATE contact_book SET account_id = %s", target)
    harness.sql("UPDATE account SET deleted_at = now() WHERE id = %s", merged)
    event_id, result = await harness.process_lead(modified_on=LATER, name="B")
    event = harness.event(event_id)
    assert (result, event["account_id"], ticket(harness)["account_id"]) == ("ticket_updated", target, target)
    assert "phone_changed" not in event["evidence"]
    contact = harness.one("SELECT account_id, name FROM contact_book WHERE primary_phone = %s", PHONE)
    assert contact == {"account_id": target, "name": "B"}
    assert harness.count("account", f"normalized_phone = '{PHONE}' AND deleted_at IS NULL") == 0
    harness.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_pancake'")
    event_id, result = await harness.process_lead(modified_on=LATEST, interested_product=["Gói B"])
    assert (result, harness.event(event_id)["account_id"]) == ("ticket_created", target)


async def test_an_account_whose_phone_a_person_changed_keeps_its_ticket(harness: HandlerHarness) -> None:
    first, _ = await harness.process_lead()
    account = harness.event(first)["account_id"]
    harness.sql("UPDATE account SET phone_number = '0912000111' WHERE id = %s", account)
    event_id, result = await harness.process_lead(modified_on=LATER, name="B")
    event = harness.event(event_id)
    assert (result, event["account_id"], ticket(harness)["account_id"]) == (
        "ticket_updated",
        account,
        account,
    )
    assert "phone_changed" not in event["evidence"]


async def test_a_deleted_account_is_named_as_that(harness: HandlerHarness) -> None:
    first, _ = await harness.process_lead()
    account = harness.event(first)["account_id"]
    harness.sql("UPDATE account SET deleted_at = now() WHERE id = %s", account)
    event_id, result = await harness.process_lead(modified_on=LATER, name="B")
    event = harness.event(event_id)
    assert (result, event["ticket_id"]) == ("ticket_updated", harness.event(first)["ticket_id"])
    of_deleted = {"account_id": str(account), "state": "deleted"}
    assert event["evidence"]["ticket_account"] == event["evidence"]["applied_account"] == of_deleted
    assert "phone_changed" not in event["evidence"]


async def test_what_people_typed_into_a_ticket_stays(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await harness.process_lead()
    harness.sql(
        "UPDATE ticket SET description = 'Gọi lại sau 17 giờ' WHERE source_id = 'ticket_source_pancake'"
    )
    event_id, _ = await harness.process_lead(modified_on=LATER, name="B", pancake_tags=["vip"])
    found = ticket(harness)
    assert (found["title"], found["description"]) == ("Lead Pancake: B", "Gọi lại sau 17 giờ")
    assert found["data"]["pancake"]["tags"] == ["vip"]
    assert harness.hasura.sent[f"{event_id}:lead_updated"]["data"]["changes"] == "tên, thẻ"
    harness.sql("UPDATE ticket SET title = 'VIP, gọi trước' WHERE source_id = 'ticket_source_pancake'")
    await harness.process_lead(modified_on=LATEST, name="C", email="c@example.com")
    found = ticket(harness)
    assert (found["title"], found["description"]) == ("VIP, gọi trước", "Gọi lại sau 17 giờ")
    assert (found["data"]["pancake"]["name"], found["data"]["pancake"]["email"]) == ("C", "c@example.com")


async def test_an_update_goes_to_the_managers_if_the_owner_is_inactive(harness: HandlerHarness) -> None:
    (owner,) = harness.fill_roster(1)
    await harness.process_lead()
    harness.sql("UPDATE staff SET is_active = false WHERE id = %s", owner)
    event_id, _ = await harness.process_lead(modified_on=LATER, name="B")
    managers = {
        str(row["id"]) for row in harness.sql("SELECT id FROM staff WHERE role = 'manager' AND is_active")
    }
    sent = harness.hasura.sent[f"{event_id}:lead_updated"]
    assert managers
    assert set(sent["recipient_ids"]) == managers


async def test_an_update_of_an_unassigned_ticket_goes_to_the_managers(harness: HandlerHarness) -> None:
    await harness.process_lead()
    event_id, _ = await harness.process_lead(modified_on=LATER, name="B")
    assert harness.hasura.sent[f"{event_id}:lead_updated"]["recipient_ids"]


async def test_without_managers_the_admins_are_told_and_without_both_it_is_logged(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    await harness.process_lead()
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'manager'")
    event_id, _ = await harness.process_lead(modified_on=LATER, name="B")
    admins = {
        str(row["id"]) for row in harness.sql("SELECT id FROM staff WHERE role = 'admin' AND is_active")
    }
    assert set(harness.hasura.sent[f"{event_id}:lead_updated"]["recipient_ids"]) == admins
    harness.sql("UPDATE staff SET is_active = false")
    event_id, _ = await harness.process_lead(modified_on=LATEST, name="C")
    assert harness.event(event_id)["notifications"] == []
    assert any("notification dropped" in line and "lead_updated" in line for line in capture_logs)
    metrics = (await harness.client.get("/metrics")).text
    assert 'pancake_notifications_total{result="dropped"} 1.0' in metrics


async def test_a_phone_that_diva_changes_at_the_same_time_is_not_filled_with_the_old_one(
    harness: HandlerHarness,
) -> None:
    account = harness.one(
        "INSERT INTO account (display_name, phone_code, phone_number) VALUES ('x', '84', '0905111222')"
        " RETURNING id"
    )["id"]
    with psycopg.connect(harness.database_url) as diva:
        diva.execute("UPDATE account SET phone_number = '0912000111' WHERE id = %s", (account,))
        work = asyncio.create_task(harness.process_lead())
        await wait_for_lock_waiter(harness, work)
        diva.commit()
    event_id, _ = await work
    assert harness.event(event_id)["account_id"] == account
    stored = harness.one("SELECT normalized_phone FROM account WHERE id = %s", account)
    assert stored == {"normalized_phone": None}
    other, _ = await harness.process_lead(id="other", phone_number="0912000111", modified_on=EARLIER)
    assert harness.event(other)["account_id"] == account
