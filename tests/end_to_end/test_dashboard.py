"""The dashboard's queries on a real Prometheus that scrapes a running system; key figures as in SQL."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from leads.adapters.database import QUERIES as STATEMENTS
from leads.services.cron_runs import CRONS
from leads.services.metrics import FIGURES, SERIES
from ops.cli import app
from ops.golive.criterion import load_criteria
from ops.golive.measuring import Sources, measure
from ops.settings import read_operator_settings
from proofs.dashboard.live import scraping_prometheus
from proofs.dashboard.panels import read_dashboard
from sandbox.edge import NginxEdge
from sandbox.monitoring.servers import Queries
from sandbox.page.buttons import Buttons
from sandbox.processes import Processes
from sandbox.stack.observer import Observer
from sandbox.stack.stack import Sandbox
from tests.support.end_to_end import needs_edge
from tests.support.leads import body, numbered_lead
from tests.support.monitoring import alerts, needs_monitoring
from tests.support.stored_rows import HANH, KHOA
from tests.support.waiting import eventually

pytestmark = [needs_edge, needs_monitoring, pytest.mark.slow("two bursts with scrapes around them")]

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
    """A ticket for each 20 minutes; every fourth has another owner than the chosen one, the last has none.

    A minute earlier: the third would be of the last hour for the seconds until it was processed.
    """
    chosen = None if number == 20 else HANH
    owner = None if number == 20 else KHOA if number % 4 == 0 else HANH
    at = now - number * timedelta(minutes=20) - timedelta(minutes=1)
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
    events = [(at, *kind) for kind in [*kinds, kinds[0], kinds[0]]]
    for week in range(1, 5):
        events += [(at - timedelta(weeks=week), "processed", None, "webhook")] * week
    for number, (at, status, error_code, origin) in enumerate(events, 100):
        yield {
            "n": number, "at": at.isoformat(), "status": status, "error_code": error_code, "origin": origin,
            "outcome": "contact_updated", "source_ids": ["-1", "77"], "is_unsent": False,
        }  # fmt: skip


QUERIES = [
    text for section in read_dashboard()[1] for drawn in section.panels for text in drawn.queries.values()
]
OF_DATABASE = [text for text in QUERIES if any(series.name in text for series in SERIES)]
OF_ALERTS = [text for text in QUERIES if "ALERTS" in text]
NUMBERS = count(900)
WINDOWS = {"1d": timedelta(days=1), "1h": timedelta(hours=1)}
SCRAPE_SECONDS = 1


@dataclass
class Observed:
    """A system with two processes of the handlers, which Prometheus scrapes, and the edge."""

    sandbox: Sandbox
    db: psycopg.Connection[dict[str, Any]]
    queries: Queries
    unanswered: list[str] = field(default_factory=list)
    """Queries on what processes count that had no answer while leads were processed."""

    def values(self, text: str) -> list[float]:
        return [series.points[0][1] for series in self.queries.at(text, datetime.now(UTC))]

    def kpi(self, name: str, window: str) -> dict[str, Any]:
        """The row of a statement of sql/kpi, for a window that ends now."""
        now = datetime.now(UTC)
        params = {"from": now - WINDOWS[window], "to": now}
        (row,) = self.db.execute(STATEMENTS[name], params).fetchall()
        return row


@pytest.fixture(scope="module")
def observed(sandbox: Sandbox) -> Iterator[Observed]:
    """Leads are processed while Prometheus scrapes; then rows are seeded and the handlers start again.

    A counter has a rate if two scrapes saw it with different values. So everything is scraped before the work,
    between its two parts and after them, however slow it is.
    """
    assert isinstance(sandbox.edge, NginxEdge)
    with ExitStack() as stack:
        processes = stack.enter_context(Processes())
        db = stack.enter_context(psycopg.connect(sandbox.database_url, autocommit=True, row_factory=dict_row))
        second = sandbox.add_handlers("second")
        handlers = [sandbox.handlers_url, second.url]
        targets = {"pancake_handlers": handlers, "pancake_edge": [sandbox.edge.ops_url]}
        server = scraping_prometheus(processes, targets, SCRAPE_SECONDS)
        server.bring_up()
        found = Observed(sandbox, db, stack.enter_context(Queries(server.url)))
        wait_scraped(found)
        for crons in (CRONS, ["check_sla"]):
            work(sandbox, crons)
            wait_scraped(found)
        of_processes = set(QUERIES) - {*OF_DATABASE, *OF_ALERTS}
        found.unanswered = [text for text in of_processes if not found.values(text)]
        sandbox.hasura.stop()
        since = time.time()
        seed(sandbox.database_url, datetime.now(UTC))
        for process in (sandbox.handlers, second):
            process.stop()
            process.start()
            process.wait_ready()
        # Every process has read every figure of the database since then.
        read = f"count by (instance) (pancake_sql_last_success_timestamp_seconds > {since})"
        eventually(lambda: found.values(read) == [len(FIGURES)] * 2)
        yield found


def wait_scraped(found: Observed) -> None:
    """Wait until each process has been scraped once more."""
    text = f"count(timestamp(up) > {time.time():.3f} and up == 1)"
    eventually(lambda: found.values(text) == [3], seconds=60)


def work(sandbox: Sandbox, crons: Iterable[str]) -> None:
    """Process three leads and one without a phone, and run crons; polling finds two more."""
    now = datetime.now(UTC)
    span = {"start": now - timedelta(minutes=6), "end": now - timedelta(minutes=2)}
    bulk = {"count": 2, **{name: moment.isoformat() for name, moment in span.items()}}
    httpx.post(f"{sandbox.pancake_url}/control/bulk", json=bulk, timeout=30).raise_for_status()
    Buttons(sandbox).send_leads(3)
    lead = numbered_lead(next(NUMBERS), phone="1")
    httpx.post(sandbox.webhook_url, content=body(lead), timeout=30).raise_for_status()
    httpx.post(f"{sandbox.pancake_url}/control/webhook/idle", timeout=30).raise_for_status()
    Observer(sandbox.database_url, sandbox.notifications_url).wait_final()
    for name in crons:
        assert CliRunner().invoke(app, ["cron", "run", name], env=sandbox.environment()).exit_code == 0


def test_every_query_has_an_answer(observed: Observed) -> None:
    assert observed.unanswered == []
    eventually(lambda: all(map(observed.values, [*OF_DATABASE, *OF_ALERTS])))


def key_figures(observed: Observed) -> Iterator[tuple[str, float | None]]:
    """Yield each series of a key figure with its value in SQL."""
    for window in WINDOWS:
        latency, success = observed.kpi("kpi/load_latency", window), observed.kpi("kpi/load_success", window)
        for quantile, column in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")):
            labels = f'window="{window}",quantile="{quantile}"'
            yield f"pancake_kpi_latency_seconds{{{labels}}}", latency[f"{column}_seconds"]
        yield f'pancake_kpi_success_ratio{{window="{window}"}}', success.pop("ratio")
        for result, number in success.items():
            yield f'pancake_kpi_deliveries{{window="{window}",result="{result}"}}', number
    for name, statement in (
        ("auto_assign", "kpi/load_auto_assign"),
        ("intervention", "kpi/load_intervention"),
    ):
        yield f'pancake_kpi_{name}_ratio{{window="1d"}}', observed.kpi(statement, "1d")["ratio"]
    minutes = observed.kpi("kpi/load_response", "1d")["p95_minutes"]
    yield 'pancake_kpi_response_seconds{window="1d",quantile="0.95"}', minutes * 60
    for column in ("found_missing", "left_missing"):
        yield f'pancake_kpi_{column}{{window="1d"}}', observed.kpi("kpi/load_zero_miss", "1d")[column]


def differences(observed: Observed) -> dict[str, object]:
    """The key figures that are not the same in SQL and in each process, now."""
    found: dict[str, object] = {}
    for series, value in key_figures(observed):
        shown, wanted = observed.values(series), [] if value is None else [float(value)] * 2
        if shown != pytest.approx(wanted, rel=1e-6, abs=1e-3):
            found[series] = {"SQL": wanted, "processes": shown}
    return found


def alert_value(observed: Observed, name: str) -> list[float]:
    """The values with which an alert is pending or fires, from its own expression."""
    (rule,) = [rule for rule in alerts() if rule["alert"] == name]
    assert observed.values(f'ALERTS{{alertname="{name}"}}'), f"{name} is not even pending"
    return sorted(observed.values(rule["expr"]))


def test_key_figures_dashboard_alerts_and_golive_say_the_same(observed: Observed, tmp_path: Path) -> None:
    """One statement of sql/kpi each, read by the gates, the dashboard and the alerts."""
    eventually(lambda: differences(observed) == {} or None, seconds=20)
    success, missing = observed.kpi("kpi/load_success", "1d"), observed.kpi("kpi/load_zero_miss", "1d")
    assert success["ratio"] < 0.995
    (criterion,) = [each for each in load_criteria() if each.id == "success-rate-day"]
    given = {"DATABASE_URL": observed.sandbox.database_url}
    with Sources(read_operator_settings(*given, environment=given), tmp_path) as sources:
        at_gate = measure(criterion, sources, datetime.now(UTC), "W1")
    assert at_gate.value == pytest.approx(success["ratio"])
    assert at_gate.total == sum(success[name] for name in ("processed", "failed", "dead", "stuck"))
    assert missing == {"days": missing["days"], "found_missing": 6, "left_missing": 1}
    eventually(lambda: observed.values('ALERTS{alertname="PancakeSuccessRateLow"}'))
    assert alert_value(observed, "PancakeSuccessRateLow") == pytest.approx([success["ratio"]])
    assert alert_value(observed, "PancakeReconciliationMiss") in ([6.0], [1.0])
    late = observed.kpi("kpi/load_latency", "1h")["p95_seconds"]
    assert late > 30
    assert alert_value(observed, "PancakeProcessSlowLastHour") == pytest.approx([late])
    dead = success["dead"] / sum(success[name] for name in ("processed", "failed", "dead", "stuck"))
    assert dead >= 0.01
    assert alert_value(observed, "PancakeDlqCountHigh") == pytest.approx([dead])


def test_the_alerts_that_fire_are_shown(observed: Observed) -> None:
    (text,) = OF_ALERTS
    lost = f'{text} and on (alertname) ALERTS{{alertname="PancakeCronTicksLost"}}'
    eventually(lambda: observed.values(lost))
