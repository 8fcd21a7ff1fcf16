"""A genuine Prometheus with a week of series: the expressions of the criteria, and what is no answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import isnan

import httpx
import pytest

from ops.clients.monitoring import PrometheusApi, PrometheusRefused, PrometheusUnavailable
from ops.golive.criterion import Criterion, Source, Window, load_criteria
from ops.golive.evaluation import load_figures
from ops.golive.measuring import (
    ANSWERED_BY_EDGE,
    CONNECTIONS_OF_EDGE,
    DEAD_LETTER,
    PROCESSED,
    RESULTS_OF_HANDLERS,
    STORED,
    NoData,
    ask_of_window,
    from_prometheus,
)
from sandbox.monitoring.past import STEP, PastPrometheus
from sandbox.processes import Processes
from tests.support.fake_services import ANY, FakeServer, fake_prometheus, silent_server
from tests.support.monitoring import needs_monitoring
from tests.support.waiting import eventually

NOW = datetime.now(UTC).replace(microsecond=0)
HANDLERS, EDGE = (f'job="pancake_{name}",instance="{name}:9146"' for name in ("handlers", "edge"))
OF_EDGE, OF_HANDLER = f'{EDGE},hop="edge"', f'{HANDLERS},hop="handler"'
TWIN = HANDLERS.replace("handlers:", "twin:")
OF_ANOTHER = 'job="another",hop="edge"'
COUNTERS = {
    f'pancake_webhook_latency_seconds_bucket{{{OF_EDGE},le="0.1"}}': 99,
    f'pancake_webhook_latency_seconds_bucket{{{OF_EDGE},le="1.0"}}': 100,
    f'pancake_webhook_latency_seconds_bucket{{{OF_EDGE},le="+Inf"}}': 100,
    f"pancake_webhook_latency_seconds_count{{{OF_EDGE}}}": 100,
    # The gates ask the edge: so slow a handler is none of their business.
    f'pancake_webhook_latency_seconds_bucket{{{OF_HANDLER},le="0.1"}}': 0,
    f'pancake_webhook_latency_seconds_bucket{{{OF_HANDLER},le="1.0"}}': 0,
    f'pancake_webhook_latency_seconds_bucket{{{OF_HANDLER},le="+Inf"}}': 100,
    f"pancake_webhook_latency_seconds_count{{{OF_HANDLER}}}": 100,
    # What another target says of edges does not count either.
    f'pancake_webhook_latency_seconds_bucket{{{OF_ANOTHER},le="0.1"}}': 10_000,
    f'pancake_webhook_latency_seconds_bucket{{{OF_ANOTHER},le="+Inf"}}': 10_000,
    f"pancake_webhook_latency_seconds_count{{{OF_ANOTHER}}}": 10_000,
    f'pancake_webhook_requests_total{{{OF_ANOTHER},status="received"}}': 10_000,
    f'pancake_event_process_duration_seconds_bucket{{{HANDLERS},le="1.0"}}': 100,
    f'pancake_event_process_duration_seconds_bucket{{{HANDLERS},le="+Inf"}}': 100,
    f"pancake_event_process_duration_seconds_count{{{HANDLERS}}}": 100,
    f'pancake_webhook_requests_total{{{HANDLERS},result="received"}}': 100,
    f'pancake_log_messages_total{{{HANDLERS},level="error"}}': 0,
    f'pancake_webhook_requests_total{{{EDGE},hop="edge",status="received"}}': 90,
    f'pancake_webhook_requests_total{{{EDGE},hop="edge",status="skipped_kill_switch"}}': 7,
    f'pancake_webhook_requests_total{{{EDGE},hop="edge",status="spooled"}}': 2,
    f'pancake_webhook_requests_total{{{EDGE},hop="edge",status="duplicate"}}': 50,
    f'pancake_events_total{{{HANDLERS},result="ticket_created"}}': 80,
    f'pancake_events_total{{{HANDLERS},result="no_change"}}': 10,
    f'pancake_events_total{{{HANDLERS},result="dead_letter"}}': 3,
    f'pancake_events_total{{{HANDLERS},result="failed"}}': 40,
}
"""Increase of each in a step."""
FIRST_STEPS = 25
"""The first 100 minutes, in which all answers of the edge are slow, and those of the handler fast."""
AT_FIRST = {
    name: increase
    for hop, increase in ((OF_EDGE, 0), (OF_HANDLER, 100))
    for name in COUNTERS
    if f'{{{hop},le="' in name and "+Inf" not in name
}
LATER = {
    f"process_start_time_seconds{{{HANDLERS}}}": 1_800_000_600,
    f'pancake_kpi_left_missing{{{HANDLERS},window="1d"}}': 2,
    **{
        f'pancake_connection_status{{{each},connection="c-1",status="suspended"}}': 1
        for each in (HANDLERS, TWIN)
    },
}
"""What a gauge has from its last hour on: a process ended, and started again."""
GAUGES = {
    f"process_resident_memory_bytes{{{HANDLERS}}}": 96 * 1024 * 1024,
    f"process_start_time_seconds{{{HANDLERS}}}": 1_800_000_000,
    f'pancake_build_info{{{HANDLERS},commit="c1"}}': 1,
    f'pancake_kpi_left_missing{{{HANDLERS},window="1d"}}': 0,
    f'pancake_kpi_left_missing{{{HANDLERS},window="7d"}}': 3,
    f'pancake_kpi_found_missing{{{HANDLERS},window="1d"}}': 4,
    f'pancake_kpi_intervention_ratio{{{HANDLERS},window="1d"}}': 0.25,
    f'pancake_kpi_tickets{{{HANDLERS},window="1d"}}': 40,
    f'pancake_kpi_response_seconds{{{HANDLERS},window="1d",quantile="0.95"}}': 1800,
    **{
        f'pancake_connection_status{{{each},connection="{connection}",status="suspended"}}': is_suspended
        for each in (HANDLERS, TWIN)
        for connection, is_suspended in (("c-1", 0), ("c-2", 1))
    },
    **{
        f'pancake_cron_last_start_timestamp_seconds{{{each},name="{name}"}}': NOW.timestamp() - hours * 3600
        for each in (HANDLERS, TWIN)
        for name, hours in (("reconcile_daily", 10), ("check_connection", 6))
    },
    f'pancake_cron_last_success_timestamp_seconds{{{HANDLERS},name="reconcile_daily"}}': (
        NOW.timestamp() - 10 * 3600 + 12 * 60
    ),
    **{
        f'pancake_recent_source_events{{{each},connection="c-1",source="{source}"}}': 0
        for each in (HANDLERS, TWIN)
        for source in ("24895", "24896", "other")
    },
    f"up{{{HANDLERS}}}": 1,
    f'pancake_edge_budget_used{{{EDGE},connection="c-1"}}': 3,
    f'pancake_edge_budget_used{{{EDGE},connection="of another database"}}': 3,
    f"up{{{EDGE}}}": 1,
    'prometheus_build_info{job="prometheus",version="2"}': 1,
    'ALERTS{alertname="PancakeWatchdog",alertstate="firing"}': 1,
    "nothing_known": float("nan"),
}


def value_of(name: str, number: int, steps: int) -> float:
    """The value of a series after so many steps."""
    if name in COUNTERS:
        first = min(number, FIRST_STEPS)
        return AT_FIRST.get(name, COUNTERS[name]) * first + COUNTERS[name] * (number - first)
    is_late = number > steps - timedelta(hours=1) / STEP
    return LATER.get(name, GAUGES[name]) if is_late else GAUGES[name]


@contextmanager
def genuine_prometheus(span: timedelta) -> Iterator[str]:
    """Serve the series of the last `span`."""
    steps = int(span / STEP) + 1
    since = datetime.now(UTC).replace(microsecond=0) - (steps - 1) * STEP
    with Processes() as processes:
        past = PastPrometheus(processes, since)
        for number in range(steps):
            values = {name: value_of(name, number, steps) for name in COUNTERS | GAUGES}
            past.take(values, since + number * STEP)
        past.show()
        eventually(lambda: {"ok"} == _healths_of_rules(past.url), seconds=20)
        yield past.url


def _healths_of_rules(url: str) -> set[str]:
    groups = httpx.get(f"{url}/api/v1/rules", timeout=2).json()["data"]["groups"]
    return {rule["health"] for group in groups for rule in group["rules"]}


HOURS = 8


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with genuine_prometheus(timedelta(hours=HOURS)) as running:
        yield running


@needs_monitoring
@pytest.mark.parametrize(
    "criterion", [each for each in load_criteria() if each.source is Source.PROMQL], ids=lambda each: each.id
)
def test_a_genuine_prometheus_answers_the_expression_of_a_criterion(url: str, criterion: Criterion) -> None:
    expressions = [criterion.query, *filter(None, [criterion.parameters.get("samples")])]
    prometheus = PrometheusApi(url)
    found = [prometheus.query(each.replace("$window", "21600s"), NOW) for each in expressions]
    assert [len(values) for values in found] == [1] * len(expressions)
    assert criterion.is_met_by(found[0][0])
    if criterion.min_samples:
        assert found[1][0] >= criterion.min_samples


@needs_monitoring
def test_a_prometheus_that_held_little_of_the_window_has_no_value(url: str) -> None:
    """It holds eight hours: of a wave's seven days that is nothing to judge by."""
    windowed = [each for each in load_criteria() if each.window is not Window.NONE]
    prometheus = PrometheusApi(url)
    for criterion in [each for each in windowed if each.source is Source.PROMQL]:
        found = from_prometheus(criterion, prometheus, NOW - timedelta(hours=6), NOW)
        assert criterion.is_met_by(found.value or 0)
        with pytest.raises(NoData, match=r"Prometheus holds [78]\.\d h of pancake_\w+, of 168\.0 h"):
            from_prometheus(criterion, prometheus, NOW - timedelta(days=7), NOW)


