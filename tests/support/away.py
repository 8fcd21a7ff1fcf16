"""Services that do not answer, or do not accept who asks, for tests of what commands say then."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.local_server import JsonHandler, serving

REFUSAL, CODE = 'invalid "x-hasura-admin-secret"/"x-hasura-access-key"', "access-denied"
CLEARTEXT_PASSWORD = b"R" + struct.pack("!ii", 8, 3)
"""PostgreSQL's message AuthenticationCleartextPassword."""


@contextmanager
def refusing_http() -> Iterator[str]:
    """Its URL. It answers as an engine does to a wrong admin secret, and as the handlers do to theirs."""

    class Refusing(JsonHandler):
        def do_GET(self) -> None:
            self.answer(200, json.dumps({"server_type": "ce", "version": "v2.50.6"}).encode())

        def do_POST(self) -> None:
            self.read_body()
            errors = {"errors": [{"message": REFUSAL, "extensions": {"path": "$", "code": CODE}}]}
            is_graphql = self.path == "/v1/graphql"
            answer = errors if is_graphql else {"path": "$", "error": REFUSAL, "code": CODE}
            self.answer(200 if is_graphql else 401, json.dumps(answer).encode())

    with serving(Refusing) as url:
        yield url


@contextmanager
def refusing_database() -> Iterator[str]:
    """Its URL. It asks for the password and refuses it, as PostgreSQL does."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                session, _ = server.accept()
            except OSError:
                return
            with session:
                _refuse_login(session)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"postgresql://operator:wrong@127.0.0.1:{server.getsockname()[1]}/diva"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def _refuse_login(session: socket.socket) -> None:
    (length,) = struct.unpack("!i", session.recv(4))
    start = session.recv(length - 4)
    if start[:4] == struct.pack("!i", 80877103):  # a request for TLS
        session.sendall(b"N")
        _refuse_login(session)
        return
    session.sendall(CLEARTEXT_PASSWORD)
    session.recv(1024)
    text = 'password authentication failed for user "operator"'
    fields = b"SFATAL\0VFATAL\0C28P01\0M" + text.encode() + b"\0\0"
    session.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)
