"""What stands around the edge in its tests: Hasura's RESTified endpoint, the handlers, and clients.

Every attribute of a fake may be changed while it serves.
"""

import base64
import hashlib
import hmac
import http.client
import json
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from tests.support.fake_services import Answer, RawServer, Request

EDGE_SECRET = "edge-secret-of-the-tests-with-32-characters"
HASURA_TOKEN = "jwt.of.the.tests"
ACCEPTED = b'{"pancake_ingest_record":{"status":"received","event_id":1,"error_code":null}}'
"""Hasura's answer to a delivery that was stored."""


@dataclass(frozen=True)
class Delivery:
    """A delivery as it arrived: the input of the action with `raw` decoded."""

    token_sha256: str
    raw: bytes
    source_ip: str
    arrived_at: str
    received_at: float = field(default_factory=time.monotonic)


class FakePath(RawServer, ABC):
    """A path of deliveries: it keeps each one and answers with `status`.

    `override`: an answer to every delivery; none is kept. `refuses`: whether to refuse a body, which is then
    answered with the HTTP status `refusal_code`.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self.answer, tls)
        self.reset()

    def reset(self) -> None:
        """Forget all requests and settings, and serve: on new connections only."""
        self.stop()
        self.requests = []
        self.deliveries: list[Delivery] = []
        self.override: Answer | None = None
        self.refuses: Callable[[bytes], bool] = lambda _: False
        self.refusal_code = 400
        self.status = "received"
        self.serves_once = False
        self.start()

    @property
    def posted(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.raw for delivery in self.deliveries]

    @abstractmethod
    def answer(self, request: Request) -> Answer: ...

    def accept(self, arguments: dict[str, Any]) -> str | None:
        """Keep a delivery. Return its status, or None if it is refused."""
        if set(arguments) != {"token_sha256", "raw", "source_ip", "arrived_at"}:
            return None
        raw = base64.b64decode(arguments.pop("raw"), validate=True)
        if self.refuses(raw):
            return None
        self.deliveries.append(Delivery(raw=raw, **arguments))
        return self.status


class FakeEndpoint(FakePath):
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


@dataclass(frozen=True)
class Reply:
    code: int
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def status(self) -> str:
        """The outcome in {"status": …}. Fails if there is a member that the handlers do not answer with."""
        assert set(self.document) in ({"status"}, {"status", "event_id", "error_code"}), self.document
        return str(self.document["status"])


def signed(secret: bytes, body: bytes, at: float | None = None) -> dict[str, str]:
    """Return the headers of a signature over timestamp.body. `at`: seconds since the epoch, default now."""
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Pancake-Timestamp": timestamp, "X-Pancake-Signature": digest}


class Sender:
    """A keep-alive connection to the edge. `address`: the loopback address it comes from."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=10, source_address=(address, 0)
        )

    def post(self, token: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> Reply:
        return self.request("POST", f"/api/pancake/record/{token}", body, headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send any request, over a new connection if the edge has closed the former one."""
        self._connection.request(method, path, body, headers or {})
        response = self._connection.getresponse()
        return Reply(response.status, response.read())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()


def raw_exchange(
    port: int,
    *pieces: bytes,
    pause_seconds: float = 0,
    ends: bool = False,
    gives_up_after: float | None = None,
) -> bytes:
    """Send pieces of bytes with a pause between them. Return all bytes received until the edge closes.

    `ends`: say that no more bytes will come. `gives_up_after`: seconds without bytes after which the sender
    closes the connection; without it the edge has to close within 10 s.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=gives_up_after or 10) as connection:
        try:
            for number, piece in enumerate(pieces):
                if number and pause_seconds:
                    time.sleep(pause_seconds)
                connection.sendall(piece)
            if ends:
                with suppress(OSError):  # the edge has reset the connection already
                    connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:
            pass
        except TimeoutError:
            if gives_up_after is None:
                raise
    return received
