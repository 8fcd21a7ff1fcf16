"""The action pancake_replay_events: which rows it replays and refuses, and that its counts add up."""

from typing import Any

import pytest

from tests.support.handlers import HandlerHarness
from tests.support.held_leads import held_lead, hold_leads
from tests.support.settings import ADMIN_ID

HELD = ("skipped_kill_switch", "skipped_source_disabled")


def _balance(report: dict[str, Any]) -> dict[str, int]:
    """Return the numbers of the report, which must add up."""
    assert report["matched"] == report["replayed"] + report["remaining"] + report["changed"]
    assert report["held"] == report["remaining"] + report["returned"] + report["arrived"]
    return {name: report[name] for name in ("matched", "replayed", "remaining", "held")}


async def test_held_rows_are_replayed_and_processed(harness: HandlerHarness) -> None:
    ids = await hold_leads(harness)
    report = await harness.replay(filter={"status": "skipped_kill_switch"})
    assert _balance(report) == {"matched": 3, "replayed": 3, "remaining": 0, "held": 0}
    assert await harness.process_received() == dict.fromkeys(ids, "ticket_created")
    event = harness.event(ids[0])
    assert (event["replay_count"], event["replayed_by"]) == (1, ADMIN_ID)
    assert event["replayed_at"] is not None
    assert event["held_at"] is not None


async def test_a_forced_replay_that_opens_a_ticket_notifies_its_owner(harness: HandlerHarness) -> None:
    """The idempotency key of the first ticket's notification is already used."""
    staff = harness.fill_roster(2)
    event_id, _ = await harness.process_lead()
    harness.sql("UPDATE ticket SET status = 'cancelled' WHERE source_id = 'ticket_source_pancake'")
    await harness.replay(ids=[event_id], force=True)
    assert await harness.process_received() == {event_id: "ticket_created"}
    recipients = [sent["recipient_ids"] for sent in harness.hasura.sent.values()]
    assert sorted(recipients) == [[member] for member in sorted(staff)]


async def test_without_a_user_the_role_is_recorded(harness: HandlerHarness) -> None:
    (event_id,) = await hold_leads(harness, 1)
    await harness.call_action({"ids": [event_id]}, name="replay_events", session={"x-hasura-role": "admin"})
    assert harness.event(event_id)["replayed_by"] == "role admin"


async def test_a_replay_is_refused_while_the_kill_switch_is_on(harness: HandlerHarness) -> None:
    (event_id,) = await hold_leads(harness, 1)
    harness.change_settings(kill_switch=True)
    for dry_run in (False, True):
        response = await harness.request_replay(ids=[event_id], dry_run=dry_run)
        assert response.status_code == 409
        assert response.json()["extensions"] == {"code": "kill_switch_on"}
        assert "kill switch" in response.json()["message"]
    assert harness.event(event_id)["status"] == "skipped_kill_switch"


async def test_the_rate_limits_a_call_and_the_report_counts_the_remaining_rows(
    harness: HandlerHarness,
) -> None:
    await hold_leads(harness, 12)
    harness.change_settings(replay_rate_per_second=2)
    before = harness.clock.monotonic()
    report = await harness.replay(filter={"status": "skipped_kill_switch", "limit": 10})
    assert _balance(report) == {"matched": 12, "replayed": 10, "remaining": 2, "held": 2}
    assert harness.clock.monotonic() - before >= 10 / 2
    harness.change_settings(replay_rate_per_second=1)
    await hold_leads(harness, 30, modified_on="2026-06-01T00:00:00")
    report = await harness.replay(filter={"status": "skipped_kill_switch"})
    assert _balance(report) == {"matched": 32, "replayed": 20, "remaining": 12, "held": 12}


