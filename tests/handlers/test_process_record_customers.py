"""process_record finds the customer of a lead and writes account, contact, consent and ticket.

One example of each rule, what the rows say of it, and what other programs do at the same time; the random
histories of tests/model try the rules together.
"""

import asyncio
from typing import Any

import pytest

from leads.adapters.database import QUERIES
from tests.support.handlers import HandlerHarness
from tests.support.leads import EARLIER, LATER, PHONE, RECORD_ID
from tests.support.postgres import PHONE_LOCK, count_deadlocks, wait_for_lock_waiter
from tests.support.processing import (
    OURS,
    Lock,
    another_session,
    close_tickets,
    insert_account,
    process,
    process_at_once,
    stored,
    the_ticket,
)

OTHER_PHONE, OTHER_NUMBER = "0905999888", "+84905999888"
LATEST = "2026-05-16T02:35:56"


@pytest.mark.test_case("TC-004")
async def test_a_lead_becomes_account_contact_ticket_owner_and_notification(harness: HandlerHarness) -> None:
    (owner,) = harness.fill_roster(1)
    lead = await process(harness, email="a@example.com")
    event, ticket = lead.event, lead.ticket
    assert lead.result == "ticket_created"
    assert (event["status"], event["outcome"], event["attempts"]) == ("processed", "ticket_created", 1)
    assert event["received_at"] <= event["ingested_at"] <= event["processed_at"]
    assert event["normalized_phone"] == PHONE
    account = harness.one("SELECT * FROM account WHERE id = %s", event["account_id"])
    assert (account["phone_code"], account["phone_number"]) == ("84", "0905111222")
    assert account["normalized_phone"] == PHONE
    assert account["pancake_metadata"]["record_id"] == RECORD_ID
    contact = harness.one("SELECT * FROM contact_book WHERE primary_phone = %s", PHONE)
    assert (contact["account_id"], contact["email"]) == (event["account_id"], "a@example.com")
    assert str(ticket["assignee_id"]) == lead.owner == owner
    assert ticket["contact_book_id"] == contact["id"]
    assert (ticket["source_id"], ticket["status"]) == ("ticket_source_pancake", "new")
    (sent,) = harness.hasura.sent.values()
    assert sent["template_code"] == "noti_pancake_new_lead"
    assert sent["recipient_ids"] == [owner]
    assert sent["idempotency_key"] == f"{lead.id}:new_lead"
    assert event["notified_at"] is not None
    assert event["evidence"]["assignment"]["chosen"] == owner
    assert event["evidence"]["phone"]["winner"] == str(event["account_id"])


# The customer


async def test_the_oldest_enabled_account_wins_and_a_deleted_one_is_none(harness: HandlerHarness) -> None:
    """Not the deleted account of a contact either."""
    deleted = {"deleted_at": "2026-01-01Z", "created_at": "2019-01-01Z"}
    insert_account(harness, normalized_phone=PHONE, **deleted)
    contact_of = insert_account(harness, normalized_phone=OTHER_NUMBER, **deleted)
    harness.sql("INSERT INTO contact_book (primary_phone, account_id) VALUES (%s, %s)", PHONE, contact_of)
    ids = [
        insert_account(harness, normalized_phone=PHONE, phone_enabled=enabled, created_at=f"{year}-01-01Z")
        for year, enabled in ((2023, True), (2020, False), (2021, True))
    ]
    lead = await process(harness)
    assert lead.account == ids[2]
    assert lead.evidence["phone"]["candidates"] == [ids[1], ids[2], ids[0]]


STORED = (
    ("84", "905111222", "0905111222"), (None, "0905.111.222", "0905111222"),
    ("84", "84905111222", "+84 905 111 222"), ("84", "01689001009", "0389001009"),
    ("+84", "(0168) 900 1009", "0389001009"), ("65", "9123 4567", "+65 9123 4567"),
)  # fmt: skip


