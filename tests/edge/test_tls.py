"""Upstreams over TLS: the edge talks only to whom its certificates vouch for."""

import ssl
from pathlib import Path

import pytest

from sandbox.edge.nginx import EdgeSettings, NginxEdge
from sandbox.processes import Processes
from tests.edge.certificates import certificate
from tests.edge.conftest import QUICK, TOKEN, eventually
from tests.edge.fakes import EDGE_SECRET, HASURA_TOKEN, Connection, FakeHandlers, FakeHasura
from tests.edge.sender import Sender


def server_side(directory: Path) -> ssl.SSLContext:
    """A server with the certificate of that directory."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "fullchain.pem", directory / "privkey.pem")
    return context


@pytest.mark.parametrize("trusted", [True, False])
def test_policy_and_deliveries_travel_over_tls_to_a_trusted_peer_alone(
    nginx: object, processes: Processes, trusted: bool
) -> None:
    """Trusted: known token, delivered. Not trusted: no policy, no secret said to it, the delivery kept."""
    theirs, ours = processes.directory("certificates-"), processes.directory("certificates-")
    certificate(theirs)
    certificate(ours)
    with FakeHasura(server_side(theirs)) as hasura, FakeHandlers(server_side(theirs)) as handlers:
        handlers.connections = [Connection(tokens={TOKEN: None})]
        settings = EdgeSettings(hasura.url, handlers.url, HASURA_TOKEN, EDGE_SECRET, environment=QUICK)
        edge = NginxEdge(processes, settings)
        trust = (theirs if trusted else ours) / "fullchain.pem"
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