async def test_a_second_replay_waits_for_the_first(harness: HandlerHarness) -> None:
    (event_id,) = await hold_leads(harness, 1)
    async with harness.runtime.db.exclusive("replay_events") as (free, _):
        assert free
        response = await harness.request_replay(ids=[event_id])
    assert (response.status_code, response.json()["extensions"]["code"]) == (409, "busy")
    assert (await harness.replay(ids=[event_id]))["replayed"] == 1


async def test_the_kill_switch_stops_a_drain(harness: HandlerHarness) -> None:
    await hold_leads(harness, 4)
    harness.change_settings(replay_rate_per_second=2)

    async def switch_on(seconds: float) -> None:
        harness.change_settings(kill_switch=True)

    harness.clock.sleep = switch_on  # type: ignore[method-assign]
    report = await harness.replay(filter={"status": "skipped_kill_switch"})
    assert _balance(report) == {"matched": 4, "replayed": 2, "remaining": 2, "held": 2}
    assert set((await harness.process_received()).values()) == {"skipped_kill_switch"}
    assert harness.one("SELECT count(*) FROM ticket WHERE source_id = 'ticket_source_pancake'")["count"] == 0


async def test_the_counts_add_up_while_new_rows_arrive(harness: HandlerHarness) -> None:
    await hold_leads(harness, 4)
    harness.change_settings(replay_rate_per_second=2)

    async def meanwhile(seconds: float) -> None:
        harness.sql("UPDATE pancake_source SET is_active = false")
        number = harness.one("SELECT count(*) FROM pancake_webhook_event")["count"]
        await harness.deliver(held_lead(number + 50))
        harness.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '-1'")

    harness.clock.sleep = meanwhile  # type: ignore[method-assign]
    report = await harness.replay(filter={"source_id": "-1", "limit": 2}, wait=False)
    assert _balance(report) == {"matched": 4, "replayed": 2, "remaining": 2, "held": 3}
    assert report["arrived"] == 1


async def test_rows_of_a_source_are_replayed_once_it_is_enabled(harness: HandlerHarness) -> None:
    answer = await harness.deliver(held_lead(1, source=["-3"]))
    assert answer["status"] == "skipped_source_disabled"
    report = await harness.replay(filter={"status": "skipped_source_disabled"})
    assert _balance(report) == {"matched": 0, "replayed": 0, "remaining": 0, "held": 0}
    assert report["refused"] == [{"event_id": answer["event_id"], "reason": "source_disabled"}]
    harness.sql("UPDATE pancake_source SET is_active = true")
    source = harness.one("SELECT id::text FROM pancake_source WHERE pancake_source_id = '-3'")["id"]
    assert (await harness.replay(filter={"source_id": source}))["replayed"] == 1
    assert await harness.process_received() == {answer["event_id"]: "ticket_created"}


@pytest.mark.test_case("TC-015")
async def test_a_corrected_phone_replaces_an_invalid_one(harness: HandlerHarness) -> None:
    event_id, result = await harness.process_lead(phone_number="không có số")
    assert (result, harness.event(event_id)["error_code"]) == ("dead_letter", "invalid_phone")
    await harness.replay(ids=[event_id], corrected_phone="0912 345 670")
    assert await harness.process_received() == {event_id: "ticket_created"}
    event = harness.event(event_id)
    assert (event["normalized_phone"], event["error_code"]) == ("+84912345670", None)
    assert event["evidence"]["corrected_phone"] == "+84912345670"


async def test_a_processed_row_is_applied_again_only_with_force(harness: HandlerHarness) -> None:
    event_id, _ = await harness.process_lead()
    first = harness.event(event_id)
    tickets = "source_id = 'ticket_source_pancake'"
    harness.sql(f"UPDATE ticket SET title = 'changed by hand' WHERE {tickets}")
    await harness.replay(ids=[event_id])
    assert await harness.process_received() == {event_id: "no_change"}
    again = harness.event(event_id)
    assert (again["outcome"], again["ticket_id"]) == ("ticket_created", first["ticket_id"])
    await harness.replay(ids=[event_id], force=True)
    assert await harness.process_received() == {event_id: "ticket_updated"}
    ticket = harness.one(f"SELECT title, updated_at > created_at AS is_updated FROM ticket WHERE {tickets}")
    assert ticket == {"title": "changed by hand", "is_updated": True}
    assert harness.event(event_id)["evidence"].keys() & {"force", "forced"} == {"forced"}
    await harness.replay(ids=[event_id])
    assert await harness.process_received() == {event_id: "no_change"}
    assert harness.event(event_id)["evidence"].keys() & {"force", "forced"} == set()


