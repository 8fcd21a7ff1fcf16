"""Cron 6, layer 2: records that the webhook missed, and the webhook's copy of what polling stored first."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from unittest.mock import AsyncMock

import psycopg
import pytest

from cron.poll_records import MAX_LOOK_UPS
from leads.domain.listing import SETTLE
from leads.domain.poll import OVERLAP
from leads.services.cron_work import OUT_OF_TIME
from leads.services.missing_leads import _store_in_parts
from tests.support.crons import CronHarness
from tests.support.postgres import RECORD_LOCK, wait_for_lock_waiter


async def poll(harness: CronHarness, minutes: float = 5) -> dict[str, Any]:
    """Move the clock, poll, which must succeed, and return the report of the only connection."""
    (report,) = (await harness.run("poll_records", minutes=minutes))["connections"]
    return dict(report)


def rows(harness: CronHarness, origin: str) -> list[dict[str, Any]]:
    return harness.sql("SELECT * FROM pancake_webhook_event WHERE origin = %s ORDER BY id", origin)


def watermark(harness: CronHarness) -> datetime:
    found: datetime = harness.connection()["poll_watermark"]
    return found


def save(harness: CronHarness, **fields: Any) -> dict[str, Any]:
    """Create a lead without a webhook, and let the watermark's window settle."""
    harness.pancake.faults.drop = 1
    record = harness.pancake.save({"name": "Lan", "phone_number": "0905 111 222", "source": ["-1"]} | fields)
    harness.move_clock(minutes=5)
    return record


