"""What the leads of a load test left in the database: times of commits, write-ahead log, sizes."""

from collections.abc import Mapping
from typing import Any

import psycopg
from hdrh.histogram import HdrHistogram

from proofs.loadtest.sender import HIGHEST_LATENCY_US, new_histogram

SETTINGS = {"track_commit_timestamp": "on"}
"""So that PostgreSQL says when a ticket was committed, instead of a watcher that polls."""

_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
# The row version of a ticket that no later version of its record changed is that of its creation.
_TICKETS = """
    SELECT
        t.data -> 'pancake' ->> 'record_id',
        extract(epoch FROM pg_xact_commit_timestamp(t.xmin))::float8
    FROM ticket AS t
    WHERE t.source_id = 'ticket_source_pancake' AND t.data -> 'pancake' ->> 'record_id' = ANY (%s)
"""
_SIZES = """
    SELECT n.nspname || '.' || c.relname, pg_total_relation_size(c.oid)
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE
        c.relkind = 'r' AND n.nspname IN ('public', 'hdb_catalog')
        AND pg_total_relation_size(c.oid) > 65536
    ORDER BY 2 DESC
"""


def wal_bytes(database_url: str) -> int:
    """Return how many bytes of write-ahead log the server has written since it exists."""
    return int(_rows(database_url, _WAL)[0][0])


def ticket_latencies(database_url: str, due: Mapping[str, float]) -> HdrHistogram:
    """Return the times in µs from when each record was due, in seconds since 1970, to its ticket's commit."""
    histogram = new_histogram()
    for record_id, committed_at in _rows(database_url, _TICKETS, list(due)):
        microseconds = round((committed_at - due[record_id]) * 1_000_000)
        histogram.record_value(min(HIGHEST_LATENCY_US, max(1, microseconds)))
    return histogram


def table_bytes(database_url: str) -> dict[str, int]:
    """Return the size of each table above 64 KiB with its indexes, the largest first."""
    return {name: int(size) for name, size in _rows(database_url, _SIZES)}


def server_version(database_url: str) -> str:
    """Return the version of PostgreSQL."""
    return str(_rows(database_url, "SHOW server_version")[0][0])


def _rows(database_url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as db_connection:
        return db_connection.execute(statement.encode(), list(values) or None).fetchall()
