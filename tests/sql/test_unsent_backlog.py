"""A large backlog of unsent notifications costs little, whatever the statistics say of it."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sandbox.postgres.plans import scanned
from sandbox.postgres.server import Cluster
from tests.support.large_tables import CONNECTION, insert_events
from tests.support.plans import executed_plan, index_scans, shared_buffers

NOW = "2026-05-14T00:00:00Z"
ROWS = 20_000
"""Of each kind: never tried, due again, waiting, given up."""
INSERT_EVENTS = """
    INSERT INTO pancake_webhook_event (
        connection_id, origin, record_id, payload_hash, status, arrived_at, created_at, notifications,
        notify_next_at, notify_given_up_at, notify_error
    )
    SELECT
        '00000000-0000-4000-8000-000000000001', 'webhook', 'unsent' || n, sha256(('unsent' || n)::bytea),
        'skipped_source_disabled', t.now, t.now, '[{"name": "x", "recipient_ids": ["y"]}]',
        CASE n %% 4 WHEN 1 THEN t.now - n * interval '1 ms' WHEN 2 THEN t.now + interval '1 hour' END,
        CASE n %% 4 WHEN 3 THEN t.now - interval '2 days' END, CASE WHEN n %% 4 > 0 THEN 'refused' END
    FROM generate_series(1, 4 * %(rows)s) AS n
    CROSS JOIN (SELECT %(now)s::timestamptz AS now) AS t
"""
INSERT_RUNS = """
    INSERT INTO pancake_cron_run (
        name, scheduled_time, started_at, finished_at, outcome, report, notify_next_at, notify_given_up_at,
        notify_error
    )
    SELECT
        'sync_sources', t.at, t.at, t.at, 'succeeded', '{"notifications": [{"idempotency_key": "x"}]}',
        CASE n %% 4 WHEN 1 THEN t.now - n * interval '1 ms' WHEN 2 THEN t.now + interval '1 hour' END,
        CASE n %% 4 WHEN 3 THEN t.now - interval '2 days' END, CASE WHEN n %% 4 > 0 THEN 'refused' END
    FROM generate_series(1, 4 * %(rows)s) AS n
    CROSS JOIN LATERAL (
        SELECT %(now)s::timestamptz AS now, timestamptz '2020-01-01Z' + n * interval '1 s' AS at
    ) AS t
"""
DUE = {"now": NOW, "lease": "60 seconds", "limit": 500}


@pytest.fixture(scope="module", params=["empty tables", "nothing unsent", "analysed"])
def backlog(request: pytest.FixtureRequest, cluster: Cluster, template: str) -> Iterator[psycopg.Connection]:
    """The statistics are those of empty tables, of tables without unsent rows, or of the backlog."""
    name = f"{template}_unsent"
    with psycopg.connect(cluster.create_database(name, template), autocommit=True) as db_connection:
        db_connection.execute("ALTER TABLE pancake_webhook_event SET (autovacuum_enabled = false)")
        db_connection.execute("ALTER TABLE pancake_cron_run SET (autovacuum_enabled = false)")
        db_connection.execute(CONNECTION)
        if request.param == "nothing unsent":
            insert_events(db_connection, "processed", ROWS)
            db_connection.execute(
                "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome)"
                " SELECT 'check_sla', t, t, t, 'succeeded' FROM generate_series(1, %s) AS n,"
                " LATERAL (SELECT timestamptz '2020-01-01Z' + n * interval '1 s' AS t) AS x",
                (ROWS,),
            )
        if request.param != "analysed":
            db_connection.execute("ANALYZE pancake_webhook_event, pancake_cron_run")
        db_connection.execute(INSERT_EVENTS, {"rows": ROWS, "now": NOW})
        db_connection.execute(INSERT_RUNS, {"rows": ROWS, "now": NOW})
        if request.param == "analysed":
            db_connection.execute("ANALYZE pancake_webhook_event, pancake_cron_run")
        yield db_connection
    cluster.drop_database(name)


@pytest.mark.parametrize("plan", ["generic", "custom"])
@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("retry_failed/list_unnotified", "pancake_webhook_event"),
        ("run_notices/list_unnotified", "pancake_cron_run"),
    ],
)
def test_due_rows_are_listed_without_reading_the_backlog(
    backlog: psycopg.Connection, name: str, table: str, plan: str
) -> None:
    found = executed_plan(backlog, name, DUE, plan)
    assert index_scans(found, table) == {f"ix_{table}_unnotified"}
    assert not {"Seq Scan", "Sort", "Bitmap Heap Scan"} & {node["Node Type"] for node in found}
    assert found[0]["Actual Rows"] == 1_000
    assert shared_buffers(found) <= 2_500


@pytest.mark.parametrize("plan", ["generic", "custom"])
@pytest.mark.parametrize(
    ("folder", "table"), [("outbox", "pancake_webhook_event"), ("run_notices", "pancake_cron_run")]
)
@pytest.mark.parametrize("statement", ["claim_notifications", "mark_notified", "mark_unsent"])
def test_a_row_of_the_backlog_is_found_by_its_key(
    backlog: psycopg.Connection, folder: str, table: str, statement: str, plan: str
) -> None:
    params: dict[str, Any] = DUE | {
        "ids": [4],
        "claimed_ats": [NOW],
        "results": f'[{{"id": 4, "claimed_at": "{NOW}", "attempts": 1, "refusals": 0, "unknowns": 0}}]',
    }
    found = executed_plan(backlog, f"{folder}/{statement}", params, plan)
    assert index_scans(found, table) == {f"pk_{table}"}
    assert scanned(found) == set()
    assert shared_buffers(found) <= 120


@pytest.mark.parametrize("plan", ["generic", "custom"])
def test_rows_given_up_long_ago_are_not_read(backlog: psycopg.Connection, plan: str) -> None:
    found = executed_plan(backlog, "retry_failed/count_given_up", DUE, plan)
    assert scanned(found) == set()
    assert shared_buffers(found) <= 120


def test_a_claim_updates_no_column_of_an_index(backlog: psycopg.Connection) -> None:
    """So that it stays a HOT update."""
    indexed = backlog.execute(
        "SELECT a.attname FROM pg_index AS x JOIN pg_attribute AS a ON a.attrelid = x.indrelid"
        " AND a.attnum = ANY (x.indkey) WHERE x.indrelid = 'pancake_webhook_event'::regclass"
    ).fetchall()
    claimed = {"notify_claimed_at", "notify_attempts", "notify_unknowns", "notify_unsent_since"}
    assert not claimed & {name for (name,) in indexed}
