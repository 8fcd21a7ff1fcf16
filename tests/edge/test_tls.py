"""Upstreams over TLS: the edge sends nothing to a peer whose certificate it does not trust."""

import ssl
from pathlib import Path

import pytest

from sandbox.edge.nginx import EdgeSettings, NginxEdge
from sandbox.processes import Processes
from tests.support.edge.certificates import write_certificate
from tests.support.edge.fakes import EDGE_SECRET, HASURA_TOKEN, Connection, FakeHandlers, FakeHasura
from tests.support.edge.harness import SHORT_INTERVALS, TOKEN
from tests.support.edge.sender import Sender
from tests.support.waiting import eventually


def server_context(directory: Path) -> ssl.SSLContext:
    """Return the TLS context of a server with the certificate in a directory."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "fullchain.pem", directory / "privkey.pem")
    return context


@pytest.mark.parametrize("trusted", [True, False])
def test_policy_and_deliveries_use_tls_to_a_trusted_peer_only(
    start_harness: object, processes: Processes, trusted: bool
) -> None:
    """Not trusted: no policy, no request, and the deliveries are spooled."""
    peers, other = processes.directory("certificates-"), processes.directory("certificates-")
    write_certificate(peers)
    write_certificate(other)
    with FakeHasura(server_context(peers)) as hasura, FakeHandlers(server_context(peers)) as handlers:
        handlers.connections = [Connection(tokens={TOKEN: None})]
        settings = EdgeSettings(
            hasura.url, handlers.url, HASURA_TOKEN, EDGE_SECRET, environment=SHORT_INTERVALS
        )
        edge = NginxEdge(processes, settings)
        trust = (peers if trusted else other) / "fullchain.pem"
        with (edge.directory / "site" / "http.conf").open("a") as site:
            site.write(f"lua_ssl_trusted_certificate {trust};\n")
        edge.start()
        edge.wait_ready()
        with Sender(edge.port) as sender:
            if trusted:
                edge.wait_policy()
                for number in range(3):
                    assert sender.post(TOKEN, b"%d" % number).status == "received"
                assert hasura.bodies == [b"0", b"1", b"2"]
                hasura.stop()
                assert sender.post(TOKEN, b"3").status == "received"
                assert handlers.bodies == [b"3"]
            else:
                assert {sender.post(TOKEN).status for _ in range(20)} == {"spooled"}
                eventually(lambda: len(edge.held("unknown")) == 20)
                assert hasura.requests + handlers.requests == []
