"""Layers 2 and 3 tell records apart by connection, table and id."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from leads.domain.window import day_window
from leads.services.sealed_secrets import Use, seal
from tests.support.crons import API_KEY, SAME_API_URL, CronHarness

OTHER = "00000000-0000-4000-8000-000000000000"
RECORD = {"id": "r-1", "name": "Lan", "phone_number": "0905111222", "source": ["-1"]}


@pytest.fixture
def day(harness: CronHarness, day: date) -> date:
    """The same day, and the connection has two tables."""
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    return day


def write(harness: CronHarness, table: str, at: datetime, **fields: Any) -> dict[str, Any]:
    """Write a record of the simulator without a webhook."""
    return harness.pancake.tables[table].write(RECORD | fields, at=at)


def stored(harness: CronHarness, **wanted: Any) -> list[tuple[Any, ...]]:
    """The table and origin of every stored event."""
    rows = harness.sql("SELECT table_name, origin FROM pancake_webhook_event ORDER BY table_name, origin")
    return [(row["table_name"], row["origin"]) for row in rows]


def add_workspace(harness: CronHarness) -> None:
    """Add a second connection that lists the same records."""
    harness.sql(
        "INSERT INTO pancake_connection (id, name, workspace_id, token_sha256, table_names, api_base_url,"
        " api_key_encrypted, created_at) SELECT %s, 'other', 123, sha256('x'), table_names, %s, %s,"
        " created_at FROM pancake_connection",
        OTHER,
        SAME_API_URL,
        seal(harness.runtime.settings.key_ring, API_KEY, Use("api_key", OTHER, SAME_API_URL)),
    )
    harness.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " SELECT %s, pancake_source_id, name, is_active FROM pancake_source",
        OTHER,
    )


async def reconcile(harness: CronHarness) -> list[dict[str, Any]]:
    return [dict(report) for report in (await harness.run("reconcile_daily"))["days"]]


async def test_a_lead_and_a_contact_of_one_id_are_both_reconciled(harness: CronHarness, day: date) -> None:
    noon = day_window(day).start + timedelta(hours=12)
    write(harness, "lead", noon)
    write(harness, "contact", noon)
    (report,) = await reconcile(harness)
    assert (report["expected"], report["found_missing"]) == (2, ["r-1", "r-1"])
    assert (report["duplicates"], report["left_missing"]) == ([], [])
    assert stored(harness) == [("contact", "reconcile"), ("lead", "reconcile")]
    harness.sql("DELETE FROM pancake_cron_run")
    harness.move_clock(minutes=1)
    (report,) = await reconcile(harness)
    assert (report["expected"], report["found"], report["inserted"]) == (2, 2, 0)
    assert report["first_seen"] == {"reconcile": 2}


async def test_a_later_contact_does_not_hide_a_lead_of_its_id(harness: CronHarness, day: date) -> None:
    start = day_window(day).start
    contact = write(harness, "contact", start + timedelta(hours=5))
    await harness.deliver(contact | {"table_id": "contact"})
    write(harness, "lead", start + timedelta(hours=4))
    harness.sql("UPDATE pancake_connection SET poll_watermark = %s", start)
    (poll,) = (await harness.run("poll_records"))["connections"]
    assert poll["missed_ids"] == ["r-1"]
    assert stored(harness) == [("contact", "webhook"), ("lead", "poll")]
    (report,) = await reconcile(harness)
    assert (report["expected"], report["found"], report["superseded"]) == (2, 2, 0)
    assert report["unlisted"] == []


async def test_a_body_without_a_table_covers_the_record_of_any_table(harness: CronHarness, day: date) -> None:
    contact = write(harness, "contact", day_window(day).start + timedelta(hours=5))
    await harness.deliver(contact)
    harness.sql("UPDATE pancake_webhook_event SET created_at = modified_on")
    (report,) = await reconcile(harness)
    assert (report["expected"], report["found"], report["inserted"]) == (1, 1, 0)
    assert (report["unexpected"], report["unlisted"]) == ([], [])
    assert report["first_seen"] == {"webhook": 1}


async def test_a_version_without_a_table_and_a_later_one_with_it_are_versions_of_one_record(
    harness: CronHarness, day: date
) -> None:
    start = day_window(day).start
    await harness.deliver(write(harness, "lead", start + timedelta(hours=4)))
    await harness.deliver(write(harness, "lead", start + timedelta(hours=5)) | {"table_id": "lead"})
    harness.sql("UPDATE pancake_webhook_event SET created_at = modified_on")
    (report,) = await reconcile(harness)
    assert (report["expected"], report["superseded"], report["first_seen"]) == (1, 1, {"webhook": 1})


async def test_a_list_that_leaves_out_a_lead_is_incomplete_though_it_shows_a_contact_of_its_id(
    harness: CronHarness, day: date
) -> None:
    start = day_window(day).start
    lead = write(harness, "lead", start + timedelta(hours=4))
    write(harness, "contact", start + timedelta(hours=5))
    await harness.deliver(lead | {"table_id": "lead"})
    harness.sql("UPDATE pancake_webhook_event SET created_at = modified_on")
    harness.hide_from_list("r-1")
    harness.sql("UPDATE pancake_connection SET poll_watermark = %s", start)
    (poll,) = (await harness.run("poll_records"))["connections"]
    assert (poll["trusted"], poll["suspects"]) == (False, ["r-1"])
    assert (await harness.tick("reconcile_daily")).status_code == 503
    (report,) = harness.last_run("reconcile_daily")["report"]["days"]
    assert (report["error"], report["unlisted"]) == ("list_incomplete", ["r-1"])


async def test_two_workspaces_with_the_same_records_are_both_complete(
    harness: CronHarness, day: date
) -> None:
    add_workspace(harness)
    noon = day_window(day).start + timedelta(hours=12)
    lead = write(harness, "lead", noon)
    await harness.deliver(lead | {"table_id": "lead"})
    harness.sql("UPDATE pancake_webhook_event SET created_at = modified_on")
    for number, inserted in enumerate((1, 0)):
        harness.move_clock(minutes=number)
        harness.sql("DELETE FROM pancake_cron_run")
        reports = {report["connection_id"]: report for report in await reconcile(harness)}
        assert [report["left_missing"] for report in reports.values()] == [[], []]
        assert reports[OTHER]["inserted"] == inserted
        assert reports[OTHER]["first_seen"] == {"reconcile": 1}
        assert reports[harness.connection_id]["first_seen"] == {"webhook": 1}
        assert reports[harness.connection_id]["inserted"] == 0
    rows = harness.sql("SELECT origin FROM pancake_webhook_event WHERE connection_id = %s", OTHER)
    assert [row["origin"] for row in rows] == ["reconcile"]


async def test_two_workspaces_with_the_same_bodies_are_both_polled(harness: CronHarness, day: date) -> None:
    add_workspace(harness)
    write(harness, "lead", harness.clock.now() - timedelta(minutes=30))
    reports = (await harness.run("poll_records"))["connections"]
    assert [report["missed_ids"] for report in reports] == [["r-1"], ["r-1"]]
    assert harness.count("pancake_webhook_event") == 2


async def test_a_held_body_that_was_emptied_is_restored_for_its_own_table(
    harness: CronHarness, day: date
) -> None:
    noon = day_window(day).start + timedelta(hours=12)
    write(harness, "lead", noon)
    write(harness, "contact", noon)
    harness.change_settings(kill_switch=True)
    await reconcile(harness)
    harness.sql("UPDATE pancake_webhook_event SET payload = NULL")
    harness.sql("DELETE FROM pancake_cron_run")
    harness.change_settings(kill_switch=False)
    harness.move_clock(minutes=1)
    (report,) = await reconcile(harness)
    assert (report["found_missing"], report["left_missing"]) == (["r-1", "r-1"], [])
    rows = harness.sql("SELECT status, payload FROM pancake_webhook_event")
    assert [(row["status"], row["payload"] is not None) for row in rows] == [("received", True)] * 2