async def test_rows_that_cannot_be_replayed_are_listed_with_their_reason(harness: HandlerHarness) -> None:
    no_id = (await harness.deliver({"name": "no id"}))["event_id"]
    waiting = (await harness.deliver(held_lead(1)))["event_id"]
    purged = (await harness.deliver(held_lead(2)))["event_id"]
    disabled = (await harness.deliver(held_lead(3, source=[-3])))["event_id"]
    harness.sql(
        "UPDATE pancake_webhook_event SET payload = NULL, status = 'dead_letter', error_code = 'x'"
        " WHERE id = %s",
        purged,
    )
    report = await harness.replay(ids=[no_id, waiting, purged, disabled, 999_999])
    assert {item["event_id"]: item["reason"] for item in report["refused"]} == {
        no_id: "no_record_id",
        waiting: "under_way",
        purged: "payload_purged",
        disabled: "source_disabled",
        999_999: "unknown_id",
    }
    assert report["matched"] == 0
    (held,) = await hold_leads(harness, 1)
    report = await harness.replay(ids=[held], corrected_phone="0912345678")
    assert report["refused"] == [{"event_id": held, "reason": "not_invalid_phone"}]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({}, "Give either ids or filter."),
        ({"ids": [1], "filter": {"status": "failed"}}, "Give either ids or filter."),
        ({"ids": []}, "ids is a list of 1 to 1000 event ids."),
        ({"ids": [1] * 1001}, "ids is a list of 1 to 1000 event ids."),
        ({"ids": [1] * 101, "dry_run": True}, "ids is a list of 1 to 100 event ids."),
        ({"ids": [-1]}, "ids are whole numbers."),
        ({"ids": [2**63]}, "ids are whole numbers."),
        ({"ids": [True]}, "ids are whole numbers."),
        ({"ids": ["1; DROP TABLE account"]}, "ids are whole numbers."),
        ({"filter": {}}, "filter names neither status, error_code nor source_id."),
        ({"filter": {"status": "received"}}, "filter.status is not one of"),
        ({"filter": {"status": ["failed"]}}, "filter.status is not one of"),
        ({"filter": {"status": "failed", "limit": 0}}, "filter.limit is a number from 1 to 1000."),
        (
            {"filter": {"status": "failed", "from": "yesterday"}},
            "filter.from is neither a date nor a time of",
        ),
        (
            {"filter": {"status": "failed", "from": "2026-02-30"}},
            "filter.from is neither a date nor a time of",
        ),
        ({"filter": {"status": "failed", "to": 20260501}}, "filter.to is neither a date nor a time of"),
        ({"filter": {"error_code": 5}}, "filter.error_code is not text."),
        ({"filter": {"error_code": "\0"}}, "filter.error_code is not text."),
        ({"filter": {"source_id": "9" * 201}}, "filter.source_id is longer than 200 characters."),
        ({"ids": ["9" * 5000]}, "ids are whole numbers."),
        ({"ids": ["9" * 19]}, "ids are whole numbers."),
        ({"filter": {"status": "failed", "sort": "id"}}, "filter does not know sort."),
        ({"filter": 5}, "filter is not an object."),
        ({"ids": [1], "force": "yes"}, "force is neither true nor false."),
        ({"ids": [1, 2], "corrected_phone": "0905111222"}, "corrected_phone belongs to one event"),
        ({"ids": [1], "corrected_phone": "12"}, "corrected_phone is not a usable phone number"),
        ({"ids": [1], "corrected_phone": 5}, "corrected_phone is not a usable phone number"),
    ],
)
async def test_an_invalid_request_is_refused_with_the_reason(
    harness: HandlerHarness, order: dict[str, Any], message: str
) -> None:
    response = await harness.request_replay(**order)
    assert response.status_code == 400
    assert response.json()["message"].startswith(message)
    assert response.json()["extensions"] == {"code": "bad_request"}