def criterion_of(name: str) -> Criterion:
    return next(each for each in load_criteria() if each.id == name)


@needs_monitoring
def test_a_slow_edge_is_not_met_however_fast_the_handler_is(url: str) -> None:
    """Cheat 2: what a customer waits for is the edge's answer."""
    criterion, until = criterion_of("webhook-latency"), NOW - timedelta(hours=HOURS) + FIRST_STEPS * STEP
    (slow,) = ask_of_window(PrometheusApi(url), criterion.query, until - timedelta(hours=1), until)
    handler = criterion.query.replace('job="pancake_edge",hop="edge"', 'hop="handler"')
    (fast,) = ask_of_window(PrometheusApi(url), handler, until - timedelta(hours=1), until)
    assert (criterion.is_met_by(slow), criterion.is_met_by(fast)) == (False, True)


@needs_monitoring
def test_a_process_that_started_again_stands_in_red_although_three_pass(url: str) -> None:
    criterion, prometheus = criterion_of("restarts-W3"), PrometheusApi(url)
    for hours, value, notices in (
        (0, 1, ["times that a handler process ended and started again: 1"]), (2, 0, []),
    ):  # fmt: skip
        until = NOW - timedelta(hours=hours)
        found = from_prometheus(criterion, prometheus, until - timedelta(hours=3), until)
        assert (found.value, [each.en for each in found.notices]) == (value, notices)


