"""What each statement of a load costs in PostgreSQL, as pg_stat_statements counts it."""

import re
from typing import Any

import psycopg

from ops.clients.db_session import QUERIES as PRODUCT

SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_planning": "on"}
"""Planning counts too: a function that is not inlined may be planned at each call."""
MAX_STATEMENTS = 25
CONSTANT = re.compile(r"'(?:[^']|'')*'|%\(\w+\)s|\$\d+|\b(?:\d+(?:\.\d+)?|true|false|null)\b", re.IGNORECASE)
"""What pg_stat_statements replaces by a parameter, a parameter of it, and one of the product's statements."""
BEGIN = b"CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()"
COUNT = b"""
SELECT s.query, s.calls, s.total_plan_time, s.total_exec_time, s.shared_blks_hit + s.shared_blks_read
FROM pg_stat_statements AS s
WHERE s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
ORDER BY s.total_plan_time + s.total_exec_time DESC
LIMIT %s
"""


def begin_counting(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as db_connection:
        db_connection.execute(BEGIN)


def count_costs(database_url: str, leads: int) -> list[dict[str, Any]]:
    """Return the statements that took longest: times and calls a lead, blocks a call. Waits count."""
    names = {_shape(text.decode().replace("%%", "%")): name for name, text in PRODUCT.items()}
    with psycopg.connect(database_url) as db_connection:
        rows = db_connection.execute(COUNT, [MAX_STATEMENTS]).fetchall()
    return [
        {
            "statement": names.get(_shape(query)) or " ".join(query.split())[:60],
            "plan_ms_per_lead": round(plan_ms / leads, 3),
            "exec_ms_per_lead": round(exec_ms / leads, 3),
            "calls_per_lead": round(calls / leads, 2),
            "blocks_per_call": round(blocks / calls, 1),
        }
        for query, calls, plan_ms, exec_ms, blocks in rows
    ]


def _shape(text: str) -> str:
    """Return a statement without comments, layout and constants."""
    return " ".join(CONSTANT.sub("?", re.sub(r"--.*", "", text)).split())
