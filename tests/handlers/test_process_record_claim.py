"""process_record claims an event: one worker at a time, pauses and turns, round trips.

And what happens when the database, the process or our code fails; what it counts, and how it notifies.
"""

import asyncio
import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from handlers.process_record import DELIVERED_COLUMNS, process_record
from leads.adapters.database import QUERIES, SESSION_OPTIONS, Database, Params, Statement, Transaction
from leads.adapters.hasura_calls import EventCall
from leads.adapters.pancake_api import Access, PancakeApi
from leads.domain.errors import InvalidBody
from leads.domain.event_states import CLAIM_LEASE, MAX_ATTEMPTS
from leads.services.process_record import Claim, DeliveryResult, claim_event, mark_failed, process_claim
from ops.metadata.directory import DIRECTORY, read_directory
from sandbox.postgres.plans import explain, prepare
from tests.support.fakes import Crash, crashing
from tests.support.handlers import HandlerHarness, running_handlers
from tests.support.leads import LATER, LEAD, PHONE, RECORD_ID, numbered_lead
from tests.support.postgres import PHONE_LOCK, RECORD_LOCK, ROSTER_LOCK, wait_for_lock_waiter
from tests.support.processing import Lock, another_session, hold_leads, process, receive, replay, stored
from tests.support.settings import WEBHOOK_TOKEN_SHA256
from tests.support.waiting import eventually_async

TURNS_LOCK = "locktype = 'advisory' AND classid = 6"


async def claimed(harness: HandlerHarness, event_id: int) -> Claim:
    """Claim the event as a process does that then works."""
    claim = await claim_event(harness.runtime.db, event_id)
    assert isinstance(claim, Claim)
    return claim


def lose_claim(harness: HandlerHarness, event_id: int) -> None:
    """Release a claim as the retry cron does after its lease."""
    harness.expire_leases()
    receive(harness, event_id)


async def test_a_redelivered_event_changes_nothing(harness: HandlerHarness) -> None:
    """Nor does one of a row that is missing."""
    harness.fill_roster(1)
    lead = await process(harness)
    before = lead.event
    results = [await harness.process(lead.id, op) for op in ("INSERT", "UPDATE", "INSERT")]
    assert results == ["already_processed"] * 3
    assert [await harness.process(missing) for missing in (999_999, 10**17)] == ["unknown_id"] * 2
    assert lead.event == before
    assert (harness.count_tickets(), len(harness.hasura.sent), len(harness.hasura.calls)) == (1, 1, 1)


async def test_a_lost_claim_writes_nothing_while_a_newer_one_works(harness: HandlerHarness) -> None:
    event_id, runtime = await stored(harness), harness.runtime
    late = await claimed(harness, event_id)
    lose_claim(harness, event_id)
    newer = await claimed(harness, event_id)
    result = await process_claim(runtime.db, runtime.clock, runtime.digester, late)
    assert result == DeliveryResult("claim_lost")
    result = await mark_failed(runtime.db, runtime.clock, late, InvalidBody(code="missing_record_id"))
    assert result == DeliveryResult("claim_lost")
    row = harness.one("SELECT status, claim_id FROM pancake_webhook_event WHERE id = %s", event_id)
    assert row == {"status": "ingested", "claim_id": newer.claim_id}
    assert harness.count_tickets() == 0


async def test_a_row_being_processed_cannot_be_released_even_after_its_lease(harness: HandlerHarness) -> None:
    event_id = await stored(harness)
    with another_session(harness, Lock.PHONE, PHONE) as other:
        work = asyncio.create_task(harness.process(event_id))
        await wait_for_lock_waiter(harness, work, PHONE_LOCK)
        other.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", (event_id,))
        other.rollback()
    assert await work == "ticket_created"


async def test_a_valid_lease_cannot_be_released_by_hand(harness: HandlerHarness) -> None:
    event_id = await stored(harness)
    await claimed(harness, event_id)
    with pytest.raises(psycopg.errors.CheckViolation, match="lease"):
        receive(harness, event_id)
    with pytest.raises(psycopg.errors.CheckViolation, match="lease"):
        harness.sql("UPDATE pancake_webhook_event SET status = 'ingested', claim_id = gen_random_uuid()")


async def test_hasuras_next_delivery_takes_over_from_a_dead_handler_after_its_lease(
    harness: HandlerHarness,
) -> None:
    """A person who asks sooner is told that the event is being processed."""
    event_id, runtime = await stored(harness), harness.runtime
    dead = await claimed(harness, event_id)
    early = await harness.fire(event_id, "UPDATE", current_retry=1)
    assert (early.status_code, early.json()["extensions"]["code"]) == (503, "claimed")
    assert 0 < int(early.headers["Retry-After"]) <= CLAIM_LEASE.total_seconds()
    assert [await harness.process(event_id, op) for op in ("UPDATE", "MANUAL")] == ["under_way"] * 2
    harness.expire_leases()
    again = await harness.fire(event_id, "UPDATE", current_retry=2)
    assert again.json()["result"] == "ticket_created"
    late = await process_claim(runtime.db, runtime.clock, runtime.digester, dead)
    assert late == DeliveryResult("claim_lost")
    assert harness.count_tickets() == 1


