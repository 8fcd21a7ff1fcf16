"""Fakes of the services that the edge calls: Hasura's RESTified endpoint and the handlers.

Every attribute may be changed while they serve. The server is written by hand: it keeps its port while it is
stopped, aborts open connections, answers late, and frames an answer in each way that HTTP/1.1 knows.
"""

import asyncio
import base64
import hashlib
import json
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

EDGE_SECRET = "edge-secret-of-the-tests-with-32-characters"
HASURA_TOKEN = "jwt.of.the.tests"
ACCEPTED = b'{"pancake_ingest_record":{"status":"received","event_id":1,"error_code":null}}'
"""Hasura's answer to a delivery that was stored."""
CALL_TIMEOUT_SECONDS = 10
BACKLOG_CONNECTIONS = 512


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


@dataclass(frozen=True)
class Delivery:
    """A delivery as it arrived: the input of the action with `raw` decoded."""

    token_sha256: str
    raw: bytes
    source_ip: str
    arrived_at: str
    received_at: float = field(default_factory=time.monotonic)


def chunked(*parts: bytes) -> bytes:
    """Return a body in these chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


class FakePath(ABC):
    """A path of deliveries: an HTTP/1.1 server in a thread that keeps each one and answers with `status`.

    `override`: an answer to every delivery; none is kept. `refuses`: whether to refuse a body, which is then
    answered with the HTTP status `refusal_code`. `serves_once`: close a connection at its second request.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.reset()

    def reset(self) -> None:
        """Forget all requests and settings, and serve: on new connections only."""
        if self._server is not None:
            self.stop()
        self.requests: list[Request] = []
        self.deliveries: list[Delivery] = []
        self.override: Answer | None = None
        self.refuses: Callable[[bytes], bool] = lambda _: False
        self.refusal_code = 400
        self.status = "received"
        self.serves_once = False
        self.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def posted(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.raw for delivery in self.deliveries]

    @abstractmethod
    def answer(self, request: Request) -> Answer:
        """Called in the server's thread."""

    def accept(self, arguments: dict[str, Any]) -> str | None:
        """Keep a delivery. Return its status, or None if it is refused."""
        if set(arguments) != {"token_sha256", "raw", "source_ip", "arrived_at"}:
            return None
        raw = base64.b64decode(arguments.pop("raw"), validate=True)
        if self.refuses(raw):
            return None
        self.deliveries.append(Delivery(raw=raw, **arguments))
        return self.status

    def start(self) -> None:
        """Listen: the first time on a free port, later on the same one."""
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
            self._serve, "127.0.0.1", self.port, backlog=BACKLOG_CONNECTIONS, ssl=self._tls
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
        is_reused = False
        try:
            while request := await self._read(reader):
                if is_reused and self.serves_once:
                    break
                is_reused = True
                self.requests.append(request)
                answer = self.answer(request)
                await asyncio.sleep(answer.delay_seconds)
                writer.write(self._framed(answer))
                if answer.close or answer.raw:
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


class FakeHasura(FakePath):
    """The RESTified endpoint pancake/record for the role pancake_edge. It answers as the engine does."""

    def answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {HASURA_TOKEN}":
            return Answer(401, b'{"path":"$","error":"no","code":"access-denied"}')
        if (request.method, request.path) != ("POST", "/api/rest/pancake/record"):
            return Answer(404)
        if self.override is not None:
            return self.override
        status = self.accept(json.loads(request.body))
        if status is None:
            return Answer(self.refusal_code, b'{"path":"$","error":"no","code":"bad-request"}')
        body = {"pancake_ingest_record": {"status": status, "event_id": 1, "error_code": None}}
        return Answer(200, json.dumps(body).encode())


@dataclass
class Connection:
    """A connection in the policy. `tokens`: token -> time of expiry (ISO 8601) or None."""

    id: str
    tokens: dict[str, str | None]
    signature_mode: str = "off"
    allowlist_mode: str = "off"
    allowed_ip_ranges: list[str] = field(default_factory=list)
    webhook_secrets: list[bytes] = field(default_factory=list)
    header_secrets: list[bytes] = field(default_factory=list)
    header_name: str = "X-Pancake-Secret"
    secret_ends: list[str | None] = field(default_factory=list)
    """When each of its webhook secrets, and of its header secrets, ends."""

    def as_policy(self) -> dict[str, Any]:
        policy = asdict(self)
        del policy["tokens"], policy["secret_ends"]
        return policy | {
            "token_sha256": [
                {"sha256": hashlib.sha256(token.encode()).hexdigest(), "expires_at": expires}
                for token, expires in self.tokens.items()
            ],
            "webhook_secrets": [base64.b64encode(secret).decode() for secret in self.webhook_secrets],
            "header_secrets": [base64.b64encode(secret).decode() for secret in self.header_secrets],
            "webhook_secrets_expire_at": self.secret_ends,
            "header_secrets_expire_at": self.secret_ends,
        }


class FakeHandlers(FakePath):
    """The two routes of the handlers that the edge uses, for its secret: the direct path and /edge/policy."""

    def reset(self) -> None:
        self.connections: list[Connection] = []
        self.policy_override: Answer | None = None
        self.policy_delay_seconds = 0.0
        super().reset()

    @property
    def policies_served(self) -> int:
        return sum(request.path == "/edge/policy" for request in self.requests)

    def answer(self, request: Request) -> Answer:
        if request.headers.get("x-edge-secret") != EDGE_SECRET:
            return Answer(401, b'{"message":"no"}')
        if (request.method, request.path) == ("GET", "/edge/policy"):
            regular = Answer(200, self.policy(), delay_seconds=self.policy_delay_seconds, chunked=True)
            return self.policy_override or regular
        if (request.method, request.path) != ("POST", "/actions/ingest_record"):
            return Answer(404)
        if self.override is not None:
            return self.override
        envelope = json.loads(request.body)
        called = envelope["action"], envelope["session_variables"]
        if called != ({"name": "pancake_ingest_record"}, {"x-hasura-role": "pancake_edge"}):
            return Answer(400)
        status = self.accept(envelope["input"])
        if status is None:
            return Answer(self.refusal_code, b'{"message":"refused"}')
        return Answer(200, json.dumps({"status": status, "event_id": 1, "error_code": None}).encode())

    def policy(self) -> bytes:
        connections = [connection.as_policy() for connection in self.connections]
        version = hashlib.sha256(json.dumps(connections).encode()).hexdigest()
        made_at = datetime.now(UTC).isoformat()
        return json.dumps({"version": version, "generated_at": made_at, "connections": connections}).encode()
