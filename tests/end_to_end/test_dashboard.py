"""The dashboard's queries on a real Prometheus that scrapes a running system, compared with SQL."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from leads.adapters.sql_series import FAMILIES
from leads.cli.__main__ import app
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import Places, Sources, measure
from leads.cli.golive.records import Records
from leads.services.cron_runs import CRONS
from leads.services.metrics.figures import FIGURES
from leads.services.metrics.key_figures import KEY_FIGURES
from sandbox.dashboard.prometheus import scraping_prometheus
from sandbox.dashboard.source import read_dashboard
from sandbox.edge.nginx import NginxEdge
from sandbox.incidents.queries import Queries
from sandbox.page.buttons import Buttons
from sandbox.processes import Processes
from sandbox.stack.observer import Observer
from sandbox.stack.stack import Sandbox
from tests.support.dashboard import (
    DRIFT,
    ROWS,
    Labels,
    Samples,
    Sql,
    bounds,
    counted_rows,
    drift,
    expected,
    seed,
)
from tests.support.end_to_end import EndToEndHarness
from tests.support.leads import body, numbered_lead
from tests.support.monitoring import alerts, needs_monitoring
from tests.support.waiting import eventually

pytestmark = [needs_monitoring, pytest.mark.slow("two bursts with scrapes of two servers around them")]
DASHBOARD = read_dashboard()
OF_DATABASE = {family.name for family in FAMILIES}
QUERIES = [text for panel in DASHBOARD.panels for text in panel.queries.values()]
PER_PERIOD = "pancake_cron_period_seconds"
"""The one query that joins a figure of the database with one of the processes."""
NUMBERS = count(900)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SCRAPE_SECONDS = 1


def is_of_processes(text: str) -> bool:
    return not any(name in text for name in OF_DATABASE) and "ALERTS" not in text


@dataclass
class Observed:
    """A system with two processes of the handlers: `one` scrapes the first, `two` both, and the edge."""

    sandbox: Sandbox
    db: psycopg.Connection[dict[str, Any]]
    one: Queries
    two: Queries
    unanswered: set[str] = field(default_factory=set)
    """Queries on what processes count that had no answer while leads were processed."""
    miscounted: dict[str, object] = field(default_factory=dict)
    """Queries on counters whose answers were not the rows, when the leads were processed."""
    counted: dict[str, int] = field(default_factory=dict)
    """The rows of each counter then."""
    drift: dict[Labels, float] = field(default_factory=dict)
    """What those counters lack of the rows in the end."""

    def answer(
        self, text: str, queries: Queries | None = None, at: datetime | None = None
    ) -> dict[Labels, float]:
        found = (queries or self.two).at(text, at or datetime.now(UTC))
        left_out = {"job", "__name__"}
        return {
            frozenset(each for each in series.labels.items() if each[0] not in left_out): series.points[0][1]
            for series in found
        }


@pytest.fixture(scope="module")
def observed(harness: EndToEndHarness) -> Iterator[Observed]:
    """Leads are processed while Prometheus scrapes; then rows are seeded and the handlers start again.

    A counter has a rate if two scrapes saw it with different values. So both servers scrape everything before
    the work, between its two parts and after them, however slow they are.
    """
    sandbox = harness.sandbox
    if sandbox is None or not isinstance(sandbox.edge, NginxEdge):
        pytest.skip("it needs a sandbox with the real edge: Debian's nginx with Lua")
    with ExitStack() as stack:
        processes = stack.enter_context(Processes())
        db = stack.enter_context(psycopg.connect(sandbox.database_url, autocommit=True, row_factory=dict_row))
        second = sandbox.add_handlers("second")
        targets = [
            {"pancake_handlers": handlers, "pancake_edge": [sandbox.edge.ops_url]}
            for handlers in ([sandbox.handlers_url], [sandbox.handlers_url, second.url])
        ]
        servers = [scraping_prometheus(processes, each, SCRAPE_SECONDS) for each in targets]
        for server in servers:
            server.start()
        for server in servers:
            server.wait_ready()
        one, two = (stack.enter_context(Queries(server.url)) for server in servers)
        found = Observed(sandbox, db, one, two)
        wait_scraped(found)
        before = bounds(db, began := datetime.now(UTC))
        for crons in (CRONS, ["check_sla"]):
            work(sandbox, crons)
            wait_scraped(found)
        found.unanswered = {text for text in QUERIES if is_of_processes(text) and not found.answer(text)}
        # An increase is a little more than was counted, the less so the longer the series are.
        with suppress(AssertionError):
            eventually(lambda: not still_miscounted(found, began), seconds=60)
        rows = bounds(db, datetime.now(UTC))
        found.counted = {name: least - before[name][0] for name, (least, _) in rows.items()}
        sandbox.hasura.stop()
        since = time.time()
        seed(sandbox.database_url, datetime.now(UTC))
        for process in (sandbox.handlers, second):
            process.stop()
            process.start()
            process.wait_ready()
        eventually(lambda: have_read(found, since))
        found.drift = drift(found.counted, bounds(db, datetime.now(UTC)))
        yield found


def wait_scraped(found: Observed) -> None:
    """Wait until both servers have scraped each of their processes once more."""
    text = f"count(timestamp(up) > {time.time():.3f} and up == 1)"
    for queries, processes in ((found.one, 2), (found.two, 3)):
        eventually(partial(is_answered, found, text, queries, processes), seconds=60)


def is_answered(found: Observed, text: str, queries: Queries, number: float) -> bool:
    return found.answer(text, queries) == {frozenset(): number}


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


def have_read(found: Observed, since: float) -> bool:
    """Whether every process has read every figure of the database since then."""
    read = f"count by (instance) (pancake_sql_last_success_timestamp_seconds > {since})"
    numbers = [*found.answer(read, found.one).values(), *found.answer(read).values()]
    return numbers == [len(FIGURES) + len(KEY_FIGURES)] * 3


def still_miscounted(found: Observed, since: datetime) -> object:
    at = datetime.now(UTC)
    found.miscounted = {}
    for text in ROWS:
        wanted = counted_rows(found.db, text, since)
        answers = [
            {
                labels: float(round(value))
                for labels, value in found.answer(text, queries, at).items()
                if "bucket" not in text or labels in wanted
            }
            for queries in (found.one, found.two)
        ]
        if not any(wanted.values()) or answers != [wanted, wanted]:
            found.miscounted[text] = {"rows": wanted, "one process and two": answers}
    return found.miscounted


def test_the_queries_on_counters_answer_what_the_rows_say(observed: Observed) -> None:
    assert observed.miscounted == {}


def test_the_drift_is_what_the_counters_lack_of_the_rows(observed: Observed) -> None:
    """By less than 1: increase() answers a little more than was counted, up to half a scrape at each end."""
    assert all(observed.counted.values()), observed.counted
    assert min(observed.drift.values()) < -2
    wanted = pytest.approx(observed.drift, abs=0.9)
    eventually(
        lambda: [observed.answer(DRIFT, each) for each in (observed.one, observed.two)] == [wanted] * 2
    )


def test_every_query_on_what_processes_count_has_an_answer(observed: Observed) -> None:
    assert observed.unanswered == set()


def differences(observed: Observed) -> dict[str, object]:
    """The queries whose answers with one process, with two and in SQL are not the same, now."""
    at = datetime.now(UTC)
    samples = Sql(observed.db, at).samples()
    found: dict[str, object] = {}
    for text in QUERIES:
        wanted = expected(text, samples, at)
        if wanted is None:
            continue
        with_one, with_two = (observed.answer(text, queries, at) for queries in (observed.one, observed.two))
        if not wanted or not with_one == with_two == pytest.approx(wanted, rel=1e-6, abs=1e-3):
            found[text] = {"SQL": wanted, "one process": with_one, "two processes": with_two}
    return found


def test_every_figure_is_the_same_in_sql_with_one_process_and_with_two(observed: Observed) -> None:
    eventually(lambda: differences(observed) == {} or None, seconds=20)


def test_every_query_on_the_database_is_compared_with_sql() -> None:
    """But for the one that joins both kinds: its figure is compared in another panel's form below."""
    samples: Samples = {name: {} for name in OF_DATABASE}
    left = [
        text
        for text in QUERIES
        if any(name in text for name in OF_DATABASE) and expected(text, samples, datetime.now(UTC)) is None
    ]
    assert [PER_PERIOD in text for text in left] == [True]


