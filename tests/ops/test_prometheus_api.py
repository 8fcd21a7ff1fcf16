"""A genuine Prometheus with a week of series: the expressions of the criteria, and what is no answer."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path

import httpx
import pytest
import yaml

from ops.clients.prometheus_api import PrometheusApi, PrometheusRefused, PrometheusUnavailable
from ops.golive.criterion import Criterion, Source, Window, load_criteria
from ops.golive.measuring import NoData, from_prometheus
from sandbox.monitoring.rules import rule_files
from sandbox.monitoring.servers import prometheus, run_promtool
from sandbox.processes import Processes
from tests.support.fake_services import ANY, FakeServer, fake_prometheus, silent_server
from tests.support.monitoring import needs_monitoring
from tests.support.waiting import eventually

STEP = timedelta(minutes=4)
"""Below the 5 min for which Prometheus takes a sample for the present value."""
HANDLERS, EDGE = (f'job="pancake_{name}",instance="{name}:9146"' for name in ("handlers", "edge"))
OF_EDGE, OF_HANDLER = f'{EDGE},hop="edge"', f'{HANDLERS},hop="handler"'
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
    f'pancake_webhook_requests_total{{{HANDLERS},result="received"}}': 100,
    f'pancake_log_messages_total{{{HANDLERS},level="error"}}': 0,
}
"""Increase of each in a step."""
GAUGES = {
    f"process_resident_memory_bytes{{{HANDLERS}}}": 96 * 1024 * 1024,
    f"process_start_time_seconds{{{HANDLERS}}}": 1_800_000_000,
    f'pancake_build_info{{{HANDLERS},commit="c1"}}': 1,
    f"up{{{HANDLERS}}}": 1,
    f"up{{{EDGE}}}": 1,
    'prometheus_build_info{job="prometheus",version="2"}': 1,
    'ALERTS{alertname="PancakeWatchdog",alertstate="firing"}': 1,
    "nothing_known": float("nan"),
}


def open_metrics(span: timedelta, until: datetime) -> str:
    """The series in OpenMetrics' text format, each with its samples in order."""
    times = [until - number * STEP for number in range(int(span / STEP), -1, -1)]
    samples = [
        f"{name} {step * number if name in COUNTERS else step} {at.timestamp():.0f}"
        for name, step in (COUNTERS | GAUGES).items()
        for number, at in enumerate(times)
    ]
    return "\n".join([*samples, "# EOF", ""])


@contextmanager
def genuine_prometheus(folder: Path, span: timedelta) -> Iterator[str]:
    """Serve the series of the last `span`; it scrapes nothing, and evaluates the rules each second."""
    series = folder / "series.txt"
    series.write_text(open_metrics(span, datetime.now(UTC).replace(microsecond=0)))
    words = ("tsdb", "create-blocks-from", "--max-block-duration=240h", "openmetrics", "-q")
    run_promtool(*words, series, folder / "data")
    config = folder / "prometheus.yml"
    rules = [str(shutil.copy(path, folder)) for path in rule_files()]
    config.write_text(yaml.safe_dump({"global": {"evaluation_interval": "1s"}, "rule_files": rules}))
    with Processes() as processes:
        service = prometheus(processes, config, folder / "data", "--storage.tsdb.retention.time=90d")
        service.start()
        service.wait_ready()
        try:
            eventually(lambda: {"ok"} == _healths_of_rules(service.url), seconds=20)
            yield service.url
        finally:
            service.stop()


def _healths_of_rules(url: str) -> set[str]:
    groups = httpx.get(f"{url}/api/v1/rules", timeout=2).json()["data"]["groups"]
    return {rule["health"] for group in groups for rule in group["rules"]}


HOURS = 8
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with genuine_prometheus(tmp_path_factory.mktemp("prometheus"), timedelta(hours=HOURS)) as running:
        yield running


@needs_monitoring
@pytest.mark.parametrize(
    "criterion", [each for each in load_criteria() if each.source is Source.PROMQL], ids=lambda each: each.id
)
def test_a_genuine_prometheus_answers_the_expression_of_a_criterion(url: str, criterion: Criterion) -> None:
    expressions = [criterion.query, *filter(None, [criterion.parameters.get("samples")])]
    with PrometheusApi(url) as prometheus:
        found = [prometheus.query(each.replace("$window", "21600s"), NOW) for each in expressions]
    assert [len(values) for values in found] == [1] * len(expressions)
    assert criterion.is_met_by(found[0][0])
    if criterion.min_samples:
        assert found[1][0] >= criterion.min_samples


@needs_monitoring
def test_a_prometheus_that_held_little_of_the_window_has_no_value(url: str) -> None:
    """It holds eight hours: of a wave's seven days that is nothing to judge by."""
    windowed = [each for each in load_criteria() if each.window is not Window.NONE]
    with PrometheusApi(url) as prometheus:
        for criterion in [each for each in windowed if each.source is Source.PROMQL]:
            found = from_prometheus(criterion, prometheus, NOW - timedelta(hours=6), NOW)
            assert criterion.is_met_by(found.value or 0)
            with pytest.raises(NoData, match=r"Prometheus holds [78]\.\d h of pancake_\w+, of 168\.0 h"):
                from_prometheus(criterion, prometheus, NOW - timedelta(days=7), NOW)


@needs_monitoring
def test_a_genuine_prometheus_names_the_alerts_of_the_criteria(url: str) -> None:
    named = {name for each in load_criteria() for name in each.parameters.get("alerts", "").split()}
    with PrometheusApi(url) as prometheus, fake_prometheus() as fake, PrometheusApi(fake.url) as imitated:
        loaded = prometheus.alerts()
        assert imitated.alerts().items() <= loaded.items()
    assert len(named) == 8
    assert {loaded.get(name) for name in named} == {"ok"}


@needs_monitoring
def test_what_is_missing_and_what_is_no_number_are_kept_apart(url: str) -> None:
    with PrometheusApi(f"{url}/") as prometheus:
        assert prometheus.query("absent_series", NOW) == []
        assert prometheus.query("1 + 1", NOW) == [2]
        (value,) = prometheus.query("nothing_known", NOW)
        assert isnan(value)
        refusal = r"Prometheus at 127\.0\.0\.1 refused the request: .*parse error"
        with pytest.raises(PrometheusRefused, match=refusal):
            prometheus.query("sum(", NOW)


def test_an_answer_of_another_form_is_no_value() -> None:
    with FakeServer() as server, PrometheusApi(server.url) as prometheus:
        server.expect_request(ANY).respond_with_json({"status": "success", "data": []})
        with pytest.raises(PrometheusUnavailable, match="does not answer as Prometheus does"):
            prometheus.query("up", NOW)


def test_a_prometheus_without_an_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ops.clients.prometheus_api.TIMEOUT_SECONDS", 0.2)
    with (
        silent_server() as silent,
        PrometheusApi(f"http://user:secret@127.0.0.1:{silent.port}") as prometheus,
        pytest.raises(PrometheusUnavailable) as caught,
    ):
        prometheus.query("up", NOW)
    assert "Prometheus at 127.0.0.1 does not answer" in str(caught.value)
    assert "secret" not in str(caught.value)
