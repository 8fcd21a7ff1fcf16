"""process_record claims an event: one worker at a time, pauses and turns, round trips."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from leads.adapters.database import Database, Params, Row, Statement, Transaction
from leads.adapters.pancake_api import Access, PancakeApi
from leads.domain.errors import InvalidBody
from leads.domain.event_states import CLAIM_LEASE, MAX_ATTEMPTS
from leads.services.process_record import Claim, DeliveryResult, claim_event, mark_failed, process_claim
from sandbox.postgres.plans import explain, prepare
from tests.support.handlers import HandlerHarness
from tests.support.leads import LATER, LEAD, PHONE, RECORD_ID, numbered_lead
from tests.support.postgres import PHONE_LOCK, RECORD_LOCK, ROSTER_LOCK, count_deadlocks, wait_for_lock_waiter
from tests.support.processing import Lock, another_session, process, receive, stored

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


@pytest.mark.own_database
async def test_two_processes_with_every_event_in_opposite_order_process_each_once(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    harness.fill_roster(3)
    phones = [f"09051113{n:02}" for n in range(12)]
    ids = [
        await stored(harness, id=f"r-{n}", phone_number=[phones[n % 12], phones[(n * 5 + 1) % 12]])
        for n in range(36)
    ]
    async with asyncio.timeout(60):
        results = await asyncio.gather(
            *(harness.process(event_id) for event_id in ids),
            *(second_harness.process(event_id) for event_id in reversed(ids)),
        )
    counts = Counter(results)
    assert counts["already_processed"] + counts["under_way"] == 36
    assert harness.count("pancake_webhook_event", "status = 'processed'") == 36
    doubled = "SELECT normalized_phone FROM account GROUP BY 1 HAVING count(*) > 1 AND normalized_phone <> ''"
    assert harness.sql(doubled) == []
    assert await count_deadlocks(harness, second_harness) == 0


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
def round_trips(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statements of each round trip so far, without their folder."""
    seen: list[list[str]] = []
    run, run_work = Transaction.run, Database._run_work

    async def note_run(self: Transaction, *statements: Statement, commit: bool = False) -> list[list[Row]]:
        seen.append([name.partition("/")[2] for name, _ in statements])
        return await run(self, *statements, commit=commit)

    async def note_run_work(self: Database, name: str, params: Params, row_type: Any) -> list[Any]:
        seen.append([name.partition("/")[2]])
        return await run_work(self, name, params, row_type)

    monkeypatch.setattr(Transaction, "run", note_run)
    monkeypatch.setattr(Database, "_run_work", note_run_work)
    return seen


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


@pytest.mark.own_database
async def test_no_statistics_turn_a_statement_of_a_lead(
    harness: HandlerHarness, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """PostgreSQL keeps a plan that it made while a table was empty, and analyses the table long after.

    Of a known customer, or of several, more accounts and tickets are looked up, and finish_event writes each
    index of the events.
    """
    calls: list[Statement] = []
    run, run_work = Transaction.run, Database._run_work

    async def note_run(self: Transaction, *statements: Statement, commit: bool = False) -> list[list[Row]]:
        calls.extend(statements)
        return await run(self, *statements, commit=commit)

    async def note_run_work(self: Database, name: str, params: Params, row_type: Any) -> list[Any]:
        calls.append((name, params))
        return await run_work(self, name, params, row_type)

    monkeypatch.setattr(Transaction, "run", note_run)
    monkeypatch.setattr(Database, "_run_work", note_run_work)
    harness.fill_roster(2)
    harness.sql("ANALYZE")
    for table in ("account", "contact_book", "ticket", "customer_erasure", "pancake_webhook_event"):
        harness.sql(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    await harness.process_lead(phone_number="0905111222")
    of_a_new_customer = len(calls)
    for fields in (
        {"name": "Bình", "modified_on": LATER}, {"id": "same customer"},
        {"id": "two phones", "phone_number": ["0905111333", "0905111444"]},
        {"id": "by a contact", "phone_number": "0905111444"},
        {"id": "two phones", "phone_number": "0905111222", "modified_on": LATER},
    ):  # fmt: skip
        await harness.process_lead(**{"phone_number": "0905111222", **fields})
    names = dict.fromkeys(name for name, _ in calls)
    assert {"process_record/lock_phones", "process_record/load_facts", "process_record/load_record_facts",
            "process_record/load_applied", "process_record/update_ticket"} <= names.keys()  # fmt: skip
    with psycopg.connect(harness.database_url, autocommit=True) as db:
        db.execute("SET enable_seqscan = off")  # as in the sessions that process
        db.execute("SET plan_cache_mode = force_generic_plan")
        for name in names:
            prepare(db, name)
            explain(db, name, {}, "FORMAT JSON")
        for statement in GROW:
            db.execute(statement.encode(), {"rows": ROWS})
        for kind in ("kept", "generic", "custom"):
            if kind != "kept":
                db.execute(f"SET plan_cache_mode = force_{kind}_plan".encode())
                db.execute("DEALLOCATE ALL")
                for name in names:
                    prepare(db, name)
            for number, (name, params) in enumerate(calls):
                is_plain = number < of_a_new_customer and name != "process_record/finish_event"
                most = BLOCKS_PER_CALL if is_plain else 2 * BLOCKS_PER_CALL
                with subtests.test(name, plan=kind), db.transaction(force_rollback=True):
                    new = {"account_id": uuid4()} if name == "process_record/insert_account" else {}
                    new |= {"ticket_id": uuid4()} if name == "process_record/insert_ticket" else {}
                    plan = explain(db, name, {**params, **new}, "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON")
                    assert plan[0]["Shared Hit Blocks"] + plan[0]["Shared Read Blocks"] <= most


async def test_a_new_ticket_takes_six_round_trips_and_an_updated_one_needs_no_roster(
    harness: HandlerHarness, round_trips: list[list[str]]
) -> None:
    harness.fill_roster(2)
    assert (await process(harness)).result == "ticket_created"
    write = ["insert_account", "upsert_contact", "insert_ticket", "store_roster", "finish_event"]
    assert round_trips == [CLAIM, LOAD, FACTS, ROSTER, write, MARK]
    round_trips.clear()
    assert (await process(harness, name="Other", modified_on=LATER)).result == "ticket_updated"
    write = ["merge_account", "upsert_contact", "update_ticket", "finish_event"]
    assert round_trips == [CLAIM, LOAD, RECORD_FACTS, write, MARK]


async def test_an_unchanged_lead_takes_four_and_without_a_table_two_more_on_a_connection_with_several(
    harness: HandlerHarness, round_trips: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def record(self: PancakeApi, access: Access, table: str, record_id: str) -> None:
        seen.append((table, record_id))

    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(PancakeApi, "record", record)
    await process(harness)
    round_trips.clear()
    assert (await process(harness, modified_on=LATER)).result == "no_change"
    assert round_trips == [CLAIM, LOAD, RECORD_FACTS, ["finish_event"]]
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    assert (await process(harness, id="named", table_id="lead")).result == "ticket_updated"
    assert seen == []
    round_trips.clear()
    assert (await process(harness, modified_on="2026-05-16T00:00:00")).result == "no_change"
    assert seen == [("lead", RECORD_ID), ("contact", RECORD_ID)]
    look_up = [["load_connections"], ["set_table"]]
    assert round_trips == [CLAIM, *look_up, LOAD, RECORD_FACTS, ["finish_event"]]
