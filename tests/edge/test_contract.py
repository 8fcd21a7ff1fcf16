"""The behaviour that the real edge and the sandbox's small one share."""

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from sandbox.postgres.server import free_port
from sandbox.processes import Processes
from sandbox.stack.services import Service
from tests.support.edge.fakes import HASURA_TOKEN, FakeHandlers, FakeHasura
from tests.support.edge.harness import TOKEN, TOKEN_SHA256, EdgeHarness
from tests.support.edge.http_server import Answer
from tests.support.edge.sender import Reply, Sender, raw_exchange

PATH = f"/api/pancake/record/{TOKEN}"


@dataclass
class Front:
    """An edge in front of a fake Hasura that knows TOKEN. `handlers`: None if the edge has no direct path."""

    port: int
    hasura: FakeHasura
    handlers: FakeHandlers | None = None

    def post(self, token: str, body: bytes = b"{}") -> Reply:
        """Post a delivery over a new connection."""
        with Sender(self.port) as sender:
            return sender.post(token, body)


def small_edge(processes: Processes, hasura: FakeHasura) -> Front:
    """Start the sandbox's small edge as a process."""
    port = free_port()
    service = Service(
        name="edge",
        arguments=[sys.executable, "-m", "sandbox.stack.edge", "--port", str(port)],
        environment={"HASURA_URL": hasura.url, "HASURA_EDGE_TOKEN": HASURA_TOKEN, "PYTHONPATH": sys.path[0]},
        url=f"http://127.0.0.1:{port}",
        ready_path="/healthz",
        log=processes.directory("small-edge-") / "log",
        processes=processes,
    )
    service.start()
    service.wait_ready()
    return Front(port, hasura)


@pytest.fixture
def real(start_harness: Callable[..., EdgeHarness]) -> Front:
    """The real edge in front of Hasura and the handlers."""
    harness = start_harness()
    return Front(harness.edge.port, harness.hasura, harness.handlers)


@pytest.fixture
def small(processes: Processes) -> Iterator[Front]:
    """The small edge."""
    with FakeHasura() as hasura:
        yield small_edge(processes, hasura)


@pytest.fixture(params=["real", "small"])
def front(request: pytest.FixtureRequest) -> Front:
    """Each edge in turn."""
    edge: Front = request.getfixturevalue(request.param)
    return edge


def test_the_answer_of_the_handlers_is_passed_on(front: Front) -> None:
    """Every known status with event_id and error_code, as 200."""
    for status in ("received", "duplicate", "skipped_kill_switch", "skipped_source_disabled", "dead_letter"):
        front.hasura.status = status
        reply = front.post(TOKEN)
        assert (reply.code, reply.status) == (200, status)
    assert reply.document == {"status": "dead_letter", "event_id": 1, "error_code": None}


def test_a_body_may_be_any_bytes(front: Front) -> None:
    """From 0 bytes to 256 KiB."""
    source = random.Random(11)
    bodies = [source.randbytes(size) for size in (0, 1, 1000, 255 * 1024, 256 * 1024)]
    bodies += [b'{"n":18446744073709551617,"n":"\\ud800"}', '{"tên":"Nguyễn"}'.encode()]
    assert {front.post(TOKEN, body).status for body in bodies} == {"received"}
    assert front.hasura.bodies == bodies


def test_a_body_over_the_limit_is_answered_200_too_large(front: Front) -> None:
    """257 KiB with a length or in chunks; nothing is stored."""
    assert front.post(TOKEN, b"x" * 257 * 1024).body.replace(b" ", b"") == b'{"status":"too_large"}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = (b"10000\r\n" + b"z" * 65536 + b"\r\n") * 5 + b"0\r\n\r\n"
    answer = raw_exchange(front.port, head.encode() + chunks)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"too_large"' in answer
    assert not front.hasura.deliveries


def test_a_malformed_token_is_unknown_and_not_forwarded(front: Front) -> None:
    for token in ("x" * 129, "a%20b", "%c3%a9", "a;b", "a+b"):
        assert (front.post(token).code, front.post(token).status) == (200, "unknown_token"), token
    assert not front.hasura.deliveries


def test_a_percent_encoded_token_is_decoded_once(front: Front) -> None:
    assert front.post("".join(f"%{ord(letter):02X}" for letter in TOKEN)).status == "received"
    assert front.hasura.deliveries[0].token_sha256 == TOKEN_SHA256


def test_there_is_one_route_with_one_method(front: Front) -> None:
    with Sender(front.port) as sender:
        for path in ("/", "/api/pancake/record", "/api/pancake/record/", PATH + "/x"):
            assert sender.request("POST", path, b"{}").code == 404, path
        assert sender.request("GET", PATH).code == 405
    assert not front.hasura.deliveries


@pytest.mark.parametrize("answer", [Answer(200), Answer(400), Answer(500), Answer(200, b"[]")])
def test_a_delivery_that_hasura_did_not_accept_is_not_answered_as_accepted(
    front: Front, answer: Answer
) -> None:
    """The real edge uses the other path; the small one answers 502."""
    front.hasura.override = answer
    reply = front.post(TOKEN)
    if front.handlers is None:
        assert reply.code == 502
    else:
        assert (reply.status, front.handlers.bodies) == ("received", [b"{}"])