def test_the_periods_since_a_success_are_those_of_the_runs(observed: Observed) -> None:
    (text,) = [text for text in QUERIES if PER_PERIOD in text]
    at = datetime.now(UTC)
    ages = expected(
        "time() - max without (instance) (pancake_cron_last_success_timestamp_seconds > 0)",
        Sql(observed.db, at).samples(),
        at,
    )
    assert ages is not None
    assert len(ages) == len(CRONS)
    periods = observed.answer(f"max without (instance) ({PER_PERIOD})", at=at)
    wanted = {labels: age / periods[labels] for labels, age in ages.items()}
    assert observed.answer(text, at=at) == pytest.approx(wanted, rel=1e-3)


def alert_value(observed: Observed, name: str) -> list[float]:
    """The values with which an alert is pending or fires, from its own expression."""
    (rule,) = [rule for rule in alerts() if rule["alert"] == name]
    assert observed.answer(f'ALERTS{{alertname="{name}"}}'), f"{name} is not even pending"
    return sorted(observed.answer(rule["expr"]).values())


def test_key_figures_dashboard_alerts_and_golive_say_the_same(observed: Observed, tmp_path: Path) -> None:
    """One statement of sql/kpi each, read by the gates, the dashboard and the alerts."""
    eventually(lambda: differences(observed) == {} or None, seconds=20)
    sql = Sql(observed.db, datetime.now(UTC))
    success, missing = sql.kpi("kpi/load_success", DAY), sql.kpi("kpi/load_zero_miss", DAY)
    assert success["ratio"] < 0.995
    (criterion,) = [each for each in load_criteria() if each.id == "success-rate-day"]
    with Sources(Places(observed.sandbox.database_url), Records(tmp_path)) as sources:
        at_gate = measure(criterion, sources, (), datetime.now(UTC), "W1", {})
    assert at_gate.value == pytest.approx(success["ratio"])
    assert at_gate.total == sum(success[name] for name in ("processed", "failed", "dead", "stuck"))
    assert missing == {"days": missing["days"], "found_missing": 6, "left_missing": 1}
    eventually(lambda: observed.answer('ALERTS{alertname="PancakeSuccessRateLow"}'))
    assert alert_value(observed, "PancakeSuccessRateLow") == pytest.approx([success["ratio"]])
    assert alert_value(observed, "PancakeReconciliationMiss") in ([6.0], [1.0])
    late = sql.kpi("kpi/load_latency", HOUR)["p95_seconds"]
    assert late > 30
    assert alert_value(observed, "PancakeProcessSlowLastHour") == pytest.approx([late])
    dead = success["dead"] / sum(success[name] for name in ("processed", "failed", "dead", "stuck"))
    assert dead >= 0.01
    assert alert_value(observed, "PancakeDlqCountHigh") == pytest.approx([dead])


def test_the_alerts_that_fire_are_shown(observed: Observed) -> None:
    (text,) = [text for text in QUERIES if "ALERTS" in text]
    eventually(lambda: frozenset({("alertname", "PancakeCronTicksLost")}) in observed.answer(text))
