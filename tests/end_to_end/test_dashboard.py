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
from tests.support.stored_rows import HANH, KHOA, Figures
from tests.support.waiting import eventually

pytestmark = [needs_edge, needs_monitoring, pytest.mark.slow("two bursts with scrapes around them")]

REPORT = {"days": [{"day": "2026-05-13", "found_missing": list("abcdef"), "left_missing": ["g"]}]}
KINDS = (
    *[("dead_letter", "internal", "webhook")] * 3, ("dead_letter", "invalid_phone", "poll"),
    ("failed", "internal", "poll"), ("skipped_kill_switch", None, "webhook"),
    ("skipped_source_disabled", None, "reconcile"), ("ingested", None, "webhook"),
)  # fmt: skip
"""Status, error and origin of events that were not processed."""


def seed(db: psycopg.Connection[dict[str, Any]], now: datetime) -> None:
    """Insert events of all kinds of the last hours and weeks: most key figures miss their target."""
    figures = Figures(db)
    db.execute("UPDATE ticket SET first_response_at = created_at + interval '1 minute'")
    for number in range(1, 21):
        # A minute earlier: the third would be of the last hour for the seconds until it was processed.
        figures.at = now - timedelta(minutes=20 * number + 1)
        chosen = None if number == 20 else HANH
        owner = KHOA if chosen and number % 4 == 0 else chosen
        sending: dict[str, Any] = {"notified_at": figures.at}
        if number == 3:
            sending = {"notifications": Jsonb([{"template": "x"}]), "notify_unsent_since": figures.at}
        processed_at = figures.at + timedelta(seconds=40)
        figures.ticket(chosen, owner, number * 5 / 3, processed_at=processed_at, source_ids=["-1"], **sending)
    figures.at = now - timedelta(minutes=30)
    other: dict[str, Any] = {"source_ids": ["-1", "77"], "notified_at": figures.at}
    for status, error_code, origin in KINDS:
        figures.event(status, error_code=error_code, origin=origin, **other)
    for week in range(1, 5):
        figures.at -= timedelta(weeks=1)
        for _ in range(week):
            figures.event(**other)
    db.execute("UPDATE pancake_connection SET created_at = now() - interval '1 year', last_poll_at = now()")
    db.execute(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
        " VALUES ('reconcile_daily', %(at)s, %(at)s, %(at)s, 'succeeded', %(report)s)",
        {"at": now - timedelta(hours=2), "report": Jsonb(REPORT)},
    )
    db.execute(
        "INSERT INTO hdb_catalog.hdb_cron_events (trigger_name, scheduled_time, status)"
        " VALUES ('pancake_check_sla', now() - interval '1 hour', 'dead')"
    )
    db.execute(
        "UPDATE hdb_catalog.event_log SET error = true, delivered = false"
        " WHERE id IN (SELECT l.id FROM hdb_catalog.event_log AS l LIMIT 3)"
    )
    db.execute("VACUUM ANALYZE")


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
def observed(own_sandbox: Sandbox) -> Iterator[Observed]:
    """Leads are processed while Prometheus scrapes; then rows are seeded and the handlers start again.

    A counter has a rate if two scrapes saw it with different values. So everything is scraped before the
    work, between its two parts and after them, however slow it is.
    """
    sandbox = own_sandbox
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
        seed(db, datetime.now(UTC))
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
