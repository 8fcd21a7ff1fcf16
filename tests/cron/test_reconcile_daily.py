"""Cron 7, layer 3: the ledger of closed days."""

from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import httpx
import pytest

from leads.domain.window import day_window
from leads.services.connections import load_connections
from leads.services.reconcile_daily import days
from tests.support.crons import LONG_CALL_SECONDS, CronHarness


def fill(harness: CronHarness, day: date, count: int) -> list[str]:
    """Create leads spread over a day, without webhooks; return their ids."""
    before = set(harness.pancake.tables["lead"].current)
    window = day_window(day)
    harness.pancake.bulk(count, window.start, window.end)
    return sorted(set(harness.pancake.tables["lead"].current) - before)


async def by_webhook(harness: CronHarness, record_ids: list[str]) -> None:
    """Deliver these records as the webhook would have at their creation."""
    for record_id in record_ids:
        record = harness.pancake.tables["lead"].get(record_id)
        assert record is not None
        body = {key: value for key, value in record.items() if key != "interested_product"}
        await harness.deliver(body | {"pancake_tags_obj": []})
    harness.sql("UPDATE pancake_webhook_event SET created_at = modified_on WHERE origin = 'webhook'")


async def reconcile(harness: CronHarness) -> dict[str, Any]:
    (report,) = (await harness.run("reconcile_daily"))["days"]
    return dict(report)


@pytest.mark.test_case("TC-014-002")
async def test_it_inserts_and_names_records_that_webhook_and_poll_missed(
    harness: CronHarness, day: date
) -> None:
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
    (row,) = harness.sql("SELECT count(*) AS n FROM pancake_webhook_event WHERE origin = 'reconcile'")
    assert row["n"] == 10


