"""A server that gives the answers of a test, one after the other, and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
    """Answer POST requests in this order, as long as the block lasts."""
    left = list(answers)
    found = ScriptedServer("")

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked.append(Asked(self.path, dict(self.headers), body))
            status, headers, document = left.pop(0)
            content = json.dumps(document).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
