"""process_record keeps a customer's ticket with the customer: several records, several accounts."""

from typing import Any

from tests.support.handlers import HandlerHarness
from tests.support.leads import LATER, PHONE

LATEST = "2026-05-16T02:35:56"
OTHER_PHONE = "0912000111"


def ticket_of(harness: HandlerHarness, event_id: int) -> dict[str, Any]:
    return harness.one("SELECT * FROM ticket WHERE id = %s", harness.event(event_id)["ticket_id"])


def open_tickets_of_phone(harness: HandlerHarness, phone: str = PHONE) -> int:
    return harness.count(
        "ticket AS t JOIN account AS a ON a.id = t.account_id",
        "t.status IN ('new', 'in_progress') AND t.source_id = 'ticket_source_pancake'"
        f" AND a.normalized_phone = '{phone}'",
    )


async def test_a_ticket_that_another_record_shares_stays_with_its_customer(harness: HandlerHarness) -> None:
    harness.fill_roster(2)
    first, _ = await harness.process_lead(id="r-1")
    joined, result = await harness.process_lead(id="r-2")
    assert (result, ticket_of(harness, joined)["id"]) == ("ticket_updated", ticket_of(harness, first)["id"])
    corrected, result = await harness.process_lead(id="r-2", phone_number=OTHER_PHONE, modified_on=LATER)
    assert result == "ticket_created"
    assert ticket_of(harness, corrected)["id"] != ticket_of(harness, first)["id"]
    assert ticket_of(harness, first)["account_id"] == harness.event(first)["account_id"]
    evidence = harness.event(corrected)["evidence"]["phone_changed"]
    assert evidence["ticket_before"] == str(harness.event(first)["ticket_id"])
    assert evidence["ticket_stays"] == "shared"
    assert f"{corrected}:phone_changed" in harness.hasura.sent
    again, result = await harness.process_lead(id="r-1", name="Mới", modified_on=LATER)
    assert (result, ticket_of(harness, again)["id"]) == ("ticket_updated", ticket_of(harness, first)["id"])
    last, result = await harness.process_lead(
        id="r-2", phone_number=OTHER_PHONE, name="Khác", modified_on=LATEST
    )
    assert (result, ticket_of(harness, last)["id"]) == ("ticket_updated", ticket_of(harness, corrected)["id"])
    assert harness.count_tickets() == 2


async def test_a_ticket_that_no_other_record_shares_any_more_follows_the_phone(
    harness: HandlerHarness,
) -> None:
    first, _ = await harness.process_lead(id="r-1")
    await harness.process_lead(id="r-2")
    await harness.process_lead(id="r-2", phone_number=OTHER_PHONE, modified_on=LATER)
    moved, result = await harness.process_lead(id="r-1", phone_number="0912000222", modified_on=LATER)
    assert (result, ticket_of(harness, moved)["id"]) == ("ticket_updated", ticket_of(harness, first)["id"])
    assert ticket_of(harness, moved)["account_id"] == harness.event(moved)["account_id"]


async def test_a_disabled_winner_leaves_its_open_ticket_the_only_one(harness: HandlerHarness) -> None:
    first, _ = await harness.process_lead()
    account = harness.event(first)["account_id"]
    younger = harness.one(
        "INSERT INTO account (display_name, normalized_phone) VALUES ('younger', %s) RETURNING id", PHONE
    )["id"]
    harness.sql("UPDATE account SET phone_enabled = false WHERE id = %s", account)
    second, result = await harness.process_lead(id="another record")
    assert (result, ticket_of(harness, second)["id"]) == ("ticket_updated", ticket_of(harness, first)["id"])
    assert harness.event(second)["account_id"] == younger
    third, result = await harness.process_lead(modified_on=LATER, name="B")
    assert (result, ticket_of(harness, third)["id"]) == ("ticket_updated", ticket_of(harness, first)["id"])
    assert ticket_of(harness, third)["account_id"] == account
    evidence = harness.event(third)["evidence"]
    assert evidence["ticket_account"] == {"account_id": str(account), "state": "disabled"}
    assert "phone_changed" not in evidence
    assert open_tickets_of_phone(harness) == 1


async def test_an_older_account_that_appears_leaves_one_open_ticket(harness: HandlerHarness) -> None:
    first, _ = await harness.process_lead()
    harness.sql(
        "INSERT INTO account (display_name, normalized_phone, created_at) VALUES ('older', %s, '2020-01-01')",
        PHONE,
    )
    second, result = await harness.process_lead(id="another record")
    assert (result, ticket_of(harness, second)["id"]) == ("ticket_updated", ticket_of(harness, first)["id"])
    assert open_tickets_of_phone(harness) == 1