async def test_a_poll_with_nothing_new_compares_its_list_in_one_statement(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks up no record, so its cost does not depend on how many events there are."""
    await harness.new_leads(3)
    monkeypatch.setattr("cron.poll_records.store_missing", AsyncMock(side_effect=AssertionError))
    assert (await poll(harness))["listed"] == 3


@pytest.mark.test_case("TC-014-001")
async def test_it_stores_what_the_webhook_missed_and_only_that(harness: CronHarness) -> None:
    edited, *_ = await harness.new_leads(3)
    harness.move_clock(seconds=5)
    harness.pancake.edit_lead(edited)  # the body that Pancake lists differs from that of its webhook
    await harness.pancake.sender.idle()
    missed = await harness.new_leads(2, drop=1)
    report = await poll(harness)
    assert (report["listed"], report["missed"], sorted(report["missed_ids"])) == (5, 2, sorted(missed))
    assert len(rows(harness, "webhook")) == 4
    assert {row["record_id"] for row in rows(harness, "poll")} == set(missed)
    assert {row["status"] for row in rows(harness, "poll")} == {"received"}
    assert all(row["normalized_phone"] for row in rows(harness, "poll"))
    assert (await poll(harness))["missed"] == 0
    assert harness.value("pancake_webhook_missed_total", origin="poll") == 2


async def test_the_watermark_follows_the_settled_end_of_the_window(harness: CronHarness) -> None:
    before = harness.clock.now()
    await poll(harness, 0)
    first = watermark(harness)
    assert before - SETTLE <= first <= harness.clock.now() - SETTLE
    report = await poll(harness)
    assert report["window"][0] == (first - OVERLAP).isoformat()
    assert watermark(harness) > first
    assert harness.last_run("poll_records")["window_from"] == first - OVERLAP


@pytest.mark.test_case("TC-013")
async def test_a_failed_page_does_not_move_the_watermark(harness: CronHarness) -> None:
    await poll(harness)
    before = watermark(harness)
    harness.pancake.faults.truncate_body = True
    harness.move_clock(minutes=5)
    assert (await harness.tick("poll_records")).status_code == 503
    assert watermark(harness) == before
    harness.pancake.faults.reset()
    await poll(harness)
    assert watermark(harness) > before


@pytest.mark.parametrize("fault", [{"wrong_filter": True}, {"lag_seconds": 3600}], ids=str)
async def test_a_list_without_a_known_record_is_suspect(harness: CronHarness, fault: dict[str, Any]) -> None:
    await poll(harness)
    before = watermark(harness)
    harness.pancake.faults.change(fault)
    (record_id,) = await harness.new_leads()
    report = await poll(harness)
    assert (report["trusted"], report["suspects"], report["may_lag"]) == (False, [record_id], True)
    assert watermark(harness) == before
    assert harness.reasons() == [], "an index may lag for a while"
    assert (await poll(harness, 20))["may_lag"] is False
    await poll(harness)
    # Once a day, and the twenty minutes may pass midnight.
    assert set(harness.reasons()) == {"filter_suspect"}
    assert len(harness.reasons()) <= 2
    harness.pancake.faults.reset()
    assert (await poll(harness, 65))["trusted"] is True
    assert watermark(harness) > before


async def test_an_ignored_filter_is_tolerated_and_reported(harness: CronHarness) -> None:
    now = harness.clock.now()
    harness.pancake.bulk(200, now - timedelta(days=300), now - timedelta(days=200))
    harness.pancake.faults.ignore_filter = True
    missed = await harness.new_leads(drop=1)
    report = await poll(harness)
    assert (report["missed_ids"], report["outside"], report["trusted"]) == (missed, 200, True)
    assert harness.reasons() == ["filter_ignored"]


@pytest.mark.parametrize("ending", ["repeated_cursor", "page_limit"])
async def test_a_poll_that_is_not_read_to_its_end_is_not_trusted(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    now = harness.clock.now()
    harness.pancake.bulk(100, now - timedelta(hours=2), now - timedelta(minutes=5))
    harness.pancake.faults.repeat_cursor = ending == "repeated_cursor"
    with monkeypatch.context() as patched:
        patched.setattr("cron.poll_records.MAX_PAGES_PER_POLL", 2)
        report = await poll(harness)
    assert (report["ending"], report["trusted"], report["pages"]) == (ending, False, 2)
    assert harness.connection()["poll_watermark"] is None
    harness.pancake.faults.reset()
    assert (await poll(harness))["missed"] == 40
    assert len(rows(harness, "poll")) == 100


async def test_a_poll_that_is_out_of_time_is_ended_by_the_next_delivery(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = await harness.new_leads(drop=1)
    harness.move_clock(minutes=5)
    due = harness.clock.now()
    with monkeypatch.context() as patched:
        patched.setattr("cron.poll_records.read_pages", AsyncMock(return_value=OUT_OF_TIME))
        first = await harness.tick("poll_records", due)
    assert first.json()["extensions"]["code"] == "run_unfinished"
    assert (await harness.tick("poll_records", due)).json()["result"] == "succeeded"
    assert [row["record_id"] for row in rows(harness, "poll")] == missed


@pytest.mark.test_case("TC-014")
async def test_two_layers_at_the_same_moment_store_a_version_once(harness: CronHarness) -> None:
    harness.pancake.faults.drop = 1
    harness.sql("UPDATE pancake_connection SET created_at = now() - interval '3 days'")
    now = harness.clock.now()
    harness.pancake.bulk(60, now - timedelta(hours=30), now - timedelta(minutes=5))
    answers = await asyncio.gather(harness.tick("poll_records"), harness.tick("reconcile_daily"))
    assert [answer.status_code for answer in answers] == [200, 200]
    stored = harness.one("SELECT count(*) AS n, count(DISTINCT record_id) AS ids FROM pancake_webhook_event")
    assert stored["n"] == stored["ids"]


async def test_a_body_that_the_database_cannot_hold_does_not_stop_its_page(harness: CronHarness) -> None:
    good = await harness.new_leads(3, drop=1)
    harness.pancake.save({"name": "Lan\0", "phone_number": "0905111222", "number": "HUGE"})
    table = harness.pancake.tables["lead"]
    table._waiting = [(*item[:4], item[4].replace(b'"HUGE"', b"1e200000")) for item in table._waiting]
    report = await poll(harness)
    stored = rows(harness, "poll")
    assert set(good) <= {row["record_id"] for row in stored}
    assert [row["error_code"] for row in stored if row["record_id"] is None] == ["unstorable"]
    assert report["trusted"] is True


async def test_what_postgresql_refuses_though_it_was_read_is_stored_as_bytes_beside_the_others() -> None:
    async def store(leads: Sequence[Any], as_raw: bool) -> Any:
        if "refused" in leads and not as_raw:
            raise psycopg.DataError
        return [(lead, as_raw) for lead in leads]

    stored: Any = await _store_in_parts(store, cast("Any", ["a", "refused", "b"]))
    assert stored == [("a", False), ("refused", True), ("b", False)]


async def test_contacts_from_the_webhook_are_not_expected_in_a_list_of_leads(harness: CronHarness) -> None:
    await poll(harness)
    before = watermark(harness)
    for _ in range(MAX_LOOK_UPS + 1):
        harness.pancake.save(harness.pancake.leads.lead(), "contact")
    await harness.pancake.sender.idle()
    report = await poll(harness)
    assert (report["trusted"], report["suspects"]) == (True, [])
    assert watermark(harness) > before


@pytest.mark.test_case("TC-014-003")
async def test_after_an_outage_the_newest_records_come_first_and_none_is_lost(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older window waits while the newest one is not read to its end."""
    await poll(harness)
    missed = []
    for _ in range(6):
        harness.move_clock(hours=12)
        missed += await harness.new_leads(drop=1)
    found = (await poll(harness))["latest"]["missed_ids"]
    assert missed[-1] in found
    assert missed[0] not in found
    with monkeypatch.context() as patched:
        patched.setattr("cron.poll_records.read_pages", read := AsyncMock(return_value=OUT_OF_TIME))
        await harness.tick("poll_records")
    assert read.await_count == 1
    for _ in range(3):
        report = await poll(harness)
    assert "latest" not in report
    assert {row["record_id"] for row in rows(harness, "poll")} == set(missed)


async def test_a_slower_poll_does_not_move_the_watermark_back(harness: CronHarness) -> None:
    await poll(harness)
    newest, now = watermark(harness), harness.clock.now()
    earlier = {"connection_id": harness.connection_id, "now": now, "watermark": newest - timedelta(hours=1)}
    await harness.runtime.db.fetch_all("poll_records/set_watermark", earlier)
    assert watermark(harness) == newest


async def test_a_field_that_only_the_webhooks_copy_of_a_version_has_is_applied(harness: CronHarness) -> None:
    record = save(harness)
    await harness.run("poll_records")
    (polled,) = rows(harness, "poll")
    assert await harness.process(polled["id"]) == "ticket_created"
    copy = await harness.deliver(record | {"email": "lan@example.com"})
    assert await harness.process(copy["event_id"]) == "ticket_updated"
    versions = harness.sql("SELECT DISTINCT record_id, modified_on FROM pancake_webhook_event")
    assert versions == [{"record_id": record["id"], "modified_on": polled["modified_on"]}]
    ticket = harness.one("SELECT data FROM ticket WHERE source_id = 'ticket_source_pancake'")
    assert ticket["data"]["pancake"]["email"] == "lan@example.com"
    contact = harness.one("SELECT email FROM contact_book WHERE primary_phone = '+84905111222'")
    assert contact == {"email": "lan@example.com"}


async def test_a_version_that_comes_while_a_poll_waits_is_stored_once(harness: CronHarness) -> None:
    record = save(harness)
    with psycopg.connect(harness.database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(1, hashtext(%s))", (record["id"],))
        work = asyncio.create_task(harness.run("poll_records"))
        await wait_for_lock_waiter(harness, work, RECORD_LOCK)
        await harness.deliver({**record, "table_id": "lead", "event_type": "insert"})
    await work
    assert harness.count("pancake_webhook_event") == 1


async def test_a_poll_stores_a_lead_whose_source_another_process_is_creating(harness: CronHarness) -> None:
    save(harness, source=["777"])
    with psycopg.connect(harness.database_url) as other:
        insert = "INSERT INTO pancake_source (connection_id, pancake_source_id) VALUES (%s, '777')"
        other.execute(insert, [harness.connection_id])
        work = asyncio.create_task(harness.run("poll_records"))
        await wait_for_lock_waiter(harness, work)
    (report,) = (await work)["connections"]
    assert (report["missed"], report.get("error")) == (1, None)
    assert [row["status"] for row in rows(harness, "poll")] == ["skipped_source_disabled"]
    assert harness.count("pancake_source", "pancake_source_id = '777' AND NOT is_active") == 1
