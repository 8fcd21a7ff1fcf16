"""A stand-in for Prometheus' HTTP API: answers expressions of the criteria with values that a test sets."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.support.local_server import JsonHandler, serving

HEALTHY: dict[str, list[str]] = {
    'sum(prometheus_rule_group_rules{rule_group=~".+;pancake_crm_integration"})'
    " or 0 * count(prometheus_build_info)": ["17"],
    "histogram_quantile(0.95, sum by (le) (rate(pancake_webhook_latency_seconds_bucket[$window])))": ["0.02"],
    "sum(increase(pancake_webhook_latency_seconds_count[$window]))": ["700"],
    'max(max_over_time(process_resident_memory_bytes{job="pancake_handlers"}[$window])) / 1048576': ["96"],
    'sum(increase(pancake_log_messages_total{level="error"}[$window]))'
    ' or 0 * count(up{job="pancake_handlers"} == 1)': ["0"],
    'count(pancake_webhook_requests_total) or 0 * count(up{job="pancake_handlers"} == 1)': ["3"],
    'count(ALERTS{alertname="PancakeWatchdog", alertstate="firing"}) or 0 * count(prometheus_build_info)': [
        "1"
    ],
    'min(up{job=~"pancake.*"})': ["1"],
    'min(up{job="pancake_handlers"})': ["1"],
}
"""The values of the series of each expression while all is well."""


@dataclass
class FakePrometheus:
    """Its URL, and the values of the series of each expression. An expression without values is refused."""

    url: str = ""
    values: dict[str, list[str]] = field(default_factory=lambda: dict(HEALTHY))


@contextmanager
def fake_prometheus() -> Iterator[FakePrometheus]:
    """Answer as long as the block lasts; tests/leads/adapters/test_prometheus_api.py asks a real one."""
    prometheus = FakePrometheus()

    class Answer(JsonHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            expression = re.sub(r"\[\d+s\]", "[$window]", asked["query"][0])
            if expression not in prometheus.values:
                error = {"status": "error", "errorType": "bad_data", "error": f"unknown: {expression}"}
                self.answer(400, json.dumps(error).encode())
                return
            at = float(asked["time"][0])
            result = [{"metric": {}, "value": [at, value]} for value in prometheus.values[expression]]
            data = {"resultType": "vector", "result": result}
            self.answer(200, json.dumps({"status": "success", "data": data}).encode())

    with serving(Answer) as url:
        prometheus.url = url
        yield prometheus