async def test_a_filter_selects_by_error_code_and_time(harness: HandlerHarness) -> None:
    event_id, _ = await harness.process_lead(phone_number="x")
    created = harness.event(event_id)["created_at"]
    await hold_leads(harness, 2)
    for criteria, matched in [
        ({"error_code": "invalid_phone"}, 1),
        ({"error_code": "invalid_phone", "from": created.isoformat()}, 1),
        ({"error_code": "invalid_phone", "to": created.isoformat()}, 0),
        ({"status": "dead_letter"}, 1),
        ({"source_id": "-1"}, 3),
        ({"source_id": "-3"}, 0),
    ]:
        report = await harness.replay(filter=criteria, dry_run=True)
        assert (report["matched"], report["replayed"]) == (matched, 0), criteria


async def test_a_date_is_midnight_in_vietnam_and_a_time_without_a_zone_is_utc(
    harness: HandlerHarness,
) -> None:
    """19:00 UTC on 1 May is 02:00 on 2 May in Vietnam, the day used by the reconciliation."""
    event_id, _ = await harness.process_lead(phone_number="x")
    harness.sql("UPDATE pancake_webhook_event SET created_at = '2026-05-01T19:00Z' WHERE id = %s", event_id)
    for criteria, matched in [
        ({"from": "2026-05-02"}, 1),
        ({"to": "2026-05-02"}, 0),
        ({"from": "2026-05-02T00:00"}, 0),
        ({"to": "2026-05-02T00:00"}, 1),
        ({"from": "0001-01-01", "to": "9999-12-31"}, 1),
    ]:
        report = await harness.replay(filter={"status": "dead_letter", **criteria}, dry_run=True)
        assert report["matched"] == matched, criteria


class TestPaused:
    """The setting processing_paused."""

    async def test_events_are_postponed_and_their_rows_stay_received(self, harness: HandlerHarness) -> None:
        event_id = (await harness.deliver(held_lead(1)))["event_id"]
        harness.change_settings(processing_paused=True)
        for _ in range(3):
            response = await harness.fire(event_id)
            assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
            assert response.json()["extensions"]["code"] == "processing_paused"
        event = harness.event(event_id)
        assert (event["status"], event["attempts"], event["claim_id"]) == ("received", 0, None)
        harness.change_settings(processing_paused=False)
        assert await harness.process(event_id) == "ticket_created"

    async def test_deliveries_are_still_stored(self, harness: HandlerHarness) -> None:
        harness.change_settings(processing_paused=True)
        assert (await harness.deliver(held_lead(1)))["status"] == "received"

    async def test_the_kill_switch_takes_precedence_once_processing_resumes(
        self, harness: HandlerHarness
    ) -> None:
        event_id = (await harness.deliver(held_lead(1)))["event_id"]
        harness.change_settings(processing_paused=True, kill_switch=True)
        assert (await harness.fire(event_id)).status_code == 503
        harness.change_settings(processing_paused=False)
        assert await harness.process(event_id) == "skipped_kill_switch"

    async def test_a_dry_run_reports_that_rows_would_wait(self, harness: HandlerHarness) -> None:
        (event_id,) = await hold_leads(harness, 1)
        harness.change_settings(processing_paused=True)
        report = await harness.replay(ids=[event_id], dry_run=True)
        assert report["changes"] == [{"event_id": event_id, "result": "processing_paused"}]
