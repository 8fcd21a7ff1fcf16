"""Claimed rows take no place among those that are due, and only the newest claim stores a result."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.adapters.queries import QUERIES
from tests.support.seeding import DatabaseHarness
from tests.support.unsent import insert_unsent

INSERT_RUNS = (
    "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
    " SELECT 'sync_sources', t.at, t.at, t.at, 'succeeded', '{\"notifications\": [{\"data\": {}}]}'"
    " FROM generate_series(1, 2) AS n, LATERAL (SELECT now() + n * interval '1 second' AS at) AS t"
)
NEVER_TRIED, DUE_AGAIN = "NULL", "now() - interval '1 minute'"


@dataclass(frozen=True)
class Table:
    """A table with notifications, and where its statements are."""

    name: str
    listing: str
    claims: str


EVENTS = Table("pancake_webhook_event", "retry_failed/list_unnotified", "outbox")
RUNS = Table("pancake_cron_run", "run_notices/list_unnotified", "run_notices")
tables = pytest.mark.parametrize("table", [EVENTS, RUNS], ids=lambda table: table.name)


@pytest.fixture
def harness(database: str, connection_id: str) -> Iterator[DatabaseHarness]:
    """Two events and two runs with unsent notifications."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        harness = DatabaseHarness(session)
        insert_unsent(harness, 2)
        harness.sql(INSERT_RUNS)
        yield harness


def rows_of(harness: DatabaseHarness, table: Table) -> list[dict[str, Any]]:
    return harness.sql(f"SELECT * FROM {table.name} ORDER BY id")


def run(harness: DatabaseHarness, statement: str, **params: object) -> list[dict[str, Any]]:
    now = harness.one("SELECT now() AS now")["now"]
    cursor = harness.session.execute(QUERIES[statement], {"now": now, "lease": "60 s", **params})
    return cursor.fetchall() if cursor.description else []


@tables
@pytest.mark.parametrize("due", [NEVER_TRIED, DUE_AGAIN], ids=["never tried", "due again"])
def test_a_claimed_row_leaves_its_place_to_the_next_until_its_lease_ends(
    harness: DatabaseHarness, table: Table, due: str
) -> None:
    harness.sql(f"UPDATE {table.name} SET notify_next_at = {due}")
    claimed, other = (row["id"] for row in rows_of(harness, table))
    assert run(harness, f"{table.claims}/claim_notifications", ids=[claimed]) != []
    assert [row["id"] for row in run(harness, table.listing, limit=1)] == [other]
    harness.sql(f"UPDATE {table.name} SET notify_claimed_at = notify_claimed_at - interval '61 seconds'")
    assert [row["id"] for row in run(harness, table.listing, limit=1)] == [claimed]


@tables
@pytest.mark.parametrize("result", ["mark_notified", "mark_unsent"])
def test_a_result_is_stored_under_the_newest_claim_only(
    harness: DatabaseHarness, table: Table, result: str
) -> None:
    id_ = rows_of(harness, table)[0]["id"]
    (ended,) = run(harness, f"{table.claims}/claim_notifications", ids=[id_])
    harness.sql(f"UPDATE {table.name} SET notify_claimed_at = notify_claimed_at - interval '61 seconds'")
    (newest,) = run(harness, f"{table.claims}/claim_notifications", ids=[id_])
    before = rows_of(harness, table)
    for claim, is_stored in ((ended, False), (newest, True)):
        claimed_at = claim["notify_claimed_at"]
        unsent = {"id": id_, "claimed_at": claimed_at.isoformat(), "error": "refused", "sent": []}
        counts = {"attempts": 1, "refusals": 1, "unknowns": 0}
        run(
            harness, f"{table.claims}/{result}", ids=[id_], claimed_ats=[claimed_at],
            results=json.dumps([unsent | counts]),
        )  # fmt: skip
        assert (rows_of(harness, table) != before) is is_stored