@pytest.mark.own_database
async def test_an_account_without_normalized_phone_is_found_and_filled(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    """Also before the backfill has built the index of such accounts."""
    for is_indexed in (True, False):
        with subtests.test(is_indexed=is_indexed):
            if not is_indexed:
                harness.sql("DROP INDEX account_phone_not_normalized_idx")
            for n, (code, number, phone) in enumerate(STORED):
                account = insert_account(harness, phone_code=code, phone_number=number)
                lead = await process(harness, id=f"{is_indexed} {n}", phone_number=phone)
                assert lead.account == account, number
                filled = harness.one("SELECT normalized_phone FROM account WHERE id = %s", account)
                assert filled["normalized_phone"] == lead.event["normalized_phone"]
                harness.sql("UPDATE account SET deleted_at = now() WHERE id = %s", account)


async def test_consent_is_recorded_only_if_configured_and_never_changed(harness: HandlerHarness) -> None:
    off = await process(harness)
    harness.change_settings(consent_mode="record")
    recorded = await process(harness, id="b", phone_number="0905111333")
    known = await process(harness, id="c", phone_number="0912345678")
    again = await process(harness, id="d", phone_number="0905111333", name="again")
    query = "SELECT consent_data FROM customer_consent WHERE account_id = %s"
    consents = [harness.sql(query, lead.account) for lead in (off, recorded, known, again)]
    marked = [{"consent_data": {"marketing": False, "marketing_origin": "pancake_lead"}}]
    assert consents == [[], marked, [{"consent_data": {"marketing": True}}], marked]


async def test_a_body_that_grows_in_the_database_is_processed(harness: HandlerHarness) -> None:
    """jsonb adds white space and writes large numbers digit by digit."""
    numbers = ",".join(["1"] * 90_000 + ["1e90"] * 200)
    for day, result in ((1, "ticket_created"), (2, "ticket_updated")):
        lead = f'"id":"r","name":"v{day}","phone_number":"0905111222","source":[-1]'
        answer = await harness.deliver(f'{{{lead},"modified_on":"2026-05-0{day}T00:00","n":[{numbers}]}}')
        assert await harness.process(answer["event_id"]) == result


async def test_a_contact_without_an_account_is_taken_over(harness: HandlerHarness) -> None:
    harness.sql("INSERT INTO contact_book (primary_phone, name) VALUES (%s, 'alone')", OTHER_NUMBER)
    first = await process(harness, secondary_phone_number=OTHER_PHONE)
    second = await process(harness, id="another record", phone_number=OTHER_PHONE)
    assert (second.result, second.account) == ("ticket_updated", first.account)


async def test_a_contact_of_another_customer_keeps_its_account(harness: HandlerHarness) -> None:
    """Diva may have stored it after the facts were loaded: its people take no lock of a phone."""
    contacts = "SELECT primary_phone, account_id::text FROM contact_book ORDER BY primary_phone"
    lead = await process(harness, id="one")
    before = harness.sql(contacts)
    await process(harness, id="another", phone_number=OTHER_PHONE)
    after = harness.sql(contacts)
    (other,) = [row for row in after if row not in before]
    customer = dict.fromkeys(("name", "email", "address"), None) | {"now": harness.clock.now()}
    taken = {"account_id": lead.account, "phones": [other["primary_phone"]]}
    harness.session.execute(QUERIES["process_record/insert_other_contacts"], customer | taken)
    assert harness.sql(contacts) == after


# The ticket


@pytest.mark.test_case("TC-006")
async def test_a_new_record_of_a_customer_with_an_open_ticket_updates_it(harness: HandlerHarness) -> None:
    await process(harness)
    assert (await process(harness, id="another record", name="B")).result == "ticket_updated"
    assert harness.count_tickets() == 1
    close_tickets(harness)
    assert (await process(harness, id="a third record", name="C")).result == "ticket_created"
    assert harness.count_tickets() == 2


async def test_a_ticket_that_another_record_shares_stays_with_its_customer(harness: HandlerHarness) -> None:
    harness.fill_roster(2)
    first, _ = await process(harness, id="r-1"), await process(harness, id="r-2")
    corrected = await process(harness, id="r-2", phone_number=OTHER_PHONE, modified_on=LATER)
    assert corrected.result == "ticket_created"
    assert corrected.event["ticket_id"] != first.event["ticket_id"]
    assert str(first.ticket["account_id"]) == first.account
    changed = corrected.evidence["phone_changed"]
    assert (changed["ticket_before"], changed["ticket_stays"]) == (str(first.event["ticket_id"]), "shared")
    assert corrected.is_sent("phone_changed")


# What people did in Diva


async def test_a_deleted_and_a_disabled_account_are_named_as_that(harness: HandlerHarness) -> None:
    first = await process(harness)
    insert_account(harness, display_name="younger", normalized_phone=PHONE)
    for column, value, later in (("phone_enabled", "false", LATER), ("deleted_at", "now()", LATEST)):
        harness.sql(f"UPDATE account SET {column} = {value} WHERE id = %s", first.account)
        again = await process(harness, modified_on=later, name=column)
        named = {"account_id": first.account, "state": "deleted" if column == "deleted_at" else "disabled"}
        assert again.event["ticket_id"] == first.event["ticket_id"]
        assert again.evidence["ticket_account"] == named
        assert again.evidence.get("applied_account", named) == named
        assert "phone_changed" not in again.evidence


CORRECTED = f"SELECT name, email, address FROM contact_book WHERE primary_phone = '{PHONE}'"
NOSE: dict[str, Any] = {"interested_product": ["Nâng mũi"]}
LIDS: dict[str, Any] = {"id": "other", "interested_product": ["Cắt mí"], "modified_on": LATER}


def request_lines(ticket: Any) -> list[str]:
    return [line for line in ticket["description"].splitlines() if " · " in line]


async def test_a_second_request_of_a_customer_is_added_to_the_open_ticket(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await process(harness, **NOSE)
    harness.sql("UPDATE pancake_source SET is_active = true")
    second = await process(harness, **LIDS, source=["-3"], phone_number="+84 905 111 222")
    ticket = the_ticket(harness)
    assert request_lines(ticket) == [
        "15/05/2026 09:35 · Cắt mí · Instagram",
        "14/05/2026 09:35 · Nâng mũi · Facebook",
    ]
    assert ticket["title"] == "Lead Pancake: Nguyễn Văn A – Cắt mí"
    assert len(ticket["data"]["pancake"]["requests"]) == 2
    assert second.sent("lead_updated")["data"]["changes"] == "Quan tâm mới: Cắt mí (Instagram)"


async def test_a_ticket_has_the_links_of_its_connection(harness: HandlerHarness) -> None:
    harness.sql("UPDATE pancake_connection SET chat_link = 'https://a.vn/{page_id}?w={workspace_id}'")
    lead = await process(harness, page_id="104")
    workspace = harness.one("SELECT workspace_id FROM pancake_connection")["workspace_id"]
    assert f"\nChat: https://a.vn/104?w={workspace}\n" in lead.ticket["description"]
    assert "Hồ sơ" not in lead.ticket["description"]


async def test_a_request_moves_with_its_record_to_the_ticket_of_another_phone(
    harness: HandlerHarness,
) -> None:
    await process(harness, **NOSE)
    theirs = await process(harness, id="theirs", phone_number=OTHER_PHONE, interested_product=["Tắm trắng"])
    await process(harness, **LIDS)
    moved = await process(harness, **LIDS | {"phone_number": OTHER_PHONE, "modified_on": LATEST})
    assert moved.event["ticket_id"] == theirs.event["ticket_id"]
    others = harness.one(f"SELECT * FROM ticket WHERE id <> %s AND {OURS}", theirs.event["ticket_id"])
    assert [line.split(" · ")[1] for line in request_lines(moved.ticket)] == ["Cắt mí", "Tắm trắng"]
    assert [line.split(" · ")[1] for line in request_lines(others)] == ["Nâng mũi"]
    assert others["title"] == "Lead Pancake: Nguyễn Văn A – Nâng mũi"


async def test_what_people_typed_into_a_ticket_stays_and_does_not_hide_later_requests(
    harness: HandlerHarness,
) -> None:
    harness.fill_roster(1)
    await process(harness, **NOSE)
    typed = "title = 'Gấp', description = 'gấp! ' || description || ' gọi sau 17h'"
    harness.sql(f"UPDATE ticket SET {typed} WHERE {OURS}")
    second = await process(harness, **LIDS, pancake_tags=["vip"])
    found = the_ticket(harness)
    assert found["title"] == "Gấp"
    assert found["description"].startswith("gấp! === Pancake")
    assert found["description"].endswith("Pancake === gọi sau 17h")
    assert [line.split(" · ")[1] for line in request_lines(found)] == ["Cắt mí", "Nâng mũi"]
    assert second.sent("lead_updated")["data"]["changes"] == "Quan tâm mới: Cắt mí (Facebook); Thẻ mới: vip"
    harness.sql(f"UPDATE ticket SET description = 'Gọi lại sau 17 giờ' WHERE {OURS}")
    await process(harness, **LIDS | {"modified_on": LATEST}, pancake_tags=[])
    found = the_ticket(harness)
    assert found["description"].startswith("Gọi lại sau 17 giờ\n\n=== Pancake")
    assert [line.split(" · ")[1] for line in request_lines(found)] == ["Cắt mí", "Nâng mũi"]


async def test_what_people_corrected_in_a_contact_stays_until_pancake_changes_it(
    harness: HandlerHarness,
) -> None:
    lead = {"email": "a@example.com", "full_address": "1 Lê Lợi", "name": "Bi\u0300nh"}
    await process(harness, **lead)
    correction = "name = 'Chị Bình', email = 'b@example.com', address = NULL"
    harness.sql(f"UPDATE contact_book SET {correction} WHERE primary_phone = '{PHONE}'")
    await process(harness, **lead | {"name": " Bình"}, pancake_tags=["vip"], modified_on=LATER)
    contact = harness.one(CORRECTED)
    assert contact == {"name": "Chị Bình", "email": "b@example.com", "address": None}
    await process(harness, **lead | {"email": "c@example.com"}, pancake_tags=["vip"], modified_on=LATEST)
    contact = harness.one(CORRECTED)
    assert contact == {"name": "Chị Bình", "email": "c@example.com", "address": None}


# At the same time


@pytest.mark.test_case("TC-005")
async def test_fifty_records_of_one_phone_give_one_account_one_contact_one_ticket(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    harness.fill_roster()
    ids = [await stored(harness, id=f"record-{n}", name=f"Khách {n}") for n in range(50)]
    results = await process_at_once(ids, harness, second_harness)
    assert results == {"ticket_created": 1, "ticket_updated": 49}
    assert harness.count("account", f"normalized_phone = '{PHONE}' AND deleted_at IS NULL") == 1
    assert harness.count("contact_book", f"primary_phone = '{PHONE}'") == 1
    assert harness.count_tickets() == 1


@pytest.mark.own_database
async def test_concurrent_leads_with_any_phone_of_a_customer_are_one_ticket(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    account = insert_account(harness, phone_code="84", phone_number=OTHER_PHONE)
    await process(harness, id="contact", table_id="contact", secondary_phone_number=OTHER_PHONE)
    phones: list[Any] = ["0905111222", OTHER_PHONE, ["0905111222", OTHER_PHONE], [OTHER_PHONE, "0905111222"]]
    ids = [await stored(harness, id=f"r-{n}", name=None, phone_number=phones[n % 4]) for n in range(40)]
    results = await process_at_once(ids, harness, second_harness)
    assert results == {"ticket_created": 1, "ticket_updated": 39}
    assert harness.count("pancake_webhook_event", f"account_id <> '{account}'") == 0
    assert await count_deadlocks(harness, second_harness) == 0


async def test_a_contact_inserted_while_waiting_for_locks_causes_new_locks(harness: HandlerHarness) -> None:
    """The lock of its customer's own phone was not taken: another process could work on the customer."""
    insert_account(harness, phone_code="84", phone_number=OTHER_PHONE)
    before = await process(harness, id="both", secondary_phone_number=OTHER_PHONE)
    harness.sql("UPDATE contact_book SET primary_phone = NULL")
    other_lock = f"{PHONE_LOCK} AND objid = hashtext('{OTHER_NUMBER}')::bigint & x'ffffffff'::bigint"
    with another_session(harness, Lock.PHONE, OTHER_NUMBER):
        with another_session(harness, Lock.PHONE, PHONE) as first:
            work = asyncio.create_task(process(harness, id="first alone"))
            await wait_for_lock_waiter(harness, work, PHONE_LOCK)
            first.execute(
                "UPDATE contact_book SET primary_phone = %s WHERE account_id = %s", (PHONE, before.account)
            )
        await wait_for_lock_waiter(harness, work, other_lock)
    lead = await work
    assert (lead.result, lead.event["ticket_id"]) == ("ticket_updated", before.event["ticket_id"])
    assert lead.event["attempts"] == 1


async def test_a_ticket_closed_while_a_lead_is_processed_does_not_absorb_it(harness: HandlerHarness) -> None:
    harness.fill_roster(2)
    before = await process(harness)
    with another_session(harness) as telesale:
        telesale.execute("UPDATE ticket SET status = 'done' WHERE id = %s", (before.ticket["id"],))
        work = asyncio.create_task(process(harness, modified_on=LATER, interested_product=["Gói B"]))
        await wait_for_lock_waiter(harness, work)
    lead = await work
    assert lead.result == "ticket_created"
    assert lead.sent("new_lead")["recipient_ids"] == [lead.owner]
    assert lead.owner != before.owner
    assert before.ticket["title"] == "Lead Pancake: Nguyễn Văn A"


async def test_a_phone_that_diva_changes_at_the_same_time_stays(harness: HandlerHarness) -> None:
    account = insert_account(harness, phone_code="84", phone_number="0905111222")
    with another_session(harness) as diva:
        diva.execute("UPDATE account SET phone_number = '0912000111' WHERE id = %s", (account,))
        work = asyncio.create_task(process(harness))
        await wait_for_lock_waiter(harness, work)
    assert (await work).account == account
    phone = harness.one("SELECT normalized_phone FROM account WHERE id = %s", account)["normalized_phone"]
    assert phone is None
    other = await process(harness, id="other", phone_number="0912000111", modified_on=EARLIER)
    assert other.account == account
