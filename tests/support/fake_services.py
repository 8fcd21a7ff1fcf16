"""The two ways to fake an HTTP server, and services that answer alike or refuse every call, and Prometheus.

FakeServer is pytest-httpserver. RawServer is for what that cannot send: late, broken, oddly framed answers.
In one process tests use httpx's MockTransport; the engine's tests, a package of their own, have a
receiver of their own.
"""

import asyncio
import json
import logging
import re
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from pytest_httpserver import HTTPServer
from werkzeug import Request as WsgiRequest
from werkzeug import Response

from ops.golive.criterion import load_criteria
from ops.golive.evaluation import load_figures
from ops.golive.measuring import (
    ANSWERED_BY_EDGE,
    CONNECTIONS_OF_EDGE,
    DEAD_LETTER,
    PROCESSED,
    RESULTS_OF_HANDLERS,
    STORED,
)
from sandbox.postgres.server import free_port

ANY = re.compile("")
VERSION = {"server_type": "ce", "version": "v2.50.6"}
REFUSAL, CODE = 'invalid "x-hasura-admin-secret"/"x-hasura-access-key"', "access-denied"
CALL_TIMEOUT_SECONDS = 10
BACKLOG_CONNECTIONS = 512
HEALTH = {"status": "ok", "version": "0.1.0", "spool_writable": True, "policy_connections": 1}

logging.getLogger("werkzeug").setLevel(logging.WARNING)  # else a line for each request