async def test_a_connection_that_is_created_meanwhile_has_no_closed_days(
    harness: CronHarness, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = load_connections

    async def create_and_load(*arguments: Any) -> Any:
        harness.sql(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES ('new', 9, %s)",
            b"n" * 32,
        )
        return await load(*arguments)

    monkeypatch.setattr(days, "load_connections", create_and_load)
    assert (await reconcile(harness))["connection_id"] == harness.connection_id


@pytest.mark.test_case("TC-016")
async def test_the_ledger_counts_each_record_by_its_state(harness: CronHarness, day: date) -> None:
    ids = fill(harness, day, 8)
    await by_webhook(harness, ids)
    processed, held, rejected, waiting = ids[:4], ids[4:5], ids[5:6], ids[6:]
    await harness.process_received()
    for record_id, status, code in [
        *((i, "skipped_source_disabled", None) for i in held),
        *((i, "dead_letter", "invalid_phone") for i in rejected),
        *((i, "received", None) for i in waiting),
    ]:
        harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE record_id = %s", record_id)
        harness.sql(
            "UPDATE pancake_webhook_event SET status = %s, error_code = %s WHERE record_id = %s",
            status,
            code,
            record_id,
        )
    report = await reconcile(harness)
    assert (report["processed"], report["held"], report["pending"]) == (len(processed), 1, 2)
    assert report["rejected"] == [[rejected[0], "invalid_phone"]]


async def test_every_closed_day_without_a_successful_run_is_reconciled(
    harness: CronHarness, day: date
) -> None:
    first = day - timedelta(days=3)
    harness.sql("UPDATE pancake_connection SET created_at = %s", day_window(first).start)
    for back in range(4):
        fill(harness, day - timedelta(days=back), 5)
    run = await harness.run("reconcile_daily")
    assert [report["day"] for report in run["days"]] == [
        (first + timedelta(days=n)).isoformat() for n in range(4)
    ]
    assert sum(report["inserted"] for report in run["days"]) == 20
    harness.move_clock(days=1)
    assert [report["day"] for report in (await harness.run("reconcile_daily"))["days"]] == [
        (day + timedelta(days=1)).isoformat()
    ]


async def test_it_goes_at_most_fourteen_days_back_and_not_before_the_connection(
    harness: CronHarness, day: date
) -> None:
    harness.sql("UPDATE pancake_connection SET created_at = %s", datetime(2020, 1, 1, tzinfo=UTC))
    assert len((await harness.run("reconcile_daily"))["closed_days"]) == 14
    harness.sql("DELETE FROM pancake_cron_run")
    harness.sql("UPDATE pancake_connection SET created_at = %s", day_window(day).end)
    harness.move_clock(minutes=1)
    assert [report["day"] for report in (await harness.run("reconcile_daily"))["days"]] == [day.isoformat()]


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


async def deliver_in_slices(harness: CronHarness) -> list[httpx.Response]:
    """Deliver a tick until it is done, with a clock that leaves time for little each; return the answers."""
    harness.clock.monotonic = partial(next, count(0, LONG_CALL_SECONDS / 9))  # type: ignore[method-assign]
    due = harness.clock.now()
    answers = [await harness.tick("reconcile_daily", due)]
    while answers[-1].status_code == 503 and len(answers) < 30:
        answers.append(await harness.tick("reconcile_daily", due))
    return answers


@pytest.mark.test_case("TC-014-005")
async def test_an_interrupted_day_resumes_where_it_stopped(harness: CronHarness, day: date) -> None:
    ids = fill(harness, day, 200)
    answers = await deliver_in_slices(harness)
    assert len(answers) > 1
    assert answers[0].headers["Retry-After"] == "1"
    assert answers[-1].json()["result"] == "succeeded"
    (report,) = harness.last_run("reconcile_daily")["report"]["days"]
    assert sorted(report["found_missing"]) == ids
    assert report["duplicates"] == []


async def test_a_tick_delivered_in_slices_reports_all_of_its_days(harness: CronHarness, day: date) -> None:
    first = day - timedelta(days=3)
    harness.sql("UPDATE pancake_connection SET created_at = %s", day_window(first).start)
    ids = [fill(harness, first + timedelta(days=n), 70) for n in range(4)]
    assert len(await deliver_in_slices(harness)) > 2
    report = harness.last_run("reconcile_daily")["report"]
    assert report["closed_days"] == [(first + timedelta(days=n)).isoformat() for n in range(4)]
    assert [sorted(found["found_missing"]) for found in report["days"]] == ids


async def test_a_day_that_keeps_failing_does_not_change_the_report_of_the_others(
    harness: CronHarness, day: date
) -> None:
    before = day - timedelta(days=1)
    harness.sql("UPDATE pancake_connection SET created_at = %s", day_window(before).start)
    found = fill(harness, day, 6)
    ids = fill(harness, before, 5)
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
    metrics = (await harness.client.get("/metrics")).text
    assert 'pancake_webhook_missed_total{origin="reconcile"} 1.0' in metrics


async def test_an_overtaken_version_is_superseded_not_lost(harness: CronHarness, day: date) -> None:
    ids = fill(harness, day, 5)
    await by_webhook(harness, ids)
    harness.pancake.faults.drop = 1
    harness.pancake.edit_lead(ids[0])
    await harness.tick("poll_records")
    harness.move_clock(minutes=5)
    await harness.tick("poll_records")
    report = await reconcile(harness)
    assert (report["expected"], report["superseded"], report["unexpected"]) == (4, 1, [])


async def test_a_stored_record_that_pancake_deleted_is_unexpected(harness: CronHarness, day: date) -> None:
    ids = fill(harness, day, 5)
    await by_webhook(harness, ids)
    harness.pancake.tables["lead"].delete(ids[0])
    report = await reconcile(harness)
    assert (report["unexpected"], report["unlisted"]) == ([ids[0]], [])


@pytest.mark.parametrize("fault", [{"cut_page": 4}, {"wrong_filter": True}, {"repeat_cursor": True}])
async def test_an_incomplete_list_does_not_close_the_day(
    harness: CronHarness, day: date, fault: dict[str, Any]
) -> None:
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


async def test_a_sample_of_the_day_before_is_checked_again(harness: CronHarness, day: date) -> None:
    fill(harness, day - timedelta(days=1), 300)
    fill(harness, day, 5)
    report = await reconcile(harness)
    assert report["expected"] == 5
    assert 5 <= report["sampled"] <= 60
    assert len(report["sample_missing"]) == report["sampled"]


async def test_a_contact_from_the_webhook_is_not_unexpected_in_a_list_of_leads(
    harness: CronHarness, day: date
) -> None:
    ids = fill(harness, day, 5)
    contacts = harness.pancake.tables["contact"]
    contacts.write(harness.pancake.leads.lead(), at=day_window(day).start + timedelta(hours=5))
    (contact,) = (contacts.get(record_id) for record_id in contacts.current)
    assert contact is not None
    await harness.deliver(contact | {"table_id": "contact"})
    await by_webhook(harness, ids)
    report = await reconcile(harness)
    assert (report["expected"], report["unlisted"], report["superseded"]) == (5, [], 0)
    assert report["first_seen"] == {"webhook": 5}
