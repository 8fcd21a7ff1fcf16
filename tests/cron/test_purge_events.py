"""Cron 5: retention leaves nothing personal in old rows, changes no later decision, keeps what is needed."""

from functools import partial
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from leads.adapters.database import Database
from tests.support.crons import CronHarness
from tests.support.leads import LEAD
from tests.support.stored_rows import PERSON as CUSTOMER
from tests.support.stored_rows import dump, found_in, store_customer

HELD = ("skipped_kill_switch", "skipped_source_disabled", "dead_letter")
PERSON = {
    "name": "Trần Thị Bích Hạnh", "phone_number": "090.511.1222", "secondary_phone_number": "0283 822 9999",
    "email": "hanh.tran@example.com", "full_address": "12 Nguyễn Huệ, Quận 1",
    "pancake_tags": ["khách VIP"],
}  # fmt: skip
OURS = (
    "pancake_webhook_event", "pancake_cron_run", "pancake_source", "pancake_connection", "pancake_assignee",
)  # fmt: skip
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
IN_DIVA = {
    "open": "SELECT 1",
    "closed": "UPDATE ticket SET status = 'done'",
    "another phone": "UPDATE account SET phone_number = '0909999888', normalized_phone = '+84909999888'",
}


async def purge(harness: CronHarness, **days: float) -> dict[str, int]:
    """Run the cron some days later; return how many rows of which kind it changed."""
    report = await harness.run("purge_events", **days)
    return {kind: count for kind, count in report.items() if isinstance(count, int) and count}


async def test_old_bodies_are_deleted_and_what_detects_duplicates_and_counts_is_kept(
    harness: CronHarness,
) -> None:
    harness.fill_roster(1)
    old, _ = await harness.process_lead(**PERSON, id="old")
    waiting = (await harness.deliver(LEAD | {"id": "waiting"}))["event_id"]
    harness.sql("UPDATE pancake_webhook_event SET created_at = now() - interval '91 days'")
    young, _ = await harness.process_lead(id="young", phone_number="0905333444")
    before = harness.event(old)
    assert await purge(harness) == {"empty_payloads": 1}
    after = harness.event(old)
    emptied = {"payload", "normalized_phone", "evidence", "notifications"}
    assert {name for name in before if before[name] != after[name]} - {"source_ip"} == emptied
    assert after["evidence"]["assignment"] == before["evidence"]["assignment"]
    assert (after["payload"], after["evidence"]["result"]) == (None, "ticket_created")
    assert after["notified_at"] is not None
    assert all(harness.event(event_id)["payload"] for event_id in (young, waiting))
    assert (await harness.deliver(LEAD | PERSON | {"id": "old"}))["status"] == "duplicate"
    assert "empty_leftovers" not in await purge(harness, days=1)


@pytest.mark.parametrize("by", ["webhook", "poll"])
async def test_emptied_leads_of_a_source_are_stored_once_it_is_active(harness: CronHarness, by: str) -> None:
    """They come from Pancake's list: as new rows, or in the old row if the body is identical."""
    await harness.run("poll_records")
    start = harness.connection()["poll_watermark"]

    async def poll_again() -> Any:
        harness.sql("UPDATE pancake_connection SET poll_watermark = %s", start)
        return (await harness.run("poll_records"))["connections"][0]["missed_ids"]

    harness.sql("UPDATE pancake_source SET is_active = false")
    harness.pancake.faults.drop = 5 if by == "poll" else 0
    record_id = harness.pancake.new_lead()["id"]
    await harness.pancake.sender.idle()
    await harness.run("poll_records", minutes=5)
    assert (await purge(harness, days=366))["empty_held"] == 1
    await poll_again()
    assert harness.count("pancake_webhook_event", "payload IS NOT NULL") == 0, "it is still held"
    harness.sql("UPDATE pancake_source SET is_active = true")
    assert await poll_again() == [record_id]
    row = harness.one("SELECT * FROM pancake_webhook_event WHERE payload IS NOT NULL")
    assert (row["status"], row["origin"]) == ("received", "poll")
    assert row["normalized_phone"], "the phone is filled as it was when the row was stored"
    assert harness.count("pancake_webhook_event") == (1 if by == "poll" else 2)
    assert await harness.process(row["id"]) == "ticket_created"
    assert await poll_again() == []


async def hold_one_of_each(harness: CronHarness) -> dict[str, int]:
    record = {"phone_number": "0905111222", "source": ["-1"]}
    harness.change_settings(kill_switch=True)
    held = [await harness.deliver(record | {"id": "kill switch"})]
    harness.change_settings(kill_switch=False)
    harness.sql("UPDATE pancake_source SET is_active = false")
    held.append(await harness.deliver(record | {"id": "source"}))
    harness.sql("UPDATE pancake_source SET is_active = true")
    held.append(await harness.deliver("no JSON"))
    assert [answer["status"] for answer in held] == list(HELD)
    return {answer["status"]: answer["event_id"] for answer in held}