async def test_a_ticket_moved_to_another_source_is_still_the_customers(harness: HandlerHarness) -> None:
    first, _ = await harness.process_lead()
    harness.sql("UPDATE ticket SET source_id = 'ticket_source_8' WHERE source_id = 'ticket_source_pancake'")
    second, result = await harness.process_lead(id="another record")
    assert (result, ticket_of(harness, second)["id"]) == ("ticket_updated", ticket_of(harness, first)["id"])
    assert ticket_of(harness, second)["source_id"] == "ticket_source_8"


async def test_a_ticket_that_no_lead_made_is_not_the_integrations(harness: HandlerHarness) -> None:
    first, _ = await harness.process_lead()
    account = harness.event(first)["account_id"]
    harness.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_pancake'")
    harness.sql(
        "INSERT INTO ticket (title, source_id, account_id) VALUES ('by hand', 'ticket_source_pancake', %s)",
        account,
    )
    _, result = await harness.process_lead(id="another record")
    assert result == "ticket_created"


async def test_the_second_number_of_a_lead_finds_its_customer_later(harness: HandlerHarness) -> None:
    first, _ = await harness.process_lead(secondary_phone_number=OTHER_PHONE)
    second, result = await harness.process_lead(id="another record", phone_number=OTHER_PHONE)
    assert (result, harness.event(second)["account_id"]) == (
        "ticket_updated",
        harness.event(first)["account_id"],
    )
    assert harness.count_tickets() == 1


async def test_the_second_number_of_a_lead_is_not_taken_from_another_customer(
    harness: HandlerHarness,
) -> None:
    first, _ = await harness.process_lead(id="r-1", phone_number=OTHER_PHONE)
    second, _ = await harness.process_lead(id="r-2", secondary_phone_number=OTHER_PHONE)
    assert harness.event(second)["account_id"] == harness.event(first)["account_id"]
    third, _ = await harness.process_lead(id="r-3", phone_number="0912000222")
    fourth, _ = await harness.process_lead(
        id="r-4", phone_number="0912000333", secondary_phone_number="0912000222", name="D"
    )
    assert harness.event(fourth)["account_id"] == harness.event(third)["account_id"]
    contact = harness.one("SELECT account_id, name FROM contact_book WHERE primary_phone = '+84912000222'")
    assert contact["account_id"] == harness.event(third)["account_id"]


async def test_a_customer_found_through_a_contact_has_the_ticket_of_any_account_with_its_phone(
    harness: HandlerHarness,
) -> None:
    first, _ = await harness.process_lead(id="r-1", phone_number=OTHER_PHONE)
    account = harness.event(first)["account_id"]
    younger = harness.one(
        "INSERT INTO account (display_name, normalized_phone) VALUES ('younger', '+84912000111') RETURNING id"
    )["id"]
    harness.sql("UPDATE account SET phone_enabled = false WHERE id = %s", account)
    both, result = await harness.process_lead(id="r-2", secondary_phone_number=OTHER_PHONE)
    assert (result, harness.event(both)["account_id"]) == ("ticket_updated", younger)
    alone, result = await harness.process_lead(id="r-3")
    assert (result, ticket_of(harness, alone)["id"]) == ("ticket_updated", ticket_of(harness, first)["id"])


async def test_the_second_number_is_remembered_by_versions_that_change_nothing(
    harness: HandlerHarness,
) -> None:
    both = {"phone_number": "0905111222", "secondary_phone_number": OTHER_PHONE}
    await harness.process_lead(**both)
    _, result = await harness.process_lead(**both, modified_on=LATER)
    assert result == "no_change"
    harness.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_pancake'")
    _, result = await harness.process_lead(**both, modified_on=LATEST, pancake_tags=["vip"])
    assert (result, harness.count_tickets()) == ("contact_updated", 1)


async def test_a_contact_without_a_living_account_is_taken_over_for_the_second_number(
    harness: HandlerHarness,
) -> None:
    harness.sql("INSERT INTO contact_book (primary_phone, name) VALUES ('+84912000111', 'alone')")
    first, _ = await harness.process_lead(secondary_phone_number=OTHER_PHONE)
    second, result = await harness.process_lead(id="another record", phone_number=OTHER_PHONE)
    assert (result, harness.event(second)["account_id"]) == (
        "ticket_updated",
        harness.event(first)["account_id"],
    )


async def test_a_contact_that_a_person_moved_to_an_account_without_a_phone_leads_to_it(
    harness: HandlerHarness,
) -> None:
    first, _ = await harness.process_lead(id="r-1")
    target = harness.one("INSERT INTO account (display_name) VALUES ('merged') RETURNING id")["id"]
    harness.sql("UPDATE ticket SET account_id = %s WHERE source_id = 'ticket_source_pancake'", target)
    harness.sql("UPDATE contact_book SET account_id = %s", target)
    harness.sql("UPDATE account SET deleted_at = now() WHERE id = %s", harness.event(first)["account_id"])
    second, result = await harness.process_lead(id="r-2")
    assert (result, harness.event(second)["account_id"]) == ("ticket_updated", target)
    assert ticket_of(harness, second)["id"] == ticket_of(harness, first)["id"]
