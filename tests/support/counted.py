"""What the processes counted, in rows: the dashboard's queries on counters, and SQL for each."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg

from leads.adapters.queries import QUERIES
from leads.services.cron_runs import CRONS
from tests.support.dashboard import Labels

DRIFT = "pancake_metric_drift"
ROWS: Mapping[str, str] = {
    "round(sum by (result) (increase(pancake_events_total[1h]))) > 0": """
        SELECT
            CASE
                WHEN e.status = 'dead_letter' THEN 'invalid'
                WHEN starts_with(e.status, 'skipped') THEN 'already_held'
                ELSE coalesce(e.outcome, e.status)
            END AS result,
            count(*) AS n
        FROM pancake_webhook_event AS e
        WHERE e.created_at > %(since)s
        GROUP BY 1
    """,
    "sum by (le) (increase(pancake_event_process_duration_seconds_bucket[5m]))": """
        SELECT '+Inf' AS le, count(*) AS n
        FROM pancake_webhook_event AS e
        WHERE e.processed_at > %(since)s AND e.held_at IS NULL AND e.replay_count = 0
    """,
    "round(sum by (origin) (increase(pancake_webhook_missed_total[1h])))": """
        SELECT o.origin, count(e.id) AS n
        FROM unnest(ARRAY['poll', 'reconcile']) AS o (origin)
        LEFT JOIN pancake_webhook_event AS e ON e.origin = o.origin AND e.created_at > %(since)s
        GROUP BY o.origin
    """,
    "round(sum by (result) (increase(pancake_notifications_total[1h])))": """
        SELECT
            r.result,
            CASE WHEN r.result = 'accepted' THEN (
                SELECT coalesce(sum(jsonb_array_length(e.notifications)), 0)
                FROM pancake_webhook_event AS e
                WHERE e.notified_at > %(since)s
            ) + (
                SELECT coalesce(sum(jsonb_array_length(c.report -> 'notifications')), 0)
                FROM pancake_cron_run AS c
                WHERE c.notified_at > %(since)s
            ) ELSE 0 END AS n
        FROM unnest(ARRAY['accepted', 'duplicates', 'failed', 'unknown', 'given_up', 'dropped']) AS r (result)
    """,
    "round(sum by (name, result) (increase(pancake_cron_runs_total[1d]))) > 0": """
        SELECT c.name, c.outcome AS result, count(*) AS n
        FROM pancake_cron_run AS c
        WHERE c.finished_at > %(since)s
        GROUP BY c.name, c.outcome
    """,
}
"""Each returns the labels of the answer, and `n`."""

WITHOUT_ROWS: Mapping[str, str] = {
    "pancake_webhook_requests_total": "no rows: a rate, also of what the edge refused",
    "pancake_webhook_latency_seconds": "no rows: the time of a request is not stored",
    "pancake_edge_": "no rows: the edge's own files and calls",
    "pancake_circuit_breaker_state": "no rows: a state of each process",
    "pancake_engine_check": "no rows: what Hasura answered",
    "up{": "no rows: whether Prometheus reaches a process",
    "process_": "no rows: memory and CPU",
    "pancake_http_requests_total": "no rows: requests of every route",
    "pancake_log_messages_total": "no rows: lines of logs",
    "pancake_sql_seconds": "no rows: how long a figure took",
}
"""Why the other queries on what processes count are only required to answer, by a part of their text."""


def counted_rows(db: psycopg.Connection[dict[str, Any]], text: str, since: datetime) -> dict[Labels, float]:
    """Return what a query of ROWS must answer if all was counted since then."""
    return {
        frozenset((name, value) for name, value in row.items() if name != "n"): float(row["n"])
        for row in db.execute(ROWS[text].encode(), {"since": since}).fetchall()
    }


def bounds(db: psycopg.Connection[dict[str, Any]], now: datetime) -> dict[str, tuple[int, int]]:
    """Return the least and the most rows of the last hour, by counter."""
    found = db.execute(QUERIES["metrics/count_counted"], {"now": now, "names": list(CRONS)}).fetchall()
    return {row["counter"]: (int(row["least"]), int(row["most"])) for row in found}


def drift(counted: Mapping[str, int], rows: Mapping[str, tuple[int, int]]) -> dict[Labels, float]:
    """Return the drift between what was counted and the least and most rows."""
    return {
        frozenset({("counter", name)}): float(max(counted[name] - most, 0) + min(counted[name] - least, 0))
        for name, (least, most) in rows.items()
    }
