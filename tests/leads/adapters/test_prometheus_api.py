"""A genuine Prometheus with a week of series: the expressions of the criteria, and what is no answer."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from math import isnan

import httpx
import pytest

from leads.adapters.prometheus_api import PrometheusApi, PrometheusRefused, PrometheusUnavailable
from leads.cli.golive.criterion import Source
from leads.cli.golive.load import load_criteria
from sandbox.incidents.prometheus import prometheus, run_promtool
from sandbox.processes import Processes
from tests.support.golive_prometheus import fake_prometheus
from tests.support.local_server import JsonHandler, serving
from tests.support.monitoring import needs_monitoring

STEP = timedelta(minutes=4)
"""Below the 5 min for which Prometheus takes a sample for the present value."""
HOURS = 8
HANDLERS = 'job="pancake_handlers",instance="h:9146"'
COUNTERS = {
    f'pancake_webhook_latency_seconds_bucket{{{HANDLERS},le="0.1"}}': 99,
    f'pancake_webhook_latency_seconds_bucket{{{HANDLERS},le="1.0"}}': 100,
    f'pancake_webhook_latency_seconds_bucket{{{HANDLERS},le="+Inf"}}': 100,
    f"pancake_webhook_latency_seconds_count{{{HANDLERS}}}": 100,
    f'pancake_webhook_requests_total{{{HANDLERS},result="received"}}': 100,
    f'pancake_log_messages_total{{{HANDLERS},level="error"}}': 0,
}
"""Increase of each in a step."""
GAUGES = {
    f"process_resident_memory_bytes{{{HANDLERS}}}": 96 * 1024 * 1024,
    f"up{{{HANDLERS}}}": 1,
    'up{job="pancake_edge",instance="e:9145"}': 1,
    'prometheus_build_info{job="prometheus",version="2"}': 1,
    'prometheus_rule_group_rules{rule_group="/etc/pancake.rules.yml;pancake_crm_integration"}': 17,
    'prometheus_rule_group_rules{rule_group="/etc/pancake.rules.yml;pancake_further"}': 20,
    'ALERTS{alertname="PancakeWatchdog",alertstate="firing"}': 1,
    "nothing_known": float("nan"),
}
NOW = datetime.now(UTC).replace(microsecond=0)


def open_metrics() -> str:
    """The series in OpenMetrics' text format, each with its samples in order."""
    times = [NOW - number * STEP for number in range(int(timedelta(hours=HOURS) / STEP), -1, -1)]
    lines = []
    for name, step in {**COUNTERS, **GAUGES}.items():
        for number, at in enumerate(times):
            value = step * number if name in COUNTERS else step
            lines.append(f"{name} {value} {at.timestamp():.0f}")
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that scrapes nothing; its storage holds the series."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "series.txt").write_text(open_metrics())
    config, data = folder / "prometheus.yml", folder / "data"
    config.write_text("{}")
    run_promtool("tsdb", "create-blocks-from", "openmetrics", "-q", folder / "series.txt", data)
    with Processes() as processes:
        server = prometheus(processes, config, data, "--storage.tsdb.retention.time=90d")
        server.start()
        server.wait_ready()
        yield server.url


@needs_monitoring
@pytest.mark.parametrize(
    "name", [each.id for each in load_criteria() if each.source is Source.PROMQL]
)  # fmt: skip
def test_a_genuine_prometheus_answers_the_expression_of_a_criterion(url: str, name: str) -> None:
    criterion = next(each for each in load_criteria() if each.id == name)
    expressions = [criterion.query, *filter(None, [criterion.parameters.get("samples")])]
    with PrometheusApi(url) as prometheus:
        found = [prometheus.query(each.replace("$window", "21600s"), NOW) for each in expressions]
    assert [len(values) for values in found] == [1] * len(expressions)
    assert criterion.is_met_by(found[0][0])
    if criterion.min_samples:
        assert found[1][0] >= criterion.min_samples


@needs_monitoring
def test_the_stand_in_answers_as_a_genuine_one(url: str) -> None:
    asked = {"query": "count(up) ", "time": f"{NOW.timestamp():.3f}"}
    with fake_prometheus() as fake:
        fake.values |= {"count(up) ": ["2"], "count(none)": [], "nothing_known": ["NaN"]}
        for query in fake.values.keys() & {"count(up) ", "count(none)", "nothing_known", "sum("} | {"sum("}:
            answers = [
                httpx.get(f"{each}/api/v1/query", params=asked | {"query": query}) for each in (url, fake.url)
            ]
            genuine, imitated = (_shape(answer.json()) for answer in answers)
            assert answers[0].status_code == answers[1].status_code, query
            assert genuine == imitated, query


def _shape(value: object) -> object:
    """The form of an answer: its keys and kinds of values; labels, texts of errors and warnings left out."""
    if isinstance(value, dict):
        free = {"metric", "error", "warnings", "infos"}
        return {key: None if key in free else _shape(each) for key, each in value.items() if key != "stats"}
    if isinstance(value, list):
        return [_shape(each) for each in value]
    if isinstance(value, int | float):
        return "number"
    return value if value in ("success", "error", "vector", "bad_data", "NaN", "2") else type(value).__name__


@needs_monitoring
def test_what_is_missing_and_what_is_no_number_are_kept_apart(url: str) -> None:
    with PrometheusApi(f"{url}/") as prometheus:
        assert prometheus.query("absent_series", NOW) == []
        assert prometheus.query("1 + 1", NOW) == [2]
        (value,) = prometheus.query("nothing_known", NOW)
        assert isnan(value)
        with pytest.raises(
            PrometheusRefused, match=r"Prometheus at 127\.0\.0\.1 refused the query: .*parse error"
        ):
            prometheus.query("sum(", NOW)


class Silent(JsonHandler):
    """Answers with what is not Prometheus' form."""

    def do_GET(self) -> None:
        self.answer(200, b'{"status": "success", "data": []}')


def test_an_answer_of_another_form_is_no_value() -> None:
    with (
        serving(Silent) as url,
        PrometheusApi(url) as prometheus,
        pytest.raises(PrometheusUnavailable, match="does not answer as Prometheus does"),
    ):
        prometheus.query("up", NOW)


def test_a_prometheus_that_does_not_answer_in_time_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Waits(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(1)  # until the client gives up

    monkeypatch.setattr("leads.adapters.prometheus_api.TIMEOUT_SECONDS", 0.2)
    with serving(Waits) as url:
        secret = url.replace("//", "//user:secret@")
        with PrometheusApi(secret) as prometheus, pytest.raises(PrometheusUnavailable) as caught:
            prometheus.query("up", NOW)
    assert "Prometheus at 127.0.0.1 does not answer" in str(caught.value)
    assert "secret" not in str(caught.value)
