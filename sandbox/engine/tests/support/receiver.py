"""A webhook in the test's process: it records requests and answers as the test sets."""

import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """The response of a webhook; `delay` in seconds."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] | list[tuple[str, str]] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True)
class Received:
    """A recorded request; names of headers are in lower case. A body that is not JSON is a text."""

    path: str
    headers: dict[str, str]
    body: Any
    method: str = "POST"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    """More than the 100 events that an engine sends at once: a connection that finds the queue full fails."""


class Receiver:
    """A server on the loopback address, or on all addresses if the engine runs elsewhere."""

    def __init__(self, bind: str, shown_host: str) -> None:
        self._received: dict[str, list[Received]] = defaultdict(list)
        self._answers: dict[str, list[Answer]] = {}
        self._changed = threading.Condition()
        self._server = _Server((bind, 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.port = self._server.server_port
        self.host_url = f"http://{shown_host}"
        """The URL without the port, which is new at each start: an engine's environment can name it."""
        self.url = f"{self.host_url}:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answers(self, path: str, *answers: Answer) -> str:
        """Set the responses of a path, one per request, the last for all later ones; return its URL."""
        with self._changed:
            self._answers[path] = list(answers)
        return self.url + path

    def received(self, path: str) -> list[Received]:
        """Return the requests to a path so far."""
        with self._changed:
            return list(self._received[path])

    def wait_for(self, path: str, number: int, seconds: float = 15.0) -> list[Received]:
        """Wait for that many requests; fail after `seconds`."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while len(self._received[path]) < number:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            got = list(self._received[path])
        assert len(got) >= number, f"{len(got)} of {number} requests came to {path}"
        return got

    def _take(self, received: Received) -> Answer:
        with self._changed:
            self._received[received.path].append(received)
            self._changed.notify_all()
            planned = self._answers.get(received.path) or [Answer()]
            return planned.pop(0) if len(planned) > 1 else planned[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver._take(Received(self.path, headers, _parsed(raw), self.command))
                if answer.delay:
                    threading.Event().wait(answer.delay)
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self._reply(answer, body)

            do_GET = do_PUT = do_POST

            def _reply(self, answer: Answer, body: bytes) -> None:
                try:
                    self.send_response(answer.status)
                    given = answer.headers
                    pairs = list(given.items() if isinstance(given, dict) else given)
                    if "Content-Type" not in dict(pairs):
                        self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    for name, value in pairs:
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode()
