"""Cron 7, layer 3: the ledger of closed days."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from leads.domain.window import ICT, day_window
from tests.cron.conftest import Ward, hide


@pytest.fixture
def day(ward: Ward) -> date:
    """The ICT day before the present one, which the connection exists since; it is past 02:00 now."""
    tomorrow = datetime.combine(ward.clock.now().astimezone(ICT).date() + timedelta(days=1), time(2), ICT)
    ward.clock.ahead += tomorrow - ward.clock.now()
    found = (ward.clock.now().astimezone(ICT) - timedelta(days=1)).date()
    ward.sql("UPDATE pancake_connection SET created_at = %s", day_window(found).start)
    return found


def fill(ward: Ward, day: date, count: int) -> list[str]:
    """Leads spread over a day, without webhooks."""
    before = set(ward.pancake.tables["lead"].current)
    window = day_window(day)
    ward.pancake.bulk(count, window.start, window.end)
    return sorted(set(ward.pancake.tables["lead"].current) - before)


async def by_webhook(ward: Ward, record_ids: list[str]) -> None:
    """Let the webhook have brought these records as they are, when they were made."""
    for record_id in record_ids:
        record = ward.pancake.tables["lead"].get(record_id)
        assert record is not None
        body = {key: value for key, value in record.items() if key != "interested_product"}
        await ward.deliver(body | {"pancake_tags_obj": []})
    ward.sql("UPDATE pancake_webhook_event SET created_at = modified_on WHERE origin = 'webhook'")


async def reconcile(ward: Ward) -> dict[str, Any]:
    (report,) = (await ward.run("reconcile_daily"))["days"]
    return dict(report)


async def test_it_inserts_what_both_other_layers_missed_and_names_it(ward: Ward, day: date) -> None:
    ids = fill(ward, day, 70)
    await by_webhook(ward, ids[:60])
    report = await reconcile(ward)
    assert report["day"] == day.isoformat()
    assert (report["expected"], report["found"], report["inserted"]) == (70, 60, 10)
    assert sorted(report["found_missing"]) == ids[60:]
    assert report["left_missing"] == []
    assert report["first_seen"] == {"reconcile": 10, "webhook": 60}
    assert report["webhook_loss"] == round(10 / 70, 4)
    assert "reconciliation_miss" in ward.reasons()
    (row,) = ward.sql("SELECT count(*) AS n FROM pancake_webhook_event WHERE origin = 'reconcile'")
    assert row["n"] == 10


async def test_the_ledger_says_where_each_record_stands(ward: Ward, day: date) -> None:
    ids = fill(ward, day, 8)
    await by_webhook(ward, ids)
    processed, held, rejected, waiting = ids[:4], ids[4:5], ids[5:6], ids[6:]
    await ward.drain()
    for record_id, status, code in [
        *((i, "skipped_source_disabled", None) for i in held),
        *((i, "dead_letter", "invalid_phone") for i in rejected),
        *((i, "received", None) for i in waiting),
    ]:
        ward.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE record_id = %s", record_id)
        ward.sql(
            "UPDATE pancake_webhook_event SET status = %s, error_code = %s WHERE record_id = %s",
            status,
            code,
            record_id,
        )
    report = await reconcile(ward)
    assert (report["processed"], report["held"], report["pending"]) == (len(processed), 1, 2)
    assert report["rejected"] == [[rejected[0], "invalid_phone"]]


async def test_every_closed_day_without_a_succeeded_run_is_made_up_for(ward: Ward, day: date) -> None:
    first = day - timedelta(days=3)
    ward.sql("UPDATE pancake_connection SET created_at = %s", day_window(first).start)
    for back in range(4):
        fill(ward, day - timedelta(days=back), 5)
    run = await ward.run("reconcile_daily")
    assert [report["day"] for report in run["days"]] == [
        (first + timedelta(days=n)).isoformat() for n in range(4)
    ]
    assert sum(report["inserted"] for report in run["days"]) == 20
    ward.move(days=1)
    assert [report["day"] for report in (await ward.run("reconcile_daily"))["days"]] == [
        (day + timedelta(days=1)).isoformat()
    ]


async def test_it_goes_at_most_fourteen_days_back_and_not_before_the_connection(
    ward: Ward, day: date
) -> None:
    ward.sql("UPDATE pancake_connection SET created_at = %s", datetime(2020, 1, 1, tzinfo=UTC))
    assert len((await ward.run("reconcile_daily"))["closed_days"]) == 14
    ward.sql("DELETE FROM pancake_cron_run")
    ward.sql("UPDATE pancake_connection SET created_at = %s", day_window(day).end)
    ward.move(minutes=1)
    assert [report["day"] for report in (await ward.run("reconcile_daily"))["days"]] == [day.isoformat()]


async def test_while_pancake_is_down_the_day_stays_owed(ward: Ward, day: date) -> None:
    ids = fill(ward, day, 5)
    ward.pancake.faults.down = True
    due = ward.clock.now()
    assert (await ward.tick("reconcile_daily", due)).status_code == 503
    ward.pancake.faults.reset()
    ward.move(minutes=1)
    assert (await ward.tick("reconcile_daily", due)).json()["result"] == "succeeded"
    assert sorted(ward.last_run("reconcile_daily")["report"]["days"][0]["found_missing"]) == ids


async def test_an_interrupted_day_goes_on_where_it_stopped(ward: Ward, day: date) -> None:
    ids = fill(ward, day, 200)
    steps = iter(range(0, 10_000_000, 40))
    ward.clock.monotonic = lambda: next(steps)  # type: ignore[method-assign]
    due = ward.clock.now()
    answers = [await ward.tick("reconcile_daily", due)]
    while answers[-1].status_code == 503 and len(answers) < 20:
        answers.append(await ward.tick("reconcile_daily", due))
    assert len(answers) > 1
    assert answers[0].headers["Retry-After"] == "1"
    assert answers[-1].json()["result"] == "succeeded"
    (report,) = ward.last_run("reconcile_daily")["report"]["days"]
    assert sorted(report["found_missing"]) == ids
    assert report["duplicates"] == []


async def test_a_tick_delivered_in_slices_reports_all_of_its_days(ward: Ward, day: date) -> None:
    first = day - timedelta(days=3)
    ward.sql("UPDATE pancake_connection SET created_at = %s", day_window(first).start)
    ids = [fill(ward, first + timedelta(days=n), 70) for n in range(4)]
    steps = iter(range(0, 10_000_000, 40))
    ward.clock.monotonic = lambda: next(steps)  # type: ignore[method-assign]
    due = ward.clock.now()
    answers = [await ward.tick("reconcile_daily", due)]
    while answers[-1].status_code == 503 and len(answers) < 30:
        answers.append(await ward.tick("reconcile_daily", due))
    assert len(answers) > 2
    report = ward.last_run("reconcile_daily")["report"]
    assert report["closed_days"] == [(first + timedelta(days=n)).isoformat() for n in range(4)]
    assert [sorted(found["found_missing"]) for found in report["days"]] == ids


async def test_a_day_that_keeps_failing_takes_nothing_from_the_report(ward: Ward, day: date) -> None:
    before = day - timedelta(days=1)
    ward.sql("UPDATE pancake_connection SET created_at = %s", day_window(before).start)
    found = fill(ward, day, 6)
    ids = fill(ward, before, 5)
    await by_webhook(ward, ids[:1])
    hide(ward, ids[0])
    due = ward.clock.now()
    for _ in range(2):
        assert (await ward.tick("reconcile_daily", due)).status_code == 503
        report = ward.last_run("reconcile_daily")["report"]
        assert report["closed_days"] == [day.isoformat()]
        failed, closed = report["days"]
        assert (failed["unlisted"], sorted(failed["found_missing"])) == (ids[:1], ids[1:])
        assert sorted(closed["found_missing"]) == found
        ward.move(minutes=1)


async def test_a_record_that_another_layer_stores_meanwhile_is_found(ward: Ward, day: date) -> None:
    ids = fill(ward, day, 5)
    await by_webhook(ward, ids[:3])
    fetch_all = ward.runtime.db.fetch_all
    late = ids[3:4]

    async def overtaken(name: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        rows = await fetch_all(name, params)
        if name == "pancake_lists/load_events" and late:
            await by_webhook(ward, [late.pop()])
        return rows

    ward.runtime.db.fetch_all = overtaken  # type: ignore[assignment]
    report = await reconcile(ward)
    assert (report["found"], report["found_missing"], report["left_missing"]) == (4, ids[4:], [])
    assert report["pending"] == 4
    metrics = (await ward.client.get("/metrics")).text
    assert 'pancake_webhook_missed_total{origin="reconcile"} 1.0' in metrics


async def test_an_overtaken_version_is_superseded_not_lost(ward: Ward, day: date) -> None:
    ids = fill(ward, day, 5)
    await by_webhook(ward, ids)
    ward.pancake.faults.drop = 1
    ward.pancake.edit_lead(ids[0])
    await ward.tick("poll_records")
    ward.move(minutes=5)
    await ward.tick("poll_records")
    report = await reconcile(ward)
    assert (report["expected"], report["superseded"], report["unexpected"]) == (4, 1, [])


async def test_our_record_that_pancake_deleted_is_unexpected(ward: Ward, day: date) -> None:
    ids = fill(ward, day, 5)
    await by_webhook(ward, ids)
    ward.pancake.tables["lead"].delete(ids[0])
    report = await reconcile(ward)
    assert (report["unexpected"], report["unlisted"]) == ([ids[0]], [])


@pytest.mark.parametrize("fault", [{"cut_page": 4}, {"wrong_filter": True}, {"repeat_cursor": True}])
async def test_a_list_that_leaves_records_out_does_not_close_the_day(
    ward: Ward, day: date, fault: dict[str, Any]
) -> None:
    ids = fill(ward, day, 60)
    await by_webhook(ward, ids)
    ward.pancake.faults.change(fault)
    due = ward.clock.now()
    assert (await ward.tick("reconcile_daily", due)).status_code == 503
    report = ward.last_run("reconcile_daily")["report"]
    assert report["closed_days"] == []
    assert report["days"][0]["error"] == "list_incomplete"
    ward.pancake.faults.reset()
    ward.move(minutes=1)
    assert (await ward.tick("reconcile_daily", due)).json()["result"] == "succeeded"
    assert ward.last_run("reconcile_daily")["report"]["closed_days"] == [day.isoformat()]


async def test_a_sample_of_the_day_before_is_looked_at_again(ward: Ward, day: date) -> None:
    fill(ward, day - timedelta(days=1), 300)
    fill(ward, day, 5)
    report = await reconcile(ward)
    assert report["expected"] == 5
    assert 5 <= report["sampled"] <= 60
    assert len(report["sample_missing"]) == report["sampled"]


async def test_a_contact_from_the_webhook_is_no_stranger_to_a_list_of_leads(ward: Ward, day: date) -> None:
    ids = fill(ward, day, 5)
    contacts = ward.pancake.tables["contact"]
    contacts.write(ward.pancake.leads.lead(), at=day_window(day).start + timedelta(hours=5))
    (contact,) = (contacts.get(record_id) for record_id in contacts.current)
    assert contact is not None
    await ward.deliver(contact | {"table_id": "contact"})
    await by_webhook(ward, ids)
    report = await reconcile(ward)
    assert (report["expected"], report["unlisted"], report["superseded"]) == (5, [], 0)
    assert report["first_seen"] == {"webhook": 5}