async def test_an_event_that_killed_its_handler_in_each_attempt_is_not_taken_over(
    harness: HandlerHarness,
) -> None:
    event_id = await stored(harness)
    await claimed(harness, event_id)
    harness.sql("UPDATE pancake_webhook_event SET attempts = %s", MAX_ATTEMPTS)
    harness.expire_leases()
    assert (await harness.fire(event_id, current_retry=1)).json()["result"] == "under_way"


async def test_processing_waits_for_sessions_that_hold_its_record_or_roster(harness: HandlerHarness) -> None:
    harness.fill_roster(3)
    event_id = await stored(harness, id="r")
    with another_session(harness, Lock.ROSTER, "default"):
        with another_session(harness, Lock.RECORD, "r"):
            work = asyncio.create_task(harness.process(event_id))
            await wait_for_lock_waiter(harness, work, RECORD_LOCK)
        await wait_for_lock_waiter(harness, work, ROSTER_LOCK)
    assert await work == "ticket_created"


# Pause and turns


async def test_the_pause_answers_503_with_retry_after_and_changes_nothing(harness: HandlerHarness) -> None:
    """The kill switch takes precedence once processing resumes; deliveries are still stored."""
    event_id, held = await stored(harness), await stored(harness, id="held")
    before = harness.event(event_id)
    harness.change_settings(processing_paused=True)
    for op, current_retry in (("INSERT", 0), ("INSERT", 40), ("UPDATE", 0), ("MANUAL", 0)):
        response = await harness.fire(event_id, op, current_retry)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
        assert response.json()["extensions"] == {"code": "processing_paused"}
    assert harness.event(event_id) == before
    assert (before["status"], before["attempts"], before["claim_id"]) == ("received", 0, None)
    assert (await harness.deliver(LEAD | {"id": "new"}))["status"] == "received"
    harness.change_settings(processing_paused=False)
    assert await harness.process(event_id) == "ticket_created"
    harness.change_settings(processing_paused=True, kill_switch=True)
    assert (await harness.fire(held)).status_code == 503
    harness.change_settings(processing_paused=False)
    assert await harness.process(held) == "skipped_kill_switch"


async def test_a_repeated_delivery_waits_for_its_turn_and_a_new_one_does_not(harness: HandlerHarness) -> None:
    """Another process has the turn."""
    repeated, new = [await stored(harness, **numbered_lead(number)) for number in (1, 2)]
    with another_session(harness, Lock.TURNS) as other:
        waiting = asyncio.create_task(harness.fire(repeated, current_retry=3))
        await wait_for_lock_waiter(harness, waiting, TURNS_LOCK)
        assert (await harness.fire(new)).json()["result"] == "ticket_created"
        assert not waiting.done()
        assert harness.event(repeated)["status"] == "received"
        other.rollback()
        assert (await waiting).json()["result"] == "ticket_created"


async def test_lists_that_people_ask_for_leave_connections_to_leads(
    harness: HandlerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder of a manager's token may ask for long periods again and again."""
    waits = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
    lock = b"SELECT n.* FROM pg_advisory_xact_lock_shared(4711) LEFT JOIN LATERAL (%s) AS n ON true"
    name = "list_leads/list_names"
    monkeypatch.setitem(QUERIES, name, lock % QUERIES[name])
    event_id = await stored(harness)
    harness.sql("SELECT pg_advisory_lock(4711)")
    asked = [asyncio.create_task(harness.call_action({}, name="list_leads")) for _ in range(12)]
    try:
        await eventually_async(lambda: len(harness.sql(waits)) >= 2)
        assert await harness.process(event_id) == "ticket_created"
        assert (len(harness.sql(waits)), [each.done() for each in asked]) == (2, [False] * 12)
    finally:
        harness.sql("SELECT pg_advisory_unlock(4711)")
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}


