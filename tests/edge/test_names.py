"""Upstreams by name: a look-up is part of a path's time, a silent name server the failure of that path."""

import socketserver
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from sandbox.edge.nginx import EdgeSettings, NginxEdge
from sandbox.processes import Processes
from tests.edge.conftest import QUICK, TOKEN
from tests.edge.fakes import EDGE_SECRET, HASURA_TOKEN, Connection, FakeHandlers, FakeHasura
from tests.edge.sender import Sender


class Names(socketserver.ThreadingUDPServer):
    """A name server on loopback: every name is 127.0.0.1 for one second, until it falls silent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Question)
        self.silent = False
        self.asked_in_vain = 0


class Question(socketserver.DatagramRequestHandler):
    """One question (RFC 1035): its header and question come back with one A record behind them."""

    server: Names

    def handle(self) -> None:
        """Answer, or note that nobody did."""
        question = self.rfile.read()
        if self.server.silent:
            self.server.asked_in_vain += 1
            return
        flags_and_counts = struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4) + bytes([127, 0, 0, 1])
        self.wfile.write(question[:2] + flags_and_counts + question[12:] + record)


@pytest.fixture
def names() -> Iterator[Names]:
    """The name server while the test runs."""
    with Names() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_silent_name_server_makes_no_answer_late(nginx: object, processes: Processes, names: Names) -> None:
    """Hasura's name can no longer be looked up: after a moment the delivery goes the other way."""
    with FakeHasura() as hasura, FakeHandlers() as handlers:
        handlers.connections = [Connection(tokens={TOKEN: None})]
        url = f"http://hasura.internal:{hasura.port}"
        edge = NginxEdge(
            processes, EdgeSettings(url, handlers.url, HASURA_TOKEN, EDGE_SECRET, environment=QUICK)
        )
        with (edge.directory / "site" / "http.conf").open("a") as site:
            site.write(f"resolver 127.0.0.1:{names.server_address[1]} ipv6=off valid=1s;\n")
        edge.limits_file.write_text('{"rate": 1000000, "burst": 1000000}')
        edge.limits_file.chmod(0o644)
        edge.bring_up()
        with Sender(edge.port) as sender:
            assert sender.post(TOKEN).status == "received"
            assert len(hasura.bodies) == 1
            names.silent = True
            hasura.stop()  # no connection is kept: each try looks the name up, once its second is over
            slowest, deadline = 0.0, time.monotonic() + 10
            while not names.asked_in_vain and time.monotonic() < deadline:
                began = time.monotonic()
                assert sender.post(TOKEN).status == "received"
                slowest = max(slowest, time.monotonic() - began)
        assert names.asked_in_vain
        assert slowest < 0.8