async def test_a_late_replay_is_emptied_by_the_next_purge(harness: CronHarness) -> None:
    """Its body is kept longer than that of a processed lead until it is replayed."""
    held = (await hold_one_of_each(harness))["skipped_kill_switch"]
    for _ in range(2):
        await purge(harness, days=100)
    await harness.replay(ids=[held])
    assert await harness.process_received() == {held: "ticket_created"}
    assert harness.event(held)["payload"] is not None
    report = await harness.run("purge_events", days=1)
    assert (report["empty_replayed"], report["empty_held"], harness.event(held)["payload"]) == (1, 0, None)


async def test_the_limits_are_settings_and_held_bodies_have_a_longer_one(harness: CronHarness) -> None:
    payload, held = 10, 100
    await hold_one_of_each(harness)
    await harness.process_lead()
    harness.change_settings(payload_retention_days=payload, held_retention_days=held)
    assert "empty_payloads" not in await purge(harness, days=payload - 1)
    assert (await purge(harness, days=2))["empty_payloads"] == 1
    assert "empty_held" not in await purge(harness, days=held - payload - 2)
    assert (await purge(harness, days=2))["empty_held"] == 3
    assert harness.count("pancake_webhook_event", "payload IS NOT NULL OR raw IS NOT NULL") == 0


async def test_old_runs_are_deleted_and_the_history_of_a_status_stays(harness: CronHarness) -> None:
    harness.pancake.faults.unauthorized = True
    await harness.run("check_connection")
    await harness.run("check_sla")
    harness.sql("UPDATE pancake_cron_run SET scheduled_time = scheduled_time - interval '181 days'")
    assert (await harness.run("purge_events"))["delete_runs"] == 2
    (kept,) = harness.sql("SELECT * FROM view_pancake_connection_status")
    assert (kept["status_before"], kept["status_after"]) == ("active", "key_invalid")


async def test_old_finished_engine_logs_of_our_triggers_are_deleted(harness: CronHarness) -> None:
    ours, check_sla = "pancake_webhook_event_status_update", "pancake_check_sla"
    for event in (
        ("old", ours, True, None, 8),
        ("young", ours, True, None, 6),
        ("pending", ours, False, None, 8),
        ("locked", ours, True, "now", 8),
        ("foreign", "stringee_call", True, None, 8),
    ):
        harness.sql(
            "INSERT INTO hdb_catalog.event_log (id, trigger_name, payload, delivered, locked, created_at)"
            " VALUES (%s, %s, '{}', %s, %s, now() - make_interval(days => %s))",
            *event,
        )
    for tick in (
        ("old", check_sla, "delivered"),
        ("dead", check_sla, "dead"),
        ("due", check_sla, "scheduled"),
        ("foreign", "other_cron", "delivered"),
    ):
        harness.sql(
            "INSERT INTO hdb_catalog.hdb_cron_events (id, trigger_name, status, scheduled_time)"
            " VALUES (%s, %s, %s, now() - interval '8 days')",
            *tick,
        )
    for table, events in (("event_", ("old", "young", "foreign")), ("hdb_cron_event_", ("old", "foreign"))):
        for event_id in events:
            harness.sql(f"INSERT INTO hdb_catalog.{table}invocation_logs (event_id) VALUES (%s)", event_id)
    assert await purge(harness) == {"delete_event_logs": 1, "delete_cron_events": 2}

    def left(table: str, column: str) -> list[str]:
        return sorted(row["id"] for row in harness.sql(f"SELECT {column} AS id FROM hdb_catalog.{table}"))

    assert left("event_log", "id") == ["foreign", "locked", "pending", "young"]
    assert left("event_invocation_logs", "event_id") == ["foreign", "young"]
    assert left("hdb_cron_events", "id") == ["due", "foreign"]
    assert left("hdb_cron_event_invocation_logs", "event_id") == ["foreign"]


async def test_the_new_events_in_the_engines_log_are_counted_by_day(harness: CronHarness) -> None:
    """By their ids, of the three closed days in Vietnam: a refire of an event is none."""
    insert = (
        "INSERT INTO hdb_catalog.event_log (id, trigger_name, payload, created_at)"
        " SELECT gen_random_uuid(), 'pancake_webhook_event_status_update',"
        " jsonb_build_object('op', %s::text, 'data', jsonb_build_object('new', jsonb_build_object('id', n))),"
        " (((now() AT TIME ZONE 'Asia/Ho_Chi_Minh')::date - %s) AT TIME ZONE 'Asia/Ho_Chi_Minh'"
        " AT TIME ZONE 'UTC')"
        " FROM generate_series(%s::bigint, %s::bigint) AS n"
    )
    for op, days, first, last in (
        ("INSERT", 0, 90, 91), ("INSERT", 1, 10, 14), ("INSERT", 1, 10, 10), ("UPDATE", 1, 5, 6),
        ("INSERT", 4, 1, 2),
    ):  # fmt: skip
        harness.sql(insert, op, days, first, last)
    report = await harness.run("purge_events")
    counted = [(each["events"], each["first_id"], each["last_id"]) for each in report["engine_log"]]
    assert counted == [(0, None, None), (0, None, None), (5, 10, 14)]
    assert report["engine_log"][2]["day"] > report["engine_log"][1]["day"]


