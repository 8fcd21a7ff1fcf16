"""Raw HTTP that attacks the edge: its answer, what it delivers, and that it serves the next request."""

import re
import socket
from collections.abc import Iterator

import httpx
import pytest

from sandbox.processes import Processes
from tests.support.edge.harness import TOKEN, TOKEN_SHA256, EdgeHarness
from tests.support.edge.hostile_requests import ATTACKS, FORGED, Attack
from tests.support.waiting import eventually

TIMEOUT_SECONDS = 10


@pytest.fixture(scope="module")
def shared_harness() -> Iterator[EdgeHarness]:
    """One edge for all attacks: each of them finds it as the last one left it."""
    with Processes() as processes:
        harness = EdgeHarness.create(processes, 2, {})
        harness.edge.bring_up()
        errors = counted_errors(harness)
        yield harness
        assert harness.edge.errors() == ""
        assert counted_errors(harness) == errors, "a series that appears with its first event"
        harness.close()


def counted_errors(harness: EdgeHarness) -> set[str]:
    """Return the labels of the answers with an error that are counted, with 0 or more."""
    text = httpx.get(f"{harness.edge.ops_url}/metrics").text
    return set(re.findall(r'^pancake_webhook_requests_total\{(.*code="[45].*)\}', text, re.MULTILINE))


def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes and their end. Return all bytes until the edge closes, which it must do in time."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
        received = b""
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:
            pass
        return received


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_on_the_edge(shared_harness: EdgeHarness, attack: Attack) -> None:
    """Nothing is stored or delivered under another token or address, and the next delivery is served."""
    hasura, edge = shared_harness.hasura, shared_harness.edge
    before = len(hasura.deliveries)
    answer = exchange(edge.port, attack.sent)
    with shared_harness.sender() as sender:
        assert sender.post(TOKEN, b"after").status == "received"
    assert tuple(int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)) == attack.codes
    delivered = hasura.deliveries[before:]
    assert tuple(delivery.raw for delivery in delivered) == (*attack.delivered, b"after")
    assert {(delivery.token_sha256, delivery.source_ip) for delivery in delivered} == {
        (TOKEN_SHA256, "127.0.0.1")
    }
    assert not any(FORGED in str(request.headers) for request in hasura.requests)
    assert not shared_harness.handlers.deliveries
    assert not [path for folder in ("spool", "unknown", "quarantine") for path in edge.held(folder)]
    assert shared_harness.metric('pancake_edge_errors_total{source="delivery"}') == 0


def test_a_flood_of_headers_that_never_ends_is_cut_off(shared_harness: EdgeHarness) -> None:
    """A head has five seconds, however slowly or fast it is sent."""
    with socket.create_connection(("127.0.0.1", shared_harness.edge.port), timeout=1) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n")

        def is_closed() -> bool:
            try:
                connection.sendall(b"X-A: b\r\n")
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        eventually(is_closed, seconds=12)
