"""Statements that find events by id use the primary key, whatever the statistics say of the backlog."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from sandbox.postgres.plans import scanned
from sandbox.postgres.server import Cluster
from tests.support.large_tables import insert_events
from tests.support.plans import executed_plan, index_scans, shared_buffers

BACKLOG = ("received", "ingested", "failed", "skipped_kill_switch")
MAX_BUFFERS = 120
"""An index look-up, a new row version and its index entries, with the tables' extension by a page.

A search through the backlog reads thousands.
"""

PARAMS: dict[str, dict[str, Any]] = {
    "process_record/claim_event": {},
    "process_record/fence_claim": {},
    "process_record/fail_event": {
        "next_attempt_at": None, "error_code": "internal", "error_detail": "x", "evidence": "{}",
    },
    "process_record/hold_event": {"status": "skipped_kill_switch"},
    "process_record/set_table": {"table_name": None},
    "process_record/finish_event": {
        "now": "2026-05-14T00:00:00Z", "phone": "+84905111222", "changes": True, "outcome": "ticket_created",
        "account_id": None, "ticket_id": None, "assignee_id": None, "evidence": "{}", "notifications": "[]",
    },
}  # fmt: skip
STATEMENTS = [
    *((name, "received" if name == "process_record/claim_event" else "ingested") for name in PARAMS),
    ("replay_events/replay_rows", "failed"),
    ("replay_events/replay_rows", "skipped_kill_switch"),
]


@dataclass(frozen=True)
class Backlog:
    """A database with 100,000 waiting, 20,000 failed and 20,000 held events that no statistics know of."""

    db_connection: psycopg.Connection

    def params(self, name: str, status: str) -> dict[str, Any]:
        """Return the parameters for the last event of a status: a scan in index order finds it last."""
        found = self.db_connection.execute(
            "SELECT id, claim_id::text FROM pancake_webhook_event WHERE status = %s ORDER BY id DESC LIMIT 1",
            (status,),
        ).fetchone()
        assert found
        replayed = {"ids": [found[0]], "states": [status], "by": "x", "now": "2026-05-14T00:00:00Z"}
        of_statement = PARAMS.get(name, replayed | {"evidence": "{}"})
        return {"id": found[0], "claim_id": found[1]} | of_statement


@pytest.fixture(scope="module", params=["empty table", "no backlog"])
def backlog(request: pytest.FixtureRequest, cluster: Cluster, template: str) -> Iterator[Backlog]:
    """The statistics are those of an empty table, or of a table with processed events only."""
    name = f"{template}_backlog"
    with psycopg.connect(cluster.create_database(name, template), autocommit=True) as db_connection:
        db_connection.execute("ALTER TABLE pancake_webhook_event SET (autovacuum_enabled = false)")
        db_connection.execute("SET session_replication_role = replica")
        if request.param == "no backlog":
            insert_events(db_connection, "processed", 50_000)
        db_connection.execute("ANALYZE pancake_webhook_event")
        for status, count in zip(BACKLOG, (50_000, 50_000, 20_000, 20_000), strict=True):
            insert_events(db_connection, status, count)
        yield Backlog(db_connection)
    cluster.drop_database(name)


@pytest.mark.parametrize("plan", ["generic", "custom"])
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("process_record/load_turn", "received"),
        ("replay_results/count_waiting", "received"),
        ("replay_results/count_waiting", "ingested"),
        ("replay_results/load_events", "skipped_kill_switch"),
    ],
)
def test_the_state_of_an_event_is_read_by_its_key_in_a_backlog_unknown_to_the_statistics(
    backlog: Backlog, name: str, status: str, plan: str
) -> None:
    event_id = backlog.params(name, status)["id"]
    found = executed_plan(backlog.db_connection, name, {"id": event_id, "ids": [event_id]}, plan)
    assert index_scans(found, "pancake_webhook_event") == {"pk_pancake_webhook_event"}
    assert scanned(found) == set()
    assert shared_buffers(found) <= MAX_BUFFERS


@pytest.mark.parametrize("plan", ["generic", "custom"])
def test_a_held_event_is_found_by_its_record_in_a_backlog_unknown_to_the_statistics(
    backlog: Backlog, plan: str
) -> None:
    delivery = {
        "ordinal": 0,
        "connection_id": "00000000-0000-4000-8000-000000000001",
        "record_id": "skipped_kill_switch20000",
        "payload_hash": "00" * 32,
        "payload": "{}",
    }
    params = {"origin": "poll", "now": "2026-05-14T00:00:00Z", "deliveries": json.dumps([delivery])}
    found = executed_plan(backlog.db_connection, "pancake_lists/fill_held", params, plan)
    keys = {"pk_pancake_webhook_event", "uq_pancake_webhook_event_identity"}
    assert index_scans(found, "pancake_webhook_event") == keys
    assert shared_buffers(found) <= MAX_BUFFERS


@pytest.mark.parametrize("plan", ["generic", "custom"])
@pytest.mark.parametrize(("name", "status"), STATEMENTS)
def test_an_event_is_found_by_its_key_in_a_backlog_unknown_to_the_statistics(
    backlog: Backlog, name: str, status: str, plan: str
) -> None:
    found = executed_plan(backlog.db_connection, name, backlog.params(name, status), plan)
    assert index_scans(found, "pancake_webhook_event") == {"pk_pancake_webhook_event"}
    assert scanned(found) == set()
    assert shared_buffers(found) <= MAX_BUFFERS