async def test_a_purge_that_runs_out_of_time_resumes_at_the_next_delivery(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's log is counted once, after all purges."""
    sent: list[str] = []
    fetch_all = Database.fetch_all

    async def noting(self: Database, name: str, *args: Any) -> Any:
        sent.append(name)
        return await fetch_all(self, name, *args)

    monkeypatch.setattr(Database, "fetch_all", noting)
    harness.sql(
        "INSERT INTO hdb_catalog.event_log (trigger_name, payload, delivered, created_at)"
        " SELECT 'pancake_webhook_event_status_update', '{}', true, now() - interval '8 days'"
        " FROM generate_series(1, 2500)"
    )
    harness.clock.monotonic = partial(next, iter(range(0, 1_000_000, 11)))  # type: ignore[method-assign]
    due = harness.clock.now()
    answers = [await harness.tick("purge_events", due) for _ in range(20)]
    assert answers[0].status_code == 503
    assert answers[-1].json() == {"result": "already_done"}
    report = harness.last_run("purge_events")["report"]
    assert (report["delete_event_logs"], [each["events"] for each in report["engine_log"]]) == (
        2_500,
        [0] * 3,
    )
    assert [name for name in sent if name.startswith("purge_events/")][-1] == "purge_events/count_event_logs"
    assert sent.count("purge_events/count_event_logs") == 1


async def test_after_400_days_nothing_personal_is_left_in_our_tables(harness: CronHarness) -> None:
    """Of leads in each state, and of a rejected one that was corrected."""
    await store_customer(harness)
    await harness.process_received()
    rejected = {"id": "invalid", "phone_number": "1-8-0", "secondary_phone_number": None}
    assert (await harness.process_lead(**CUSTOMER | rejected))[1] == "dead_letter"
    corrected = {"corrected_phone": "0905111222"}
    harness.sql(
        "UPDATE pancake_webhook_event SET evidence = evidence || %s, source_ip = '198.51.100.7',"
        " error_detail = 'Bích Hạnh'",
        Jsonb(corrected),
    )
    harness.sql("UPDATE pancake_webhook_event SET notified_at = now() WHERE notifications <> '[]'")
    checked = {"connections": [{"before": "active", "after": "silent"}], "notifications": ["0905111222"]}
    harness.sql("UPDATE pancake_cron_run SET report = report || %s, error = 'Bích Hạnh'", Jsonb(checked))
    before = dump(harness)
    assert "198.51.100.7" in before["public.pancake_webhook_event"]
    assert found_in([before["public.pancake_webhook_event"]]) >= {"hanh.tran", "0905111222", "2838229999"}
    assert found_in([before["public.pancake_cron_run"]]) >= {"Bích Hạnh", "0905111222"}
    await purge(harness, days=400)
    after = dump(harness)
    assert "198.51.100.7" not in after["public.pancake_webhook_event"]
    assert {name: found_in([after[f"public.{name}"]]) for name in OURS} == {name: set() for name in OURS}


async def decide_twice(harness: CronHarness, fields: dict[str, Any], diva: str, *, purge: bool) -> list[Any]:
    """What two next versions of a record decide, with or without a purge before each."""
    harness.sql("SET pancake.delete_events = 'on'")
    for table in ("pancake_webhook_event", "ticket", "contact_book", "customer_consent", "account"):
        harness.sql(f"DELETE FROM {table}")
    await harness.process_lead(**PERSON)
    harness.sql(diva)
    decided: list[Any] = []
    for day in (16, 17):
        if purge:
            assert (await harness.run("purge_events", days=91))["empty_payloads"] == 1
        event, result = await harness.process_lead(
            **{"interested_product": [str(day)], **fields}, modified_on=f"2026-05-{day}T00:00:00"
        )
        row = harness.event(event)
        phone = row["evidence"].get("phone", {})
        decided.append([result, row["error_code"], row["normalized_phone"], row["ticket_id"] is not None])
        decided.append([phone.get(key) for key in ("usable", "matched", "applied_before", "rejected")])
        decided.append("phone_changed" in row["evidence"])
    return [*decided, [harness.count(table) for table in ("account", "contact_book", "ticket")]]


@pytest.mark.parametrize("diva", IN_DIVA)
async def test_decisions_do_not_change(harness: CronHarness, subtests: pytest.Subtests, diva: str) -> None:
    harness.fill_roster(1)
    for name, fields in NEXT_VERSIONS.items():
        with subtests.test(name):
            expected = await decide_twice(harness, fields, IN_DIVA[diva], purge=False)
            assert await decide_twice(harness, fields, IN_DIVA[diva], purge=True) == expected
