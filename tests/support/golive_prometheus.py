"""A stand-in for Prometheus' HTTP API: answers expressions of the criteria with values that a test sets."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from leads.cli.golive.load import load_criteria
from tests.support.local_server import JsonHandler, serving

HEALTHY: dict[str, list[str]] = {
    "histogram_quantile(0.95, sum by (le) (rate(pancake_webhook_latency_seconds_bucket[$window])))": ["0.02"],
    "sum(increase(pancake_webhook_latency_seconds_count[$window]))": ["700"],
    'max(max_over_time(process_resident_memory_bytes{job="pancake_handlers"}[$window])) / 1048576': ["96"],
    'sum(increase(pancake_log_messages_total{level="error"}[$window]))'
    ' or 0 * count(up{job="pancake_handlers"} == 1)': ["0"],
    'count(pancake_webhook_requests_total) or 0 * count(up{job="pancake_handlers"} == 1)': ["3"],
    'count(ALERTS{alertname="PancakeWatchdog", alertstate="firing"}) or 0 * count(prometheus_build_info)': [
        "1"
    ],
    'sum(min by (job) (up{job=~"pancake_(handlers|edge)"}))': ["2"],
    'min(up{job="pancake_handlers"})': ["1"],
}
"""The values of the series of each expression while all is well."""
ALERTS = {
    name: "ok"
    for each in load_criteria()
    for name in each.parameters.get("alerts", "").split()
}  # fmt: skip
RETENTION = "storage.tsdb.retention.time"


@dataclass
class FakePrometheus:
    """Its URL, the values of the series of each expression, the health of its alerts, its flags.

    An expression without values is refused.
    """

    url: str = ""
    values: dict[str, list[str]] = field(default_factory=lambda: dict(HEALTHY))
    alerts: dict[str, str] = field(default_factory=lambda: dict(ALERTS))
    flags: dict[str, str] = field(default_factory=lambda: {RETENTION: "45d"})

    def answers(self, path: str, expression: str, at: float) -> Any:
        """Return the data of an answer; None for an expression that it refuses."""
        if path == "/api/v1/rules":
            rules = [{"name": name, "health": health} for name, health in self.alerts.items()]
            return {"groups": [{"name": "pancake_crm_integration", "rules": rules}]}
        if path == "/api/v1/status/flags":
            return self.flags
        if expression not in self.values:
            return None
        result = [{"metric": {}, "value": [at, value]} for value in self.values[expression]]
        return {"resultType": "vector", "result": result}


@contextmanager
def fake_prometheus() -> Iterator[FakePrometheus]:
    """Answer as long as the block lasts; tests/leads/adapters/test_prometheus_api.py asks a real one."""
    prometheus = FakePrometheus()

    class Answer(JsonHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            expression = re.sub(r"\[\d+s\]", "[$window]", asked.get("query", ""))
            data = prometheus.answers(parts.path, expression, float(asked.get("time", 0)))
            if data is None:
                error = {"status": "error", "errorType": "bad_data", "error": f"unknown: {expression}"}
                self.answer(400, json.dumps(error).encode())
                return
            self.answer(200, json.dumps({"status": "success", "data": data}).encode())

    with serving(Answer) as url:
        prometheus.url = url
        yield prometheus
