"""The event trigger's handler: from a received row to account, contact, ticket, owner, notifications."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from handlers.process_record import apply_record, process_record, take_claim
from leads.adapters.database import Database
from leads.adapters.hasura_calls import EventCall
from leads.domain.errors import Overloaded
from leads.services.outbox import SEND_LEASE
from tests.handlers.conftest import Crash, House, crashing, deadlocks, running

PHONE = "+84905111222"
RECORD = "2f941efe-d9a3-4d9a-affe-e123b06b8a44"
LATER = "2026-05-15T02:35:56"
EARLIER = "2026-05-13T02:35:56"
A_PHONE = "locktype = 'advisory' AND classid = 2"
A_ROW = "locktype = 'transactionid'"
"""Locks that are waited for: the phone's, and one that another transaction has on a row."""


def count(house: House, table: str, where: str = "true") -> int:
    return int(house.one(f"SELECT count(*) FROM {table} WHERE {where}")["count"])


def tickets(house: House) -> int:
    return count(house, "ticket", "source_id = 'ticket_source_pancake'")


def refuse_tickets(house: House, reason: str, times: int) -> None:
    """Let the next inserts of a ticket end with `reason`, a PL/pgSQL statement."""
    house.sql("CREATE SEQUENCE IF NOT EXISTS refused")
    house.sql(
        "CREATE OR REPLACE FUNCTION refuse_ticket() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('refused') <= {times} THEN {reason}; END IF; RETURN NEW; END $$"
    )
    house.sql(
        "CREATE OR REPLACE TRIGGER refuse_ticket BEFORE INSERT ON ticket"
        " FOR EACH ROW EXECUTE FUNCTION refuse_ticket()"
    )


# --- the main job


async def test_a_lead_becomes_account_contact_ticket_owner_and_notification(house: House) -> None:
    owner = house.roster(1)[0]
    event_id, result = await house.lead(email="a@example.com")
    event = house.event(event_id)
    assert result == "ticket_created"
    assert (event["status"], event["outcome"], event["attempts"]) == ("processed", "ticket_created", 1)
    assert event["received_at"] <= event["ingested_at"] <= event["processed_at"]
    assert event["normalized_phone"] == PHONE
    account = house.one("SELECT * FROM account WHERE id = %s", event["account_id"])
    assert (account["phone_code"], account["phone_number"]) == ("84", "0905111222")
    assert account["normalized_phone"] == PHONE
    assert account["pancake_metadata"]["record_id"] == RECORD
    contact = house.one("SELECT * FROM contact_book WHERE primary_phone = %s", PHONE)
    assert (contact["account_id"], contact["email"]) == (event["account_id"], "a@example.com")
    ticket = house.one("SELECT * FROM ticket WHERE id = %s", event["ticket_id"])
    assert str(ticket["assignee_id"]) == str(event["assignee_id"]) == owner
    assert ticket["contact_book_id"] == contact["id"]
    assert (ticket["source_id"], ticket["status"]) == ("ticket_source_pancake", "new")
    (sent,) = house.hasura.sent.values()
    assert sent["template_code"] == "noti_pancake_new_lead"
    assert sent["recipient_ids"] == [owner]
    assert sent["idempotency_key"] == f"{event_id}:new_lead"
    assert event["notified_at"] is not None
    assert event["evidence"]["assignment"]["chosen"] == owner
    assert event["evidence"]["phone"]["winner"] == str(event["account_id"])


async def test_fifty_records_of_one_phone_give_one_account_one_contact_one_ticket(
    house: House, second_house: House
) -> None:
    house.roster()
    answers = await asyncio.gather(
        *(
            house.deliver(
                {"id": f"record-{n}", "name": f"Khách {n}", "phone_number": "0905 111 222", "source": [-1]}
            )
            for n in range(50)
        )
    )
    results = await asyncio.gather(
        *((house, second_house)[n % 2].process(a["event_id"]) for n, a in enumerate(answers))
    )
    assert Counter(results) == {"ticket_created": 1, "ticket_updated": 49}
    assert count(house, "account", f"normalized_phone = '{PHONE}'") == 1
    assert count(house, "contact_book", f"primary_phone = '{PHONE}'") == 1
    assert tickets(house) == 1


async def test_fifty_leads_at_once_are_shared_out_exactly(house: House, second_house: House) -> None:
    staff = house.roster(4)
    answers = await asyncio.gather(
        *(
            house.deliver({"id": f"r-{n}", "phone_number": f"09051112{n:02}", "source": [-1]})
            for n in range(50)
        )
    )
    results = await asyncio.gather(
        *((house, second_house)[n % 2].process(a["event_id"]) for n, a in enumerate(answers))
    )
    assert set(results) == {"ticket_created"}
    rows = house.sql("SELECT assignee_id::text FROM ticket WHERE source_id = 'ticket_source_pancake'")
    owned = Counter(row["assignee_id"] for row in rows)
    assert sum(owned.values()) == 50
    assert max(owned[s] for s in staff) - min(owned[s] for s in staff) <= 1
    members = house.sql("SELECT staff_id::text, assigned_count, total_assigned FROM pancake_assignee")
    assert {m["staff_id"]: m["total_assigned"] for m in members} == owned
    assert [m["assigned_count"] for m in members] == [m["total_assigned"] for m in members]


# --- deliveries of the trigger


async def test_a_doubled_late_or_redelivered_event_changes_nothing(house: House) -> None:
    house.roster(1)
    event_id, _ = await house.lead()
    before = house.event(event_id)
    assert [await house.process(event_id, op) for op in ("INSERT", "UPDATE", "INSERT")] == [
        "not_received"
    ] * 3
    assert house.event(event_id) == before
    assert (tickets(house), len(house.hasura.sent), house.hasura.calls) == (1, 1, 1)


