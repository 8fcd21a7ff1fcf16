"""Written fakes for what stands behind the edge: Hasura's RESTified endpoint and the handlers.

They run in a thread of their own, so that a test may block; every attribute may be changed while they serve.
"""

import asyncio
import base64
import hashlib
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

EDGE_SECRET = "edge-secret-of-the-tests"
HASURA_TOKEN = "jwt.of.the.tests"


@dataclass(frozen=True)
class Delivery:
    """What arrived: by which path, and the arguments of the action with `raw` decoded."""

    path: str
    token: str
    raw: bytes
    source_ip: str
    arrived_at: str
    taken_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `after` seconds later; `chunked` and `close` choose how it is framed."""

    status: int = 200
    body: bytes = b"{}"
    after: float = 0
    chunked: bool = False
    close: bool = False


@dataclass(frozen=True)
class Request:
    """One HTTP request as read from the socket."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Server:
    """An HTTP/1.1 server in a thread; subclasses say what it answers. Stopping it refuses connections."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self._tls = tls
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def answer(self, request: Request) -> Answer:
        """What to say to this request."""
        raise LookupError(request.path)

    def start(self) -> None:
        """Listen, after the first time on the same port again."""
        self._run(self._listen())

    def stop(self) -> None:
        """Refuse connections and cut those that exist."""
        self._run(self._close())

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, backlog=512, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        current = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while request := await self._read(reader):
                self.requests.append(request)
                answer = self.answer(request)
                await asyncio.sleep(answer.after)
                writer.write(self._framed(answer))
                if answer.close:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
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
        head = f"HTTP/1.1 {answer.status} Whatever\r\nContent-Type: application/json\r\n".encode()
        if answer.close:
            return head + b"Connection: close\r\n\r\n" + answer.body
        if answer.chunked:
            half = len(answer.body) // 2
            parts = (answer.body[:half], answer.body[half:], b"")
            framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + framed
        return head + f"Content-Length: {len(answer.body)}\r\n\r\n".encode() + answer.body


class Ingest(Server):
    """What both paths have in common: each delivery is kept and answered by `respond`.

    `override`: an answer for every delivery, taken or not, instead of the regular one. `refuses`: bodies that
    are not kept, but answered with the status `refusal`.
    """

    path = ""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self.override: Answer | None = None
        self.refuses: Callable[[bytes], bool] = lambda _: False
        self.refusal = 400
        self.status = "received"
        self.unauthorized = 0
        super().__init__(tls)

    def take(self, arguments: dict[str, Any]) -> str | None:
        """Keep one delivery; returns its status, or None if it is refused."""
        if set(arguments) != {"token", "raw", "source_ip", "arrived_at"}:
            return None
        raw = base64.b64decode(arguments["raw"], validate=True)
        if self.refuses(raw):
            return None
        self.deliveries.append(
            Delivery(self.path, arguments["token"], raw, arguments["source_ip"], arguments["arrived_at"])
        )
        return self.status

    @property
    def knocks(self) -> int:
        """How often a delivery was offered, taken or not."""
        return sum(request.method == "POST" for request in self.requests)

    @property
    def bodies(self) -> list[bytes]:
        """Bodies taken, in order."""
        return [delivery.raw for delivery in self.deliveries]


class FakeHasura(Ingest):
    """The RESTified endpoint pancake/record, with the role pancake_edge."""

    path = "hasura"

    def answer(self, request: Request) -> Answer:
        """As the engine answers: the action's result under its name."""
        if request.headers.get("authorization") != f"Bearer {HASURA_TOKEN}":
            self.unauthorized += 1
            return Answer(401, b'{"path":"$","error":"no","code":"access-denied"}')
        if (request.method, request.path) != ("POST", "/api/rest/pancake/record"):
            return Answer(404)
        if self.override is not None:
            return self.override
        status = self.take(json.loads(request.body))
        if status is None:
            return Answer(self.refusal, b'{"path":"$","error":"no","code":"bad-request"}')
        body = {"pancake_ingest_record": {"status": status, "event_id": 1, "error_code": None}}
        return Answer(200, json.dumps(body).encode())


@dataclass
class Connection:
    """One connection of the policy, with everything a delivery needs to pass."""

    id: str = "00000000-0000-0000-0000-000000000001"
    tokens: dict[str, str | None] = field(default_factory=dict)
    signature_mode: str = "off"
    allowlist_mode: str = "off"
    allowed_ip_ranges: list[str] = field(default_factory=list)
    webhook_secrets: list[bytes] = field(default_factory=list)
    header_secrets: list[bytes] = field(default_factory=list)
    header_name: str = "X-Pancake-Secret"

    def as_policy(self) -> dict[str, Any]:
        """As /edge/policy lists it; `tokens` maps a token to when it expires (ISO 8601) or None."""
        return {
            "id": self.id,
            "token_sha256": [
                {"sha256": hashlib.sha256(token.encode()).hexdigest(), "expires_at": expires}
                for token, expires in self.tokens.items()
            ],
            "signature_mode": self.signature_mode,
            "allowlist_mode": self.allowlist_mode,
            "allowed_ip_ranges": self.allowed_ip_ranges,
            "webhook_secrets": [base64.b64encode(secret).decode() for secret in self.webhook_secrets],
            "header_secrets": [base64.b64encode(secret).decode() for secret in self.header_secrets],
            "header_name": self.header_name,
        }


class FakeHandlers(Ingest):
    """The handlers as the edge knows them: the direct path and /edge/policy."""

    path = "handlers"

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.connections: list[Connection] = []
        self.policy_override: Answer | None = None
        self.policy_after = 0.0
        super().__init__(tls)

    @property
    def policies_served(self) -> int:
        """How often the policy was asked for."""
        return sum(request.path == "/edge/policy" for request in self.requests)

    def answer(self, request: Request) -> Answer:
        """Both routes demand the edge's secret."""
        if request.headers.get("x-edge-secret") != EDGE_SECRET:
            self.unauthorized += 1
            return Answer(401, b'{"message":"no"}')
        if (request.method, request.path) == ("GET", "/edge/policy"):
            regular = Answer(200, self._policy(), after=self.policy_after, chunked=True)
            return self.policy_override or regular
        if (request.method, request.path) != ("POST", "/actions/ingest_record"):
            return Answer(404)
        if self.override is not None:
            return self.override
        return self._ingest(json.loads(request.body))

    def _ingest(self, envelope: dict[str, Any]) -> Answer:
        if envelope["action"] != {"name": "pancake_ingest_record"}:
            return Answer(400, b'{"message":"unknown action"}')
        if envelope["session_variables"] != {"x-hasura-role": "pancake_edge"}:
            return Answer(400, b'{"message":"wrong role"}')
        status = self.take(envelope["input"])
        if status is None:
            return Answer(self.refusal, b'{"message":"refused"}')
        return Answer(200, json.dumps({"status": status, "event_id": 1, "error_code": None}).encode())

    def _policy(self) -> bytes:
        connections = [connection.as_policy() for connection in self.connections]
        version = hashlib.sha256(json.dumps(connections).encode()).hexdigest()
        document = {
            "version": version,
            "generated_at": datetime.now(UTC).isoformat(),
            "connections": connections,
        }
        return json.dumps(document).encode()
