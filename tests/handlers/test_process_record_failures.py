"""process_record when the database, the process or our code fails; what it counts, and how it notifies."""

import asyncio
import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from handlers.process_record import DELIVERED_COLUMNS, process_record
from leads.adapters.database import Database
from leads.adapters.hasura_calls import EventCall
from leads.domain.errors import Overloaded
from ops.metadata.directory import DIRECTORY, read_directory
from tests.support.fakes import Crash, crashing
from tests.support.handlers import HandlerHarness, running_handlers
from tests.support.leads import LATER, LEAD, PHONE, numbered_lead
from tests.support.processing import hold_leads, process, receive, replay, stored
from tests.support.settings import WEBHOOK_TOKEN_SHA256

RESULTS = ("failed", "dead_letter", "invalid")
BROKEN = "RAISE EXCEPTION 'quotes a row'"


def call_of(event_id: int) -> EventCall:
    return EventCall("e", "INSERT", {"id": event_id})


def measured(harness: HandlerHarness) -> float | None:
    """Return how many durations were observed."""
    return harness.value("pancake_event_process_duration_seconds_count")


async def test_after_the_third_deadlock_the_row_waits_for_the_retry_cron(harness: HandlerHarness) -> None:
    """Its duration is measured once, when it succeeds, and its error is not kept then."""
    harness.refuse_tickets("RAISE EXCEPTION 'lost' USING ERRCODE = 'deadlock_detected'", 3)
    lead = await process(harness)
    event = lead.event
    assert (lead.result, event["status"], event["error_code"]) == ("failed", "failed", "contended")
    assert timedelta(seconds=25) < event["next_attempt_at"] - datetime.now(UTC) <= timedelta(seconds=30)
    assert harness.count("account", f"normalized_phone = '{PHONE}'") == 0
    assert ("error" in event["evidence"], measured(harness)) == (True, 0)
    receive(harness, lead.id)
    assert await harness.process(lead.id) == "ticket_created"
    assert (lead.event["attempts"], harness.count_tickets()) == (2, 1)
    assert ("error" in lead.evidence, measured(harness)) == (False, 1)


