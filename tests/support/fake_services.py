"""Services that answer alike whatever they are asked, or do not accept who asks."""

import json
import logging
import re
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

ANY = re.compile("")
VERSION = {"server_type": "ce", "version": "v2.50.6"}
NOT_RECEIVED = '{"event_id": 0, "result": "not_received"}'
"""What the handlers answer to a probe event."""
REFUSAL, CODE = 'invalid "x-hasura-admin-secret"/"x-hasura-access-key"', "access-denied"
HEALTH = {"status": "ok", "version": "0.1.0", "spool_writable": True, "policy_connections": 1}
CLEARTEXT_PASSWORD = b"R" + struct.pack("!ii", 8, 3)
"""PostgreSQL's message AuthenticationCleartextPassword."""
REQUEST_OF_TLS = struct.pack("!i", 80877103)

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
def fixed_handlers(status: int = 200, body: str = NOT_RECEIVED) -> Iterator[str]:
    """The URL of a server that answers every call of Hasura alike, in the place of the handlers."""
    with FakeServer() as server:
        server.expect_request(ANY, method="POST").respond_with_data(
            body, status, content_type="application/json"
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


@dataclass
class Asked:
    """A request: its path, headers and JSON body."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class ScriptedServer:
    """Its URL, and what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def scripted_server(answers: Sequence[Scripted]) -> Iterator[ScriptedServer]:
    """Answer POST requests with the answers of a test, one after the other, and remember the requests."""
    left = list(answers)

    def answer(request: Request) -> Response:
        found.asked.append(Asked(request.path, dict(request.headers), request.get_json(force=True)))
        status, headers, document = left.pop(0)
        return Response(json.dumps(document), status, headers)

    with FakeServer() as server:
        server.expect_request(ANY, method="POST").respond_with_handler(answer)
        found = ScriptedServer(server.url)
        yield found


@contextmanager
def edge_status(*, spooled: int = 0, quarantined: int = 0, skipped: str = "", **health: Any) -> Iterator[str]:
    """The URL of one that answers as the edge's internal listener, with these figures.

    `skipped` names the paths that fail, separated by spaces.
    """
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


@contextmanager
def refusing_database() -> Iterator[str]:
    """The URL of a server that asks for the password and refuses it, as PostgreSQL does."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                session, _ = server.accept()
            except OSError:
                return
            with session:
                _refuse_login(session)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"postgresql://operator:wrong@127.0.0.1:{server.getsockname()[1]}/diva"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def _refuse_login(session: socket.socket) -> None:
    (length,) = struct.unpack("!i", session.recv(4))
    if session.recv(length - 4)[:4] == REQUEST_OF_TLS:
        session.sendall(b"N")
        _refuse_login(session)
        return
    session.sendall(CLEARTEXT_PASSWORD)
    session.recv(1024)
    fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "operator"\0\0'
    session.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)