async def test_an_event_delivered_by_many_at_once_is_worked_on_once(
    house: House, second_house: House
) -> None:
    event_id = (await house.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    results = await asyncio.gather(*((house, second_house)[n % 2].process(event_id) for n in range(20)))
    assert Counter(results) == {"ticket_created": 1, "not_received": 19}
    assert house.event(event_id)["attempts"] == 1
    assert (tickets(house), len(house.hasura.sent)) == (1, 1)


async def test_an_event_of_a_row_that_does_not_exist_is_answered(house: House) -> None:
    assert await house.process(999_999) == "not_received"
    assert await house.process(10**17) == "not_received"


async def test_setting_received_by_hand_processes_the_row_again_without_doubling(house: House) -> None:
    house.roster(2)
    event_id, _ = await house.lead()
    first = house.event(event_id)
    house.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    assert await house.process(event_id, "UPDATE") == "no_change"
    event = house.event(event_id)
    assert (tickets(house), len(house.hasura.sent)) == (1, 1)
    assert (event["replay_count"], event["replayed_by"], event["attempts"]) == (1, "postgres", 1)
    kept = ("outcome", "assignee_id", "ticket_id", "account_id")
    assert {key: event[key] for key in kept} == {key: first[key] for key in kept}


async def test_every_delivery_twice_the_second_time_in_reverse_by_two_processes(
    house: House, second_house: House
) -> None:
    house.roster(3)
    phones = [f"09051113{n:02}" for n in range(12)]
    bodies: list[dict[str, Any]] = [
        {"id": f"r-{n}", "phone_number": [phones[n % 12], phones[(n * 5 + 1) % 12]], "source": [-1]}
        for n in range(60)
    ]
    ids = [(await house.deliver(body))["event_id"] for body in bodies]
    async with asyncio.timeout(60):
        results = await asyncio.gather(
            *(house.process(event_id) for event_id in ids),
            *(second_house.process(event_id) for event_id in reversed(ids)),
        )
    assert Counter(results)["not_received"] == 60
    assert count(house, "pancake_webhook_event", "status = 'processed'") == 60
    doubled = "SELECT normalized_phone FROM account GROUP BY 1 HAVING count(*) > 1 AND normalized_phone <> ''"
    assert house.sql(doubled) == []
    assert await deadlocks(house, second_house) == 0


# --- people at the console


async def test_invoking_by_hand_replays_what_was_not_done_and_nothing_else(house: House) -> None:
    house.roster(1)
    done, _ = await house.lead()
    waiting = (await house.deliver({"id": "w", "phone_number": "0905111333", "source": [-1]}))["event_id"]
    claimed = (await house.deliver({"id": "c", "phone_number": "0905111444", "source": [-1]}))["event_id"]
    assert await take_claim(house.runtime, claimed) is not None
    held = (await house.deliver({"id": "h", "phone_number": "0905111555", "source": [-3]}))["event_id"]
    dead = (await house.deliver({"id": "d", "phone_number": "none", "source": [-1]}))["event_id"]
    assert await house.process(dead) == "failed"
    results = {i: await house.process(i, "MANUAL") for i in (done, waiting, claimed, held, dead)}
    assert results == {
        done: "not_received",
        waiting: "ticket_created",
        claimed: "not_received",
        held: "replayed",
        dead: "replayed",
    }
    for event_id in (held, dead):
        event = house.event(event_id)
        assert (event["status"], event["replayed_by"], event["attempts"]) == ("received", "console", 0)
        assert event["replay_count"] == 1
        assert event["replayed_at"] is not None
    house.sql("UPDATE pancake_source SET is_active = true")
    assert await house.process(held, "UPDATE") == "ticket_created"
    assert await house.process(dead, "UPDATE") == "failed"
    assert house.event(claimed)["status"] == "ingested"


async def test_replay_by_hand_is_refused_while_the_kill_switch_is_on(house: House) -> None:
    dead = (await house.deliver({"id": "d", "phone_number": "none", "source": [-1]}))["event_id"]
    await house.process(dead)
    house.switch(kill_switch=True)
    assert await house.process(dead, "MANUAL") == "kill_switch_on"
    assert house.event(dead)["status"] == "dead_letter"


async def test_a_failed_row_is_replayed_at_once_by_hand(house: House) -> None:
    refuse_tickets(house, "RAISE EXCEPTION 'no'", 1)
    event_id, result = await house.lead()
    assert result == "failed"
    assert await house.process(event_id, "MANUAL") == "replayed"
    assert house.event(event_id)["next_attempt_at"] is None
    assert await house.process(event_id, "UPDATE") == "ticket_created"


async def test_what_was_no_record_stays_a_dead_letter_whoever_replays_it(house: House) -> None:
    invalid = ((b"not json", "invalid_payload"), (b'{"name": "no id"}', "missing_record_id"))
    for body_, code in invalid:
        event_id = (await house.deliver(body_))["event_id"]
        assert await house.process(event_id, "MANUAL") == "not_received"
        house.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
        assert await house.process(event_id, "UPDATE") == "failed"
        event = house.event(event_id)
        assert (event["status"], event["error_code"]) == ("dead_letter", code)


# --- switches


async def test_while_paused_the_engine_is_told_to_come_back_and_nothing_changes(house: House) -> None:
    event_id = (await house.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    before = house.event(event_id)
    house.switch(processing_paused=True)
    for op in ("INSERT", "UPDATE", "MANUAL"):
        response = await house.fire(event_id, op)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
        assert response.json()["extensions"] == {"code": "processing_paused"}
    assert house.event(event_id) == before
    house.switch(processing_paused=False)
    assert await house.process(event_id) == "ticket_created"


async def test_the_switches_are_read_again_at_the_claim(house: House) -> None:
    first = (await house.deliver({"id": "a", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    second = (await house.deliver({"id": "b", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    house.switch(kill_switch=True)
    assert await house.process(first) == "skipped_kill_switch"
    house.switch(kill_switch=False)
    house.sql("UPDATE pancake_source SET is_active = false")
    assert await house.process(second) == "skipped_source_disabled"
    for event_id in (first, second):
        event = house.event(event_id)
        assert (event["attempts"], event["ingested_at"], event["claim_id"]) == (0, None, None)
        assert event["held_at"] is not None
    assert tickets(house) == 0


@pytest.mark.parametrize("switch", ["skipped_kill_switch", "skipped_source_disabled"])
async def test_a_switch_that_goes_off_between_claim_and_work_holds_the_row(house: House, switch: str) -> None:
    event_id = (await house.deliver({"id": "a", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    claim = await take_claim(house.runtime, event_id)
    assert claim is not None
    if switch == "skipped_kill_switch":
        house.switch(kill_switch=True)
    else:
        house.sql("UPDATE pancake_source SET is_active = false")
    assert await apply_record(house.runtime, claim) == (switch, [])
    assert house.event(event_id)["status"] == switch
    assert tickets(house) == 0


# --- versions


async def test_an_older_version_changes_nothing(house: House) -> None:
    house.roster(1)
    await house.lead(name="New")
    ticket = house.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'")
    event_id, result = await house.lead(name="Old", modified_on=EARLIER)
    assert result == "stale"
    assert house.event(event_id)["ticket_id"] == ticket["id"]
    assert house.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'") == ticket
    assert len(house.hasura.sent) == 1


async def test_a_later_version_without_news_changes_nothing_and_tells_nobody(house: House) -> None:
    house.roster(1)
    await house.lead()
    event_id, result = await house.lead(modified_on=LATER, owner=["somebody"])
    assert result == "no_change"
    assert house.event(event_id)["notifications"] == []
    assert len(house.hasura.sent) == 1


async def test_a_later_version_updates_the_ticket_and_tells_its_owner(house: House) -> None:
    owner = house.roster(1)[0]
    first, _ = await house.lead()
    house.roster(1, source="-1")
    second, result = await house.lead(modified_on=LATER, name="Nguyễn Văn B", email="b@example.com")
    assert result == "ticket_updated"
    assert house.event(first)["ticket_id"] == house.event(second)["ticket_id"]
    ticket = house.one("SELECT * FROM ticket WHERE id = %s", house.event(second)["ticket_id"])
    assert (ticket["title"], str(ticket["assignee_id"])) == ("Lead Pancake: Nguyễn Văn B", owner)
    sent = house.hasura.sent[f"{second}:lead_updated"]
    assert (sent["template_code"], sent["recipient_ids"]) == ("noti_pancake_lead_updated", [owner])


async def test_versions_in_any_order_end_in_the_newest(house: House) -> None:
    house.roster(1)
    record = {"id": "r", "phone_number": "0905111222", "source": [-1]}
    answers = [
        await house.deliver(record | {"name": f"v{day}", "modified_on": f"2026-05-0{day}T00:00"})
        for day in (3, 1, 5, 2, 4)
    ]
    await asyncio.gather(*(house.process(a["event_id"]) for a in answers))
    assert house.one("SELECT title FROM ticket WHERE source_id = 'ticket_source_pancake'") == {
        "title": "Lead Pancake: v5"
    }


async def test_versions_with_different_phones_at_once_are_one_record_with_one_ticket(house: House) -> None:
    house.slow_down("ticket", 0.05)
    record = {"id": "r", "source": [-1]}
    answers = [
        await house.deliver(
            record | {"phone_number": f"090511122{day}", "modified_on": f"2026-05-0{day}T00:00"}
        )
        for day in (2, 1, 4, 3)
    ]
    results = await asyncio.gather(*(house.process(a["event_id"]) for a in answers))
    assert Counter(results)["ticket_created"] == 1
    account = house.one("SELECT a.normalized_phone FROM ticket AS t JOIN account AS a ON a.id = t.account_id"
                        " WHERE t.source_id = 'ticket_source_pancake'")  # fmt: skip
    assert account == {"normalized_phone": "+84905111224"}


async def test_what_a_later_version_leaves_out_stays_in_the_contact(house: House) -> None:
    await house.lead(email="a@example.com", full_address="Hà Nội")
    await house.lead(modified_on=LATER, name="B")
    contact = house.one("SELECT name, email, address FROM contact_book WHERE primary_phone = %s", PHONE)
    assert contact == {"name": "B", "email": "a@example.com", "address": "Hà Nội"}


async def test_a_new_record_of_a_customer_with_an_open_ticket_updates_it(house: House) -> None:
    await house.lead()
    _, result = await house.lead(id="another record", name="B")
    assert (result, tickets(house)) == ("ticket_updated", 1)
    house.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_pancake'")
    _, result = await house.lead(id="a third record", name="C")
    assert (result, tickets(house)) == ("ticket_created", 2)


async def test_open_tickets_from_elsewhere_are_not_touched(house: House) -> None:
    before = house.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_1'")
    _, result = await house.lead(phone_number="0912345678")
    assert result == "ticket_created"
    assert house.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_1'") == before


async def test_another_phone_takes_the_ticket_to_the_other_customer(house: House) -> None:
    owner = house.roster(1)[0]
    first, _ = await house.lead()
    second, result = await house.lead(modified_on=LATER, phone_number="0912345678")
    before, after = house.event(first), house.event(second)
    assert result == "ticket_updated"
    assert after["ticket_id"] == before["ticket_id"]
    assert str(after["account_id"]) == "d0000000-0000-4000-8000-000000000001"
    ticket = house.one("SELECT * FROM ticket WHERE id = %s", after["ticket_id"])
    assert ticket["account_id"] == after["account_id"]
    assert after["evidence"]["phone_changed"] == {
        "account_before": str(before["account_id"]),
        "phone_before": PHONE,
        "ticket_before": str(before["ticket_id"]),
    }
    attention = house.hasura.sent[f"{second}:phone_changed"]
    assert attention["template_code"] == "noti_pancake_needs_attention"
    assert owner in attention["recipient_ids"]
    assert len(attention["recipient_ids"]) == 4


async def test_a_record_that_changes_its_phone_waits_for_who_works_on_the_old_one(house: House) -> None:
    await house.lead()
    answer = await house.deliver(
        {"id": RECORD, "phone_number": "0905999888", "source": [-1], "modified_on": LATER}
    )
    with psycopg.connect(house.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(2, hashtext(%s))", (PHONE,))
        work = asyncio.create_task(house.process(answer["event_id"]))
        await until_somebody_waits(house, work, A_PHONE)
        other.rollback()
    assert await work == "ticket_updated"


# --- customers


async def test_of_several_accounts_the_oldest_enabled_one_wins_and_all_are_named(house: House) -> None:
    ids = [
        house.one(
            "INSERT INTO account (display_name, normalized_phone, phone_enabled, created_at)"
            " VALUES ('x', %s, %s, %s) RETURNING id::text",
            PHONE,
            enabled,
            datetime(2020 + year, 1, 1, tzinfo=UTC),
        )["id"]
        for year, enabled in ((3, True), (0, False), (1, True))
    ]
    event_id, _ = await house.lead()
    event = house.event(event_id)
    assert str(event["account_id"]) == ids[2]
    assert event["evidence"]["phone"]["candidates"] == [ids[1], ids[2], ids[0]]


async def test_a_deleted_account_is_no_candidate(house: House) -> None:
    house.sql(
        "INSERT INTO account (display_name, normalized_phone, deleted_at) VALUES ('x', %s, now())", PHONE
    )
    event_id, _ = await house.lead()
    assert house.event(event_id)["evidence"]["phone"]["candidates"] == []


STORED = (
    ("84", "905111222", "0905111222"),
    (None, "0905.111.222", "0905111222"),
    ("84", "84905111222", "+84 905 111 222"),
    ("84", "01689001009", "0389001009"),
    ("+84", "(0168) 900 1009", "0389001009"),
    ("65", "9123 4567", "+65 9123 4567"),
)


async def test_an_account_not_normalised_yet_is_found_filled_and_never_doubled(house: House) -> None:
    insert = "INSERT INTO account (display_name, phone_code, phone_number) VALUES ('x', %s, %s) RETURNING id"
    for n, (code, number, phone) in enumerate(STORED):
        account = house.one(insert, code, number)
        event_id, _ = await house.lead(id=f"r-{n}", phone_number=phone)
        event = house.event(event_id)
        assert event["account_id"] == account["id"], number
        stored = house.one("SELECT normalized_phone FROM account WHERE id = %s", account["id"])
        assert stored["normalized_phone"] == event["normalized_phone"]
        house.sql("UPDATE account SET deleted_at = now() WHERE id = %s", account["id"])


async def test_an_account_whose_phone_another_program_changes_is_found_by_the_new_one(house: House) -> None:
    event_id, _ = await house.lead()
    account = house.event(event_id)["account_id"]
    house.sql("UPDATE account SET phone_number = '0905 333 444' WHERE id = %s", account)
    assert (
        house.one("SELECT normalized_phone FROM account WHERE id = %s", account)["normalized_phone"] is None
    )
    other, _ = await house.lead(id="other", phone_number="0905333444")
    assert house.event(other)["account_id"] == account
    third, _ = await house.lead(id="third")
    assert house.event(third)["account_id"] != account


async def test_pancake_metadata_is_merged(house: House) -> None:
    house.sql(
        "INSERT INTO account (display_name, normalized_phone, pancake_metadata) VALUES ('x', %s, %s)",
        PHONE,
        json.dumps({"kept": 1, "name": "before"}),
    )
    event_id, _ = await house.lead()
    found = house.one("SELECT * FROM account WHERE id = %s", house.event(event_id)["account_id"])
    assert (found["pancake_metadata"]["kept"], found["pancake_metadata"]["name"]) == (1, "Nguyễn Văn A")
    assert found["display_name"] == "x"


async def test_consent_is_recorded_only_when_asked_for_and_never_changed(house: House) -> None:
    off, _ = await house.lead()
    house.switch(consent_mode="record")
    recorded, _ = await house.lead(id="b", phone_number="0905111333")
    known, _ = await house.lead(id="c", phone_number="0912345678")
    again, _ = await house.lead(id="d", phone_number="0905111333", name="again")
    consent = {
        event_id: house.sql(
            "SELECT consent_data FROM customer_consent WHERE account_id = %s",
            house.event(event_id)["account_id"],
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


async def test_accounts_and_contacts_update_the_customer_and_make_no_ticket(house: House) -> None:
    for table in ("account", "contact"):
        event_id, result = await house.lead(table_id=table, id=table, name=table)
        assert (result, tickets(house)) == ("contact_updated", 0)
        assert house.one("SELECT name FROM contact_book WHERE primary_phone = %s", PHONE) == {"name": table}
        assert house.hasura.sent == {}
        assert house.event(event_id)["ticket_id"] is None


async def test_without_a_usable_phone_the_row_is_a_dead_letter_until_the_phone_is_corrected(
    house: House,
) -> None:
    event_id, result = await house.lead(phone_number="0905")
    event = house.event(event_id)
    assert (result, event["status"], event["error_code"]) == ("failed", "dead_letter", "invalid_phone")
    assert event["next_attempt_at"] is None
    house.sql(
        "UPDATE pancake_webhook_event SET status = 'received',"
        ' evidence = evidence || \'{"corrected_phone": "0905 111 222"}\' WHERE id = %s',
        event_id,
    )
    assert await house.process(event_id, "UPDATE") == "ticket_created"
    event = house.event(event_id)
    assert (event["normalized_phone"], event["error_code"]) == (PHONE, None)


async def test_a_body_that_grows_in_the_database_is_processed_all_the_same(house: House) -> None:
    """jsonb writes white space, and big numbers digit by digit."""
    numbers = ",".join(["1"] * 90_000 + ["1e90"] * 200)
    for day, result in ((1, "ticket_created"), (2, "ticket_updated")):
        lead = f'"id":"r","name":"v{day}","phone_number":"0905111222","source":[-1]'
        answer = await house.deliver(f'{{{lead},"modified_on":"2026-05-0{day}T00:00","n":[{numbers}]}}')
        assert await house.process(answer["event_id"]) == result


async def test_a_ticket_that_is_closed_while_a_lead_is_worked_on_swallows_nothing(house: House) -> None:
    house.roster(2)
    before, _ = await house.lead()
    with psycopg.connect(house.database_url) as telesale:
        telesale.execute(
            "UPDATE ticket SET status = 'done' WHERE id = %s", (house.event(before)["ticket_id"],)
        )
        work = asyncio.create_task(house.lead(modified_on=LATER, name="Nguyễn Văn B"))
        await until_somebody_waits(house, work)
        telesale.commit()
    event_id, result = await work
    assert result == "ticket_created"
    owner = str(house.event(event_id)["assignee_id"])
    assert house.hasura.sent[f"{event_id}:new_lead"]["recipient_ids"] == [owner]
    assert owner != str(house.event(before)["assignee_id"])
    assert house.one("SELECT title FROM ticket WHERE id = %s", house.event(before)["ticket_id"]) == {
        "title": "Lead Pancake: Nguyễn Văn A"
    }


async def test_an_id_with_white_space_is_the_same_record(house: House) -> None:
    await house.lead(id=" r ")
    _, result = await house.lead(id="r", name="Old", modified_on=EARLIER)
    assert result == "stale"


OTHER_PHONE = "0905999888"


def known_by_another_phone(house: House) -> str:
    """An account of Diva's that has OTHER_PHONE."""
    account = house.one(
        "INSERT INTO account (display_name, phone_code, phone_number, phone_enabled)"
        " VALUES ('X', '84', %s, true) RETURNING id::text",
        OTHER_PHONE,
    )
    return str(account["id"])


async def test_a_lead_by_the_phone_of_a_known_customers_contact_is_that_customers(house: House) -> None:
    house.roster(2)
    account = known_by_another_phone(house)
    _, result = await house.lead(id="both", secondary_phone_number=OTHER_PHONE)
    assert result == "ticket_created"
    event_id, result = await house.lead(id="first alone")
    assert result == "ticket_updated"
    assert str(house.event(event_id)["account_id"]) == account
    assert house.event(event_id)["evidence"]["phone"]["candidates"] == [account]
    assert count(house, "account", f"normalized_phone = '{PHONE}'") == 0
    assert (
        str(house.one("SELECT account_id FROM contact_book WHERE primary_phone = %s", PHONE)["account_id"])
        == account
    )
    assert (
        str(house.one("SELECT normalized_phone AS p FROM account WHERE id = %s", account)["p"])
        == "+84905999888"
    )


async def test_leads_by_any_phone_of_a_customer_at_once_are_one_ticket(
    house: House, second_house: House
) -> None:
    account = known_by_another_phone(house)
    await house.lead(id="contact", table_id="contact", secondary_phone_number=OTHER_PHONE)
    phones: list[Any] = ["0905111222", OTHER_PHONE, ["0905111222", OTHER_PHONE], [OTHER_PHONE, "0905111222"]]
    answers = [
        await house.deliver({"id": f"r-{n}", "phone_number": phones[n % 4], "source": [-1]})
        for n in range(40)
    ]
    results = await asyncio.gather(
        *((house, second_house)[n % 2].process(a["event_id"]) for n, a in enumerate(answers))
    )
    assert Counter(results) == {"ticket_created": 1, "ticket_updated": 39}
    assert count(house, "pancake_webhook_event", f"account_id <> '{account}'") == 0
    assert await deadlocks(house, second_house) == 0


async def test_a_contact_that_comes_while_the_locks_are_taken_leads_to_new_locks(house: House) -> None:
    """Its customer's own lock was not among them: somebody else could be at work on the customer."""
    known_by_another_phone(house)
    before, _ = await house.lead(id="both", secondary_phone_number=OTHER_PHONE)
    house.sql("UPDATE contact_book SET primary_phone = NULL")
    take = "SELECT pg_advisory_xact_lock(2, hashtext(%s))"
    with psycopg.connect(house.database_url) as first, psycopg.connect(house.database_url) as second:
        first.execute(take, (PHONE,))
        second.execute(take, ("+84905999888",))
        work = asyncio.create_task(house.lead(id="first alone"))
        await until_somebody_waits(house, work, A_PHONE)
        account = house.event(before)["account_id"]
        first.execute("UPDATE contact_book SET primary_phone = %s WHERE account_id = %s", (PHONE, account))
        first.commit()
        await until_somebody_waits(
            house, work, f"{A_PHONE} AND objid = hashtext('+84905999888')::bigint & x'ffffffff'::bigint"
        )
        second.commit()
    event_id, result = await work
    event = house.event(event_id)
    assert (result, event["ticket_id"]) == ("ticket_updated", house.event(before)["ticket_id"])
    assert event["attempts"] == 1


# --- owners


async def test_without_a_roster_the_ticket_has_no_owner_and_the_admins_are_told(house: House) -> None:
    event_id, result = await house.lead()
    assert result == "ticket_created"
    assert house.event(event_id)["assignee_id"] is None
    sent = house.hasura.sent[f"{event_id}:unassigned"]
    assert (sent["template_code"], len(sent["recipient_ids"])) == ("noti_pancake_needs_attention", 3)
    assert sent["data"]["reason"] == "unassigned"


async def test_a_source_with_a_roster_of_its_own_uses_it(house: House) -> None:
    house.roster(3)
    own = house.roster(1, source="-1")[0]
    owners = {str(house.event((await house.lead(id=str(n), phone_number=f"090511133{n}"))[0])["assignee_id"])
              for n in range(3)}  # fmt: skip
    assert owners == {own}


async def test_who_is_off_duty_is_passed_over_and_the_row_says_why(house: House) -> None:
    staff = house.roster(3)
    house.sql("UPDATE staff SET on_duty = false WHERE id = %s", staff[0])
    house.sql("UPDATE staff SET is_active = false WHERE id = %s", staff[1])
    event_id, _ = await house.lead()
    assignment = house.event(event_id)["evidence"]["assignment"]
    assert assignment["chosen"] == staff[2]
    assert {s["staff_id"]: s["reason"] for s in assignment["skipped"]} == {
        staff[0]: "off_duty",
        staff[1]: "staff_inactive",
    }


async def test_without_anybody_available_the_ticket_is_made_and_the_admins_are_told(house: House) -> None:
    house.roster(3)
    await house.lead(id="before", phone_number="0905111000")
    house.sql("UPDATE staff SET on_duty = false WHERE role = 'telesale'")
    event_id, result = await house.lead()
    event = house.event(event_id)
    assert (result, event["assignee_id"]) == ("ticket_created", None)
    sent = house.hasura.sent[f"{event_id}:unassigned"]
    assert sent["template_code"] == "noti_pancake_needs_attention"
    assert {skip["reason"] for skip in event["evidence"]["assignment"]["skipped"]} == {"off_duty"}
    assert house.one("SELECT sum(total_assigned)::integer AS sum FROM pancake_assignee")["sum"] == 1


async def test_a_changed_weight_keeps_the_members_share(house: House) -> None:
    house.roster(1, weight=2, assigned_count=7)
    house.sql("UPDATE pancake_assignee SET weight = 4")
    assert house.one("SELECT assigned_count FROM pancake_assignee")["assigned_count"] == 14


async def test_a_weight_that_changes_during_a_choice_keeps_its_share(house: House) -> None:
    """Whoever comes second, the weight's own count or the choice's, builds on the other's."""
    house.roster(2, assigned_count=10, was_available=True)
    with psycopg.connect(house.database_url) as admin:
        admin.execute(
            "UPDATE pancake_assignee SET weight = 5"
            " WHERE id = (SELECT id FROM pancake_assignee ORDER BY id LIMIT 1)"
        )
        work = asyncio.create_task(house.lead())
        await until_somebody_waits(house, work)
        admin.commit()
    assert (await work)[1] == "ticket_created"
    rows = house.sql("SELECT weight, assigned_count FROM pancake_assignee ORDER BY weight")
    assert [(row["weight"], row["assigned_count"]) for row in rows] in (
        [(1, 11), (5, 50)],
        [(1, 10), (5, 51)],
    )


# --- notifications


async def test_when_hasura_fails_the_notification_stays_under_its_lease_and_is_sent_later(
    house: House,
) -> None:
    house.roster(1)
    house.hasura.failing = True
    event_id, result = await house.lead()
    event = house.event(event_id)
    assert (result, event["status"], event["notified_at"]) == ("ticket_created", "processed", None)
    house.hasura.failing = False
    await house.process(event_id)
    assert house.hasura.sent == {}  # who claimed it may still be sending
    house.expire_leases()
    assert await house.process(event_id) == "not_received"
    assert list(house.hasura.sent) == [f"{event_id}:new_lead"]
    assert house.event(event_id)["notified_at"] is not None


async def test_a_service_that_takes_fewer_than_it_was_given_is_asked_again(house: House) -> None:
    house.roster(1)
    await house.lead()
    house.hasura.taking = 1
    event_id, _ = await house.lead(modified_on=LATER, phone_number="0905999888")
    assert len(house.event(event_id)["notifications"]) == 2
    assert house.event(event_id)["notified_at"] is None
    house.hasura.taking = None
    house.expire_leases()
    await house.process(event_id)
    assert {f"{event_id}:lead_updated", f"{event_id}:phone_changed"} <= set(house.hasura.sent)


async def test_who_sent_under_an_older_claim_does_not_mark_newer_notifications_as_sent(house: House) -> None:
    answer = await house.deliver({"id": "r", "phone_number": "0905111222", "source": ["-1", "brand new"]})
    claim = {"ids": [answer["event_id"]], "lease": SEND_LEASE}
    (held,) = await house.runtime.db.fetch_all("outbox/claim_notifications", claim)
    house.hasura.failing = True
    await house.process(answer["event_id"])
    house.hasura.failing = False
    await house.runtime.outbox.send([held])
    event = house.event(answer["event_id"])
    assert len(event["notifications"]) == 2
    assert event["notified_at"] is None
    house.expire_leases()
    await house.process(answer["event_id"])
    assert len(house.hasura.sent) == 2


# --- faults


async def test_losing_against_another_transaction_is_repeated_at_once(house: House) -> None:
    refuse_tickets(house, "RAISE EXCEPTION 'lost' USING ERRCODE = 'serialization_failure'", 2)
    event_id, result = await house.lead()
    assert result == "ticket_created"
    assert (house.event(event_id)["attempts"], tickets(house)) == (1, 1)


async def test_after_the_third_loss_the_row_waits_for_the_retry_cron(house: House) -> None:
    refuse_tickets(house, "RAISE EXCEPTION 'lost' USING ERRCODE = 'deadlock_detected'", 3)
    event_id, result = await house.lead()
    event = house.event(event_id)
    assert (result, event["status"], event["error_code"]) == ("failed", "failed", "contended")
    assert timedelta(seconds=25) < event["next_attempt_at"] - datetime.now(UTC) <= timedelta(seconds=30)
    assert count(house, "account", f"normalized_phone = '{PHONE}'") == 0
    house.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    assert await house.process(event_id) == "ticket_created"
    assert (house.event(event_id)["attempts"], tickets(house)) == (2, 1)


async def test_a_connection_lost_in_the_middle_is_repeated_and_doubles_nothing(house: House) -> None:
    house.roster(2)
    refuse_tickets(house, "PERFORM pg_terminate_backend(pg_backend_pid())", 1)
    _, result = await house.lead()
    assert result == "ticket_created"
    assert (tickets(house), count(house, "account", f"normalized_phone = '{PHONE}'")) == (1, 1)
    assert house.one("SELECT sum(total_assigned) AS total FROM pancake_assignee")["total"] == 1


async def test_a_bug_fails_the_row_with_a_digest_and_gives_up_after_five_attempts(
    house: House, capture_logs: list[str]
) -> None:
    refuse_tickets(house, "RAISE EXCEPTION 'quotes 0905111222'", 99)
    event_id, _ = await house.lead()
    for attempt in range(1, 6):
        event = house.event(event_id)
        assert (event["attempts"], event["error_code"]) == (attempt, "internal")
        assert event["status"] == ("failed" if attempt < 5 else "dead_letter")
        assert "RaiseException, digest " in event["error_detail"]
        if attempt < 5:
            house.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
            assert await house.process(event_id) == "failed"
    assert event["evidence"]["error"]["digest"]
    faults = [line for line in capture_logs if '"level": "error"' in line]
    assert len(faults) == 5
    assert "0905111222" not in "".join(capture_logs)


async def test_a_claim_that_was_taken_over_does_nothing(house: House, second_house: House) -> None:
    event_id = (await house.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    late = await take_claim(house.runtime, event_id)
    assert late is not None
    house.expire_leases()
    house.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    assert await second_house.process(event_id) == "ticket_created"
    assert await apply_record(house.runtime, late) == ("claim_lost", [])
    assert (tickets(house), len(house.hasura.sent)) == (1, 1)


async def test_a_row_in_work_cannot_be_taken_back_even_when_its_lease_ran_out(house: House) -> None:
    event_id = (await house.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    with psycopg.connect(house.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(2, hashtext(%s))", (PHONE,))
        work = asyncio.create_task(house.process(event_id))
        await until_somebody_waits(house, work, A_PHONE)
        other.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", (event_id,))
        other.rollback()
    assert await work == "ticket_created"


async def until_somebody_waits(house: House, work: "asyncio.Task[Any]", lock: str = A_ROW) -> None:
    waiting = f"SELECT 1 FROM pg_locks WHERE NOT granted AND {lock}"
    async with asyncio.timeout(4):
        while not house.sql(waiting):
            assert not work.done()
            await asyncio.sleep(0.01)


async def test_a_lease_that_lives_cannot_be_taken_by_hand(house: House) -> None:
    event_id = (await house.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    await take_claim(house.runtime, event_id)
    with pytest.raises(psycopg.errors.CheckViolation, match="lease"):
        house.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)


async def test_a_database_that_is_away_is_a_503_before_anything_is_claimed(house: House) -> None:
    event_id = (await house.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    await house.process(event_id + 1)
    house.terminate_backends()
    codes = []
    async with asyncio.timeout(20):
        while 200 not in codes:
            codes.append((await house.fire(event_id)).status_code)
    assert set(codes) <= {200, 503}
    assert house.event(event_id)["status"] == "processed"


async def test_more_events_than_the_database_can_bear_stay_received_and_cost_no_attempt(house: House) -> None:
    house.slow_down("ticket", 0.4)
    record = {"source": [-1]}
    ids = [
        (await house.deliver(record | {"id": f"r-{n}", "phone_number": f"090511122{n}"}))["event_id"]
        for n in range(4)
    ]
    small = Database(house.database_url, work_connections=1, patience=0.2)
    await small.open()
    calls = [EventCall("e", "pancake_webhook_event_status_update", "INSERT", {"id": id_}) for id_ in ids]
    answers = await asyncio.gather(
        *(process_record(replace(house.runtime, db=small), call) for call in calls), return_exceptions=True
    )
    await small.close()
    refused = [id_ for id_, answer in zip(ids, answers, strict=True) if isinstance(answer, Overloaded)]
    assert len(refused) == 3
    for event_id in refused:
        event = house.event(event_id)
        assert (event["status"], event["attempts"]) == ("received", 0)
    assert [await house.process(event_id) for event_id in refused] == ["ticket_created"] * 3


async def test_the_statements_that_take_arrays_are_not_planned_anew_for_each_lead(house: House) -> None:
    """Planning them costs more than running them."""
    settings = replace(house.runtime.settings, work_connections=1)
    async with running(settings, house.connection_id, house.hasura) as small:
        small.roster(2)
        for n in range(12):
            await small.lead(id=f"r-{n}", phone_number=f"09051113{n:02}")
        async with small.runtime.db._work.connection() as connection:
            plans = await connection.execute(
                "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
                " WHERE statement ~ 'xact_lock.2|AS open_tickets|on_duty'"
            )
            found = await plans.fetchall()
    assert len(found) == 3
    assert [row["custom_plans"] for row in found] == [0] * len(found)
    assert min(row["generic_plans"] for row in found) > 0


async def test_wherever_the_process_dies_every_row_ends_once_in_one_state(house: House) -> None:
    """The handler is killed before and after each of its round trips; a retry finishes what it left."""
    house.roster(3)
    step = 0
    finished = False
    while not finished:
        body = {"id": f"r-{step}", "phone_number": f"09051114{step:02}", "source": [-1, f"new-{step}"]}
        event_id = (await house.deliver(body))["event_id"]
        call = EventCall("e", "pancake_webhook_event_status_update", "INSERT", {"id": event_id})
        try:
            await process_record(crashing(house.runtime, step), call)
            finished = True
        except Crash:
            assert house.event(event_id)["status"] in {"received", "ingested", "processed"}
        step += 1
    assert step > 12
    await house.recover()
    assert count(house, "pancake_webhook_event", "status <> 'processed' OR outcome <> 'ticket_created'") == 0
    assert count(house, "pancake_webhook_event", "notified_at IS NULL") == 0
    assert tickets(house) == step
    assert count(house, "account", "normalized_phone IS NOT NULL") == step
    assert count(house, "contact_book", "primary_phone IS NOT NULL") == step
    assert len(house.hasura.sent) == 2 * step
    totals = house.one(
        "SELECT sum(total_assigned) AS sum, max(total_assigned) - min(total_assigned) AS gap"
        " FROM pancake_assignee"
    )
    assert (totals["sum"], totals["gap"] <= 1) == (step, True)


@pytest.mark.parametrize(
    "table", ["account", "contact_book", "ticket", "pancake_assignee", "customer_consent"]
)
async def test_wherever_the_connection_breaks_the_lead_is_written_once(house: House, table: str) -> None:
    house.roster(2)
    house.switch(consent_mode="record")
    house.sql("CREATE SEQUENCE broken")
    house.sql(
        "CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('broken') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
        " RETURN NULL; END $$"
    )
    house.sql(f"CREATE TRIGGER break AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION break()")
    _, result = await house.lead()
    assert result == "ticket_created"
    assert house.one("SELECT last_value FROM broken")["last_value"] >= 2
    assert (tickets(house), len(house.hasura.sent)) == (1, 1)
    assert house.one("SELECT sum(total_assigned) AS sum FROM pancake_assignee")["sum"] == 1


# --- bodies that Hasura would not send


def body(**changes: Any) -> dict[str, Any]:
    return {
        "id": "0b8f6c1e-3f1a-4f0e-9a51-0d6a8c1f7a11",
        "created_at": "2026-03-04T05:06:07.123456",
        "table": {"schema": "public", "name": "pancake_webhook_event"},
        "trigger": {"name": "pancake_webhook_event_status_update"},
        "delivery_info": {"current_retry": 0, "max_retries": 3},
        "event": {"op": "INSERT", "data": {"old": None, "new": {"id": 1}}, "session_variables": None},
    } | changes


BAD_IDS: list[object] = [None, True, 1.5, -1, "", "x", "²", "٣", "9" * 5000, "1; DROP TABLE ticket", [1], {}]
MALFORMED: list[Any] = [
    None, [], "text", 5, {}, body(trigger=None), body(trigger={}), body(trigger={"name": 5}),
    body(id=None), body(id=5), body(event=None), body(event=[]), body(event={"op": "INSERT"}),
    body(event={"op": None, "data": {"new": {"id": 1}}}), body(event={"op": "DELETE", "data": {"new": None}}),
    *(body(event={"op": "INSERT", "data": {"new": {"id": bad}}}) for bad in BAD_IDS),
]  # fmt: skip


async def test_a_malformed_body_is_a_clear_400_and_changes_nothing(house: House) -> None:
    event_id = (await house.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    contents = [json.dumps(bad).encode() for bad in MALFORMED]
    contents += [b"", b"{", b"\xff", b"[" * 50_000, b'{"a": ' * 5000, b'{"id": ' + b"9" * 6000 + b"}"]
    for content in contents:
        response = await house.client.post("/events/process_record", content=content, headers=house.headers)
        assert response.status_code == 400, content[:200]
        assert response.json()["extensions"] == {"code": "bad_request"}
    assert house.event(event_id)["status"] == "received"


async def test_a_body_without_end_is_refused(house: House) -> None:
    content = b" " * (1024 * 1024 + 1)
    response = await house.client.post("/events/process_record", content=content, headers=house.headers)
    assert (response.status_code, response.json()["extensions"]["code"]) == (400, "bad_request")


async def test_an_unknown_trigger_is_a_400_never_a_200(house: House) -> None:
    for name in ("another_trigger", "", "pancake_ingest_record", "\ud800", "x" * 5000):
        content = json.dumps(body(trigger={"name": name})).encode()
        response = await house.client.post("/events/process_record", content=content, headers=house.headers)
        assert (response.status_code, response.json()["extensions"]["code"]) == (400, "unknown_trigger")
        assert len(response.json()["message"]) < 1000


async def test_a_wrong_secret_is_a_401_and_nothing_happens(house: House) -> None:
    event_id = (await house.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    for headers in ({}, {"X-Handler-Secret": "wrong"}, {"X-Edge-Secret": "edge-secret-for-tests"}):
        content = json.dumps(body(event={"op": "INSERT", "data": {"new": {"id": event_id}}})).encode()
        response = await house.client.post("/events/process_record", content=content, headers=headers)
        assert (response.status_code, response.json()["extensions"]["code"]) == (401, "unauthorized")
    assert house.event(event_id)["status"] == "received"
