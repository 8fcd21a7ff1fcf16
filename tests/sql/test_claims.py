"""Claims of events and notifications by several sessions; statements leave what another one holds."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.domain.event_states import CLAIM_LIMITS
from ops.clients.db_session import QUERIES
from tests.support.handlers import DatabaseHarness
from tests.support.postgres import insert_events
from tests.support.stored_rows import insert_unsent
from tests.support.waiting import eventually

Session = psycopg.Connection[dict[str, Any]]
CLAIM = QUERIES["process_record/claim_event"]
FENCE = QUERIES["process_record/fence_claim"]
EVENT, RUN = "pancake_webhook_event", "pancake_cron_run"


class Table(NamedTuple):
    """A table with notifications, and where its statements are."""

    name: str
    listing: str
    claims: str


@dataclass(frozen=True)
class Work:
    """A statement, its parameters, its three rows, and the condition that it makes true of a row.

    `seed` stores the rows; of events, which are stored already with `status`, it makes them due.
    """

    statement: str
    params: Mapping[str, object]
    done: str
    status: str = ""
    table: str = EVENT
    seed: list[str] = field(default_factory=list)


def of_events(statement: str, status: str, due: str, done: str, **params: object) -> Work:
    return Work(statement, params, done, status, seed=[f"UPDATE {EVENT} SET {due}"])


tables = pytest.mark.parametrize(
    "table",
    [Table(EVENT, "outbox/list_unnotified", "outbox"),
     Table(RUN, "run_notices/list_unnotified", "run_notices")],
    ids=lambda table: table.name,
)  # fmt: skip
NOW = datetime.now(UTC)
YEAR = timedelta(days=365)
OLD = "created_at = now() - interval '100 days'"
EMPTIED = "payload IS NULL AND normalized_phone IS NULL"
PURGE = {"since": NOW - YEAR, "before": NOW - timedelta(days=90), "replayed_since": NOW - YEAR, "limit": 9}
IDS = [f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3)]
ACCOUNTS = [
    "DELETE FROM account",
    "INSERT INTO account (id, phone_code, phone_number, normalized_phone)"
    " SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, '84', '090511122' || n, '+8490511122' || n"
    " FROM generate_series(1, 3) AS n",
]
TICKETS = [
    "DELETE FROM ticket",
    "INSERT INTO ticket (title, source_id) SELECT 'Lead', 'ticket_source_pancake' FROM generate_series(1, 3)",
]
LOCKED = [
    "INSERT INTO hdb_catalog.event_log (id, trigger_name, payload, locked)"
    " SELECT e.record_id, 'pancake_webhook_event_status_update', jsonb_build_object('data',"
    " jsonb_build_object('new', jsonb_build_object('id', e.id))), now() - e.id * interval '1 minute'"
    f" FROM {EVENT} AS e",
]
"""Each event is locked for a minute longer than the one before."""
WORKS = [
    of_events("retry_failed/release_failed", "failed", "next_attempt_at = now() - interval '1 minute'",
              "status = 'received'", now=NOW, limit=9),
    of_events("retry_failed/release_claims", "ingested", "ingested_at = now() - interval '1 hour'",
              "status = 'received'", lease="60 s", max_attempts=5, limit=9),
    of_events("retry_failed/refire_received", "received", "received_at = now() - interval '1 hour'",
              "received_at > now() - interval '1 minute'", lease="60 s", limit=9),
    of_events("late_owners/mark_settled", "processed",
              "processed_at = now() - interval '1 hour', evidence = '{\"assignment\": {\"chosen\": null}}'",
              "evidence -> 'assignment' ? 'settled'", now=NOW, limit=9),
    of_events("replay_events/replay_rows", "failed", "next_attempt_at = now() + interval '1 hour'",
              "status = 'received'", ids=[1, 2, 3], states=["failed"], by="t", now=NOW, evidence="{}"),
    of_events("purge_events/empty_payloads", "processed", OLD, EMPTIED, statuses=["processed"], **PURGE),
    of_events("purge_events/empty_replayed", "processed", f"{OLD}, replayed_at = now()", EMPTIED, **PURGE),
    of_events("purge_events/empty_leftovers", "processed",
              f"{OLD}, payload = NULL, normalized_phone = '+84905111222'", EMPTIED,
              statuses=["processed"], **PURGE),
    Work("retry_failed/unlock_events", {"lease": "60 s"}, "locked IS NULL", "received",
         "hdb_catalog.event_log", LOCKED),
    Work("tickets/update_tickets",
         {"from_source": "ticket_source_pancake", "to_source": "ticket_source_8", "only_marked": False,
          "limit": 9},
         "source_id = 'ticket_source_8'", table="ticket", seed=TICKETS),
    Work("backfill_phones/clear_accounts", {"from_id": IDS[0], "limit": 9}, "normalized_phone IS NULL",
         table="account", seed=ACCOUNTS),
    Work("backfill_phones/fill_accounts",
         {"ids": IDS, "phone_codes": ["84"] * 3, "phone_numbers": [f"090511122{n}" for n in (1, 2, 3)],
          "phones": [f"+8490511122{n}" for n in (1, 2, 3)]},
         "normalized_phone IS NOT NULL", table="account",
         seed=[*ACCOUNTS, "UPDATE account SET normalized_phone = NULL"]),
]  # fmt: skip


@pytest.fixture
def session(database: str, connection_id: str) -> Iterator[DatabaseHarness]:
    """A session that commits each statement and waits at most two seconds for a lock."""
    options = "-c lock_timeout=2s"
    with psycopg.connect(database, autocommit=True, row_factory=dict_row, options=options) as session:
        yield DatabaseHarness(session)


@pytest.fixture
def observer(session: DatabaseHarness) -> DatabaseHarness:
    """The same, with one received event without source."""
    insert_events(session.session, "received", 1)
    session.sql("UPDATE pancake_webhook_event SET source_ids = '{}', claim_id = NULL")
    return session


@pytest.fixture
def first(database: str) -> Iterator[Session]:
    with psycopg.connect(database, row_factory=dict_row) as session:
        yield session
        session.rollback()


@pytest.fixture
def second(database: str) -> Iterator[Session]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        yield session


def claim(session: Session, event_id: int) -> dict[str, Any]:
    (row,) = session.execute(CLAIM, {"id": event_id, **CLAIM_LIMITS}).fetchall()
    return row


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_two_claims_at_once_give_the_event_to_one(
    observer: DatabaseHarness, first: Session, second: Session, ending: str
) -> None:
    event_id = observer.one("SELECT id FROM pancake_webhook_event")["id"]
    held = claim(first, event_id)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(claim, second, event_id)
        eventually(lambda: observer.sql("SELECT 1 FROM pg_locks WHERE NOT granted"), seconds=5)
        first.commit() if ending == "commit" else first.rollback()
        late = waiting.result(timeout=5)
    event = observer.event(event_id)
    assert (event["status"], event["attempts"]) == ("ingested", 1)
    assert (late["id"], late["claim_id"]) == (
        (None, None) if ending == "commit" else (event_id, event["claim_id"])
    )
    assert (event["claim_id"] == held["claim_id"]) is (ending == "commit")


def test_a_claim_and_a_lost_fence_do_not_wait_for_the_work_on_the_event(
    observer: DatabaseHarness, first: Session, second: Session
) -> None:
    event_id = observer.one("SELECT id FROM pancake_webhook_event")["id"]
    held = claim(second, event_id)
    assert first.execute(FENCE, {"id": event_id, "claim_id": held["claim_id"]}).fetchone()
    second.execute("SET lock_timeout = '100ms'")
    assert claim(second, event_id)["id"] is None
    lost = {"id": event_id, "claim_id": "00000000-0000-4000-8000-000000000009"}
    assert second.execute(FENCE, lost).fetchone() is None


def test_a_lost_claim_stores_no_table(observer: DatabaseHarness, second: Session) -> None:
    event_id = observer.one("SELECT id FROM pancake_webhook_event")["id"]
    held = claim(second, event_id)
    lost = "00000000-0000-4000-8000-000000000009"
    for claim_id, stored in ((lost, None), (held["claim_id"], "contact")):
        params = {"id": event_id, "claim_id": claim_id, "table_name": "contact"}
        second.execute(QUERIES["process_record/set_table"], params)
        assert observer.event(event_id)["table_name"] == stored


@pytest.fixture
def unsent(session: DatabaseHarness) -> DatabaseHarness:
    """Two events and two runs with unsent notifications."""
    insert_unsent(session, 2)
    session.sql(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
        " SELECT 'sync_sources', t.at, t.at, t.at, 'succeeded', '{\"notifications\": [{\"data\": {}}]}'"
        " FROM generate_series(1, 2) AS n, LATERAL (SELECT now() + n * interval '1 second' AS at) AS t"
    )
    return session


def send(session: DatabaseHarness, statement: str, **params: object) -> list[dict[str, Any]]:
    now = session.one("SELECT now() AS now")["now"]
    cursor = session.session.execute(QUERIES[statement], {"now": now, "lease": "60 s", **params})
    return cursor.fetchall() if cursor.description else []


def end_leases(session: DatabaseHarness, table: Table) -> None:
    session.sql(f"UPDATE {table.name} SET notify_claimed_at = notify_claimed_at - interval '61 seconds'")


@tables
@pytest.mark.parametrize("due", ["NULL", "now() - interval '1 minute'"], ids=["never tried", "due again"])
def test_a_claimed_row_leaves_its_place_to_the_next_until_its_lease_ends(
    unsent: DatabaseHarness, table: Table, due: str
) -> None:
    unsent.sql(f"UPDATE {table.name} SET notify_next_at = {due}")
    claimed, other = (row["id"] for row in unsent.sql(f"SELECT id FROM {table.name} ORDER BY id"))
    claims = [send(unsent, f"{table.claims}/claim_notifications", ids=[claimed]) for _ in range(2)]
    assert [len(rows) for rows in claims] == [1, 0]
    assert [row["id"] for row in send(unsent, table.listing, limit=1)] == [other]
    end_leases(unsent, table)
    assert [row["id"] for row in send(unsent, table.listing, limit=1)] == [claimed]


@tables
@pytest.mark.parametrize("result", ["mark_notified", "mark_unsent"])
def test_a_result_is_stored_under_the_newest_claim(
    unsent: DatabaseHarness, table: Table, result: str
) -> None:
    all_rows = f"SELECT * FROM {table.name} ORDER BY id"
    id_ = unsent.sql(all_rows)[0]["id"]
    (ended,) = send(unsent, f"{table.claims}/claim_notifications", ids=[id_])
    end_leases(unsent, table)
    (newest,) = send(unsent, f"{table.claims}/claim_notifications", ids=[id_])
    before = unsent.sql(all_rows)
    for claim, is_stored in ((ended, False), (newest, True)):
        claimed_at = claim["notify_claimed_at"]
        found = {"id": id_, "claimed_at": claimed_at.isoformat(), "error": "refused", "sent": []}
        results = json.dumps([found | {"attempts": 1, "refusals": 1, "unknowns": 0}])
        send(unsent, f"{table.claims}/{result}", ids=[id_], claimed_ats=[claimed_at], results=results)
        assert (unsent.sql(all_rows) != before) is is_stored


@pytest.mark.usefixtures("engine_tables")
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.statement)
def test_a_row_that_another_session_holds_is_left_and_the_others_are_done(
    session: DatabaseHarness, database: str, work: Work
) -> None:
    """NOW is when the tests were collected; the rows are due by the clock of the test."""
    if work.status:
        insert_events(session.session, work.status, 3)
    session.sql("SET session_replication_role = replica")
    for statement in work.seed:
        session.sql(statement)
    session.sql("RESET session_replication_role")
    assert session.count(work.table, f"NOT ({work.done})") == 3
    params = {**work.params, **({"now": datetime.now(UTC)} if "now" in work.params else {})}
    with psycopg.connect(database) as other:
        first = f"SELECT id FROM {work.table} ORDER BY id LIMIT 1 FOR UPDATE"
        (held,) = other.execute(first.encode()).fetchone() or (None,)
        session.session.execute(QUERIES[work.statement], params)
        left = session.sql(f"SELECT id FROM {work.table} WHERE NOT ({work.done})")
        assert left == [{"id": held}]
    session.session.execute(QUERIES[work.statement], params)
    assert session.count(work.table, f"NOT ({work.done})") == 0


LEFT_LOCKED = {
    "locked just now": "locked = now() - interval '8 seconds'",
    "delivered": "delivered = true",
    "given up": "error = true",
    "archived": "archived = true",
    "of another trigger": "trigger_name = 'orders_changed'",
    "of no row": "payload = '{}'",
}
OF_ANOTHER_STATUS = ("ingested", "processed", "failed", "dead_letter", "skipped_kill_switch")
UNLOCK = b"SELECT public.pancake_unlock_events('12 s', %s)"


def locked_events(session: DatabaseHarness) -> list[str]:
    found = session.sql("SELECT id FROM hdb_catalog.event_log WHERE locked IS NOT NULL ORDER BY id")
    return [row["id"] for row in found]


@pytest.mark.usefixtures("engine_tables")
def test_only_events_of_received_rows_that_were_locked_long_ago_are_unlocked(
    session: DatabaseHarness,
) -> None:
    insert_events(session.session, "received", len(LEFT_LOCKED) + 1)
    for status in OF_ANOTHER_STATUS:
        insert_events(session.session, status, 1)
    session.sql(LOCKED[0])
    names = {f"received{number}": case for number, case in enumerate(LEFT_LOCKED, 2)}
    for event, case in names.items():
        session.sql(f"UPDATE hdb_catalog.event_log SET {LEFT_LOCKED[case]} WHERE id = %s", event)
    assert session.session.execute(UNLOCK, [99]).fetchone() == {"pancake_unlock_events": 1}
    left = {names.get(event, event) for event in locked_events(session)}
    assert left == {*LEFT_LOCKED, *(f"{status}1" for status in OF_ANOTHER_STATUS)}


@pytest.mark.usefixtures("engine_tables")
def test_two_sessions_unlock_each_event_once_and_those_first_that_were_locked_first(
    session: DatabaseHarness, first: Session, second: Session
) -> None:
    insert_events(session.session, "received", 5)
    session.sql(LOCKED[0])
    assert first.execute(UNLOCK, [2]).fetchone() == {"pancake_unlock_events": 2}
    assert second.execute(UNLOCK, [1]).fetchone() == {"pancake_unlock_events": 1}
    first.commit()
    assert locked_events(session) == ["received1", "received2"], "those that were locked last"
    assert second.execute(UNLOCK, [9]).fetchone() == {"pancake_unlock_events": 2}


BACKLOG = 30_000


@pytest.mark.own_database
@pytest.mark.parametrize("statistics", ["empty tables", "nothing waited", "true"])
def test_a_backlog_that_hasura_is_about_to_deliver_is_compared_quickly(
    engine_tables: None, database: str, statistics: str
) -> None:
    """In 0.05 s. Row by row, 12,000 received events and as many pending ones took 9.5 s of each minute."""
    with psycopg.connect(database, autocommit=True, options="-c statement_timeout=1500ms") as db:
        db.execute("SET statement_timeout = 0")
        if statistics == "nothing waited":
            insert_events(db, "processed", BACKLOG // 5)
        db.execute("ANALYZE pancake_webhook_event, hdb_catalog.event_log")
        insert_events(db, "received", BACKLOG)
        db.execute(
            "INSERT INTO hdb_catalog.event_log (trigger_name, payload, delivered)"
            " SELECT 'pancake_webhook_event_status_update', jsonb_build_object('data', jsonb_build_object("
            " 'new', jsonb_build_object('id', e.id))), false FROM pancake_webhook_event AS e"
            " UNION ALL SELECT 'pancake_webhook_event_status_update', '{}', n > 1"
            " FROM generate_series(1, %s) AS n",
            (2 * BACKLOG,),
        )
        lost = "SELECT id FROM pancake_webhook_event WHERE record_id = 'received777'"
        ((lost_id,),) = db.execute(lost.encode()).fetchall()
        db.execute(
            "DELETE FROM hdb_catalog.event_log WHERE payload #>> '{data,new,id}' = %s", (str(lost_id),)
        )
        if statistics == "true":
            db.execute("ANALYZE pancake_webhook_event, hdb_catalog.event_log")
        db.execute("RESET statement_timeout")
        params = {"lease": timedelta(0), "limit": 500}
        assert db.execute(QUERIES["retry_failed/refire_received"], params).fetchall() == [(lost_id,)]
        for name in ("retry_failed/release_claims", "retry_failed/release_failed"):
            assert db.execute(QUERIES[name], {**params, "now": NOW, "max_attempts": 5}).fetchall() == []
