"""Rows whose figures a dashboard shows, the figures in SQL, and what its queries must answer."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from leads.adapters.queries import QUERIES
from leads.adapters.sql_series import FAMILIES
from leads.services.cron_runs import CRONS
from leads.services.metrics.figures import FIGURES
from tests.support.promql import selectors, selects
from tests.support.stored_rows import HANH, KHOA

Labels = frozenset[tuple[str, str]]
Samples = Mapping[str, Mapping[Labels, float]]
"""Values by family and labels."""

INSERT_EVENTS = """
    INSERT INTO pancake_webhook_event (
        connection_id, origin, record_id, payload_hash, status, error_code, outcome, arrived_at, received_at,
        ingested_at, processed_at, created_at, next_attempt_at, claim_id, source_ids, ticket_id, assignee_id,
        evidence, notifications, notify_unsent_since, notify_next_at, notified_at
    )
    SELECT
        c.id, e.origin, 'seeded-' || e.n, sha256(('seeded-' || e.n)::bytea), e.status, e.error_code,
        CASE WHEN e.status = 'processed' THEN e.outcome END, e.at, e.at, e.at + interval '1 day',
        CASE WHEN e.status = 'processed' THEN e.at + interval '40 s' END, e.at, e.at + interval '1 day',
        gen_random_uuid(), e.source_ids, e.ticket_id, e.chosen::uuid,
        jsonb_build_object('assignment', jsonb_build_object('chosen', e.chosen)),
        CASE WHEN e.is_unsent THEN '[{"template": "x"}]'::jsonb ELSE '[]' END, e.at, e.at + interval '1 day',
        CASE WHEN NOT e.is_unsent THEN e.at END
    FROM pancake_connection AS c
    CROSS JOIN jsonb_to_recordset(%s) AS e (
        n integer, origin text, status text, error_code text, outcome text, at timestamptz, source_ids text[],
        ticket_id uuid, chosen text, is_unsent boolean
    )
"""
INSERT_TICKETS = """
    INSERT INTO ticket (id, title, source_id, assignee_id, status, created_at, first_response_at)
    SELECT
        t.ticket_id, 'x', 'ticket_source_pancake', t.owner::uuid, 'new', t.at, t.at + t.n * interval '100 s'
    FROM jsonb_to_recordset(%s) AS t (ticket_id uuid, owner text, at timestamptz, n integer)
