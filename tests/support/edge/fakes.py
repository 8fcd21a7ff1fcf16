"""Fakes of the services that the edge calls: Hasura's RESTified endpoint and the handlers.

Every attribute may be changed while they serve.
"""

import base64
import hashlib
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.support.edge.http_server import Answer, HttpServer, Request

EDGE_SECRET = "edge-secret-of-the-tests-with-32-characters"
HASURA_TOKEN = "jwt.of.the.tests"
ACCEPTED = b'{"pancake_ingest_record":{"status":"received","event_id":1,"error_code":null}}'
"""Hasura's answer to a delivery that was stored."""


@dataclass(frozen=True)
class Delivery:
    """A delivery as it arrived: the path, and the input of the action with `raw` decoded."""

    path: str
    token_sha256: str
    raw: bytes
    source_ip: str
    arrived_at: str
    received_at: float = field(default_factory=time.monotonic)


class FakePath(HttpServer):
    """A path of deliveries: keeps each one and answers with `status`.

    `override`: an answer to every delivery; none is kept. `refuses`: whether to refuse a body, which is then
    answered with the HTTP status `refusal_code`.
    """

    path = ""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self.override: Answer | None = None
        self.refuses: Callable[[bytes], bool] = lambda _: False
        self.refusal_code = 400
        self.status = "received"
        self.unauthorized = 0
        super().__init__(tls)

    def accept(self, arguments: dict[str, Any]) -> str | None:
        """Keep a delivery. Return its status, or None if it is refused."""
        if set(arguments) != {"token_sha256", "raw", "source_ip", "arrived_at"}:
            return None
        raw = base64.b64decode(arguments["raw"], validate=True)
        if self.refuses(raw):
            return None
        self.deliveries.append(
            Delivery(
                self.path, arguments["token_sha256"], raw, arguments["source_ip"], arguments["arrived_at"]
            )
        )
        return self.status

    @property
    def delivery_requests(self) -> int:
        """Number of requests with a delivery, whether it was accepted or not."""
        return sum(request.method == "POST" for request in self.requests)

    @property
    def bodies(self) -> list[bytes]:
        """Bodies of the accepted deliveries, in order."""
        return [delivery.raw for delivery in self.deliveries]


class FakeHasura(FakePath):
    """The RESTified endpoint pancake/record for the role pancake_edge."""

    path = "hasura"

    def answer(self, request: Request) -> Answer:
        """Answer as the engine does, with the result of the action under its name."""
        if request.headers.get("authorization") != f"Bearer {HASURA_TOKEN}":
            self.unauthorized += 1
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

    id: str = "00000000-0000-0000-0000-000000000001"
    tokens: dict[str, str | None] = field(default_factory=dict)
    signature_mode: str = "off"
    allowlist_mode: str = "off"
    allowed_ip_ranges: list[str] = field(default_factory=list)
    webhook_secrets: list[bytes] = field(default_factory=list)
    header_secrets: list[bytes] = field(default_factory=list)
    header_name: str = "X-Pancake-Secret"
    secret_ends: list[str | None] = field(default_factory=list)
    """When each of its webhook secrets, and of its header secrets, ends."""

    def as_policy(self) -> dict[str, Any]:
        """Return it as /edge/policy lists it."""
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
            "webhook_secrets_expire_at": self.secret_ends,
            "header_secrets_expire_at": self.secret_ends,
            "header_name": self.header_name,
        }


class FakeHandlers(FakePath):
    """The two routes of the handlers that the edge uses: the direct path and /edge/policy."""

    path = "handlers"

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.connections: list[Connection] = []
        self.policy_override: Answer | None = None
        self.policy_delay_seconds = 0.0
        super().__init__(tls)

    @property
    def policies_served(self) -> int:
        """Number of requests for the policy."""
        return sum(request.path == "/edge/policy" for request in self.requests)

    def answer(self, request: Request) -> Answer:
        """Answer a request with the edge's secret; others get 401."""
        if request.headers.get("x-edge-secret") != EDGE_SECRET:
            self.unauthorized += 1
            return Answer(401, b'{"message":"no"}')
        if (request.method, request.path) == ("GET", "/edge/policy"):
            regular = Answer(200, self.policy(), delay_seconds=self.policy_delay_seconds, chunked=True)
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
        status = self.accept(envelope["input"])
        if status is None:
            return Answer(self.refusal_code, b'{"message":"refused"}')
        return Answer(200, json.dumps({"status": status, "event_id": 1, "error_code": None}).encode())

    def policy(self) -> bytes:
        """Return the body of /edge/policy."""
        connections = [connection.as_policy() for connection in self.connections]
        version = hashlib.sha256(json.dumps(connections).encode()).hexdigest()
        document = {
            "version": version,
            "generated_at": datetime.now(UTC).isoformat(),
            "connections": connections,
        }
        return json.dumps(document).encode()
