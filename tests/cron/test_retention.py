"""Retention leaves nothing personal in finished events and old runs, and changes no later decision."""

from typing import Any

import pytest
from psycopg import sql

from tests.support.crons import CronHarness

PERSON = {
    "name": "Trần Thị Bích Hạnh",
    "phone_number": "090.511.1222",
    "secondary_phone_number": "0283 822 9999",
    "email": "hanh.tran@example.com",
    "full_address": "12 Nguyễn Huệ, Quận 1",
    "pancake_tags": ["khách VIP"],
}
WRITTEN = (
    "Hạnh", "090.511.1222", "0905111222", "905111222", "2838229999", "0283 822 9999", "hanh.tran",
    "Nguyễn Huệ", "khách VIP", "198.51.100.7", "1-8-0", "0912345678", "912345678",
)  # fmt: skip
"""What a search for the person finds, in each form that was typed or computed."""
OURS = (
    "pancake_webhook_event",
    "pancake_cron_run",
    "pancake_source",
    "pancake_connection",
    "pancake_assignee",
)


def found_in(harness: CronHarness, table: str) -> set[str]:
    """The texts that stand anywhere in the rows of a table."""
    query = sql.SQL("SELECT row_to_json(t)::text AS row FROM {} AS t").format(sql.Identifier(table))
    rows = " ".join(str(row["row"]) for row in harness.sql(query.as_string()))
    return {text for text in WRITTEN if text in rows}


async def store_each_kind(harness: CronHarness) -> None:
    """A processed lead, one that changed its phone, a corrected one, a rejected one, held ones, no JSON."""
    harness.fill_roster(1)
    await harness.process_lead(**PERSON, source=["-1"])
    await harness.process_lead(
        **PERSON | {"phone_number": "0912345678", "note": "1-8-0"}, modified_on="2026-05-15T00:00:00"
    )
    event, _ = await harness.process_lead(
        **PERSON | {"id": "invalid", "phone_number": "1-8-0", "secondary_phone_number": None}
    )
    harness.sql(
        'UPDATE pancake_webhook_event SET evidence = evidence || \'{"corrected_phone": "0905111222"}\''
    )
    assert harness.event(event)["status"] == "dead_letter"
    await harness.deliver("not JSON: Hạnh 0905111222")
    harness.change_settings(kill_switch=True)
    await harness.deliver(PERSON | {"id": "held", "source": ["-1"]})
    harness.change_settings(kill_switch=False)
    harness.sql("UPDATE pancake_webhook_event SET source_ip = '198.51.100.7', error_detail = 'Hạnh'")
    await harness.run("check_connection")
    harness.sql(
        "UPDATE pancake_cron_run SET report = report || %s::jsonb, error = 'Hạnh'",
        '{"connections": [{"before": "active", "after": "silent"}], "notifications": ["0905111222"]}',
    )


async def test_after_400_days_nothing_personal_is_left_in_our_tables(harness: CronHarness) -> None:
    await store_each_kind(harness)
    assert found_in(harness, "pancake_webhook_event") == set(WRITTEN)
    assert found_in(harness, "pancake_cron_run") == {"Hạnh", "0905111222", "905111222"}
    harness.sql("UPDATE pancake_webhook_event SET notified_at = now() WHERE notifications <> '[]'")
    harness.move_clock(days=400)
    await harness.run("purge_events")
    assert {table: found_in(harness, table) for table in OURS} == {table: set() for table in OURS}


async def test_what_statistics_need_is_kept(harness: CronHarness) -> None:
    harness.fill_roster(1)
    event, _ = await harness.process_lead(**PERSON)
    before = harness.event(event)
    harness.move_clock(days=91)
    assert (await harness.run("purge_events"))["empty_payloads"] == 1
    after = harness.event(event)
    emptied = {"payload", "normalized_phone", "evidence", "notifications"}
    assert {name for name in before if before[name] != after[name]} - {"source_ip"} == emptied
    assert after["evidence"]["assignment"] == before["evidence"]["assignment"]
    assert after["evidence"]["result"] == "ticket_created"
    assert after["notified_at"] == before["notified_at"] is not None
    harness.move_clock(days=1)
    assert (await harness.run("purge_events"))["empty_leftovers"] == 0


SECOND = "0283 822 9999"
NEXT_VERSIONS: dict[str, dict[str, Any]] = {
    "unchanged": PERSON,
    "another notation of the phone": PERSON | {"phone_number": "+84 905 111 222"},
    "another name": PERSON | {"name": "Hạnh Trần"},
    "another phone": PERSON | {"phone_number": "0912345678", "secondary_phone_number": None},
    "one more phone": PERSON | {"phone_number": "0905111222, 0912345678"},
    "phones in another order": PERSON | {"phone_number": SECOND, "secondary_phone_number": "0905111222"},
    "no phone": PERSON | {"phone_number": None, "secondary_phone_number": None},
    "an unusable phone": PERSON | {"phone_number": "1-8-0", "secondary_phone_number": None},
    "a new product": PERSON | {"interested_product": ["Gói B"]},
    "a deletion": PERSON | {"action": "delete"},
    "a lead of the second phone": {"id": "other", "name": "B", "phone_number": SECOND},
}


async def decide_twice(harness: CronHarness, fields: dict[str, Any], diva: str, *, purge: bool) -> list[Any]:
    """What two next versions of a record decide, with or without a purge before each."""
    await harness.process_lead(**PERSON)
    harness.sql(diva)
    decided: list[Any] = []
    for day in (16, 17):
        if purge:
            harness.move_clock(days=91)
            assert (await harness.run("purge_events"))["empty_payloads"] == 1
        event, result = await harness.process_lead(
            **{"interested_product": [str(day)], **fields}, modified_on=f"2026-05-{day}T00:00:00"
        )
        row = harness.event(event)
        phone = row["evidence"].get("phone", {})
        decided.append([result, row["error_code"], row["normalized_phone"], row["ticket_id"] is not None])
        decided.append([phone.get(key) for key in ("usable", "matched", "applied_before", "rejected")])
        decided.append("phone_changed" in row["evidence"])
    return [*decided, [harness.count(table) for table in ("account", "contact_book", "ticket")]]


IN_DIVA = {
    "open": "SELECT 1",
    "closed": "UPDATE ticket SET status = 'done'",
    "another phone": "UPDATE account SET phone_number = '0909999888', normalized_phone = '+84909999888'",
}


@pytest.mark.parametrize("diva", IN_DIVA)
@pytest.mark.parametrize("name", NEXT_VERSIONS)
async def test_decisions_do_not_change(harness: CronHarness, name: str, diva: str) -> None:
    harness.fill_roster(1)
    harness.sql("DELETE FROM ticket")
    harness.sql("DELETE FROM contact_book")
    harness.sql("DELETE FROM customer_consent")
    harness.sql("DELETE FROM account")
    expected = await decide_twice(harness, NEXT_VERSIONS[name], IN_DIVA[diva], purge=False)
    harness.sql("SET pancake.delete_events = 'on'")
    for table in ("pancake_webhook_event", "ticket", "contact_book", "customer_consent", "account"):
        harness.sql(f"DELETE FROM {table}")
    assert await decide_twice(harness, NEXT_VERSIONS[name], IN_DIVA[diva], purge=True) == expected