class FakeServer(HTTPServer):
    """A server in a thread that answers several requests at a time, and stops within 20 ms."""

    def __init__(self, host: str = "127.0.0.1", ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__(host, ssl_context=ssl_context, threaded=True)

    def thread_target(self) -> None:
        assert self.server is not None
        self.server.serve_forever(poll_interval=0.02)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. `chunked` and `close` choose how the body is framed; the default is by its length.

    `raw`: bytes to send instead, and then the end of the connection.
    """

    status: int = 200
    body: bytes = b"{}"
    delay_seconds: float = 0
    chunked: bool = False
    close: bool = False
    raw: bytes = b""


@dataclass(frozen=True)
class Request:
    """One HTTP request as read from the socket; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def chunked(*parts: bytes) -> bytes:
    """Return a body in these chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


class RawServer:
    """An HTTP/1.1 server in a thread for what FakeServer cannot do. A context manager.

    It keeps its port while it is stopped, aborts open connections, answers late or never, and frames an
    answer in each way that HTTP/1.1 knows.
    """

    def __init__(self, answer: Callable[[Request], Answer], tls: ssl.SSLContext | None = None) -> None:
        """`answer` is called in the server's thread."""
        self.port = free_port()
        self.requests: list[Request] = []
        self.serves_once = False
        """Whether to close a connection at its second request."""
        self._answer = answer
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, after a stop on the same port again, which no outgoing connection takes meanwhile."""
        if self._server is None:
            self._run(self._listen())

    def stop(self) -> None:
        """Refuse new connections and abort the open ones."""
        self._run(self._close())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_TIMEOUT_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, backlog=BACKLOG_CONNECTIONS, ssl=self._tls
        )

    async def _close(self) -> None:
        server, self._server = self._server, None
        for listener in server.sockets if server else ():
            self._loop.remove_reader(listener.fileno())
        # A connection that is accepted but not served yet when a server closes is left open by asyncio.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task, writer in self._open.items():
                writer.transport.abort()
                task.cancel()
            _, late = await asyncio.wait(others, timeout=1)
            for other in late:
                other.cancel()
        if server:
            server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_reused = False
        try:
            while request := await self._read(reader):
                if is_reused and self.serves_once:
                    break
                is_reused = True
                self.requests.append(request)
                answer = self._answer(request)
                await asyncio.sleep(answer.delay_seconds)
                writer.write(self._framed(answer))
                if answer.close or answer.raw:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Request | None:
        first = await reader.readline()
        if not first:
            return None
        method, path, _ = first.decode("latin-1").split()
        headers = {}
        while line := (await reader.readline()).decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(method, path, headers, body)

    @staticmethod
    def _framed(answer: Answer) -> bytes:
        head = f"HTTP/1.1 {answer.status} Reason\r\nContent-Type: application/json\r\n".encode()
        if answer.raw:
            return answer.raw
        if answer.close:
            return head + b"Connection: close\r\n\r\n" + answer.body
        if answer.chunked:
            half = len(answer.body) // 2
            framed = chunked(answer.body[:half], answer.body[half:])
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + framed
        return head + f"Content-Length: {len(answer.body)}\r\n\r\n".encode() + answer.body


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
    """The URL of a server that refuses as an engine and the handlers refuse a wrong secret."""

    def refuse(request: WsgiRequest) -> Response:
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
def edge_status(
    *, spooled: int = 0, quarantined: int = 0, skipped: str = "", token_days: int = 60, **health: Any
) -> Iterator[str]:
    """The URL of an internal listener of the edge with these figures; the paths `skipped` fail."""
    lines = [f'pancake_edge_spool_files{{folder="quarantine"}} {quarantined}']
    ends = int(time.time()) + token_days * 86_400
    lines.append(f"pancake_edge_token_ends_timestamp_seconds {ends}")
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


def silent_server() -> RawServer:
    """A server that accepts connections and never answers."""
    return RawServer(lambda _: Answer(delay_seconds=3600))


HELD = 'count_over_time((max(up{job="%s"}) == 1)[$window:300s])'
Values = list[str] | Callable[[float], list[str]]
HEALTHY: dict[str, Values] = {
    **{
        expression: [value]
        for each in load_criteria()
        if each.id in ("webhook-latency", "handlers-latency")
        for expression, value in ((each.query, "0.2"), (each.parameters["samples"], "700"))
    },
    ANSWERED_BY_EDGE % STORED: ["700"],
    ANSWERED_BY_EDGE % "spooled": ["0"],
    CONNECTIONS_OF_EDGE: ["1"],
    RESULTS_OF_HANDLERS % DEAD_LETTER: ["1"],
    **{each.promql: ["0"] for each in load_figures()},
    RESULTS_OF_HANDLERS % PROCESSED: ["700"],
    **{HELD % job: ["100000"] for job in ("pancake_edge", "pancake_handlers")},
    'max(max_over_time(process_resident_memory_bytes{job="pancake_handlers"}[$window])) / 1048576': ["96"],
    next(each.query for each in load_criteria() if each.id == "restarts-W3"): ["0"],
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
    """Its URL, the values of the series of expressions (it refuses others), the health of alerts, flags.

    Values may be a function of the time that is asked for, in seconds.
    """

    url: str = ""
    values: dict[str, Values] = field(default_factory=lambda: dict(HEALTHY))
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
        found = self.values[expression]
        values = found(at) if callable(found) else found
        result = [{"metric": {}, "value": [at, value]} for value in values]
        return {"resultType": "vector", "result": result}


@contextmanager
def fake_prometheus() -> Iterator[FakePrometheus]:
    """Answer as long as the block lasts; tests/ops/test_prometheus_api.py asks a real one."""
    fake = FakePrometheus()

    def answer(request: WsgiRequest) -> Response:
        expression = re.sub(r"\[\d+s(?=[:\]])", "[$window", request.args.get("query", ""))
        expression = re.sub(r'connection=~"[^"]*"', 'connection=~"$ids"', expression)
        data = fake.answers(request.path, expression, float(request.args.get("time", 0)))
        if data is None:
            error = {"status": "error", "errorType": "bad_data", "error": f"unknown: {expression}"}
            return Response(json.dumps(error), 400, content_type="application/json")
        return Response(json.dumps({"status": "success", "data": data}), content_type="application/json")

    with FakeServer() as server:
        server.expect_request(re.compile("/api/v1/.*")).respond_with_handler(answer)
        fake.url = server.url
        yield fake
