"""`pancake-handlers`: the handlers on the address BIND. It is the command of their image."""

import asyncio
import signal
import sys
from argparse import ArgumentParser
from contextlib import suppress
from math import inf
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from leads.adapters.hasura_calls import MAX_ENVELOPE_BYTES
from leads.adapters.logs import configure_logs
from leads.adapters.settings import SettingsError, read_settings

APP_FOLDER = Path(__file__).resolve().parents[1]
"""The folder that holds app.py, beside leads/."""
SHUTDOWN_SECONDS = 25
"""From the signal to the end at most: less than the 30 s after which Kubernetes and compose.yaml kill it."""
ANSWER_SECONDS = 15
"""How long open requests go on after the signal. Then they are cancelled, and answered 503."""
MAX_CONNECTIONS = 800
"""Each holds memory and a file: of more, the one that has idled longest is closed. While so many requests are
under way, others get 503 and are sent again later."""
REQUEST_SECONDS = 10
"""From the start of a connection, or of a request, until the whole request is there, or from
full buffers until answers are read. Then it is closed."""
ALWAYS_SERVED = (b"/healthz", b"/readyz", b"/metrics")
"""What the orchestrator and Prometheus ask, also of a process that refuses other requests."""
HELP = """\
Serve the handlers until Ctrl-C or SIGTERM, on BIND (127.0.0.1:8000 by default). With OPS_BIND, /readyz and
/metrics are on that address only. Logs are JSON lines on stdout. .env.example explains each variable.
Exit codes: 1 an address is taken; 2 the environment is incomplete, and every problem is named."""


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, in which connections without a whole request cannot keep others out."""

    deadline: asyncio.TimerHandle | None = None
    unread: asyncio.TimerHandle
    idle_since, idle_bytes = 0.0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()
        if len(self.connections) > MAX_CONNECTIONS:
            others = [each for each in self.connections - {self} if isinstance(each, LimitedProtocol)]
            idle = [each for each in others if each.is_idle()]
            if idle:  # else this one is kept: it may ask what is always served
                oldest = min(idle, key=lambda each: each.idle_since)
                oldest.idle_since = inf  # it is among the connections until the loop has closed it
                oldest.transport.abort()

    def is_idle(self) -> bool:
        """Whether no request of the connection is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _expect_request(self) -> None:
        self.idle_since, self.idle_bytes = self.loop.time(), 0
        self.deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        if self.is_idle():
            if self.deadline is None:  # uvicorn stops its own timer of an idle connection
                self._expect_request()
            self.idle_bytes += len(data)
        if self.idle_bytes > 2 * MAX_ENVELOPE_BYTES:
            self.transport.abort()
        else:
            super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.unread = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.unread.cancel()

    def on_message_begin(self) -> None:
        if self.deadline is None:  # the request came together with the previous one, or before its answer
            self._expect_request()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        is_full = len(self.tasks) >= MAX_CONNECTIONS and self.url not in ALWAYS_SERVED
        self.limit_concurrency = 0 if is_full else None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        super().on_message_complete()


def main() -> None:
    ArgumentParser(prog="pancake-handlers", description=HELP).parse_args()
    try:
        settings = read_settings()
    except SettingsError as error:
        print(error.report("scripts/handlers"), file=sys.stderr)
        sys.exit(2)
    configure_logs(settings.log_level)
    # uvicorn ends by the signal that stopped it, as an orchestrator expects.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.path.insert(0, str(APP_FOLDER))
    addresses = [settings.bind, *([settings.ops_bind] if settings.ops_bind else [])]
    configs = [_configure(host, port, settings.forwarded_allow_ips) for host, port in addresses]
    server = uvicorn.Server(configs[0])
    with suppress(KeyboardInterrupt):
        server.run(sockets=[config.bind_socket() for config in configs])
    if not server.started:
        sys.exit(1)


def _configure(host: str, port: int, proxies: str) -> uvicorn.Config:
    return uvicorn.Config(
        "app:create_app",
        factory=True,
        host=host,
        port=port,
        access_log=False,
        log_config=None,  # its lines go where those of the handlers go, as JSON, and are counted
        server_header=False,
        http=LimitedProtocol,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
        timeout_graceful_shutdown=ANSWER_SECONDS,
    )


if __name__ == "__main__":
    main()
