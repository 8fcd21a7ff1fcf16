"""The action pancake_replay_events: which rows it replays and refuses, what it reports; its dry run."""

import asyncio
import json
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from leads.domain.replay import ReplayRequest
from leads.services.replay_events import MAX_WAIT_SECONDS, find_events, replay
from tests.support.handlers import HandlerHarness
from tests.support.leads import EARLIER, LATER, numbered_lead
from tests.support.postgres import count_deadlocks
from tests.support.processing import hold, hold_leads, insert_connection, process, receive, stored
from tests.support.settings import ADMIN_ID

HELD = {"status": "skipped_kill_switch"}
NOTHING: dict[str, Any] = {
    "outcomes": {}, "held": {}, "failed": {}, "dead_letter": {}, "waiting": 0, "owners": [], "unassigned": 0,
}  # fmt: skip


def balance(report: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return matched, replayed, remaining and held of the report, whose numbers must add up."""
    assert report["matched"] == report["replayed"] + report["remaining"] + report["changed"]
    assert report["held"] == report["remaining"] + report["returned"] + report["arrived"]
    return report["matched"], report["replayed"], report["remaining"], report["held"]


def meanwhile(harness: HandlerHarness, work: Callable[[], Awaitable[object]] | None = None) -> None:
    """While the action waits, do this, or deliver the events of received rows as Hasura does."""

    async def sleep(seconds: float) -> None:
        await (work or harness.process_received)()

    harness.clock.sleep = sleep  # type: ignore[method-assign]


async def reported(harness: HandlerHarness, **input_: Any) -> dict[str, Any]:
    """Replay while Hasura delivers the events; return the results."""
    meanwhile(harness)
    results: dict[str, Any] = (await harness.replay(**input_))["results"]
    return results


async def test_held_rows_are_replayed_and_processed(harness: HandlerHarness) -> None:
    ids = await hold_leads(harness)
    report = await harness.replay(filter=HELD, wait=False)
    assert balance(report) == (3, 3, 0, 0)
    assert (report["replayed_ids"], report["results"]) == (ids, NOTHING | {"waiting": 3})
    assert await harness.process_received() == dict.fromkeys(ids, "ticket_created")
    event = harness.event(ids[0])
    assert (event["replay_count"], event["replayed_by"]) == (1, ADMIN_ID)
    assert event["replayed_at"] is not None
    assert event["held_at"] is not None


@pytest.mark.test_case("TC-015")
async def test_a_corrected_phone_replaces_an_invalid_one(harness: HandlerHarness) -> None:
    lead = await process(harness, phone_number="không có số")
    assert (lead.result, lead.event["error_code"]) == ("dead_letter", "invalid_phone")
    assert lead.event["next_attempt_at"] is None
    await harness.replay(ids=[lead.id], corrected_phone="0912 345 670", wait=False)
    assert await harness.process_received() == {lead.id: "ticket_created"}
    event = lead.event
    assert (event["normalized_phone"], event["error_code"]) == ("+84912345670", None)
    assert event["evidence"]["corrected_phone"] == "+84912345670"


# What is refused


async def test_rows_that_cannot_be_replayed_are_listed_with_their_reason(harness: HandlerHarness) -> None:
    """For each state of a row tests/handlers/test_ways_to_replay.py has the reason."""
    waiting, (held,) = await stored(harness), await hold_leads(harness, 1)
    reasons = {waiting: "under_way", held: "not_invalid_phone", 999_999: "unknown_id"}
    for event_id, reason in reasons.items():
        report = await harness.replay(ids=[event_id], corrected_phone="0912345678")
        assert report["refused"] == [{"event_id": event_id, "reason": reason}]
        assert report["matched"] == 0


async def test_while_the_kill_switch_is_on_a_replay_is_refused_and_a_dry_run_shows_the_plan(
    harness: HandlerHarness,
) -> None:
    (event_id,) = await hold_leads(harness, 1)
    harness.change_settings(kill_switch=True)
    before = harness.sql("SELECT id FROM ticket")
    response = await harness.request_replay(ids=[event_id])
    assert response.status_code == 409
    assert response.json()["extensions"] == {"code": "kill_switch_on"}
    assert "kill switch" in response.json()["message"]
    report = await harness.replay(ids=[event_id], dry_run=True)
    (change,) = report["changes"]
    assert (change["result"], report["results"], report["replayed_ids"]) == ("ticket_created", None, [])
    assert harness.event(event_id)["status"] == "skipped_kill_switch"
    assert harness.sql("SELECT id FROM ticket") == before
    harness.change_settings(kill_switch=False, processing_paused=True)
    (change,) = (await harness.replay(ids=[event_id], dry_run=True))["changes"]
    assert change == {"event_id": event_id, "result": "processing_paused"}, "the row would wait"


async def test_a_second_replay_waits_for_the_first(harness: HandlerHarness) -> None:
    (event_id,) = await hold_leads(harness, 1)
    async with harness.runtime.db.exclusive("replay_events") as (free, _):
        assert free
        response = await harness.request_replay(ids=[event_id])
    assert (response.status_code, response.json()["extensions"]["code"]) == (409, "busy")
    assert (await harness.replay(ids=[event_id], wait=False))["replayed"] == 1


async def test_a_row_that_changed_after_it_was_found_is_left_alone(harness: HandlerHarness) -> None:
    (event_id,) = await hold_leads(harness, 1)
    request = ReplayRequest("t", frozenset({"skipped_kill_switch"}), ids=(event_id,))
    found = await find_events(harness.runtime.db, request)
    receive(harness, event_id)
    assert await replay(harness.runtime.db, harness.clock, request, found.ids, 10) == []


INVALID: list[tuple[dict[str, Any], str]] = [
    ({}, "Give either ids or filter."),
    ({"ids": [1], "filter": {"status": "failed"}}, "Give either ids or filter."),
    ({"ids": []}, "ids is a list of 1 to 1000 event ids."),
    ({"ids": [1] * 1001}, "ids is a list of 1 to 1000 event ids."),
    ({"ids": [1] * 101, "dry_run": True}, "ids is a list of 1 to 100 event ids."),
    *(
        ({"ids": [bad]}, "ids are whole numbers.")
        for bad in (-1, 2**63, True, "1; DROP TABLE account", "9" * 5000, "9" * 19)
    ),
    ({"filter": 5}, "filter is not an object."),
    ({"filter": {}}, "filter names neither status, error_code, source_id nor from."),
    ({"filter": {"to": "2026-05-14"}}, "filter names neither status, error_code, source_id nor from."),
    ({"filter": {"status": "received"}}, "filter.status is not one of"),
    ({"filter": {"status": ["failed"]}}, "filter.status is not one of"),
    ({"filter": {"status": "failed", "limit": 0}}, "filter.limit is a number from 1 to 1000."),
    *(
        ({"filter": {"status": "failed", "from": bad}}, "filter.from is neither a date nor a time of")
        for bad in ("yesterday", "2026-02-30")
    ),
    ({"filter": {"status": "failed", "to": 20260501}}, "filter.to is neither a date nor a time of"),
    ({"filter": {"status": "failed", "sort": "id"}}, "filter does not know sort."),
    ({"filter": {"error_code": 5}}, "filter.error_code is not text."),
    ({"filter": {"error_code": "\0"}}, "filter.error_code is not text."),
    ({"filter": {"source_id": "9" * 201}}, "filter.source_id is longer than 200 characters."),
    ({"ids": [1], "force": "yes"}, "force is neither true nor false."),
    ({"ids": [1], "wait": "yes"}, "wait is neither true nor false."),
    ({"ids": [1, 2], "corrected_phone": "0905111222"}, "corrected_phone belongs to one event"),
    ({"ids": [1], "corrected_phone": "12"}, "corrected_phone is not a usable phone number"),
    ({"ids": [1], "corrected_phone": 5}, "corrected_phone is not a usable phone number"),
]


async def test_an_invalid_request_is_refused_with_the_reason(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    for request, message in INVALID:
        with subtests.test(request=request, message=message):
            response = await harness.request_replay(**request)
            assert response.status_code == 400
            assert response.json()["message"].startswith(message)
            assert response.json()["extensions"] == {"code": "bad_request"}


# Which rows a filter selects, and how many of them


async def test_a_filter_selects_by_error_code_source_and_time(harness: HandlerHarness) -> None:
    """A date is midnight in Vietnam, as for the reconciliation; a time without a zone is UTC.

    19:00 UTC on 1 May is 02:00 on 2 May in Vietnam.
    """
    lead = await process(harness, phone_number="x")
    harness.sql("UPDATE pancake_webhook_event SET created_at = '2026-05-01T19:00Z'")
    await hold_leads(harness, 2)
    created = lead.event["created_at"].isoformat()
    source = harness.one(
        "UPDATE pancake_source SET name = 'Đặt lịch' WHERE pancake_source_id = '-1' RETURNING id"
    )
    cases: list[tuple[dict[str, str], int]] = [
        ({"status": "dead_letter"}, 1),
        ({"source_id": "-1"}, 3),
        ({"source_id": str(source["id"])}, 3),
        ({"source_id": "a source that is not there"}, 0),
        ({"source_id": "ĐẶT LỊCH"}, 3),
        ({"source_id": unicodedata.normalize("NFD", "đặt lịch")}, 3),
        ({"source_id": "-3"}, 0),
        ({"error_code": "invalid_phone"}, 1),
        *(
            ({"error_code": "invalid_phone"} | times, matched)
            for times, matched in (
                ({"from": created}, 1),
                ({"to": created}, 0),
                ({"from": "2026-05-02"}, 1),
                ({"to": "2026-05-02"}, 0),
                ({"from": "2026-05-02T00:00"}, 0),
                ({"to": "2026-05-02T00:00"}, 1),
                ({"from": "0001-01-01", "to": "9999-12-31"}, 1),
            )
        ),
    ]
    for criteria, matched in cases:
        report = await harness.replay(filter=criteria, dry_run=True)
        assert (report["matched"], report["replayed"]) == (matched, 0), criteria


async def test_the_rate_limits_a_call_and_remaining_rows_are_counted(harness: HandlerHarness) -> None:
    await hold_leads(harness, 12)
    harness.change_settings(replay_rate_per_second=2)
    before = harness.clock.monotonic()
    report = await harness.replay(filter=HELD | {"limit": 10}, wait=False)
    assert balance(report) == (12, 10, 2, 2)
    assert harness.clock.monotonic() - before >= 10 / 2
    harness.change_settings(replay_rate_per_second=1)
    await hold_leads(harness, 30, modified_on="2026-06-01T00:00:00")
    assert balance(await harness.replay(filter=HELD, wait=False)) == (32, 20, 12, 12)


async def test_connections_take_turns(harness: HandlerHarness) -> None:
    """A long list of one connection does not keep the lead of another waiting, which came later."""
    *_, newest = await hold_leads(harness, 30)
    other = insert_connection(harness, "another token")
    harness.sql("SET session_replication_role = replica")
    harness.sql("UPDATE pancake_webhook_event SET connection_id = %s WHERE id = %s", other, newest)
    harness.sql("RESET session_replication_role")
    harness.change_settings(replay_rate_per_second=1)
    report = await harness.replay(filter=HELD, wait=False)
    assert balance(report) == (30, 20, 10, 10)
    assert newest in report["replayed_ids"][:2]


async def test_no_more_are_replayed_while_those_of_a_second_wait(harness: HandlerHarness) -> None:
    """Hasura delivers by age: a new lead would wait behind all of them. A pause is not waited for."""
    await hold_leads(harness, 90)
    harness.change_settings(replay_rate_per_second=30)
    assert balance(await harness.replay(filter=HELD | {"limit": 60}, wait=False)) == (90, 33, 57, 57)
    harness.change_settings(processing_paused=True)
    assert balance(await harness.replay(filter=HELD | {"limit": 10}, wait=False)) == (57, 10, 47, 47)
    harness.change_settings(processing_paused=False)
    meanwhile(harness)
    assert balance(await harness.replay(filter=HELD, wait=False)) == (47, 47, 0, 0)


async def test_the_kill_switch_stops_a_drain(harness: HandlerHarness) -> None:
    await hold_leads(harness, 4)
    harness.change_settings(replay_rate_per_second=20)

    async def switch_on() -> None:
        harness.change_settings(kill_switch=True)

    meanwhile(harness, switch_on)
    assert balance(await harness.replay(filter=HELD, wait=False)) == (4, 2, 2, 2)
    assert set((await harness.process_received()).values()) == {"skipped_kill_switch"}
    assert harness.count_tickets() == 0


async def test_the_counts_add_up_while_new_rows_arrive(harness: HandlerHarness) -> None:
    await hold_leads(harness, 4)
    harness.change_settings(replay_rate_per_second=20)

    async def arrive() -> None:
        harness.sql("UPDATE pancake_source SET is_active = false")
        await harness.deliver(numbered_lead(harness.count("pancake_webhook_event") + 50))
        harness.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '-1'")

    meanwhile(harness, arrive)
    report = await harness.replay(filter={"source_id": "-1", "limit": 2}, wait=False)
    assert balance(report) == (4, 2, 2, 3)
    assert report["arrived"] == 1


# What the replayed rows became


async def test_the_tickets_and_their_owners_are_reported(harness: HandlerHarness) -> None:
    """A ticket of several rows counts once, by its owner or as unassigned."""
    staff = harness.fill_roster(2)
    ids = await hold_leads(harness, 3)
    meanwhile(harness)
    report = await harness.replay(filter=HELD)
    owners = report["results"].pop("owners")
    assert report["results"] | {"owners": []} == NOTHING | {"outcomes": {"ticket_created": 3}}
    assert [owner["tickets"] for owner in owners] == [2, 1]
    assert {owner["id"] for owner in owners} == set(staff)
    assert (report["replayed_ids"], report["processing_paused"]) == (ids, False)
    await hold(harness, *(numbered_lead(number, phone="0905111222") for number in (7, 8, 9)))
    results = await reported(harness, filter=HELD)
    assert results["outcomes"] == {"ticket_created": 1, "ticket_updated": 2}
    assert [owner["tickets"] for owner in results["owners"]] == [1]
    harness.sql("UPDATE staff SET on_duty = false")
    await hold(harness, numbered_lead(10), numbered_lead(11))
    results = await reported(harness, filter=HELD)
    assert (results["owners"], results["unassigned"]) == ([], 2)


async def test_the_results_are_those_of_this_time_not_of_the_row(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    new = await process(harness)
    old = await process(harness, modified_on=EARLIER, name="An earlier name")
    results = await reported(harness, ids=[new.id, old.id])
    assert results == NOTHING | {"outcomes": {"no_change": 1, "stale": 1}}
    assert (await reported(harness, ids=[new.id], force=True))["outcomes"] == {"ticket_updated": 1}
    assert new.event["outcome"] == "ticket_created"
    assert new.ticket["updated_at"] > new.ticket["created_at"]
    assert new.evidence.keys() & {"force", "forced"} == {"forced"}
    assert (await reported(harness, ids=[new.id]))["outcomes"] == {"no_change": 1}
    assert new.evidence.keys() & {"force", "forced"} == set()
    assert len(harness.hasura.sent) == 1


async def test_rows_that_are_held_again_are_reported_with_the_reason(harness: HandlerHarness) -> None:
    ids = await hold_leads(harness, 3)
    harness.change_settings(replay_rate_per_second=30)

    async def hold_again() -> None:
        harness.sql("UPDATE pancake_source SET is_active = false")
        await harness.process(ids[0])
        harness.sql("UPDATE pancake_connection SET status = 'disabled'")
        await harness.process(ids[1])
        harness.change_settings(kill_switch=True)
        await harness.process(ids[2])

    meanwhile(harness, hold_again)
    report = await harness.replay(filter=HELD)
    reasons = {"connection_disabled": 1, "kill_switch": 1, "source_inactive": 1}
    assert report["results"] == NOTHING | {"held": reasons}
    assert (report["replayed"], report["returned"]) == (3, 1)


async def test_failures_are_reported_with_their_error_codes(harness: HandlerHarness) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'broken'", 99)
    dead = await process(harness, id="no-phone", phone_number="không có số")
    failed = await process(harness, id="broken")
    results = await reported(harness, ids=[dead.id, failed.id])
    assert results == NOTHING | {"failed": {"internal": 1}, "dead_letter": {"invalid_phone": 1}}


async def test_how_long_the_answer_waits_for_the_rows(harness: HandlerHarness) -> None:
    """Hasura waits 60 s for the action, 20 s of which may be the replay. A pause is not waited for."""
    for wait, is_paused in ((None, False), (True, False), (False, False), (True, True)):
        ids = await hold_leads(harness, 2, name=f"{wait} {is_paused}")
        harness.change_settings(processing_paused=is_paused)
        before = harness.clock.monotonic()
        report = await harness.replay(ids=ids, wait=wait)
        seconds = harness.clock.monotonic() - before
        assert (MAX_WAIT_SECONDS <= seconds < 30) == (wait is not False and not is_paused), (wait, is_paused)
        assert (report["results"]["waiting"], report["processing_paused"]) == (2, is_paused)


# A dry run changes nothing and reports exactly what the replay then does


def told(notifications: list[dict[str, Any]]) -> list[Any]:
    return [(each["name"], each["recipient_ids"]) for each in notifications]


def check_build_on_each_other(changes: list[dict[str, Any]]) -> None:
    """A change of a row starts from what the last change of that row made."""
    made: dict[str, dict[str, Any]] = {}
    for item in changes:
        parts = [item.get(part) for part in ("account", "contact", "ticket")]
        for change in filter(None, [*parts, *item.get("roster", []), *item.get("other_contacts", [])]):
            id_ = change["after"]["id"]
            assert change["before"] == made.get(id_, change["before"])
            made[id_] = change["after"]
    assert len(made) > 5


async def test_the_changes_of_a_dry_run_equal_those_of_the_replay(harness: HandlerHarness) -> None:
    """Of several rows that build on each other; a dry run changes no table.

    The random histories of tests/model compare each row that one lead changes.
    """
    harness.sql("UPDATE pancake_source SET is_active = true")
    for source in (None, "-1"):
        harness.fill_roster(3, source)
    harness.change_settings(consent_mode="record")
    known = await process(harness, id="known", phone_number="0912345678", modified_on=EARLIER)
    new = {"id": "new", "phone_number": "0905999888", "secondary_phone_number": "0905999777"}
    ids = await hold(
        harness,
        new,
        new | {"modified_on": EARLIER, "name": "Old"},
        new | {"modified_on": LATER, "email": "new@example.com"},
        new | {"modified_on": "2026-05-16T00:00:00", "email": "new@example.com"},
        {"id": "of the same customer", "phone_number": "0905999777", "source": ["-3"]},
        {"id": "contact", "table_id": "contact", "phone_number": "0905999666"},
        {"id": "known", "phone_number": "0905999555", "modified_on": LATER, "source": ["-3"]},
        {"id": "invalid", "phone_number": "x"},
    )
    request: dict[str, Any] = {"ids": [known.id, *ids]}
    before, sent = harness.digests(), dict(harness.hasura.sent)
    changes = (await harness.replay(**request, dry_run=True))["changes"]
    assert (harness.digests(), harness.hasura.sent) == (before, sent)
    check_build_on_each_other(changes)
    consents = harness.count("customer_consent")
    assert (await harness.replay(**request, wait=False))["replayed"] == len(changes) == 9
    assert {item["event_id"]: item["result"] for item in changes} == await harness.process_received()
    added = harness.count("customer_consent") - consents
    assert sum(bool(item.get("consent")) for item in changes) == added > 0
    for item in changes:
        event, announced = harness.event(item["event_id"]), told(item.get("notifications", []))
        done = told(event["notifications"])
        assert done[len(done) - len(announced) :] == announced
    assert [item["result"] for item in changes] == [
        "no_change", "ticket_created", "stale", "ticket_updated", "no_change", "ticket_updated",
        "contact_updated", "ticket_updated", "dead_letter",
    ]  # fmt: skip
    assert (event["error_code"], event["error_detail"]) == (item["error_code"], item["error_detail"])


async def test_changes_of_a_dry_run_are_not_logged(harness: HandlerHarness, capture_logs: list[str]) -> None:
    lead = {"name": "Trần B", "phone_number": "0905999888", "email": "b@example.com"}
    ids = await hold(harness, lead)
    (change,) = (await harness.replay(ids=ids, dry_run=True))["changes"]
    assert change["contact"]["after"]["email"] == "b@example.com"
    (line,) = [line for line in capture_logs if "/actions/replay_events" in line]
    assert json.loads(line)["answer"]["matched"] == 1
    assert not [word for word in ("Trần B", "905999888", "b@example.com") if word in "".join(capture_logs)]


@pytest.mark.own_database
async def test_two_dry_runs_that_need_the_same_rosters_in_opposite_order_both_answer(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    """A dry run keeps the lock of each roster that it needed until it ends."""
    harness.sql("UPDATE pancake_source SET is_active = true")
    sources = ("-1", "-3")
    for source in sources:
        harness.fill_roster(1, source)
    ids: list[list[int]] = []
    for order in (sources, sources[::-1]):
        leads = [numbered_lead(10 * len(ids) + n, source=[source]) for n, source in enumerate(order)]
        ids.append(await hold(harness, *leads))
    harness.slow_down("ticket", 0.3)
    reports = await asyncio.gather(
        harness.replay(ids=ids[0], dry_run=True), second_harness.replay(ids=ids[1], dry_run=True)
    )
    for report in reports:
        assert [change["result"] for change in report["changes"]] == ["ticket_created"] * 2
    assert await count_deadlocks(harness, second_harness) == 0
