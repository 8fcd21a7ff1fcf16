"""The search for unassigned tickets reads them alone, whatever the statistics say of the tables."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sandbox.postgres.plans import indexes, scanned
from sandbox.postgres.server import Cluster
from tests.support.large_tables import CONNECTION
from tests.support.plans import executed_plan, shared_buffers

UNASSIGNED = 20
MAX_BUFFERS = 20 * UNASSIGNED
"""A few pages for each unassigned ticket. The tables have thousands of pages."""
SEARCHES = (
    "unassigned_tickets/list_events",
    "unassigned_count/count_tickets",
    "unassigned_tickets/mark_settled",
)
PARAMS: dict[str, Any] = {"now": "2026-05-15T00:00:00Z", "limit": 500, "most": None}
TICKETS = (
    "INSERT INTO ticket (id, title, source_id, assignee_id, status)"
    " SELECT md5(%(kind)s || n)::uuid, 'x', 'ticket_source_pancake', %(owner)s, 'new'"
    " FROM generate_series(1, %(count)s) AS n"
)
EVENTS = (
    "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, status, outcome,"
    " arrived_at, processed_at, notified_at, source_ids, ticket_id, assignee_id, evidence, created_at)"
    " SELECT '00000000-0000-4000-8000-000000000001', 'webhook', %(kind)s || n, sha256(n::text::bytea),"
    " 'processed', 'ticket_created', t.at, t.at, t.at, '{5}', md5(%(kind)s || n)::uuid, %(owner)s,"
    " %(evidence)s, t.at FROM generate_series(1, %(count)s) AS n"
    " CROSS JOIN (SELECT timestamptz '2026-05-14Z' AS at) AS t"
)
OWNER = "c0000000-0000-4000-8000-000000000001"


def insert(
    db_connection: psycopg.Connection, kind: str, count: int, owner: str | None, evidence: str = "{}"
) -> None:
    """Insert tickets and the events that created them."""
    params = {"kind": kind, "count": count, "owner": owner, "evidence": evidence}
    db_connection.execute(TICKETS.encode(), params)
    db_connection.execute(EVENTS.encode(), params)


@pytest.fixture(scope="module", params=["empty tables", "all unassigned", "true statistics"])
def tickets(request: pytest.FixtureRequest, cluster: Cluster, template: str) -> Iterator[psycopg.Connection]:
    """A database with 20 unassigned tickets among 100,000 others, which have owners or are settled.

    Its statistics are those of empty tables, of tables in which no ticket had an owner, or true.
    """
    name = f"{template}_unassigned"
    with psycopg.connect(cluster.create_database(name, template), autocommit=True) as db_connection:
        db_connection.execute("ALTER TABLE pancake_webhook_event SET (autovacuum_enabled = false)")
        db_connection.execute("ALTER TABLE ticket SET (autovacuum_enabled = false)")
        db_connection.execute("SET session_replication_role = replica")
        db_connection.execute(CONNECTION.encode())
        if request.param == "all unassigned":
            insert(db_connection, "old", 2_000, None)
        db_connection.execute("ANALYZE pancake_webhook_event, ticket")
        db_connection.execute("UPDATE pancake_webhook_event SET assignee_id = %s", [OWNER])
        db_connection.execute("UPDATE ticket SET assignee_id = %s", [OWNER])
        insert(db_connection, "owned", 80_000, OWNER)
        insert(db_connection, "settled", 20_000, None, '{"assignment": {"settled": {}}}')
        insert(db_connection, "night", UNASSIGNED, None)
        db_connection.execute("INSERT INTO pancake_assignee (staff_id) VALUES (%s)", [OWNER])
        db_connection.execute(
            "UPDATE app_setting SET app_settings ="
            " jsonb_set(app_settings, '{pancake_integration,kill_switch}', 'false')"
        )
        if request.param == "true statistics":
            db_connection.execute("ANALYZE pancake_webhook_event, ticket")
        else:
            # The pages of entries that were removed are read until the table is vacuumed.
            db_connection.execute("VACUUM pancake_webhook_event")
        yield db_connection
    cluster.drop_database(name)


@pytest.mark.parametrize("plan", ["generic", "custom"])
@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_reads_the_unassigned_tickets_alone(
    tickets: psycopg.Connection, search: str, plan: str
) -> None:
    found = executed_plan(tickets, search, PARAMS, plan)
    assert scanned(found) == set()
    assert {"ticket_pkey", "ix_pancake_webhook_event_unassigned"} <= indexes(found)
    assert shared_buffers(found) <= MAX_BUFFERS


@pytest.mark.parametrize("is_recall", [False, True], ids=["first owner", "recall"])
@pytest.mark.parametrize("plan", ["generic", "custom"])
def test_a_ticket_is_locked_by_its_keys(tickets: psycopg.Connection, plan: str, is_recall: bool) -> None:
    event = tickets.execute("SELECT max(id) AS id FROM pancake_webhook_event").fetchone()
    assert event
    params = {"id": event[0], "lease": "60 seconds", "now": "2026-03-04T05:06:07Z", "is_recall": is_recall}
    found = executed_plan(tickets, "locked_tickets/lock_ticket", params, plan)
    assert scanned(found) <= {"contact_book"}, "it has one row here"
    assert "ticket_pkey" in indexes(found)
    assert shared_buffers(found) <= MAX_BUFFERS


def test_the_rule_is_inlined_into_the_index(tickets: psycopg.Connection) -> None:
    """A change of an owner alone is seen by the index, and the rule is not called for it."""
    found = executed_plan(tickets, "unassigned_count/count_tickets", PARAMS, "generic")
    assert "pancake_event_is_unassigned" not in str(found)
    (row,) = [node for node in found if node.get("Relation Name") == "pancake_webhook_event"]
    assert row["Actual Rows"] == UNASSIGNED