async def test_every_503_to_an_event_names_a_time_and_none_to_other_calls(harness: HandlerHarness) -> None:
    """After a pause an event has more tries than retries: the first 503 without a time would be its last.

    Hasura would repeat the tick of a cron without end, and the next one is due in minutes.
    """
    event_id, db = await stored(harness), harness.runtime.db

    async def assert_deferred(code: str) -> None:
        for current_retry in (0, 40):
            answer = await harness.fire(event_id, current_retry=current_retry)
            assert (answer.status_code, answer.json()["extensions"]["code"]) == (503, code)
            assert answer.headers["Retry-After"] == "15"

    slots, db._work_slots = db._work_slots, asyncio.Semaphore(0)
    db._work.timeout = 0.1
    await assert_deferred("overloaded")
    assert (harness.event(event_id)["status"], harness.event(event_id)["attempts"]) == ("received", 0)
    db._work_slots = slots
    await db.close()
    await assert_deferred("database_unavailable")
    tick = {"id": "c", "name": "pancake_retry_failed", "scheduled_time": "2026-05-14T00:00:00Z"}
    cron = await harness.client.post("/cron/retry_failed", json=tick, headers=harness.headers)
    for answer in (cron, await harness.request_replay(ids=[1])):
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, False)


# Round trips: each costs latency and CPU for every lead

CLAIM, FACTS, RECORD_FACTS = ["claim_event"], ["load_facts"], ["load_facts", "load_record_facts"]
LOAD = ["fence_claim", "lock_records", "lock_phones", "load_applied"]
ROSTER, MARK = ["lock_roster", "load_roster"], ["mark_notified"]


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> list[list[Statement]]:
    """The statements of each round trip so far."""
    seen: list[list[Statement]] = []
    run, run_work = Transaction.run, Database._run_work

    async def note_run(self: Transaction, *statements: Statement, commit: bool = False) -> list[list[Any]]:
        seen.append([*statements])
        return await run(self, *statements, commit=commit)

    async def note_run_work(self: Database, name: str, params: Params, row_type: Any) -> list[Any]:
        seen.append([(name, params)])
        return await run_work(self, name, params, row_type)

    monkeypatch.setattr(Transaction, "run", note_run)
    monkeypatch.setattr(Database, "_run_work", note_run_work)
    return seen


def names(round_trips: list[list[Statement]]) -> list[list[str]]:
    """The names of the statements, without their folder."""
    return [[name.partition("/")[2] for name, _ in statements] for statements in round_trips]


ROWS = 100_000
GROW = (
    "SET session_replication_role = replica",
    "INSERT INTO account (id, phone_code, phone_number, normalized_phone) SELECT md5('a' || n)::uuid, '84',"
    " '0' || (700000000 + n), CASE WHEN n %% 2 = 0 THEN '+84' || (700000000 + n) END"
    " FROM generate_series(1, %(rows)s) AS n",
    "INSERT INTO contact_book (account_id, primary_phone) SELECT md5('a' || n)::uuid,"
    " '+84' || (700000000 + n) FROM generate_series(1, %(rows)s) AS n",
    "INSERT INTO ticket (id, title, source_id, account_id) SELECT md5('t' || n)::uuid, 'x',"
    " 'ticket_source_pancake', md5('a' || n)::uuid FROM generate_series(1, %(rows)s) AS n",
    "INSERT INTO customer_erasure (digest, erased_at, requested_by, run_by, counts)"
    " SELECT md5('d' || n), now(), 'x', 'x', '{}' FROM generate_series(1, %(rows)s) AS n",
    "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, status, outcome,"
    " processed_at, applied_at, notified_at, normalized_phone, account_id, ticket_id, arrived_at, created_at)"
    " SELECT (SELECT id FROM pancake_connection LIMIT 1), 'webhook', 'g-' || n, sha256(n::text::bytea),"
    " 'processed', 'ticket_created', t.at, t.at, t.at, '+84' || (700000000 + n), md5('a' || n)::uuid,"
    " md5('t' || n)::uuid, t.at, t.at FROM generate_series(1, %(rows)s) AS n, (SELECT now() AS at) AS t",
    "RESET session_replication_role",
)
BLOCKS_PER_CALL = 60
BLOCKS_OF_A_KNOWN_CUSTOMER = 100
"""Of load_facts: accounts, contacts and tickets of each phone are looked up."""


def new_row(name: str, params: Params) -> dict[str, object]:
    """Return the parameters with which a call that was done inserts another row."""
    if name == "ingest_record/store_deliveries":
        return {"deliveries": str(params["deliveries"]).replace('"payload_hash": "', '"payload_hash": "00')}
    keys = {"process_record/insert_account": "account_id", "process_record/insert_ticket": "ticket_id"}
    return {keys[name]: uuid4()} if name in keys else {}


