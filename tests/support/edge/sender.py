"""Clients of the edge: a sender of deliveries, and an exchange of raw bytes."""

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
        """The outcome in {"status": …}. Fails if there is a member that the handlers do not answer with."""
        document = self.document
        assert set(document) in ({"status"}, {"status", "event_id", "error_code"}), document
        return str(document["status"])


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
        """Post a delivery."""
        return self.request("POST", f"/api/pancake/record/{token}", body, headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send any request. Reconnects if the edge has closed the connection."""
        self._connection.request(method, path, body, headers or {})
        response = self._connection.getresponse()
        return Reply(response.status, response.read())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def raw_exchange(port: int, *pieces: bytes, pause_seconds: float = 0, timeout_seconds: float = 10) -> bytes:
    """Send pieces of bytes with a pause between them. Return all bytes received until the edge closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds) as connection:
        received = b""
        try:
            for number, piece in enumerate(pieces):
                if number and pause_seconds:
                    time.sleep(pause_seconds)
                connection.sendall(piece)
            while chunk := connection.recv(65536):
                received += chunk
        except (ConnectionError, TimeoutError):
            pass
        return received
