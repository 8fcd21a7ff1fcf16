"""The comparison of a day with a long list ends, also when PostgreSQL knows how long the list is."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from leads.adapters.queries import QUERIES

LISTED, STORED = 150_000, 2_000
STORED_EVENTS = """
INSERT INTO pancake_webhook_event
    (connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, arrived_at,
    created_at)
SELECT %s, 'reconcile', 'r-' || n, %s, %s, sha256(n::text::bytea), '{}', 'received', now(), now()
FROM generate_series(%s::int, %s::int) AS n
"""


@pytest.mark.parametrize("table_name", ["lead", None])
def test_a_list_of_many_records_is_compared_in_seconds(
    database: str, connection_id: str, table_name: str | None
) -> None:
    now = datetime.now(UTC)
    with psycopg.connect(database, autocommit=True, options="-c statement_timeout=8s") as db:
        stored = (connection_id, table_name, now, LISTED - STORED + 2, LISTED + 1)
        db.execute(STORED_EVENTS, stored)
        row = db.execute(
            QUERIES["reconcile_daily/compare_day"],
            {
                "connection_id": connection_id,
                "tables": ["lead"],
                "window_from": now - timedelta(hours=1),
                "window_to": now,
                "seen": json.dumps({"lead": [f"r-{n}" for n in range(1, LISTED + 1)]}),
                "max_future": timedelta(hours=48),
            },
        ).fetchone()
    assert row == (0, [{"record_id": f"r-{LISTED + 1}", "table_name": table_name}])
