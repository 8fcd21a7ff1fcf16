"""Serve an application of the sandbox, as a process or in a thread; write .env; read /metrics."""

import argparse
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from shlex import quote
from typing import Self

import httpx
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from leads.domain.hosts import is_private


def read_address(program: str, description: str | None) -> tuple[str, int]:
    """Parse `--host` and `--port` of the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--host", default="127.0.0.1", help="use another address only in a container")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    chosen = parser.parse_args()
    return chosen.host, chosen.port


LOOPBACK = frozenset({"127.0.0.1", "localhost"})


class OfThisMachine:
    """Middleware: refuses what a page of another site has a browser send, by its Origin or a foreign Host.

    `is_known`: which hosts are not foreign. A page that is served here on loopback may send to itself.
    """

    def __init__(self, app: ASGIApp, is_known: Callable[[str], bool]) -> None:
        self._app = app
        self._is_known = is_known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            name = (host.rpartition(":")[0] or host).strip("[]")
            is_own = name in LOOPBACK and headers.get("origin") == f"http://{host}"
            if not self._is_known(name) or ("origin" in headers and not is_own):
                await JSONResponse({"message": "not for other sites"}, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def serve(app: ASGIApp, host: str, port: int) -> None:
    """Serve until SIGTERM. `port` 0 takes a free port. The first line of stdout is the URL."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )  # without it an answer may wait 40 ms for an ACK
    listener.bind((host, port))
    listener.listen(512)
    sys.stdout.write(f"http://{host}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(
        OfThisMachine(app, is_private), log_level="warning", access_log=False, timeout_graceful_shutdown=5
    )
    uvicorn.Server(config).run(sockets=[listener])


class LoopbackServer:
    """Context manager: serves an application on a free port of loopback, in a thread; then it has a `url`."""

    def __init__(self, app: ASGIApp) -> None:
        only_here = OfThisMachine(app, LOOPBACK.__contains__)
        self._server = uvicorn.Server(uvicorn.Config(only_here, log_level="warning", access_log=False))
        self._thread: threading.Thread | None = None
        self.url = ""

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=5)


def env_lines(values: Mapping[str, str]) -> list[str]:
    """Return a line for each variable. Raises ValueError for a value that the form cannot hold."""
    for name, value in values.items():
        if "'" in value or not value.isprintable():
            raise ValueError(f"the value of {name} has a quote or a control character")
    return [f"{name}={quote(value) if value else ''}" for name, value in values.items()]


TIMEOUT_SECONDS = 30


def scrape(url: str) -> list[Sample]:
    """Return what `url`/metrics shows. Raises httpx.HTTPError."""
    return read_samples(httpx.get(f"{url}/metrics", timeout=TIMEOUT_SECONDS).raise_for_status().text)


def read_samples(text: str) -> list[Sample]:
    """Return each series of a text with its value, in the order of the text."""
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def find_value(samples: list[Sample], series: str) -> float | None:
    """Return the value of a series, written as in the text: `up{job="x"}`. None if it is not there."""
    (wanted,) = read_samples(f"{series} 0\n")
    values = (each.value for each in samples if (each.name, each.labels) == (wanted.name, wanted.labels))
    return next(values, None)
