"""process_record when the database, the process or our code fails."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from handlers.process_record import process_record
from leads.adapters.database import Database
from leads.adapters.hasura_calls import EventCall
from leads.domain.errors import Overloaded
from tests.support.crashes import Crash, crashing
from tests.support.handlers import HandlerHarness, running_handlers
from tests.support.leads import PHONE


async def test_a_serialization_failure_is_retried_at_once(harness: HandlerHarness) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'lost' USING ERRCODE = 'serialization_failure'", 2)
    event_id, result = await harness.process_lead()
    assert result == "ticket_created"
    assert (harness.event(event_id)["attempts"], harness.count_tickets()) == (1, 1)


async def test_after_the_third_deadlock_the_row_waits_for_the_retry_cron(harness: HandlerHarness) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'lost' USING ERRCODE = 'deadlock_detected'", 3)
    event_id, result = await harness.process_lead()
    event = harness.event(event_id)
    assert (result, event["status"], event["error_code"]) == ("failed", "failed", "contended")
    assert timedelta(seconds=25) < event["next_attempt_at"] - datetime.now(UTC) <= timedelta(seconds=30)
    assert harness.count("account", f"normalized_phone = '{PHONE}'") == 0
    harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    assert await harness.process(event_id) == "ticket_created"
    assert (harness.event(event_id)["attempts"], harness.count_tickets()) == (2, 1)


async def test_work_after_a_lost_connection_is_retried_without_duplicates(
    harness: HandlerHarness,
) -> None:
    harness.fill_roster(2)
    harness.refuse_tickets("PERFORM pg_terminate_backend(pg_backend_pid())", 1)
    _, result = await harness.process_lead()
    assert result == "ticket_created"
    assert (harness.count_tickets(), harness.count("account", f"normalized_phone = '{PHONE}'")) == (1, 1)
    assert harness.one("SELECT sum(total_assigned) AS total FROM pancake_assignee")["total"] == 1


async def test_an_internal_error_is_stored_as_a_digest_and_is_final_after_five_attempts(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'quotes a row'", 99)
    event_id, _ = await harness.process_lead()
    for attempt in range(1, 6):
        event = harness.event(event_id)
        assert (event["attempts"], event["error_code"]) == (attempt, "internal")
        assert event["status"] == ("failed" if attempt < 5 else "dead_letter")
        assert "RaiseException, digest " in event["error_detail"]
        if attempt < 5:
            harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
            result = await harness.process(event_id)
            assert result == ("failed" if attempt < 4 else "dead_letter")
    assert event["evidence"]["error"]["digest"]
    faults = [line for line in capture_logs if '"level": "error"' in line]
    assert len(faults) == 5
    assert "quotes a row" not in "".join(capture_logs)


@pytest.mark.test_case("TC-014-007")
async def test_an_unavailable_database_answers_503_before_any_claim(harness: HandlerHarness) -> None:
    event_id = (await harness.deliver({"id": "r", "phone_number": "0905111222", "source": [-1]}))["event_id"]
    await harness.process(event_id + 1)
    harness.terminate_backends()
    codes = []
    async with asyncio.timeout(20):
        while 200 not in codes:
            codes.append((await harness.fire(event_id)).status_code)
    assert set(codes) <= {200, 503}
    assert harness.event(event_id)["status"] == "processed"


async def test_events_beyond_the_pool_stay_received_and_cost_no_attempt(
    harness: HandlerHarness,
) -> None:
    harness.slow_down("ticket", 0.4)
    record = {"source": [-1]}
    ids = [
        (await harness.deliver(record | {"id": f"r-{n}", "phone_number": f"090511122{n}"}))["event_id"]
        for n in range(4)
    ]
    small = Database(harness.database_url, work_connections=1, wait_seconds=0.2)
    await small.open()
    calls = [EventCall("e", "pancake_webhook_event_status_update", "INSERT", {"id": id_}) for id_ in ids]
    answers = await asyncio.gather(
        *(process_record(replace(harness.runtime, db=small), call) for call in calls), return_exceptions=True
    )
    await small.close()
    refused = [id_ for id_, answer in zip(ids, answers, strict=True) if isinstance(answer, Overloaded)]
    assert len(refused) == 3
    for event_id in refused:
        event = harness.event(event_id)
        assert (event["status"], event["attempts"]) == ("received", 0)
    assert [await harness.process(event_id) for event_id in refused] == ["ticket_created"] * 3


async def test_statements_with_array_parameters_use_generic_plans(
    harness: HandlerHarness,
) -> None:
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
        body = {"id": f"r-{step}", "phone_number": f"09051114{step:02}", "source": [-1]}
        event_id = (await harness.deliver(body))["event_id"]
        call = EventCall("e", "pancake_webhook_event_status_update", "INSERT", {"id": event_id})
        try:
            await process_record(crashing(harness.runtime, step), call)
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
@pytest.mark.parametrize(
    "table", ["account", "contact_book", "ticket", "pancake_assignee", "customer_consent"]
)
async def test_a_connection_lost_at_any_write_leaves_the_lead_written_once(
    harness: HandlerHarness, table: str
) -> None:
    harness.fill_roster(2)
    harness.change_settings(consent_mode="record")
    harness.sql("CREATE SEQUENCE broken")
    harness.sql(
        "CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
        " IF nextval('broken') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
        " RETURN NULL; END $$"
    )
    harness.sql(
        f"CREATE TRIGGER break AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION break()"
    )
    _, result = await harness.process_lead()
    assert result == "ticket_created"
    assert harness.one("SELECT last_value FROM broken")["last_value"] >= 2
    assert (harness.count_tickets(), len(harness.hasura.sent)) == (1, 1)
    assert harness.one("SELECT sum(total_assigned) AS sum FROM pancake_assignee")["sum"] == 1
