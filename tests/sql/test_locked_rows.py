"""Statements for many rows leave what another session holds, and do the rest without waiting."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.adapters.queries import QUERIES
from tests.support.large_tables import insert_events
from tests.support.seeding import DatabaseHarness

NOW = datetime.now(UTC)
YEAR = timedelta(days=365)
EVENT, RUN = "pancake_webhook_event", "pancake_cron_run"
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
RUNS = [
    "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
    " SELECT 'check_connection', t.at, t.at, t.at, 'succeeded', '{\"connections\": [], \"status\": 1}'"
    " FROM generate_series(1, 3) AS n, LATERAL (SELECT now() - n * interval '100 days' AS at) AS t"
]


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


WORKS = [
    of_events("retry_failed/release_failed", "failed", "next_attempt_at = now() - interval '1 minute'",
              "status = 'received'", now=NOW, limit=9),
    of_events("retry_failed/release_claims", "ingested", "ingested_at = now() - interval '1 hour'",
              "status = 'received'", lease="60 s", max_attempts=5, limit=9),
    of_events("retry_failed/refire_received", "received", "received_at = now() - interval '1 hour'",
              "received_at > now() - interval '1 minute'", lease="60 s", limit=9),
    of_events("unassigned_tickets/mark_settled", "processed",
              "processed_at = now() - interval '1 hour', evidence = '{\"assignment\": {\"chosen\": null}}'",
              "evidence -> 'assignment' ? 'settled'", now=NOW, limit=9),
    of_events("replay_events/replay_rows", "failed", "next_attempt_at = now() + interval '1 hour'",
              "status = 'received'", ids=[1, 2, 3], states=["failed"], by="t", now=NOW, evidence="{}"),
    of_events("purge_events/empty_payloads", "processed", OLD, EMPTIED, statuses=["processed"], **PURGE),
    of_events("purge_events/empty_replayed", "processed", f"{OLD}, replayed_at = now()", EMPTIED, **PURGE),
    of_events("purge_events/empty_leftovers", "processed",
              f"{OLD}, payload = NULL, normalized_phone = '+84905111222'", EMPTIED,
              statuses=["processed"], **PURGE),
    Work("purge_events/empty_runs", PURGE, "NOT report ? 'status'", table=RUN, seed=RUNS),
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
def harness(database: str, engine_tables: None, connection_id: str) -> Iterator[DatabaseHarness]:
    """A session that waits at most two seconds for a lock."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        session.execute("SET lock_timeout = '2s'")
        yield DatabaseHarness(session)


def seed(harness: DatabaseHarness, work: Work) -> None:
    if work.status:
        insert_events(harness.session, work.status, 3)
    harness.sql("SET session_replication_role = replica")
    for statement in work.seed:
        harness.sql(statement)
    harness.sql("RESET session_replication_role")
    assert harness.count(work.table, f"NOT ({work.done})") == 3


def run(harness: DatabaseHarness, work: Work) -> None:
    """Run the statement. NOW is when the tests were collected; the rows are due by the clock of the test."""
    now = {"now": datetime.now(UTC)} if "now" in work.params else {}
    harness.session.execute(QUERIES[work.statement], {**work.params, **now})


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.statement)
def test_a_row_that_another_session_holds_is_left_and_the_others_are_done(
    harness: DatabaseHarness, database: str, work: Work
) -> None:
    seed(harness, work)
    with psycopg.connect(database) as other:
        first = f"SELECT id FROM {work.table} ORDER BY id LIMIT 1 FOR UPDATE"
        (held,) = other.execute(first.encode()).fetchone() or (None,)
        run(harness, work)
        left = harness.sql(f"SELECT id FROM {work.table} WHERE NOT ({work.done})")
        assert left == [{"id": held}]
    run(harness, work)
    assert harness.count(work.table, f"NOT ({work.done})") == 0
