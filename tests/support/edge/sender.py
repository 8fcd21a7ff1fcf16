"""Clients of the edge: a sender of deliveries, its signatures, an exchange of raw bytes."""

import hashlib
import hmac
import http.client
import json
import socket
import time
from dataclasses import dataclass
from typing import Any, Self


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
                connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:
            pass
        except TimeoutError:
            if gives_up_after is None:
                raise
    return received
