"""process_record finds the customer of a lead and writes account, contact, consent and ticket; assigns it;
and compares the versions of a record.

One example of each rule, what the rows say of it, and what happens at the same time; the random histories of
tests/model try the rules together.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from leads.adapters.database import QUERIES
from leads.domain.body import ICT
from tests.support.handlers import HandlerHarness
from tests.support.leads import EARLIER, LATER, PHONE, RECORD_ID
from tests.support.postgres import PHONE_LOCK, count_deadlocks, wait_for_lock_waiter
from tests.support.processing import (
    Lock,
    Processed,
    Row,
    another_session,
    close_tickets,
    insert_account,
    process,
    process_at_once,
    stored,
    the_ticket,
)

LATEST = "2026-05-16T02:35:56"
OTHER_PHONE, OTHER_NUMBER = "0905999888", "+84905999888"


@pytest.mark.test_case("TC-004")
async def test_a_lead_becomes_account_contact_ticket_owner_and_notification(harness: HandlerHarness) -> None:
    (owner,) = harness.fill_roster(1)
    harness.sql("UPDATE pancake_connection SET chat_link = 'https://a.vn/{page_id}?w={workspace_id}'")
    lead = await process(harness, email="a@example.com", page_id="104")
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
    assert "\nChat: https://a.vn/104?w=123\n" in ticket["description"]
    (sent,) = harness.hasura.sent.values()
    assert sent["template_code"] == "noti_pancake_new_lead"
    assert sent["recipient_ids"] == [owner]
    assert sent["idempotency_key"] == f"{lead.id}:new_lead"
    assert event["notified_at"] is not None
    assert event["evidence"]["assignment"]["chosen"] == owner
    assert event["evidence"]["phone"]["winner"] == str(event["account_id"])


# The customer


STORED = (
    ("84", "905111222", "0905111222"), (None, "0905.111.222", "0905111222"),
    ("84", "84905111222", "+84 905 111 222"), ("84", "01689001009", "0389001009"),
    ("+84", "(0168) 900 1009", "0389001009"), ("65", "9123 4567", "+65 9123 4567"),
)  # fmt: skip


async def test_an_account_without_normalized_phone_is_found_and_filled(harness: HandlerHarness) -> None:
    for n, (code, number, phone) in enumerate(STORED):
        account = insert_account(harness, phone_code=code, phone_number=number)
        lead = await process(harness, id=str(n), phone_number=phone)
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


async def test_another_record_fills_the_empty_texts_of_a_contact(harness: HandlerHarness) -> None:
    named = {"name": "Trang", "email": "t@example.com", "full_address": "1 Lê Lợi"}
    await process(harness, **named)
    harness.sql("UPDATE contact_book SET name = '', email = '', address = ''")
    await process(harness, id="b", **named)
    contact = harness.one("SELECT name, email, address FROM contact_book WHERE primary_phone = %s", PHONE)
    assert list(contact.values()) == list(named.values())


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


# At the same time


@pytest.mark.test_case("TC-005")
@pytest.mark.test_case("TC-006")
async def test_fifty_records_of_one_phone_give_one_account_one_contact_one_open_ticket(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    """Once it is closed, a new record gets another ticket."""
    harness.fill_roster()
    ids = [await stored(harness, id=f"record-{n}", name=f"Khách {n}") for n in range(50)]
    results = await process_at_once(ids, harness, second_harness)
    assert results == {"ticket_created": 1, "ticket_updated": 49}
    assert harness.count("account", f"normalized_phone = '{PHONE}' AND deleted_at IS NULL") == 1
    assert harness.count("contact_book", f"primary_phone = '{PHONE}'") == 1
    assert harness.count_tickets() == 1
    close_tickets(harness)
    assert (await process(harness, id="a later record", name="C")).result == "ticket_created"
    assert harness.count_tickets() == 2


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


# Versions of a record


def title(harness: HandlerHarness) -> str:
    return str(the_ticket(harness)["title"])


@pytest.mark.test_case("TC-009")
async def test_an_older_version_changes_nothing(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await process(harness, name="New")
    ticket = the_ticket(harness)
    old = await process(harness, name="Old", modified_on=EARLIER)
    assert (old.result, old.event["ticket_id"]) == ("stale", ticket["id"])
    assert the_ticket(harness) == ticket
    assert len(harness.hasura.sent) == 1


@pytest.mark.test_case("TC-007")
async def test_a_later_version_updates_the_ticket_and_notifies_its_owner(harness: HandlerHarness) -> None:
    (owner,) = harness.fill_roster(1)
    first = await process(harness)
    harness.fill_roster(1, source="-1")
    second = await process(harness, modified_on=LATER, name="Nguyễn Văn B", email="b@example.com")
    assert second.result == "ticket_updated"
    assert first.event["ticket_id"] == second.event["ticket_id"]
    assert second.ticket["title"] == "Lead Pancake: Nguyễn Văn B"
    assert str(second.ticket["assignee_id"]) == owner
    sent = second.sent("lead_updated")
    assert (sent["template_code"], sent["recipient_ids"]) == ("noti_pancake_lead_updated", [owner])


async def test_what_others_keep_in_the_data_of_a_ticket_stays(harness: HandlerHarness) -> None:
    await process(harness)
    harness.sql("""UPDATE ticket SET data = data || '{"diva": [1]}'""")
    second = await process(harness, id="b")
    data = second.ticket["data"]
    assert (data["diva"], len(data["pancake"]["requests"])) == ([1], 2)
    harness.sql("UPDATE ticket SET data = 'null'")
    third = await process(harness, id="c")
    assert (third.result, third.ticket["data"][0]) == ("ticket_updated", None), "data that is no object"
    harness.sql("""UPDATE ticket SET data = '{"pancake": "x"}'""")
    fourth = await process(harness, id="d")
    assert (fourth.result, len(fourth.ticket["data"]["pancake"]["requests"])) == ("ticket_updated", 1)


async def test_texts_that_are_cut_are_noted_even_if_nothing_changed(harness: HandlerHarness) -> None:
    cut: dict[str, Any] = {"name": "N" * 501, "email": "e" * 321, "pancake_tags": ["t" * 201]}
    cut |= {"interested_product": ["p"] * 51}
    first, again = await process(harness, **cut), await process(harness, **cut, modified_on=LATER)
    assert (first.result, again.result) == ("ticket_created", "no_change")
    for version in (first, again):
        assert version.evidence["cut_fields"] == ["email", "interested_products", "name", "tags"]


async def test_a_source_that_has_no_name_yet_is_told_by_its_id(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    harness.insert("pancake_source", connection_id=harness.connection_id, pancake_source_id="777")
    await process(harness)
    joined = await process(harness, source=["-1", "777"], modified_on="2026-05-15T01:00:00")
    asked = await process(
        harness, source=["-1", "777"], interested_product=["Cắt mí"], modified_on="2026-05-15T02:00:00"
    )
    told = [version.sent("lead_updated")["data"]["changes"] for version in (joined, asked)]
    assert told == ["Nguồn mới: 777", "Quan tâm mới: Cắt mí (Facebook, 777)"]
    assert "Cắt mí · Facebook, 777" in asked.ticket["description"]


# At the same time


async def test_versions_with_different_phones_at_once_are_one_ticket(harness: HandlerHarness) -> None:
    harness.slow_down("ticket", 0.05)
    ids = [
        await stored(
            harness, name=f"v{day}", phone_number=f"090511122{day}", modified_on=f"2026-05-0{day}T00:00"
        )
        for day in (2, 1, 4, 3)
    ]
    results = await process_at_once(ids, harness)
    assert results["ticket_created"] == 1
    assert title(harness) == "Lead Pancake: v4"
    account = harness.one("SELECT * FROM account WHERE id = %s", the_ticket(harness)["account_id"])
    assert account["normalized_phone"] == "+84905111224"


async def test_a_changed_phone_waits_for_the_lock_of_the_old_one(harness: HandlerHarness) -> None:
    await process(harness)
    event_id = await stored(harness, phone_number="0905999888", modified_on=LATER)
    with another_session(harness, Lock.PHONE, PHONE):
        work = asyncio.create_task(harness.process(event_id))
        await wait_for_lock_waiter(harness, work, PHONE_LOCK)
    assert await work == "ticket_updated"


async def test_a_forced_old_version_beside_a_new_one_leaves_what_was_applied_last(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    old = await process(harness, name="old", modified_on=EARLIER)
    for number in range(5):
        day = f"2026-06-0{number + 1}"
        new = await stored(harness, name=f"new {number}", modified_on=day)
        await harness.replay(ids=[old.id], force=True, wait=False)
        await asyncio.gather(harness.process(old.id, "UPDATE"), second_harness.process(new))
        last = harness.one("SELECT id FROM pancake_webhook_event ORDER BY applied_at DESC NULLS LAST LIMIT 1")
        names = ["old", f"new {number}"] if last["id"] == old.id else [f"new {number}", "old"]
        assert title(harness) == f"Lead Pancake: {names[0]}"
        later = await process(harness, name=names[1], modified_on=f"{day}T12:00")
        assert (later.result, title(harness)) == ("ticket_updated", f"Lead Pancake: {names[1]}")
        assert later.event["ticket_id"] == old.event["ticket_id"]


# The owner: with the defaults neither former owners nor shifts nor caps count


async def numbered(harness: HandlerHarness, number: int, phone: int | None = None) -> Processed:
    """Process the lead of that number, with the phone of another one if given."""
    name = f"0905111{100 + (number if phone is None else phone)}"
    return await process(harness, id=f"lead-{number}", phone_number=name)


def assignment(lead: Processed) -> Row:
    found: Row = lead.evidence["assignment"]
    return found


def skipped(lead: Processed) -> dict[str, str]:
    return {each["staff_id"]: each["reason"] for each in assignment(lead)["skipped"]}


async def test_admins_who_could_not_be_told_of_the_first_waiting_ticket_are_told_of_the_next(
    harness: HandlerHarness,
) -> None:
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'admin'")
    untold = await numbered(harness, 1)
    assert (untold.event["notifications"], untold.evidence["dropped"]) == ([], ["unassigned"])
    harness.sql("UPDATE staff SET is_active = true WHERE role = 'admin'")
    assert (await numbered(harness, 2)).sent("unassigned")
    assert (await numbered(harness, 3)).event["notifications"] == []


async def test_without_managers_the_admins_are_notified_and_without_both_it_is_logged(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    """An update of a ticket without an owner goes to the managers, if there are any."""
    await process(harness)
    harness.sql("UPDATE staff SET is_active = false WHERE role = 'manager'")
    updated = await process(harness, modified_on=LATER, name="B")
    assert set(updated.sent("lead_updated")["recipient_ids"]) == harness.staff("admin")
    harness.sql("UPDATE staff SET is_active = false")
    dropped = await process(harness, modified_on=LATEST, name="C")
    assert dropped.event["notifications"] == []
    assert any("notification dropped" in line and "lead_updated" in line for line in capture_logs)
    assert await harness.scrape("pancake_notifications_total", result="dropped") == 1


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


async def test_the_former_owner_is_of_the_newest_ticket_until_too_far_ahead(harness: HandlerHarness) -> None:
    """A person moved the ticket to another member of the roster: the customer knows that one."""
    staff = harness.fill_roster(2)
    harness.change_settings(former_owner="on", max_tickets_ahead=2)
    first = await numbered(harness, 1)
    (other,) = (each for each in staff if each != first.owner)
    harness.sql("UPDATE ticket SET assignee_id = %s WHERE id = %s", other, first.event["ticket_id"])
    for number in (2, 3, 4, 5):
        close_tickets(harness)
        again = await numbered(harness, number, phone=1)
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
    found = await numbered(harness, 1)
    assert (found.owner, skipped(found)) == (staff[1], {staff[0]: "outside_shift"})
    harness.sql("UPDATE pancake_assignee SET shift = 'mon-sun 00:00-12:00, mon-sun 12:00-24:00'")
    assert (await numbered(harness, 2)).owner == staff[0]


async def test_a_daily_cap_counts_the_tickets_of_the_day_in_vietnam(harness: HandlerHarness) -> None:
    staff = harness.fill_roster(2)
    harness.sql("UPDATE pancake_assignee SET daily_cap = 1 WHERE staff_id = %s", staff[0])
    found = [await numbered(harness, number) for number in range(4)]
    assert [each.owner for each in found].count(staff[0]) == 1
    assert skipped(found[-1]) == {staff[0]: "daily_cap"}
    harness.sql("UPDATE pancake_assignee SET assigned_on = assigned_on - 1")
    later = [await numbered(harness, number) for number in (4, 5)]
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
    found = await numbered(harness, 1)
    assert (found.owner, skipped(found)) == (staff[1], {staff[0]: "open_cap"})
    harness.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_1'")
    assert (await numbered(harness, 2)).owner == staff[0]
