"""Services that answer alike whatever they are asked or refuse every call, and Prometheus."""

import json
import logging
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ops.golive.criterion import load_criteria

ANY = re.compile("")
VERSION = {"server_type": "ce", "version": "v2.50.6"}
REFUSAL, CODE = 'invalid "x-hasura-admin-secret"/"x-hasura-access-key"', "access-denied"
HEALTH = {"status": "ok", "version": "0.1.0", "spool_writable": True, "policy_connections": 1}

logging.getLogger("werkzeug").setLevel(logging.WARNING)  # else a line for each request


class FakeServer(HTTPServer):
    """A server in a thread that answers several requests at a time, and stops within 20 ms."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", threaded=True)

    def thread_target(self) -> None:
        assert self.server is not None
        self.server.serve_forever(poll_interval=0.02)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@contextmanager
def fixed_engine(metadata: dict[str, Any]) -> Iterator[str]:
    """The URL of a server that answers as an engine with metadata that never changes."""
    with FakeServer() as server:
        server.expect_request(ANY, method="GET").respond_with_json(VERSION)
        server.expect_request(ANY, method="POST").respond_with_json(
            {"resource_version": 1, "metadata": metadata, "inconsistent_objects": []}
        )
        yield server.url


@contextmanager
def refusing_http() -> Iterator[str]:
    """The URL of one that answers as an engine and the handlers do to a wrong secret."""

    def refuse(request: Request) -> Response:
        errors = {"errors": [{"message": REFUSAL, "extensions": {"path": "$", "code": CODE}}]}
        is_graphql = request.path == "/v1/graphql"
        answer = errors if is_graphql else {"path": "$", "error": REFUSAL, "code": CODE}
        return Response(json.dumps(answer), 200 if is_graphql else 401, content_type="application/json")

    with FakeServer() as server:
        server.expect_request(ANY, method="GET").respond_with_json(VERSION)
        server.expect_request(ANY, method="POST").respond_with_handler(refuse)
        yield server.url


Scripted = tuple[int, dict[str, str], dict[str, Any]]
"""Status, headers and JSON body of an answer."""


@contextmanager
def scripted_server(*answers: Scripted) -> Iterator[FakeServer]:
    """Answer POST requests with the answers of a test, one after the other; its `log` has the requests."""
    with FakeServer() as server:
        for status, headers, document in answers:
            server.expect_oneshot_request(ANY, method="POST").respond_with_json(document, status, headers)
        yield server


@contextmanager
def edge_status(*, spooled: int = 0, quarantined: int = 0, skipped: str = "", **health: Any) -> Iterator[str]:
    """The URL of an internal listener of the edge with these figures; the paths `skipped` fail."""
    lines = [f'pancake_edge_spool_files{{folder="quarantine"}} {quarantined}']
    lines += [
        f'pancake_edge_upstream_skipped{{upstream="{path}"}} {int(path in skipped.split())}'
        for path in ("hasura", "handlers")
    ]
    with FakeServer() as server:
        server.expect_request("/healthz").respond_with_json(
            HEALTH | {"spool_files": spooled, "policy_age_seconds": 5} | health
        )
        server.expect_request("/metrics").respond_with_data("\n".join(lines))
        yield server.url


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


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
ALERTS = {name: "ok" for each in load_criteria() for name in each.parameters.get("alerts", "").split()}
RETENTION = "storage.tsdb.retention.time"


@dataclass
class FakePrometheus:
    """Its URL, the values of the series of expressions (it refuses others), the health of alerts, flags."""

    url: str = ""
    values: dict[str, list[str]] = field(default_factory=lambda: dict(HEALTHY))
    alerts: dict[str, str] = field(default_factory=lambda: dict(ALERTS))
    flags: dict[str, str] = field(default_factory=lambda: {RETENTION: "45d"})

    @contextmanager
    def broken(self, expressions: Iterable[str], values: list[str], alert: str = "") -> Iterator[None]:
        """Have these values for the expressions, and lack an alert, as long as the block lasts."""
        self.values.update(dict.fromkeys(expressions, values))
        self.alerts.pop(alert, None)
        try:
            yield
        finally:
            self.values.update(HEALTHY)
            self.alerts.update(ALERTS)

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
    """Answer as long as the block lasts; tests/ops/test_prometheus_api.py asks a real one."""
    fake = FakePrometheus()

    def answer(request: Request) -> Response:
        expression = re.sub(r"\[\d+s\]", "[$window]", request.args.get("query", ""))
        data = fake.answers(request.path, expression, float(request.args.get("time", 0)))
        if data is None:
            error = {"status": "error", "errorType": "bad_data", "error": f"unknown: {expression}"}
            return Response(json.dumps(error), 400, content_type="application/json")
        return Response(json.dumps({"status": "success", "data": data}), content_type="application/json")

    with FakeServer() as server:
        server.expect_request(re.compile("/api/v1/.*")).respond_with_handler(answer)
        fake.url = server.url
        yield fake