@needs_monitoring
def test_what_edge_and_handlers_counted_is_asked_by_its_labels(url: str) -> None:
    """Cheat 11: a duplicate is not stored, and a lead that failed is tried again."""
    since = NOW - timedelta(hours=4)
    steps = timedelta(hours=4) / STEP
    for expression, in_a_step in (
        (ANSWERED_BY_EDGE % STORED, 97), (ANSWERED_BY_EDGE % "spooled", 2),
        (RESULTS_OF_HANDLERS % DEAD_LETTER, 3), (RESULTS_OF_HANDLERS % PROCESSED, 90),
    ):  # fmt: skip
        (counted,) = ask_of_window(PrometheusApi(url), expression, since, NOW)
        assert counted == pytest.approx(in_a_step * steps, rel=0.02), expression
    held = 7 * steps
    for hours, known in (
        (0, [2, 4, 10, 30, 1, held, 10, 6, 2, 12]),
        (2, [0, 4, 10, 30, 0, held, 8, 4, 2, 12]),
    ):
        until = NOW - timedelta(hours=hours)
        window = until - timedelta(hours=4), until
        found = [ask_of_window(PrometheusApi(url), each.promql, *window)[0] for each in load_figures()]
        assert found == pytest.approx(known, rel=0.02)
    for ids, edges in (("c-1", [1]), ("c-1|c-2", [1]), ("c-2", [])):
        expression = CONNECTIONS_OF_EDGE.replace("$ids", ids)
        assert ask_of_window(PrometheusApi(url), expression, since, NOW) == edges, ids


@needs_monitoring
def test_a_genuine_prometheus_names_the_alerts_of_the_criteria(url: str) -> None:
    named = {name for each in load_criteria() for name in each.parameters.get("alerts", "").split()}
    loaded = PrometheusApi(url).alerts()
    with fake_prometheus() as fake:
        assert PrometheusApi(fake.url).alerts().items() <= loaded.items()
    assert len(named) == 8
    assert {loaded.get(name) for name in named} == {"ok"}


@needs_monitoring
def test_what_is_missing_and_what_is_no_number_are_kept_apart(url: str) -> None:
    prometheus = PrometheusApi(f"{url}/")
    assert prometheus.query("absent_series", NOW) == []
    assert prometheus.query("1 + 1", NOW) == [2]
    (value,) = prometheus.query("nothing_known", NOW)
    assert isnan(value)
    refusal = r"Prometheus at 127\.0\.0\.1 refused the request: .*parse error"
    with pytest.raises(PrometheusRefused, match=refusal):
        prometheus.query("sum(", NOW)


def test_an_answer_of_another_form_is_no_value() -> None:
    with FakeServer() as server:
        server.expect_request(ANY).respond_with_json({"status": "success", "data": []})
        with pytest.raises(PrometheusUnavailable, match="does not answer as Prometheus does"):
            PrometheusApi(server.url).query("up", NOW)


def test_a_prometheus_without_an_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ops.clients.monitoring.TIMEOUT_SECONDS", 0.2)
    with silent_server() as silent, pytest.raises(PrometheusUnavailable) as caught:
        PrometheusApi(f"http://user:secret@127.0.0.1:{silent.port}").query("up", NOW)
    assert "Prometheus at 127.0.0.1 does not answer" in str(caught.value)
    assert "secret" not in str(caught.value)
