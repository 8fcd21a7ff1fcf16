"""Upstreams by host name: a lookup is part of a path's time; without an answer that path has failed."""

import socketserver
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from sandbox.edge.nginx import EdgeSettings, NginxEdge
from sandbox.processes import Processes
from tests.support.edge.fakes import EDGE_SECRET, HASURA_TOKEN, Connection, FakeHandlers, FakeHasura
from tests.support.edge.harness import SHORT_INTERVALS, TOKEN
from tests.support.edge.sender import Sender
from tests.support.waiting import eventually


class NameServer(socketserver.ThreadingUDPServer):
    """A name server on loopback: every name is 127.0.0.1 for one second, until `silent` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Query)
        self.silent = False
        self.ignored_queries = 0


class Query(socketserver.DatagramRequestHandler):
    """One query (RFC 1035): the answer is its header and question with one A record behind them."""

    server: NameServer

    def handle(self) -> None:
        """Answer the query, or count it as ignored."""
        query = self.rfile.read()
        if self.server.silent:
            self.server.ignored_queries += 1
            return
        flags_and_counts = struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4) + bytes([127, 0, 0, 1])
        self.wfile.write(query[:2] + flags_and_counts + query[12:] + record)


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    """A name server for the time of the test."""
    with NameServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_silent_name_server_delays_no_answer(
    start_harness: object, processes: Processes, name_server: NameServer
) -> None:
    """Hasura's name cannot be looked up: after 300 ms the delivery uses the other path."""
    with FakeHasura() as hasura, FakeHandlers() as handlers:
        handlers.connections = [Connection(tokens={TOKEN: None})]
        url = f"http://hasura.internal:{hasura.port}"
        edge = NginxEdge(
            processes, EdgeSettings(url, handlers.url, HASURA_TOKEN, EDGE_SECRET, environment=SHORT_INTERVALS)
        )
        with (edge.directory / "site" / "http.conf").open("a") as site:
            site.write(f"resolver 127.0.0.1:{name_server.server_address[1]} ipv6=off valid=1s;\n")
        edge.limits_file.write_text('{"rate": 1000000, "burst": 1000000}')
        edge.limits_file.chmod(0o644)
        edge.bring_up()
        with Sender(edge.port) as sender:
            assert sender.post(TOKEN).status == "received"
            assert len(hasura.bodies) == 1
            name_server.silent = True
            hasura.stop()  # no pooled connection: each attempt looks the name up once its second is over
            took_seconds: list[float] = []

            def post_until_a_query_is_ignored() -> int:
                began = time.monotonic()
                assert sender.post(TOKEN).status == "received"
                took_seconds.append(time.monotonic() - began)
                return name_server.ignored_queries

            eventually(post_until_a_query_is_ignored, seconds=10)
        assert max(took_seconds) < 0.8
