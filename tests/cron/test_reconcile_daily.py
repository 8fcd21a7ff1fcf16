"""Cron 7, layer 3: the ledger of closed days, and what layers 2 and 3 take for one record."""

from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest

from cron import reconcile_daily
from leads.domain.day_ledger import day_window
from leads.services.connections import load_connections
from tests.support.crons import LONG_CALL_SECONDS, CronHarness

RECORD = {"id": "r-1", "name": "Lan", "phone_number": "0905111222", "source": ["-1"]}
FUTURE = "2099-01-01T00:00:00"


def fill(harness: CronHarness, day: date, count: int) -> list[str]:
    """Create leads spread over a day, without webhooks; return their ids."""
    before = set(harness.pancake.tables["lead"].current)
    window = day_window(day)
    harness.pancake.bulk(count, window.start, window.end)
    return sorted(set(harness.pancake.tables["lead"].current) - before)


def since(harness: CronHarness, first: date) -> None:
    harness.sql("UPDATE pancake_connection SET created_at = %s", day_window(first).start)


def write(
    harness: CronHarness, day: date, hours: float, table: str = "lead", **fields: str
) -> dict[str, Any]:
    """Write RECORD in a table of the simulator, without a webhook, so many hours after the start of a day."""
    at = day_window(day).start + timedelta(hours=hours)
    return harness.pancake.tables[table].write(RECORD | fields, at=at)


async def arrived(harness: CronHarness, record: dict[str, Any], at: datetime) -> None:
    event_id = (await harness.deliver(record))["event_id"]
    change = "UPDATE pancake_webhook_event SET arrived_at = %s, created_at = %s WHERE id = %s"
    harness.sql(change, at, at, event_id)


async def by_webhook(harness: CronHarness, record_ids: list[str]) -> None:
    """Deliver these records as the webhook would have at their creation."""
    for record_id in record_ids:
        record = harness.pancake.tables["lead"].get(record_id)
        assert record is not None
        body = {key: value for key, value in record.items() if key != "interested_product"}
        await harness.deliver(body | {"pancake_tags_obj": []})
    created_when_modified(harness)


def created_when_modified(harness: CronHarness) -> None:
    harness.sql("UPDATE pancake_webhook_event SET created_at = modified_on WHERE origin = 'webhook'")


async def reconcile(harness: CronHarness) -> dict[str, Any]:
    (report,) = (await harness.run("reconcile_daily"))["days"]
    return dict(report)


async def reconcile_in_vain(harness: CronHarness) -> dict[str, Any]:
    """Run the cron, which must fail; return the report of the only day."""
    assert (await harness.tick("reconcile_daily")).status_code == 503
    (report,) = harness.last_run("reconcile_daily")["report"]["days"]
    return dict(report)


async def poll_from(harness: CronHarness, day: date) -> dict[str, Any]:
    """Poll from the start of a day; return the report of the only connection."""
    harness.sql("UPDATE pancake_connection SET poll_watermark = %s", day_window(day).start)
    (report,) = (await harness.run("poll_records"))["connections"]
    return dict(report)


def forget_runs(harness: CronHarness) -> None:
    """Let the next run reconcile the same day again."""
    harness.sql("DELETE FROM pancake_cron_run")
    harness.move_clock(minutes=1)


@pytest.mark.test_case("TC-014-002")
async def test_it_inserts_and_names_what_webhook_and_poll_missed(harness: CronHarness, day: date) -> None:
    ids = fill(harness, day, 70)
    await by_webhook(harness, ids[:60])
    report = await reconcile(harness)
    assert report["day"] == day.isoformat()
    assert (report["expected"], report["found"], report["inserted"]) == (70, 60, 10)
    assert sorted(report["found_missing"]) == ids[60:]
    assert report["left_missing"] == []
    assert report["first_seen"] == {"reconcile": 10, "webhook": 60}
    assert report["webhook_loss"] == round(10 / 70, 4)
    assert "reconciliation_miss" in harness.reasons()
    assert harness.count("pancake_webhook_event", "origin = 'reconcile'") == 10


