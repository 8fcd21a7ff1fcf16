"""A version that claims a time in 2099 hides no later one from polling and reconciliation."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from leads.domain.window import day_window
from tests.support.crons import CronHarness

RECORD = {"id": "r-1", "name": "Lan", "phone_number": "0905111222", "source": ["-1"]}
FUTURE = "2099-01-01T00:00:00"


async def deliver(harness: CronHarness, modified_on: str, arrived_at: datetime) -> None:
    """Deliver a version of the record as the webhook does, arrived at that time."""
    event_id = (await harness.deliver(RECORD | {"modified_on": modified_on}))["event_id"]
    harness.sql(
        "UPDATE pancake_webhook_event SET arrived_at = %s, created_at = %s WHERE id = %s",
        arrived_at,
        arrived_at,
        event_id,
    )


def write(harness: CronHarness, at: datetime) -> dict[str, Any]:
    return harness.pancake.tables["lead"].write(RECORD, at=at)


async def reconcile(harness: CronHarness) -> dict[str, Any]:
    (report,) = (await harness.run("reconcile_daily"))["days"]
    return dict(report)


@pytest.mark.parametrize("cron", ["poll_records", "reconcile_daily"])
async def test_a_version_after_the_arrival_of_one_from_2099_is_stored(
    harness: CronHarness, day: date, cron: str
) -> None:
    start = day_window(day).start
    await deliver(harness, FUTURE, start + timedelta(hours=5))
    write(harness, start + timedelta(hours=6))
    harness.sql("UPDATE pancake_connection SET poll_watermark = %s", start)
    await harness.run(cron)
    rows = harness.sql("SELECT origin, modified_on FROM pancake_webhook_event ORDER BY id")
    assert [row["origin"] for row in rows] == ["webhook", cron.partition("_")[0]]
    assert rows[1]["modified_on"] == start + timedelta(hours=6)


async def test_a_version_before_the_arrival_of_one_from_2099_is_covered_by_it(
    harness: CronHarness, day: date
) -> None:
    start = day_window(day).start
    write(harness, start + timedelta(hours=4))
    await deliver(harness, FUTURE, start + timedelta(hours=5))
    report = await reconcile(harness)
    assert (report["found"], report["inserted"], report["left_missing"]) == (1, 0, [])


async def test_a_time_less_than_48_hours_ahead_is_believed(harness: CronHarness, day: date) -> None:
    """A wrong zone or clock makes a version look up to a day or so younger than it is."""
    start = day_window(day).start
    write(harness, start + timedelta(hours=6))
    ahead = (start + timedelta(hours=52)).astimezone(UTC).replace(tzinfo=None)
    await deliver(harness, ahead.isoformat(), start + timedelta(hours=5))
    report = await reconcile(harness)
    assert (report["found"], report["inserted"]) == (1, 0)


async def test_a_list_that_leaves_out_a_record_is_incomplete_though_a_version_is_from_2099(
    harness: CronHarness, day: date
) -> None:
    start = day_window(day).start
    await deliver(harness, FUTURE, start - timedelta(days=1))
    listed = write(harness, start + timedelta(hours=6))
    await deliver(harness, listed["modified_on"], start + timedelta(hours=6))
    harness.hide_from_list("r-1")
    harness.sql("UPDATE pancake_connection SET poll_watermark = %s", start)
    (poll,) = (await harness.run("poll_records"))["connections"]
    assert (poll["trusted"], poll["suspects"]) == (False, ["r-1"])
    assert (await harness.tick("reconcile_daily")).status_code == 503
    (report,) = harness.last_run("reconcile_daily")["report"]["days"]
    assert report["unlisted"] == ["r-1"]


async def test_a_record_from_2099_in_pancake_is_not_missed_and_breaks_nothing(
    harness: CronHarness, day: date
) -> None:
    start = day_window(day).start
    write(harness, start + timedelta(hours=4))
    await deliver(harness, (start + timedelta(hours=4)).isoformat(), start + timedelta(hours=4))
    write(harness, datetime(2099, 1, 1, tzinfo=UTC))
    await deliver(harness, FUTURE, start + timedelta(hours=5))
    for ignored in (False, True):
        harness.pancake.faults.ignore_filter = ignored
        harness.sql("UPDATE pancake_connection SET poll_watermark = %s", start)
        harness.move_clock(minutes=1)
        (poll,) = (await harness.run("poll_records"))["connections"]
        assert (poll["trusted"], poll["missed"], poll["outside"]) == (True, 0, int(ignored))
    report = await reconcile(harness)
    assert (report["expected"], report["inserted"], report["left_missing"]) == (0, 0, [])
    assert (report["unlisted"], report["unexpected"]) == ([], [])
    assert harness.connection()["poll_watermark"] <= harness.clock.now()