async def test_an_internal_error_is_stored_as_a_digest_and_is_final_after_five_attempts(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    harness.refuse_tickets(BROKEN, 99)
    lead = await process(harness)
    for attempt in range(1, 6):
        event = lead.event
        assert (event["attempts"], event["error_code"]) == (attempt, "internal")
        assert event["status"] == ("failed" if attempt < 5 else "dead_letter")
        assert "RaiseException, digest " in event["error_detail"]
        if attempt < 5:
            receive(harness, lead.id)
            assert await harness.process(lead.id) == ("failed" if attempt < 4 else "dead_letter")
    assert event["evidence"]["error"]["digest"]
    faults = [line for line in capture_logs if '"level": "error"' in line]
    assert len(faults) == 5
    assert "quotes a row" not in "".join(capture_logs)
    assert (await process(harness, id="invalid", phone_number="không có số")).result == "dead_letter"
    counted = [harness.value("pancake_events_total", result=each) for each in RESULTS]
    assert counted == [4, 1, 1], "no failure of ours"


@pytest.mark.test_case("TC-014-007")
async def test_a_lost_connection_gets_503_before_anything_is_done(harness: HandlerHarness) -> None:
    """To an event and to a delivery; the next ones succeed."""
    event_id = await stored(harness)
    await harness.process(event_id + 1)
    body = base64.b64encode(json.dumps(LEAD | {"id": "b"}).encode()).decode()
    delivery = {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": body}
    for call in (partial(harness.fire, event_id), partial(harness.call_action, delivery)):
        harness.terminate_backends()
        codes = []
        async with asyncio.timeout(20):
            while 200 not in codes:
                response = await call()
                codes.append(response.status_code)
                assert response.json().get("extensions") in (None, {"code": "database_unavailable"})
        assert set(codes) <= {200, 503}
    assert harness.event(event_id)["status"] == "processed"
    assert harness.count("pancake_webhook_event") == 2


async def test_events_beyond_the_pool_stay_received_and_cost_no_attempt(harness: HandlerHarness) -> None:
    harness.slow_down("ticket", 0.4)
    ids = [await stored(harness, id=f"r-{n}", phone_number=f"090511122{n}") for n in range(4)]
    small = Database(harness.database_url, work_connections=1, wait_seconds=0.2)
    await small.open()
    runtime = replace(harness.runtime, db=small)
    answers = await asyncio.gather(
        *(process_record(runtime, call_of(event_id)) for event_id in ids), return_exceptions=True
    )
    await small.close()
    refused = [id_ for id_, answer in zip(ids, answers, strict=True) if isinstance(answer, Overloaded)]
    assert len(refused) == 3
    for event_id in refused:
        event = harness.event(event_id)
        assert (event["status"], event["attempts"]) == ("received", 0)
    assert [await harness.process(event_id) for event_id in refused] == ["ticket_created"] * 3


async def test_statements_with_array_parameters_use_generic_plans(harness: HandlerHarness) -> None:
    """A custom plan per execution costs more than the execution."""
    settings = replace(harness.runtime.settings, work_connections=1)
    async with running_handlers(settings, harness.connection_id, harness.hasura) as small:
        small.fill_roster(2)
        for n in range(12):
            await small.process_lead(id=f"r-{n}", phone_number=f"09051113{n:02}")
        async with small.runtime.db._work.connection() as connection:
            plans = await connection.execute(
                "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
                " WHERE statement ~ 'xact_lock.2|AS open_tickets|on_duty'"
            )
            found = await plans.fetchall()
    assert len(found) == 3
    assert [row["custom_plans"] for row in found] == [0] * len(found)
    assert min(row["generic_plans"] for row in found) > 0


@pytest.mark.test_case("TC-014-008")
async def test_a_crash_at_any_round_trip_leaves_every_lead_processed_once(harness: HandlerHarness) -> None:
    """The handler is killed before and after each round trip; a retry finishes the work."""
    harness.fill_roster(3)
    step = 0
    finished = False
    while not finished:
        event_id = await stored(harness, id=f"r-{step}", phone_number=f"09051114{step:02}")
        try:
            await process_record(crashing(harness.runtime, step), call_of(event_id))
            finished = True
        except Crash:
            assert harness.event(event_id)["status"] in {"received", "ingested", "processed"}
        step += 1
    assert step > 12
    await harness.recover()
    assert harness.count("pancake_webhook_event", "status <> 'processed' OR outcome <> 'ticket_created'") == 0
    assert harness.count("pancake_webhook_event", "notified_at IS NULL") == 0
    assert harness.count_tickets() == step
    assert harness.count("account", "normalized_phone IS NOT NULL") == step
    assert harness.count("contact_book", "primary_phone IS NOT NULL") == step
    assert len(harness.hasura.sent) == step
    totals = harness.one(
        "SELECT sum(total_assigned) AS sum, max(total_assigned) - min(total_assigned) AS gap"
        " FROM pancake_assignee"
    )
    assert (totals["sum"], totals["gap"] <= 1) == (step, True)


@pytest.mark.own_database
@pytest.mark.test_case("TC-014-009")
async def test_a_connection_lost_at_any_write_leaves_the_lead_written_once(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    harness.fill_roster(2)
    harness.change_settings(consent_mode="record")
    harness.sql("CREATE SEQUENCE broken")
    harness.sql(
        "CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
        " IF nextval('broken') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
        " RETURN NULL; END $$"
    )
    tables = ("account", "contact_book", "ticket", "pancake_assignee", "customer_consent")
    for number, table in enumerate(tables, 1):
        with subtests.test(number=number, table=table):
            harness.sql("ALTER SEQUENCE broken RESTART")
            harness.sql(
                f"CREATE TRIGGER break AFTER INSERT OR UPDATE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION break()"
            )
            lead = await process(harness, id=table, phone_number=f"090511130{number}")
            harness.sql(f"DROP TRIGGER break ON {table}")
            assert lead.result == "ticket_created"
            assert harness.one("SELECT last_value FROM broken")["last_value"] >= 2
            assert (harness.count_tickets(), len(harness.hasura.sent)) == (number, number)
            total = harness.one("SELECT sum(total_assigned)::integer AS total FROM pancake_assignee")
            assert total == {"total": number}


# What is counted and measured


async def test_the_duration_is_measured_of_events_never_held_nor_replayed(harness: HandlerHarness) -> None:
    """The wait of a held lead, or of a dead letter until it is replayed, says nothing about the handlers."""
    (held,) = await hold_leads(harness, 1)
    assert (await replay(harness, held)).result == "ticket_created"
    dead = await process(harness, id="no-phone", phone_number="không có số")
    corrected = await replay(harness, dead.id, corrected_phone="0912 345 670")
    assert (corrected.result, measured(harness)) == ("ticket_created", 0)
    await process(harness, **numbered_lead(50))
    assert measured(harness) == 1


async def test_the_duration_is_not_measured_of_events_of_a_pause(harness: HandlerHarness) -> None:
    """The first is from before the pause, the second from within it, the third from the drain."""
    before = await stored(harness, **numbered_lead(1))
    harness.clock.ahead += timedelta(minutes=1)
    harness.change_settings(processing_paused=True)
    within = await stored(harness, **numbered_lead(2))
    assert (await harness.fire(within)).status_code == 503
    harness.clock.ahead += timedelta(hours=1)
    assert (await harness.fire(within, current_retry=1)).status_code == 503
    harness.change_settings(processing_paused=False)
    for event_id in (before, within):
        answer = await harness.fire(event_id, current_retry=2)
        assert answer.json()["result"] == "ticket_created"
    assert measured(harness) == 0
    harness.clock.ahead += timedelta(minutes=1)
    await process(harness, **numbered_lead(3))
    assert measured(harness) == 1


async def test_a_delivered_row_with_more_columns_is_counted(harness: HandlerHarness) -> None:
    """A trigger that was saved in the console sends whole rows; "Invoke" sends them on purpose."""
    tables = read_directory(DIRECTORY)["sources"][0]["tables"]
    ((trigger,),) = [table["event_triggers"] for table in tables if "event_triggers" in table]
    for operation in ("insert", "update"):
        assert set(trigger["definition"][operation]["payload"]) == DELIVERED_COLUMNS
    event_id = await stored(harness)
    for op, columns, number in (
        ("INSERT", {}, 0),
        ("MANUAL", {"payload": LEAD}, 0),
        ("INSERT", {"payload": LEAD}, 1),
        ("UPDATE", {"normalized_phone": PHONE}, 2),
    ):
        assert (await harness.fire(event_id, op, **columns)).status_code == 200
        assert await harness.scrape("pancake_whole_row_deliveries_total") == number


# Notifications: once, now or later


async def test_a_replay_sends_only_what_was_not_accepted(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    harness.hasura.failing = True
    first = await process(harness)
    lead = await process(harness, modified_on=LATER, phone_number="0905999888")
    assert (first.event["notified_at"], lead.event["notified_at"]) == (None, None)
    harness.sql("UPDATE pancake_webhook_event SET notify_given_up_at = now()")
    harness.sql("UPDATE pancake_webhook_event SET notify_sent = ARRAY['lead_updated'] WHERE id = %s", lead.id)
    harness.hasura.failing = False
    for replayed in (first, lead):
        await replay(harness, replayed.id)
        assert replayed.event["notify_given_up_at"] is None
        assert replayed.event["notified_at"] is not None
    assert list(harness.hasura.sent) == [f"{first.id}:new_lead", f"{lead.id}:phone_changed"]
