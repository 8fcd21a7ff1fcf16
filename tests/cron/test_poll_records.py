"""Cron 6, layer 2: records that the webhook missed."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from cron.poll_records import MAX_LOOK_UPS
from leads.domain.window import OVERLAP, SETTLE
from leads.services.sealed_secrets import Use, seal
from tests.support.crons import API_KEY, SAME_API_URL, CronHarness

OTHER = "00000000-0000-4000-8000-000000000000"


async def lead(harness: CronHarness, count: int = 1) -> list[str]:
    ids = [harness.pancake.new_lead()["id"] for _ in range(count)]
    await harness.pancake.sender.idle()
    return ids


async def poll(harness: CronHarness, minutes: float = 5) -> dict[str, Any]:
    """Move the clock, poll, which must succeed, and return the report of the only connection."""
    harness.move_clock(minutes=minutes)
    (report,) = (await harness.run("poll_records"))["connections"]
    return dict(report)


def rows(harness: CronHarness, origin: str) -> list[dict[str, Any]]:
    return harness.sql("SELECT * FROM pancake_webhook_event WHERE origin = %s ORDER BY id", origin)


@pytest.mark.test_case("TC-014-001")
async def test_it_stores_what_the_webhook_missed_and_only_that(harness: CronHarness) -> None:
    await lead(harness, 3)
    harness.pancake.faults.drop = 1
    missed = await lead(harness, 2)
    report = await poll(harness)
    assert (report["listed"], report["missed"], sorted(report["missed_ids"])) == (5, 2, sorted(missed))
    assert {row["record_id"] for row in rows(harness, "poll")} == set(missed)
    assert {row["status"] for row in rows(harness, "poll")} == {"received"}
    assert (await poll(harness))["missed"] == 0
    metrics = (await harness.client.get("/metrics")).text
    assert 'pancake_webhook_missed_total{origin="poll"} 2.0' in metrics


async def test_a_new_source_of_a_missed_lead_is_created_because_pancake_listed_the_lead(
    harness: CronHarness,
) -> None:
    harness.pancake.faults.drop = 1
    harness.pancake.save(harness.pancake.leads.lead() | {"source": ["777"]})
    await harness.pancake.sender.idle()
    assert (await poll(harness))["missed"] == 1
    assert harness.one("SELECT is_active FROM pancake_source WHERE pancake_source_id = '777'") == {
        "is_active": False
    }
    assert [row["notifications"] for row in rows(harness, "poll")] == [[]]


async def test_a_version_from_the_webhook_is_covered_even_if_the_bodies_differ(
    harness: CronHarness,
) -> None:
    (record_id,) = await lead(harness)
    harness.move_clock(seconds=5)
    harness.pancake.edit_lead(record_id)
    await harness.pancake.sender.idle()
    assert (await poll(harness))["missed"] == 0
    assert len(rows(harness, "webhook")) == 2


async def test_a_missed_later_version_of_a_known_record_is_stored(harness: CronHarness) -> None:
    (record_id,) = await lead(harness)
    harness.pancake.faults.drop = 1
    harness.move_clock(seconds=5)
    harness.pancake.edit_lead(record_id)
    assert (await poll(harness))["missed_ids"] == [record_id]


async def test_the_watermark_follows_the_settled_end_of_the_window(harness: CronHarness) -> None:
    before = harness.clock.now()
    await poll(harness, 0)
    first = harness.connection()["poll_watermark"]
    assert before - SETTLE <= first <= harness.clock.now() - SETTLE
    report = await poll(harness)
    assert report["window"][0] == (first - OVERLAP).isoformat()
    assert harness.connection()["poll_watermark"] > first
    assert harness.last_run("poll_records")["window_from"] == first - OVERLAP


async def test_the_kill_switch_applies_to_polling(harness: CronHarness) -> None:
    harness.change_settings(kill_switch=True)
    harness.pancake.faults.drop = 1
    await lead(harness)
    await poll(harness)
    assert {row["status"] for row in rows(harness, "poll")} == {"skipped_kill_switch"}


@pytest.mark.test_case("TC-013")
async def test_a_failed_page_does_not_move_the_watermark(harness: CronHarness) -> None:
    await poll(harness)
    before = harness.connection()["poll_watermark"]
    harness.pancake.faults.truncate_body = True
    harness.move_clock(minutes=5)
    assert (await harness.tick("poll_records")).status_code == 503
    assert harness.connection()["poll_watermark"] == before
    harness.pancake.faults.reset()
    await poll(harness)
    assert harness.connection()["poll_watermark"] > before


@pytest.mark.parametrize("fault", ["wrong_filter", "lag_seconds"])
async def test_a_list_without_a_record_known_from_the_webhook_is_not_trusted(
    harness: CronHarness, fault: str
) -> None:
    await poll(harness)
    before = harness.connection()["poll_watermark"]
    harness.pancake.faults.change({fault: True if fault == "wrong_filter" else 3600})
    (record_id,) = await lead(harness)
    report = await poll(harness)
    assert report["trusted"] is False
    assert report["suspects"] == [record_id]
    assert report["may_lag"] is True
    assert harness.connection()["poll_watermark"] == before
    assert harness.reasons() == [], "an index may lag for a while"
    report = await poll(harness, 20)
    assert report["may_lag"] is False
    await poll(harness)
    # Once a day, and the twenty minutes may pass midnight.
    assert set(harness.reasons()) == {"filter_suspect"}
    assert len(harness.reasons()) <= 2
    harness.pancake.faults.reset()
    harness.move_clock(hours=1)
    assert (await poll(harness))["trusted"] is True
    assert harness.connection()["poll_watermark"] > before


async def test_a_record_deleted_or_changed_since_does_not_hold_the_watermark(harness: CronHarness) -> None:
    deleted, changed = await lead(harness, 2)
    harness.move_clock(minutes=3)
    harness.pancake.tables["lead"].delete(deleted)
    harness.pancake.faults.change({"drop": 1, "lag_seconds": 60})
    harness.pancake.edit_lead(changed)
    harness.pancake.faults.reset()
    report = await poll(harness, 0)
    assert report["trusted"] is True
    assert set(report["suspects"]) <= {deleted, changed}
    assert deleted in report["suspects"]


async def test_an_ignored_filter_is_tolerated_and_reported(harness: CronHarness) -> None:
    now = harness.clock.now()
    harness.pancake.bulk(200, now - timedelta(days=300), now - timedelta(days=200))
    harness.pancake.faults.change({"ignore_filter": True, "drop": 1})
    missed = await lead(harness)
    report = await poll(harness)
    assert (report["missed_ids"], report["outside"]) == (missed, 200)
    assert report["trusted"] is True
    assert harness.reasons() == ["filter_ignored"]


async def test_a_repeated_cursor_is_tolerated_and_not_trusted(harness: CronHarness) -> None:
    now = harness.clock.now()
    harness.pancake.bulk(100, now - timedelta(hours=2), now - timedelta(minutes=5))
    harness.pancake.faults.repeat_cursor = True
    report = await poll(harness)
    assert (report["ending"], report["trusted"]) == ("repeated_cursor", False)
    assert harness.connection()["poll_watermark"] is None
    harness.pancake.faults.reset()
    assert (await poll(harness))["missed"] == 40
    assert len(rows(harness, "poll")) == 100


async def test_incomplete_pages_are_reported(harness: CronHarness) -> None:
    now = harness.clock.now()
    harness.pancake.bulk(100, now - timedelta(hours=2), now - timedelta(minutes=5))
    harness.pancake.faults.cut_page = 3
    assert (await poll(harness))["short_pages"] == 0, "all full pages are equally short"


@pytest.mark.test_case("TC-014")
async def test_two_layers_at_the_same_moment_store_a_version_once(harness: CronHarness) -> None:
    harness.pancake.faults.drop = 1
    harness.sql("UPDATE pancake_connection SET created_at = now() - interval '3 days'")
    now = harness.clock.now()
    harness.pancake.bulk(60, now - timedelta(hours=30), now - timedelta(minutes=5))
    answers = await asyncio.gather(harness.tick("poll_records"), harness.tick("reconcile_daily"))
    assert [answer.status_code for answer in answers] == [200, 200]
    (row,) = harness.sql(
        "SELECT count(*) AS n, count(DISTINCT record_id) AS records FROM pancake_webhook_event"
    )
    assert row["n"] == row["records"]


async def test_times_without_a_zone_use_the_time_zone_of_the_connection(harness: CronHarness) -> None:
    harness.sql("UPDATE pancake_connection SET record_timezone = 'Asia/Ho_Chi_Minh'")
    for table in harness.pancake.tables.values():
        table.zone = timedelta(hours=7)
    harness.pancake.faults.drop = 1
    made = harness.clock.now()
    await lead(harness)
    assert (await poll(harness))["missed"] == 1
    (row,) = rows(harness, "poll")
    assert abs(row["modified_on"] - made) < timedelta(seconds=5)


async def test_a_body_that_the_database_cannot_hold_does_not_stop_its_page(harness: CronHarness) -> None:
    harness.pancake.faults.drop = 1
    good = await lead(harness, 3)
    harness.pancake.save({"name": "Lan\0", "phone_number": "0905111222", "number": "HUGE"})
    table = harness.pancake.tables["lead"]
    table._waiting = [(*item[:4], item[4].replace(b'"HUGE"', b"1e200000")) for item in table._waiting]
    report = await poll(harness)
    stored = rows(harness, "poll")
    assert set(good) <= {row["record_id"] for row in stored}
    assert [row["error_code"] for row in stored if row["record_id"] is None] == ["unstorable"]
    assert report["trusted"] is True


async def test_contacts_from_the_webhook_are_not_expected_in_a_list_of_leads(harness: CronHarness) -> None:
    await poll(harness)
    before = harness.connection()["poll_watermark"]
    for _ in range(MAX_LOOK_UPS + 1):
        harness.pancake.save(harness.pancake.leads.lead(), "contact")
    await harness.pancake.sender.idle()
    report = await poll(harness)
    assert (report["trusted"], report["suspects"]) == (True, [])
    assert harness.connection()["poll_watermark"] > before


async def test_a_watermark_that_does_not_move_delays_no_new_record(harness: CronHarness) -> None:
    await poll(harness)
    before = harness.connection()["poll_watermark"]
    (hidden,) = await lead(harness)
    harness.hide_from_list(hidden)
    harness.move_clock(days=2)
    harness.pancake.faults.drop = 1
    missed = await lead(harness)
    report = await poll(harness)
    assert (report["trusted"], report["suspects"]) == (False, [hidden])
    assert harness.connection()["poll_watermark"] == before
    assert report["latest"]["missed_ids"] == missed
    assert {row["record_id"] for row in rows(harness, "poll")} == set(missed)


@pytest.mark.test_case("TC-014-003")
async def test_after_an_outage_the_newest_records_come_first_and_none_is_lost(
    harness: CronHarness,
) -> None:
    await poll(harness)
    harness.pancake.faults.drop = 1
    missed = []
    for _ in range(6):
        harness.move_clock(hours=12)
        missed += await lead(harness)
    assert (await poll(harness))["latest"]["missed_ids"][-1:] == missed[-1:]
    for _ in range(3):
        report = await poll(harness)
    assert "latest" not in report
    assert {row["record_id"] for row in rows(harness, "poll")} == set(missed)


async def test_a_connection_with_an_unreadable_time_zone_stops_no_other(harness: CronHarness) -> None:
    harness.sql(
        "INSERT INTO pancake_connection (id, name, workspace_id, token_sha256, record_timezone,"
        " api_base_url, api_key_encrypted) VALUES (%s, 'other', 123, sha256('x'), 'ICT', %s, %s)",
        OTHER,
        SAME_API_URL,
        seal(harness.runtime.settings.key_ring, API_KEY, Use("api_key", OTHER, SAME_API_URL)),
    )
    harness.pancake.faults.drop = 1
    missed = await lead(harness)
    harness.move_clock(minutes=5)
    assert (await harness.tick("poll_records")).status_code == 503
    run = harness.last_run("poll_records")
    broken, healthy = run["report"]["connections"]
    assert (broken["connection_id"], broken["error"]) == (OTHER, "internal")
    assert broken["detail"].startswith("ZoneInfoNotFoundError, digest ")
    assert (run["outcome"], run["error"]) == ("failed", f"{OTHER}: {broken['detail']}")
    assert healthy["missed_ids"] == missed
    assert harness.connection()["poll_watermark"] is not None


async def test_a_slower_poll_does_not_move_the_watermark_back(harness: CronHarness) -> None:
    await poll(harness)
    connection = harness.connection()
    newest = connection["poll_watermark"]
    earlier = {
        "connection_id": connection["id"],
        "now": harness.clock.now(),
        "watermark": newest - timedelta(hours=1),
    }
    await harness.runtime.db.fetch_all("poll_records/set_watermark", earlier)
    assert harness.connection()["poll_watermark"] == newest
