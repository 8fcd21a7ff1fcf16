"""The number of open requests: what one address can hold, and who is served over it."""

import contextlib
import http.client
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.edge.harness import BUDGET_MAX_FAILURES, STRANGER, TOKEN, EdgeHarness
from tests.support.edge.sender import Reply, signed
from tests.support.waiting import eventually

MAX_OPEN = 5
"""Instead of 2,000."""
GREEDY = "203.0.113.9"
CLOSED = None
"""Instead of a reply: the connection was closed without an answer."""


@pytest.fixture
def limited(start_harness: Callable[..., EdgeHarness]) -> EdgeHarness:
    """An edge where one address may have MAX_OPEN requests open; X-Forwarded-For names the address."""
    harness = start_harness(started=False)
    conf = harness.edge.directory / "nginx.conf"
    text = conf.read_text()
    assert text.count("edge_requests 2000;") == 1
    conf.write_text(text.replace("edge_requests 2000;", f"edge_requests {MAX_OPEN};"))
    with (harness.edge.directory / "site" / "http.conf").open("a") as site:
        site.write("set_real_ip_from 127.0.0.1;\nreal_ip_header X-Forwarded-For;\n")
    harness.edge.bring_up()
    return harness


def post(
    harness: EdgeHarness, address: str, token: str = TOKEN, headers: dict[str, str] | None = None
) -> Reply | None:
    """Post a delivery over a new connection. Return CLOSED if there is no answer."""
    with harness.sender() as sender:
        try:
            return sender.post(token, b"{}", {"X-Forwarded-For": address, **(headers or {})})
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return CLOSED


def open_request(
    harness: EdgeHarness, address: str, path: str = f"/api/pancake/record/{TOKEN}", expects: str = ""
) -> socket.socket:
    """Send a delivery whose body does not arrive."""
    connection = socket.create_connection(("127.0.0.1", harness.edge.port), timeout=8)
    head = f"POST {path} HTTP/1.1\r\nHost: e\r\nX-Forwarded-For: {address}\r\nContent-Length: 9\r\n"
    connection.sendall(f"{head}{expects}\r\n".encode())
    return connection


def hold_request(harness: EdgeHarness, address: str) -> socket.socket:
    """Open a request and wait until the edge reads its body: it is counted now."""
    connection = open_request(harness, address, expects="Expect: 100-continue\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
    return connection


def seconds_until_closed(connection: socket.socket) -> float:
    """Read until the edge closes the connection."""
    began = time.monotonic()
    with connection, contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return time.monotonic() - began


@contextlib.contextmanager
def all_open(harness: EdgeHarness, *addresses: str) -> Iterator[None]:
    """Keep MAX_OPEN requests open, from these addresses in turn."""
    with contextlib.ExitStack() as held:
        for number in range(MAX_OPEN):
            held.enter_context(hold_request(harness, addresses[number % len(addresses)]))
        yield


def test_a_stranger_over_the_limit_holds_no_connection(limited: EdgeHarness) -> None:
    """Each further request is closed at once, not after the rest of its body. Other addresses are served."""
    with all_open(limited, GREEDY):
        for path in (f"/api/pancake/record/{STRANGER}", "/elsewhere", "/api/pancake/record/unknown"):
            assert seconds_until_closed(open_request(limited, GREEDY, path)) < 1, path
        other = post(limited, "203.0.113.10")
        assert other is not None
        assert other.status == "received"
        closed = 'pancake_webhook_requests_total{hop="edge",status="too_many_connections",code="444"}'
        eventually(lambda: limited.metric(closed) == 3)
        assert limited.budget_used() == 0


def test_the_addresses_of_one_ipv6_network_share_the_limit(limited: EdgeHarness) -> None:
    """One machine may use all 2^64 of them."""
    with all_open(limited, *(f"2001:db8::{number}" for number in range(1, 6))):
        assert post(limited, "2001:db8::ffff", STRANGER) is CLOSED
        assert post(limited, "2001:db8:0:1::1", STRANGER) == Reply(200, b'{"status":"unknown_token"}')


def test_a_valid_token_over_the_limit_gets_429_until_the_budget_is_spent(limited: EdgeHarness) -> None:
    with all_open(limited, GREEDY):
        replies = [post(limited, GREEDY) for _ in range(BUDGET_MAX_FAILURES + 10)]
        refused = Reply(429, b'{"status":"too_many_connections"}')
        assert replies[:BUDGET_MAX_FAILURES] == [refused] * BUDGET_MAX_FAILURES
        assert {reply.status for reply in replies[BUDGET_MAX_FAILURES:] if reply} == {"received"}
        assert limited.budget_used() == BUDGET_MAX_FAILURES


def test_a_valid_token_without_the_proof_spends_no_budget_over_the_limit(limited: EdgeHarness) -> None:
    """It is refused as usual, and has a second for its body."""
    limited.connection.webhook_secrets, limited.connection.signature_mode = [b"s"], "enforce"
    limited.wait_for_new_policy()
    with all_open(limited, GREEDY):
        unsigned, proved = post(limited, GREEDY), post(limited, GREEDY, headers=signed(b"s", b"{}"))
        assert unsigned == Reply(200, b'{"status":"timestamp_out_of_window"}')
        assert proved == Reply(429, b'{"status":"too_many_connections"}')
        assert 0.5 < seconds_until_closed(open_request(limited, GREEDY)) < 3
    assert limited.budget_used() == 1


def test_a_refused_stranger_keeps_its_connection_for_five_seconds_at_most(harness: EdgeHarness) -> None:
    """While it sends the rest of a body that is not needed."""
    connection = open_request(harness, GREEDY, "/elsewhere")
    with connection, contextlib.suppress(ConnectionError):
        began = time.monotonic()
        connection.settimeout(1)
        while time.monotonic() - began < 12:
            with contextlib.suppress(TimeoutError):
                if not connection.recv(65536):
                    break
            if time.monotonic() - began < 6:
                connection.sendall(b".")
    assert time.monotonic() - began < 8
