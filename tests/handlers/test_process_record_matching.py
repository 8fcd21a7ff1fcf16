"""process_record finds the customer of a lead and writes account, contact and consent."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from leads.adapters.queries import QUERIES
from tests.support.handlers import HandlerHarness
from tests.support.leads import PHONE
from tests.support.locks import PHONE_LOCK, count_deadlocks, wait_for_lock_waiter


async def test_the_oldest_enabled_account_wins_and_all_candidates_are_recorded(
    harness: HandlerHarness,
) -> None:
    ids = [
        harness.one(
            "INSERT INTO account (display_name, normalized_phone, phone_enabled, created_at)"
            " VALUES ('x', %s, %s, %s) RETURNING id::text",
            PHONE,
            enabled,
            datetime(2020 + year, 1, 1, tzinfo=UTC),
        )["id"]
        for year, enabled in ((3, True), (0, False), (1, True))
    ]
    event_id, _ = await harness.process_lead()
    event = harness.event(event_id)
    assert str(event["account_id"]) == ids[2]
    assert event["evidence"]["phone"]["candidates"] == [ids[1], ids[2], ids[0]]


async def test_a_deleted_account_is_no_candidate(harness: HandlerHarness) -> None:
    harness.sql(
        "INSERT INTO account (display_name, normalized_phone, deleted_at) VALUES ('x', %s, now())", PHONE
    )
    event_id, _ = await harness.process_lead()
    assert harness.event(event_id)["evidence"]["phone"]["candidates"] == []


STORED = (
    ("84", "905111222", "0905111222"),
    (None, "0905.111.222", "0905111222"),
    ("84", "84905111222", "+84 905 111 222"),
    ("84", "01689001009", "0389001009"),
    ("+84", "(0168) 900 1009", "0389001009"),
    ("65", "9123 4567", "+65 9123 4567"),
)


@pytest.mark.own_database
@pytest.mark.parametrize("is_indexed", [True, False])
async def test_an_account_without_normalized_phone_is_found_and_filled(
    harness: HandlerHarness, is_indexed: bool
) -> None:
    """Also before the backfill has built the index of such accounts."""
    if not is_indexed:
        harness.sql("DROP INDEX account_phone_not_normalized_idx")
    insert = "INSERT INTO account (display_name, phone_code, phone_number) VALUES ('x', %s, %s) RETURNING id"
    for n, (code, number, phone) in enumerate(STORED):
        account = harness.one(insert, code, number)
        event_id, _ = await harness.process_lead(id=f"r-{n}", phone_number=phone)
        event = harness.event(event_id)
        assert event["account_id"] == account["id"], number
        stored = harness.one("SELECT normalized_phone FROM account WHERE id = %s", account["id"])
        assert stored["normalized_phone"] == event["normalized_phone"]
        harness.sql("UPDATE account SET deleted_at = now() WHERE id = %s", account["id"])


async def test_an_account_is_found_by_the_phone_that_another_program_set(
    harness: HandlerHarness,
) -> None:
    event_id, _ = await harness.process_lead()
    account = harness.event(event_id)["account_id"]
    harness.sql("UPDATE account SET phone_number = '0905 333 444' WHERE id = %s", account)
    assert (
        harness.one("SELECT normalized_phone FROM account WHERE id = %s", account)["normalized_phone"] is None
    )
    former, _ = await harness.process_lead(id="former")
    assert harness.event(former)["account_id"] != account
    other, _ = await harness.process_lead(id="other", phone_number="0905333444")
    assert harness.event(other)["account_id"] == account
    third, _ = await harness.process_lead(id="third")
    assert harness.event(third)["account_id"] != account


async def test_pancake_metadata_is_merged(harness: HandlerHarness) -> None:
    harness.sql(
        "INSERT INTO account (display_name, normalized_phone, pancake_metadata) VALUES ('x', %s, %s)",
        PHONE,
        json.dumps({"kept": 1, "name": "before"}),
    )
    event_id, _ = await harness.process_lead()
    found = harness.one("SELECT * FROM account WHERE id = %s", harness.event(event_id)["account_id"])
    assert (found["pancake_metadata"]["kept"], found["pancake_metadata"]["name"]) == (1, "Nguyễn Văn A")
    assert found["display_name"] == "x"


async def test_consent_is_recorded_only_if_configured_and_never_changed(harness: HandlerHarness) -> None:
    off, _ = await harness.process_lead()
    harness.change_settings(consent_mode="record")
    recorded, _ = await harness.process_lead(id="b", phone_number="0905111333")
    known, _ = await harness.process_lead(id="c", phone_number="0912345678")
    again, _ = await harness.process_lead(id="d", phone_number="0905111333", name="again")
    consent = {
        event_id: harness.sql(
            "SELECT consent_data FROM customer_consent WHERE account_id = %s",
            harness.event(event_id)["account_id"],
        )
        for event_id in (off, recorded, known, again)
    }
    marked = [{"consent_data": {"marketing": False, "marketing_origin": "pancake_lead"}}]
    assert consent == {
        off: [],
        recorded: marked,
        known: [{"consent_data": {"marketing": True}}],
        again: marked,
    }


async def test_without_a_usable_phone_the_row_is_a_dead_letter_until_the_phone_is_corrected(
    harness: HandlerHarness,
) -> None:
    event_id, result = await harness.process_lead(phone_number="0905")
    event = harness.event(event_id)
    assert (result, event["status"], event["error_code"]) == ("dead_letter", "dead_letter", "invalid_phone")
    assert event["next_attempt_at"] is None
    harness.sql(
        "UPDATE pancake_webhook_event SET status = 'received',"
        ' evidence = evidence || \'{"corrected_phone": "0905 111 222"}\' WHERE id = %s',
        event_id,
    )
    assert await harness.process(event_id, "UPDATE") == "ticket_created"
    event = harness.event(event_id)
    assert (event["normalized_phone"], event["error_code"]) == (PHONE, None)


async def test_a_body_that_grows_beyond_the_ingest_limit_in_the_database_is_processed(
    harness: HandlerHarness,
) -> None:
    """jsonb adds white space and writes large numbers digit by digit."""
    numbers = ",".join(["1"] * 90_000 + ["1e90"] * 200)
    for day, result in ((1, "ticket_created"), (2, "ticket_updated")):
        lead = f'"id":"r","name":"v{day}","phone_number":"0905111222","source":[-1]'
        answer = await harness.deliver(f'{{{lead},"modified_on":"2026-05-0{day}T00:00","n":[{numbers}]}}')
        assert await harness.process(answer["event_id"]) == result


OTHER_PHONE = "0905999888"


def known_by_another_phone(harness: HandlerHarness) -> str:
    """Insert an account with OTHER_PHONE; return its id."""
    account = harness.one(
        "INSERT INTO account (display_name, phone_code, phone_number, phone_enabled)"
        " VALUES ('X', '84', %s, true) RETURNING id::text",
        OTHER_PHONE,
    )
    return str(account["id"])


async def test_a_lead_with_the_phone_of_a_contact_belongs_to_the_contacts_account(
    harness: HandlerHarness,
) -> None:
    harness.fill_roster(2)
    account = known_by_another_phone(harness)
    _, result = await harness.process_lead(id="both", secondary_phone_number=OTHER_PHONE)
    assert result == "ticket_created"
    event_id, result = await harness.process_lead(id="first alone")
    assert result == "ticket_updated"
    assert str(harness.event(event_id)["account_id"]) == account
    assert harness.event(event_id)["evidence"]["phone"]["candidates"] == [account]
    assert harness.count("account", f"normalized_phone = '{PHONE}'") == 0
    assert (
        str(harness.one("SELECT account_id FROM contact_book WHERE primary_phone = %s", PHONE)["account_id"])
        == account
    )
    assert (
        str(harness.one("SELECT normalized_phone AS p FROM account WHERE id = %s", account)["p"])
        == "+84905999888"
    )


async def test_a_contact_of_another_customer_keeps_its_account(harness: HandlerHarness) -> None:
    """Diva may have stored it after the facts were loaded: its people take no lock of a phone."""
    contacts = "SELECT primary_phone, account_id::text FROM contact_book ORDER BY primary_phone"
    event_id, _ = await harness.process_lead(id="one")
    before = harness.sql(contacts)
    await harness.process_lead(id="another", phone_number=OTHER_PHONE)
    after = harness.sql(contacts)
    (other,) = [row for row in after if row not in before]
    customer = dict.fromkeys(("name", "email", "address"), None) | {"now": harness.clock.now()}
    taken = {"account_id": harness.event(event_id)["account_id"], "phones": [other["primary_phone"]]}
    harness.session.execute(QUERIES["process_record/insert_other_contacts"], customer | taken)
    assert harness.sql(contacts) == after


async def test_concurrent_leads_with_any_phone_of_a_customer_are_one_ticket(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    account = known_by_another_phone(harness)
    await harness.process_lead(id="contact", table_id="contact", secondary_phone_number=OTHER_PHONE)
    phones: list[Any] = ["0905111222", OTHER_PHONE, ["0905111222", OTHER_PHONE], [OTHER_PHONE, "0905111222"]]
    answers = [
        await harness.deliver({"id": f"r-{n}", "phone_number": phones[n % 4], "source": [-1]})
        for n in range(40)
    ]
    results = await asyncio.gather(
        *((harness, second_harness)[n % 2].process(a["event_id"]) for n, a in enumerate(answers))
    )
    assert Counter(results) == {"ticket_created": 1, "ticket_updated": 39}
    assert harness.count("pancake_webhook_event", f"account_id <> '{account}'") == 0
    assert await count_deadlocks(harness, second_harness) == 0


async def test_a_contact_inserted_while_waiting_for_locks_causes_new_locks(
    harness: HandlerHarness,
) -> None:
    """The lock of its customer's own phone was not taken: another process could work on the customer."""
    known_by_another_phone(harness)
    before, _ = await harness.process_lead(id="both", secondary_phone_number=OTHER_PHONE)
    harness.sql("UPDATE contact_book SET primary_phone = NULL")
    take = "SELECT pg_advisory_xact_lock(2, hashtext(%s))"
    with psycopg.connect(harness.database_url) as first, psycopg.connect(harness.database_url) as second:
        first.execute(take, (PHONE,))
        second.execute(take, ("+84905999888",))
        work = asyncio.create_task(harness.process_lead(id="first alone"))
        await wait_for_lock_waiter(harness, work, PHONE_LOCK)
        account = harness.event(before)["account_id"]
        first.execute("UPDATE contact_book SET primary_phone = %s WHERE account_id = %s", (PHONE, account))
        first.commit()
        await wait_for_lock_waiter(
            harness, work, f"{PHONE_LOCK} AND objid = hashtext('+84905999888')::bigint & x'ffffffff'::bigint"
        )
        second.commit()
    event_id, result = await work
    event = harness.event(event_id)
    assert (result, event["ticket_id"]) == ("ticket_updated", harness.event(before)["ticket_id"])
    assert event["attempts"] == 1