@pytest.mark.own_database
async def test_no_statistics_turn_a_statement_of_a_lead(
    harness: HandlerHarness,
    round_trips: list[list[Statement]],
    subtests: pytest.Subtests,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL keeps a plan that it made while a table was empty, and analyses the table long after."""
    ingest = Database.ingest

    async def note_ingest(self: Database, name: str, params: Params, row_type: type[Any]) -> list[Any]:
        round_trips.append([(name, params)])
        return await ingest(self, name, params, row_type)

    monkeypatch.setattr(Database, "ingest", note_ingest)
    harness.fill_roster(2)
    harness.sql("ANALYZE")
    for table in ("account", "contact_book", "ticket", "customer_erasure", "pancake_webhook_event"):
        harness.sql(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    await harness.process_lead(phone_number="0905111222")
    of_a_new_customer = sum(map(len, round_trips))
    for fields in (
        {"name": "Bình", "modified_on": LATER}, {"id": "same customer"},
        {"id": "two phones", "phone_number": ["0905111333", "0905111444"]},
        {"id": "by a contact", "phone_number": "0905111444"},
        {"id": "two phones", "phone_number": "0905111222", "modified_on": LATER},
    ):  # fmt: skip
        await harness.process_lead(**{"phone_number": "0905111222", **fields})
    calls = [statement for statements in round_trips for statement in statements]
    sent = dict.fromkeys(name for name, _ in calls)
    assert {"ingest_record/store_deliveries", "process_record/lock_phones", "process_record/load_facts",
            "process_record/load_record_facts", "process_record/load_applied",
            "process_record/update_ticket"} <= sent.keys()  # fmt: skip
    with psycopg.connect(harness.database_url, autocommit=True, options=SESSION_OPTIONS) as db:
        db.execute("SET plan_cache_mode = force_generic_plan")
        for name in sent:
            prepare(db, name)
            explain(db, name, {}, "FORMAT JSON")
        with psycopg.connect(harness.database_url) as other:  # GROW lets a session forget its plans
            for statement in GROW:
                other.execute(statement.encode(), {"rows": ROWS})
        for kind in ("kept", "generic", "custom"):
            if kind != "kept":
                db.execute(f"SET plan_cache_mode = force_{kind}_plan".encode())
                db.execute("DEALLOCATE ALL")
                for name in sent:
                    prepare(db, name)
            for number, (name, params) in enumerate(calls):
                is_of_known = name == "process_record/load_facts" and number >= of_a_new_customer
                most = BLOCKS_OF_A_KNOWN_CUSTOMER if is_of_known else BLOCKS_PER_CALL
                another = {**params, **new_row(name, params)}
                with subtests.test(name, plan=kind):
                    # The first execution in a session reads the catalogs too.
                    assert min(blocks_read(db, name, another), blocks_read(db, name, another)) <= most


def blocks_read(db: psycopg.Connection[Any], name: str, params: Params) -> int:
    """Execute a prepared statement, and undo it; return how many blocks it touched."""
    with db.transaction(force_rollback=True):
        plan = explain(db, name, params, "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON")
    return int(plan[0]["Shared Hit Blocks"] + plan[0]["Shared Read Blocks"])


async def test_a_new_ticket_takes_six_round_trips_and_an_updated_one_needs_no_roster(
    harness: HandlerHarness, round_trips: list[list[Statement]]
) -> None:
    harness.fill_roster(2)
    assert (await process(harness)).result == "ticket_created"
    write = ["insert_account", "upsert_contact", "insert_ticket", "store_roster", "finish_event"]
    assert names(round_trips) == [CLAIM, LOAD, FACTS, ROSTER, write, MARK]
    round_trips.clear()
    assert (await process(harness, name="Other", modified_on=LATER)).result == "ticket_updated"
    write = ["merge_account", "upsert_contact", "update_ticket", "finish_event"]
    assert names(round_trips) == [CLAIM, LOAD, RECORD_FACTS, write, MARK]


async def test_an_unchanged_lead_takes_four_and_without_a_table_two_more_on_a_connection_with_several(
    harness: HandlerHarness, round_trips: list[list[Statement]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def record(self: PancakeApi, access: Access, table: str, record_id: str) -> None:
        seen.append((table, record_id))

    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(PancakeApi, "record", record)
    await process(harness)
    round_trips.clear()
    assert (await process(harness, modified_on=LATER)).result == "no_change"
    assert names(round_trips) == [CLAIM, LOAD, RECORD_FACTS, ["finish_event"]]
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    assert (await process(harness, id="named", table_id="lead")).result == "ticket_updated"
    assert seen == []
    round_trips.clear()
    assert (await process(harness, modified_on="2026-05-16T00:00:00")).result == "no_change"
    assert seen == [("lead", RECORD_ID), ("contact", RECORD_ID)]
    look_up = [["load_connections"], ["set_table"]]
    assert names(round_trips) == [CLAIM, *look_up, LOAD, RECORD_FACTS, ["finish_event"]]


# Failures

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
            with crashing(harness.runtime, step) as runtime:
                await process_record(runtime, call_of(event_id))
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