"""
REPORT = {"days": [{"day": "2026-05-13", "found_missing": list("abcdef"), "left_missing": ["g"]}]}


def seed(database_url: str, now: datetime) -> None:
    """Insert events of all kinds of the last hours and weeks: most key figures miss their target."""
    tickets = [_ticket(number, now) for number in range(1, 21)]
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("SET session_replication_role = replica")
        db.execute("UPDATE ticket SET first_response_at = created_at + interval '1 minute'")
        db.execute(INSERT_TICKETS, [Jsonb(tickets)])
        db.execute(INSERT_EVENTS, [Jsonb(tickets + list(_other_events(now)))])
        db.execute(
            "UPDATE pancake_connection SET created_at = now() - interval '1 year', last_poll_at = now()"
        )
        db.execute(
            "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
            " VALUES ('reconcile_daily', %(at)s, %(at)s, %(at)s, 'succeeded', %(report)s)",
            {"at": now - timedelta(hours=2), "report": Jsonb(REPORT)},
        )
        db.execute(
            "INSERT INTO hdb_catalog.hdb_cron_events (trigger_name, scheduled_time, status)"
            " VALUES ('pancake_check_sla', now() - interval '1 hour', 'dead')"
        )
        db.execute("UPDATE hdb_catalog.event_log SET error = true, delivered = false WHERE id = ANY ("
                   " SELECT l.id FROM hdb_catalog.event_log AS l LIMIT 3)")  # fmt: skip
        db.execute("VACUUM ANALYZE")


def _ticket(number: int, now: datetime) -> dict[str, Any]:
    """A ticket for each 20 minutes; every fourth has another owner than the chosen one, the last has none."""
    chosen = None if number == 20 else HANH
    owner = None if number == 20 else KHOA if number % 4 == 0 else HANH
    at = now - number * timedelta(minutes=20)
    return {
        "n": number, "at": at.isoformat(), "chosen": chosen, "owner": owner,
        "ticket_id": f"d0000000-0000-4000-8000-{number:012}", "status": "processed", "source_ids": ["-1"],
        "outcome": "ticket_created", "origin": "webhook", "is_unsent": number == 3, "error_code": None,
    }  # fmt: skip


def _other_events(now: datetime) -> Iterator[dict[str, Any]]:
    kinds = [
        ("dead_letter", "internal", "webhook"), ("dead_letter", "invalid_phone", "poll"),
        ("failed", "internal", "poll"), ("skipped_kill_switch", None, "webhook"),
        ("skipped_source_disabled", None, "reconcile"), ("ingested", None, "webhook"),
    ]  # fmt: skip
    at = now - timedelta(minutes=30)
    events = [(at, *kind) for kind in kinds]
    for week in range(1, 5):
        events += [(at - timedelta(weeks=week), "processed", None, "webhook")] * week
    for number, (at, status, error_code, origin) in enumerate(events, 100):
        yield {
            "n": number, "at": at.isoformat(), "status": status, "error_code": error_code, "origin": origin,
            "outcome": "contact_updated", "source_ids": ["-1", "77"], "is_unsent": False,
        }  # fmt: skip


class Sql:
    """The figures of a database at a time, by the statements of sql/metrics and sql/kpi."""

    def __init__(self, db: psycopg.Connection[dict[str, Any]], now: datetime) -> None:
        self._db, self._now = db, now

    def kpi(self, name: str, window: timedelta) -> dict[str, Any]:
        """The row of a statement of sql/kpi, by its full name."""
        (row,) = self._rows(name, {"from": self._now - window, "to": self._now})
        return row

    def samples(self) -> Samples:
        """Every series that is read from the database."""
        found: dict[str, dict[Labels, float]] = defaultdict(dict)
        names = {family.name: family.labels for family in FAMILIES}
        for figure in FIGURES:
            rows = self._rows(figure.statement or figure.query, {"now": self._now, **figure.params})
            for family, values, number in figure.samples(rows):
                found[family][frozenset(zip(names[family], values, strict=True))] = number
        for family, labels, value in self._kpis():
            if value is not None:
                found[family][frozenset(labels.items())] = float(value)
        return found

    def _kpis(self) -> Iterator[tuple[str, dict[str, str], float | None]]:
        for window, length in (("1d", timedelta(days=1)), ("1h", timedelta(hours=1))):
            latency, success = self.kpi("kpi/load_latency", length), self.kpi("kpi/load_success", length)
            for quantile, column in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")):
                labels = {"window": window, "quantile": quantile}
                yield "pancake_kpi_latency_seconds", labels, latency[f"{column}_seconds"]
            yield "pancake_kpi_success_ratio", {"window": window}, success.pop("ratio")
            for result, number in success.items():
                yield "pancake_kpi_deliveries", {"window": window, "result": result}, number
        day, in_a_day = timedelta(days=1), {"window": "1d"}
        yield "pancake_kpi_auto_assign_ratio", in_a_day, self.kpi("kpi/load_auto_assign", day)["ratio"]
        yield "pancake_kpi_intervention_ratio", in_a_day, self.kpi("kpi/load_intervention", day)["ratio"]
        minutes = self.kpi("kpi/load_response", day)["p95_minutes"]
        yield "pancake_kpi_response_seconds", {**in_a_day, "quantile": "0.95"}, minutes * 60
        for column in ("found_missing", "left_missing"):
            yield f"pancake_kpi_{column}", in_a_day, self.kpi("kpi/load_zero_miss", day)[column]

    def _rows(self, name: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._db.execute(QUERIES[name], params).fetchall()


FORM = re.compile(
    r"(?P<age>time\(\) - )?(?:sum by \((?P<by>\w+)\) \()?"
    r"max without \(instance\) \((?P<family>\w+)(?:\{[^}]*\})?(?P<positive> > 0)?\)\)?"
)


def expected(query: str, samples: Samples, now: datetime) -> dict[Labels, float] | None:
    """What a query of a figure, its sum by a label or the time since it must answer; None for others."""
    form = FORM.fullmatch(query)
    if form is None or form["family"] not in {family.name for family in FAMILIES}:
        return None
    (selector,) = selectors(query)
    found: dict[Labels, float] = defaultdict(float)
    for labels, value in samples[form["family"]].items():
        given = dict(labels)
        if not selects(selector, given) or (form["positive"] and value <= 0):
            continue
        shown = {form["by"]: given[form["by"]]} if form["by"] else given
        found[frozenset(shown.items())] += now.timestamp() - value if form["age"] else value
    return dict(found)


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