async def test_a_connection_that_is_created_meanwhile_has_no_closed_days(
    harness: CronHarness, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = load_connections

    async def create_and_load(*arguments: Any) -> Any:
        insert = "INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES ('new', 9, %s)"
        harness.sql(insert, b"n" * 32)
        return await load(*arguments)

    monkeypatch.setattr(reconcile_daily, "load_connections", create_and_load)
    assert (await reconcile(harness))["connection_id"] == harness.connection_id


@pytest.mark.test_case("TC-016")
async def test_the_ledger_counts_each_record_by_its_state(harness: CronHarness, day: date) -> None:
    ids = fill(harness, day, 8)
    await by_webhook(harness, ids)
    await harness.process_received()
    change = "UPDATE pancake_webhook_event SET status = %s, error_code = %s WHERE record_id = ANY (%s)"
    harness.sql(change, "received", None, ids[4:])
    harness.sql(change, "skipped_source_disabled", None, ids[4:5])
    harness.sql(change, "dead_letter", "invalid_phone", ids[5:6])
    report = await reconcile(harness)
    assert (report["processed"], report["held"], report["pending"]) == (4, 1, 2)
    assert report["rejected"] == [[ids[5], "invalid_phone"]]


@pytest.mark.test_case("TC-014-004")
async def test_the_day_stays_open_while_pancake_is_down(harness: CronHarness, day: date) -> None:
    ids = fill(harness, day, 5)
    harness.pancake.faults.down = True
    due = harness.clock.now()
    assert (await harness.tick("reconcile_daily", due)).status_code == 503
    harness.pancake.faults.reset()
    harness.move_clock(minutes=1)
    assert (await harness.tick("reconcile_daily", due)).json()["result"] == "succeeded"
    assert sorted(harness.last_run("reconcile_daily")["report"]["days"][0]["found_missing"]) == ids


@pytest.mark.test_case("TC-014-005")
async def test_days_that_are_interrupted_resume_where_they_stopped(harness: CronHarness, day: date) -> None:
    days = [day - timedelta(days=back) for back in (3, 2, 1, 0)]
    since(harness, days[0])
    ids = [fill(harness, each, 70) for each in days]
    harness.clock.monotonic = partial(next, count(0, LONG_CALL_SECONDS / 9))  # type: ignore[method-assign]
    due = harness.clock.now()
    answers = [await harness.tick("reconcile_daily", due)]
    while answers[-1].status_code == 503 and len(answers) < 30:
        answers.append(await harness.tick("reconcile_daily", due))
    assert len(answers) > 4
    assert {answer.headers["Retry-After"] for answer in answers[:-1]} == {"1"}
    assert answers[-1].json()["result"] == "succeeded"
    report = harness.last_run("reconcile_daily")["report"]
    assert report["closed_days"] == [each.isoformat() for each in days]
    assert [sorted(found["found_missing"]) for found in report["days"]] == ids
    assert [found["duplicates"] for found in report["days"]] == [[]] * 4


async def test_a_day_that_keeps_failing_leaves_the_report_of_others(harness: CronHarness, day: date) -> None:
    since(harness, day - timedelta(days=1))
    found = fill(harness, day, 6)
    ids = fill(harness, day - timedelta(days=1), 5)
    await by_webhook(harness, ids[:1])
    harness.hide_from_list(ids[0])
    due = harness.clock.now()
    for _ in range(2):
        assert (await harness.tick("reconcile_daily", due)).status_code == 503
        report = harness.last_run("reconcile_daily")["report"]
        assert report["closed_days"] == [day.isoformat()]
        failed, closed = report["days"]
        assert (failed["unlisted"], sorted(failed["found_missing"])) == (ids[:1], ids[1:])
        assert sorted(closed["found_missing"]) == found
        harness.move_clock(minutes=1)


async def test_a_record_stored_by_another_layer_meanwhile_is_found(harness: CronHarness, day: date) -> None:
    ids = fill(harness, day, 5)
    await by_webhook(harness, ids[:3])
    fetch_all = harness.runtime.db.fetch_all
    late = ids[3:4]

    async def overtaken(name: str, params: Any, row_type: Any = None) -> list[Any]:
        rows = await fetch_all(name, params, row_type)
        if name == "pancake_lists/load_events" and late:
            await by_webhook(harness, [late.pop()])
        return rows

    harness.runtime.db.fetch_all = overtaken  # type: ignore[method-assign]
    report = await reconcile(harness)
    assert (report["found"], report["found_missing"], report["left_missing"]) == (4, ids[4:], [])
    assert report["pending"] == 4
    assert harness.value("pancake_webhook_missed_total", origin="reconcile") == 1


async def test_an_overtaken_version_is_superseded_and_what_pancake_deleted_is_unexpected(
    harness: CronHarness, day: date
) -> None:
    ids = fill(harness, day, 5)
    await by_webhook(harness, ids)
    harness.pancake.tables["lead"].delete(ids[1])
    harness.pancake.faults.drop = 1
    harness.pancake.edit_lead(ids[0])
    for minutes in (0, 5):
        harness.move_clock(minutes=minutes)
        await harness.tick("poll_records")
    report = await reconcile(harness)
    assert (report["expected"], report["superseded"]) == (3, 1)
    assert (report["unexpected"], report["unlisted"]) == ([ids[1]], [])


@pytest.mark.parametrize("fault", [{"cut_page": 4}, {"wrong_filter": True}, {"repeat_cursor": True}])
async def test_an_incomplete_list_ends_no_day(harness: CronHarness, day: date, fault: dict[str, Any]) -> None:
    ids = fill(harness, day, 60)
    await by_webhook(harness, ids)
    harness.pancake.faults.change(fault)
    due = harness.clock.now()
    assert (await harness.tick("reconcile_daily", due)).status_code == 503
    report = harness.last_run("reconcile_daily")["report"]
    assert report["closed_days"] == []
    assert report["days"][0]["error"] == "list_incomplete"
    harness.pancake.faults.reset()
    harness.move_clock(minutes=1)
    assert (await harness.tick("reconcile_daily", due)).json()["result"] == "succeeded"
    assert harness.last_run("reconcile_daily")["report"]["closed_days"] == [day.isoformat()]


async def test_a_contact_by_webhook_is_not_unexpected_among_leads(harness: CronHarness, day: date) -> None:
    ids = fill(harness, day, 5)
    await harness.deliver(write(harness, day, 5, "contact") | {"table_id": "contact"})
    await by_webhook(harness, ids)
    report = await reconcile(harness)
    assert (report["expected"], report["unlisted"], report["superseded"]) == (5, [], 0)
    assert report["first_seen"] == {"webhook": 5}


@pytest.fixture
def two_tables(harness: CronHarness, day: date) -> date:
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    return day


def stored(harness: CronHarness) -> list[tuple[Any, ...]]:
    rows = harness.sql("SELECT table_name, origin FROM pancake_webhook_event ORDER BY table_name, origin")
    return [(row["table_name"], row["origin"]) for row in rows]


async def test_lead_and_contact_of_one_id_are_both_reconciled(harness: CronHarness, two_tables: date) -> None:
    write(harness, two_tables, 12)
    write(harness, two_tables, 12, "contact")
    report = await reconcile(harness)
    assert (report["expected"], report["found_missing"]) == (2, ["r-1", "r-1"])
    assert (report["duplicates"], report["left_missing"]) == ([], [])
    assert stored(harness) == [("contact", "reconcile"), ("lead", "reconcile")]
    forget_runs(harness)
    report = await reconcile(harness)
    assert (report["expected"], report["found"], report["inserted"]) == (2, 2, 0)
    assert report["first_seen"] == {"reconcile": 2}


async def test_a_body_without_table_is_of_any_table_and_one_record_with_others(
    harness: CronHarness, two_tables: date
) -> None:
    await harness.deliver(write(harness, two_tables, 5, "contact", id="a contact"))
    await harness.deliver(write(harness, two_tables, 4))
    await harness.deliver(write(harness, two_tables, 5) | {"table_id": "lead"})
    created_when_modified(harness)
    report = await reconcile(harness)
    assert (report["expected"], report["found"], report["inserted"]) == (2, 2, 0)
    assert (report["superseded"], report["unexpected"], report["unlisted"]) == (1, [], [])
    assert report["first_seen"] == {"webhook": 2}


async def test_a_contact_never_stands_for_the_lead_of_its_id(harness: CronHarness, two_tables: date) -> None:
    lead = write(harness, two_tables, 4)
    write(harness, two_tables, 5, "contact")
    await harness.deliver(lead | {"table_id": "lead"})
    created_when_modified(harness)
    harness.hide_from_list("r-1")
    report = await poll_from(harness, two_tables)
    assert (report["trusted"], report["suspects"]) == (False, ["r-1"])
    report = await reconcile_in_vain(harness)
    assert (report["error"], report["unlisted"]) == ("list_incomplete", ["r-1"])


async def test_two_workspaces_with_the_same_records_are_both_complete(
    harness: CronHarness, two_tables: date, other_connection: str
) -> None:
    await harness.deliver(write(harness, two_tables, 12) | {"table_id": "lead"})
    created_when_modified(harness)
    for inserted in (1, 0):
        forget_runs(harness)
        reports = {each["connection_id"]: each for each in (await harness.run("reconcile_daily"))["days"]}
        other, first = reports[other_connection], reports[harness.connection_id]
        assert (other["left_missing"], first["left_missing"]) == ([], [])
        assert (other["inserted"], first["inserted"]) == (inserted, 0)
        assert (other["first_seen"], first["first_seen"]) == ({"reconcile": 1}, {"webhook": 1})
    assert stored(harness) == [("lead", "reconcile"), ("lead", "webhook")]


async def test_an_emptied_held_body_is_restored_for_its_table(harness: CronHarness, two_tables: date) -> None:
    write(harness, two_tables, 12)
    write(harness, two_tables, 12, "contact")
    harness.change_settings(kill_switch=True)
    await reconcile(harness)
    harness.sql("UPDATE pancake_webhook_event SET payload = NULL")
    harness.change_settings(kill_switch=False)
    forget_runs(harness)
    report = await reconcile(harness)
    assert (report["found_missing"], report["left_missing"]) == (["r-1", "r-1"], [])
    rows = harness.sql("SELECT status, payload FROM pancake_webhook_event")
    assert [(row["status"], row["payload"] is not None) for row in rows] == [("received", True)] * 2


@pytest.mark.parametrize("cron", ["poll_records", "reconcile_daily"])
async def test_a_version_after_one_from_2099_is_stored(harness: CronHarness, day: date, cron: str) -> None:
    start = day_window(day).start
    await arrived(harness, RECORD | {"modified_on": FUTURE}, start + timedelta(hours=5))
    write(harness, day, 6)
    harness.sql("UPDATE pancake_connection SET poll_watermark = %s", start)
    await harness.run(cron)
    rows = harness.sql("SELECT origin, modified_on FROM pancake_webhook_event ORDER BY id")
    assert [row["origin"] for row in rows] == ["webhook", cron.partition("_")[0]]
    assert rows[1]["modified_on"] == start + timedelta(hours=6)


async def test_a_version_from_2099_does_not_hide_an_incomplete_list(harness: CronHarness, day: date) -> None:
    start = day_window(day).start
    await arrived(harness, RECORD | {"modified_on": FUTURE}, start - timedelta(days=1))
    await arrived(harness, write(harness, day, 6), start + timedelta(hours=6))
    harness.hide_from_list("r-1")
    report = await poll_from(harness, day)
    assert (report["trusted"], report["suspects"]) == (False, ["r-1"])
    assert (await reconcile_in_vain(harness))["unlisted"] == ["r-1"]


async def test_a_record_from_2099_is_not_missed_and_breaks_nothing(harness: CronHarness, day: date) -> None:
    start = day_window(day).start
    await arrived(harness, write(harness, day, 4), start + timedelta(hours=4))
    harness.pancake.tables["lead"].write(RECORD, at=datetime(2099, 1, 1, tzinfo=UTC))
    await arrived(harness, RECORD | {"modified_on": FUTURE}, start + timedelta(hours=5))
    for ignored in (False, True):
        harness.pancake.faults.ignore_filter = ignored
        harness.move_clock(minutes=1)
        poll = await poll_from(harness, day)
        assert (poll["trusted"], poll["missed"], poll["outside"]) == (True, 0, int(ignored))
    report = await reconcile(harness)
    assert (report["expected"], report["inserted"], report["left_missing"]) == (0, 0, [])
    assert (report["unlisted"], report["unexpected"]) == ([], [])
    assert harness.connection()["poll_watermark"] <= harness.clock.now()
