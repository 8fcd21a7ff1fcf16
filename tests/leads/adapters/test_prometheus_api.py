"""A genuine Prometheus with a week of series: the expressions of the criteria, and what is no answer."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import isnan

import pytest

from leads.adapters.prometheus_api import PrometheusApi, PrometheusRefused, PrometheusUnavailable
from leads.cli.golive.criterion import Criterion, Source
from leads.cli.golive.load import load_criteria
from tests.support.fake_services import ANY, FakeServer, fake_prometheus, genuine_prometheus, silent_port
from tests.support.monitoring import needs_monitoring

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


def test_a_prometheus_that_does_not_answer_in_time_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("leads.adapters.prometheus_api.TIMEOUT_SECONDS", 0.2)
    with (
        silent_port() as port,
        PrometheusApi(f"http://user:secret@127.0.0.1:{port}") as prometheus,
        pytest.raises(PrometheusUnavailable) as caught,
    ):
        prometheus.query("up", NOW)
    assert "Prometheus at 127.0.0.1 does not answer" in str(caught.value)
    assert "secret" not in str(caught.value)
