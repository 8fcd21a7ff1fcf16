"""`pancake-handlers`: connections that hang end, and keep no other out."""

import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from leads import serve
from leads.serve import MAX_CONNECTIONS
from sandbox.postgres.server import free_port
from sandbox.processes import Processes
from tests.support.serving import COMPLETE, PATHS, call, serving, status
from tests.support.waiting import eventually

HALF = b"POST /events/process_record HTTP/1.1\r\n"
NOT_FOUND = b"POST /nowhere HTTP/1.1\r\nContent-Length: 99\r\n\r\n"
HEALTHZ = b"GET /healthz HTTP/1.1\r\n\r\n"
UNDER_WAY = (
    f"{HALF.decode()}X-Handler-Secret: {COMPLETE['HANDLER_SECRET']}\r\nContent-Length: 99\r\n\r\n".encode()
)
"""Its body is waited for."""
REQUEST_SECONDS = 3
"""Of the process under test: less than in production, so that the tests do not wait for it."""
RUN = ("-c", f"from leads import serve; serve.REQUEST_SECONDS = {REQUEST_SECONDS}; serve.main()")


def test_a_request_in_production_has_ten_seconds_at_most() -> None:
    assert serve.REQUEST_SECONDS <= 10


@pytest.mark.parametrize("sent", [b"", b"GET /", HALF + b"X: y\r\n", NOT_FOUND])
def test_half_open_requests_keep_no_other_out_and_end(
    processes: Processes, tmp_path: Path, sent: bytes
) -> None:
    """Also one that goes on sending, and one that was answered before its body was there."""
    port, ops_port = free_port(), free_port()
    ops = {"OPS_BIND": f"127.0.0.1:{ops_port}"}
    with serving(processes, tmp_path, port, RUN, **ops), ExitStack() as open_sockets:
        half_open = [
            open_sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(MAX_CONNECTIONS + 100)
        ]
        started = time.monotonic()
        for each in half_open:
            with suppress(OSError):  # those that were closed for later ones
                each.sendall(sent)
        assert [status(ops_port, path) for path in PATHS] == [200, 503, 200]
        assert status(port, "/healthz") == 200
        assert call(port, "/events/process_record") == (400, "bad_request")
        last = half_open[-1]
        last.settimeout(1)
        while time.monotonic() - started < REQUEST_SECONDS + 5 and not ended(last):
            with suppress(OSError):
                last.sendall(b"\r\n" if not sent else b"x")
        assert time.monotonic() - started < REQUEST_SECONDS + 5


def test_the_orchestrator_is_answered_beside_the_most_requests_under_way(
    processes: Processes, tmp_path: Path
) -> None:
    port = free_port()
    with serving(processes, tmp_path, port), ExitStack() as open_sockets:
        for _ in range(MAX_CONNECTIONS):
            each = open_sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
            each.sendall(UNDER_WAY)
        assert [status(port, path) for path in (*PATHS, "/edge/policy")] == [200, 503, 200, 503]


def test_answers_that_are_not_read_end(processes: Processes, tmp_path: Path) -> None:
    port = free_port()
    with serving(processes, tmp_path, port, RUN), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n" * 1000)
        eventually(lambda: is_reset(connection), seconds=3 * REQUEST_SECONDS)


def is_reset(connection: socket.socket) -> bool:
    """Whether the other side has closed the connection; nothing is read."""
    try:
        connection.sendall(HEALTHZ)
    except ConnectionError:
        return True
    return False


def test_a_request_that_stays_half_behind_another_ends(processes: Processes, tmp_path: Path) -> None:
    port = free_port()
    address = ("127.0.0.1", port)
    with serving(processes, tmp_path, port, RUN), socket.create_connection(address) as connection:
        connection.sendall(HEALTHZ + UNDER_WAY)
        connection.settimeout(REQUEST_SECONDS + 5)
        assert ended(connection)


def ended(connection: socket.socket) -> bool:
    """Whether the other side closes the connection within its timeout."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_headers_without_end_are_cut(processes: Processes, tmp_path: Path) -> None:
    port, sent = free_port(), 0
    line = b"X: " + b"y" * 100_000 + b"\r\n"
    with serving(processes, tmp_path, port), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(HALF)
        with suppress(OSError):
            while sent < 100_000_000:
                sent += connection.send(line)
    assert sent < 20_000_000  # what the buffers of both sides hold is among it
