"""What Pancake (or somebody else) does: posts to the edge, politely or byte by byte."""

import hashlib
import hmac
import http.client
import json
import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """Status and body of one answer."""

    code: int
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def status(self) -> str:
        """The word in {"status": …}; beside it only what the handlers say of a delivery they took."""
        document = self.document
        assert set(document) in ({"status"}, {"status", "event_id", "error_code"}), document
        return str(document["status"])


def signed(secret: bytes, body: bytes, at: float | None = None) -> dict[str, str]:
    """Headers of a signature over timestamp.body, made at `at` (epoch seconds, default now)."""
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Pancake-Timestamp": timestamp, "X-Pancake-Signature": digest}


class Sender:
    """One kept-alive connection to the edge, from an address of one's own."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=10, source_address=(address, 0)
        )

    def post(self, token: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> Reply:
        """Deliver one body."""
        return self.request("POST", f"/api/pancake/record/{token}", body, headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Any request; a connection that the edge closed is opened again."""
        self._connection.request(method, path, body, headers or {})
        response = self._connection.getresponse()
        return Reply(response.status, response.read())

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def raw_exchange(port: int, *pieces: bytes, pause: float = 0, timeout: float = 10) -> bytes:
    """Send pieces as they are, with a pause between; return all that comes until the edge hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        received = b""
        try:
            for number, piece in enumerate(pieces):
                if number and pause:
                    time.sleep(pause)
                connection.sendall(piece)
            while chunk := connection.recv(65536):
                received += chunk
        except (ConnectionError, TimeoutError):
            pass
        return received
