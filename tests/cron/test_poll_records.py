"""Cron 6, layer 2: what the webhook missed."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from cron.poll_records import MAX_LOOK_UPS
from leads.domain.window import OVERLAP, SETTLE
from tests.cron.conftest import Ward, hide

OTHER = "00000000-0000-4000-8000-000000000000"


async def lead(ward: Ward, count: int = 1) -> list[str]:
    ids = [ward.pancake.new_lead()["id"] for _ in range(count)]
    await ward.pancake.sender.idle()
    return ids


async def poll(ward: Ward, minutes: float = 5) -> dict[str, Any]:
    """Let time pass, poll to success, return the report of the only connection."""
    ward.move(minutes=minutes)
    (report,) = (await ward.run("poll_records"))["connections"]
    return dict(report)


def rows(ward: Ward, origin: str) -> list[dict[str, Any]]:
    return ward.sql("SELECT * FROM pancake_webhook_event WHERE origin = %s ORDER BY id", origin)


async def test_it_stores_what_the_webhook_missed_and_only_that(ward: Ward) -> None:
    await lead(ward, 3)
    ward.pancake.faults.drop = 1
    missed = await lead(ward, 2)
    report = await poll(ward)
    assert (report["listed"], report["missed"], sorted(report["missed_ids"])) == (5, 2, sorted(missed))
    assert {row["record_id"] for row in rows(ward, "poll")} == set(missed)
    assert {row["status"] for row in rows(ward, "poll")} == {"received"}
    assert (await poll(ward))["missed"] == 0
    metrics = (await ward.client.get("/metrics")).text
    assert 'pancake_webhook_missed_total{origin="poll"} 2.0' in metrics


async def test_a_version_the_webhook_brought_is_covered_though_the_bodies_differ(ward: Ward) -> None:
    (record_id,) = await lead(ward)
    ward.move(seconds=5)
    ward.pancake.edit_lead(record_id)
    await ward.pancake.sender.idle()
    assert (await poll(ward))["missed"] == 0
    assert len(rows(ward, "webhook")) == 2


async def test_a_missed_later_version_of_a_known_record_is_stored(ward: Ward) -> None:
    (record_id,) = await lead(ward)
    ward.pancake.faults.drop = 1
    ward.move(seconds=5)
    ward.pancake.edit_lead(record_id)
    assert (await poll(ward))["missed_ids"] == [record_id]


async def test_the_watermark_follows_the_settled_end_of_the_window(ward: Ward) -> None:
    before = ward.clock.now()
    await poll(ward, 0)
    first = ward.connection()["poll_watermark"]
    assert before - SETTLE <= first <= ward.clock.now() - SETTLE
    report = await poll(ward)
    assert report["window"][0] == (first - OVERLAP).isoformat()
    assert ward.connection()["poll_watermark"] > first
    assert ward.last_run("poll_records")["window_from"] == first - OVERLAP


async def test_the_kill_switch_binds_polling_too(ward: Ward) -> None:
    ward.switch(kill_switch=True)
    ward.pancake.faults.drop = 1
    await lead(ward)
    await poll(ward)
    assert {row["status"] for row in rows(ward, "poll")} == {"skipped_kill_switch"}


async def test_a_page_that_fails_leaves_the_watermark_where_it_was(ward: Ward) -> None:
    await poll(ward)
    before = ward.connection()["poll_watermark"]
    ward.pancake.faults.truncate_body = True
    ward.move(minutes=5)
    assert (await ward.tick("poll_records")).status_code == 503
    assert ward.connection()["poll_watermark"] == before
    ward.pancake.faults.reset()
    await poll(ward)
    assert ward.connection()["poll_watermark"] > before


@pytest.mark.parametrize("fault", ["wrong_filter", "lag_seconds"])
async def test_a_list_without_a_record_that_the_webhook_told_of_is_not_believed(
    ward: Ward, fault: str
) -> None:
    await poll(ward)
    before = ward.connection()["poll_watermark"]
    ward.pancake.faults.change({fault: True if fault == "wrong_filter" else 3600})
    (record_id,) = await lead(ward)
    report = await poll(ward)
    assert report["trusted"] is False
    assert report["suspects"] == [record_id]
    assert report["may_lag"] is True
    assert ward.connection()["poll_watermark"] == before
    assert ward.reasons() == [], "an index may lag for a while"
    report = await poll(ward, 20)
    assert report["may_lag"] is False
    await poll(ward)
    assert ward.reasons() == ["filter_suspect"]
    ward.pancake.faults.reset()
    ward.move(hours=1)
    assert (await poll(ward))["trusted"] is True
    assert ward.connection()["poll_watermark"] > before


async def test_a_record_deleted_or_changed_since_does_not_hold_the_watermark(ward: Ward) -> None:
    gone, changed = await lead(ward, 2)
    ward.move(minutes=3)
    ward.pancake.tables["lead"].delete(gone)
    ward.pancake.faults.change({"drop": 1, "lag_seconds": 60})
    ward.pancake.edit_lead(changed)
    ward.pancake.faults.reset()
    report = await poll(ward, 0)
    assert report["trusted"] is True
    assert set(report["suspects"]) <= {gone, changed}
    assert gone in report["suspects"]


async def test_an_ignored_filter_is_survived_and_told(ward: Ward) -> None:
    now = ward.clock.now()
    ward.pancake.bulk(200, now - timedelta(days=300), now - timedelta(days=200))
    ward.pancake.faults.change({"ignore_filter": True, "drop": 1})
    missed = await lead(ward)
    report = await poll(ward)
    assert (report["missed_ids"], report["outside"]) == (missed, 200)
    assert report["trusted"] is True
    assert ward.reasons() == ["filter_ignored"]


async def test_a_repeated_cursor_is_survived_and_not_believed(ward: Ward) -> None:
    now = ward.clock.now()
    ward.pancake.bulk(100, now - timedelta(hours=2), now - timedelta(minutes=5))
    ward.pancake.faults.repeat_cursor = True
    report = await poll(ward)
    assert (report["ending"], report["trusted"]) == ("repeated_cursor", False)
    assert ward.connection()["poll_watermark"] is None
    ward.pancake.faults.reset()
    assert (await poll(ward))["missed"] == 40
    assert len(rows(ward, "poll")) == 100


async def test_pages_cut_short_are_reported(ward: Ward) -> None:
    now = ward.clock.now()
    ward.pancake.bulk(100, now - timedelta(hours=2), now - timedelta(minutes=5))
    ward.pancake.faults.cut_page = 3
    assert (await poll(ward))["short_pages"] == 0, "all full pages are equally short"


async def test_two_layers_at_the_same_moment_store_a_version_once(ward: Ward) -> None:
    ward.pancake.faults.drop = 1
    ward.sql("UPDATE pancake_connection SET created_at = now() - interval '3 days'")
    now = ward.clock.now()
    ward.pancake.bulk(60, now - timedelta(hours=30), now - timedelta(minutes=5))
    answers = await asyncio.gather(ward.tick("poll_records"), ward.tick("reconcile_daily"))
    assert [answer.status_code for answer in answers] == [200, 200]
    (row,) = ward.sql("SELECT count(*) AS n, count(DISTINCT record_id) AS records FROM pancake_webhook_event")
    assert row["n"] == row["records"]


async def test_naive_times_are_read_in_the_zone_of_the_connection(ward: Ward) -> None:
    ward.sql("UPDATE pancake_connection SET record_timezone = 'Asia/Ho_Chi_Minh'")
    for table in ward.pancake.tables.values():
        table.zone = timedelta(hours=7)
    ward.pancake.faults.drop = 1
    made = ward.clock.now()
    await lead(ward)
    assert (await poll(ward))["missed"] == 1
    (row,) = rows(ward, "poll")
    assert abs(row["modified_on"] - made) < timedelta(seconds=5)


async def test_a_body_that_the_database_cannot_hold_does_not_stop_its_page(ward: Ward) -> None:
    ward.pancake.faults.drop = 1
    good = await lead(ward, 3)
    ward.pancake.save({"name": "Lan\0", "phone_number": "0905111222", "number": "HUGE"})
    table = ward.pancake.tables["lead"]
    table._waiting = [(*item[:4], item[4].replace(b'"HUGE"', b"1e200000")) for item in table._waiting]
    report = await poll(ward)
    stored = rows(ward, "poll")
    assert set(good) <= {row["record_id"] for row in stored}
    assert [row["error_code"] for row in stored if row["record_id"] is None] == ["unstorable"]
    assert report["trusted"] is True


async def test_contacts_from_the_webhook_are_not_awaited_in_a_list_of_leads(ward: Ward) -> None:
    await poll(ward)
    before = ward.connection()["poll_watermark"]
    for _ in range(MAX_LOOK_UPS + 1):
        ward.pancake.save(ward.pancake.leads.lead(), "contact")
    await ward.pancake.sender.idle()
    report = await poll(ward)
    assert (report["trusted"], report["suspects"]) == (True, [])
    assert ward.connection()["poll_watermark"] > before


async def test_a_watermark_that_stands_still_delays_no_new_record(ward: Ward) -> None:
    await poll(ward)
    before = ward.connection()["poll_watermark"]
    (hidden,) = await lead(ward)
    hide(ward, hidden)
    ward.move(days=2)
    ward.pancake.faults.drop = 1
    missed = await lead(ward)
    report = await poll(ward)
    assert (report["trusted"], report["suspects"]) == (False, [hidden])
    assert ward.connection()["poll_watermark"] == before
    assert report["latest"]["missed_ids"] == missed
    assert {row["record_id"] for row in rows(ward, "poll")} == set(missed)


async def test_after_an_outage_the_newest_records_come_first_and_nothing_is_left_out(ward: Ward) -> None:
    await poll(ward)
    ward.pancake.faults.drop = 1
    missed = []
    for _ in range(6):
        ward.move(hours=12)
        missed += await lead(ward)
    assert (await poll(ward))["latest"]["missed_ids"][-1:] == missed[-1:]
    for _ in range(3):
        report = await poll(ward)
    assert "latest" not in report
    assert {row["record_id"] for row in rows(ward, "poll")} == set(missed)


async def test_a_connection_whose_zone_nobody_can_read_stops_no_other(ward: Ward) -> None:
    ward.sql(
        "INSERT INTO pancake_connection (id, name, workspace_id, token_sha256, record_timezone,"
        " api_base_url, api_key_encrypted) SELECT %s, 'other', 123, sha256('x'), 'ICT',"
        " 'http://pancake/api/', api_key_encrypted FROM pancake_connection",
        OTHER,
    )
    ward.pancake.faults.drop = 1
    missed = await lead(ward)
    ward.move(minutes=5)
    assert (await ward.tick("poll_records")).status_code == 503
    run = ward.last_run("poll_records")
    broken, healthy = run["report"]["connections"]
    assert (broken["connection_id"], broken["error"]) == (OTHER, "internal")
    assert broken["detail"].startswith("ZoneInfoNotFoundError, digest ")
    assert (run["outcome"], run["error"]) == ("failed", f"{OTHER}: {broken['detail']}")
    assert healthy["missed_ids"] == missed
    assert ward.connection()["poll_watermark"] is not None
