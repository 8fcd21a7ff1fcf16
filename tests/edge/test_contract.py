"""What every edge must do, the real one and the sandbox's small one alike."""

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from sandbox.postgres.server import free_port
from sandbox.processes import Processes
from sandbox.stack.services import Service
from tests.edge.conftest import TOKEN, Stage
from tests.edge.fakes import HASURA_TOKEN, Answer, FakeHandlers, FakeHasura
from tests.edge.sender import Reply, Sender, raw_exchange

PATH = f"/api/pancake/record/{TOKEN}"


@dataclass
class Front:
    """Some edge in front of a fake Hasura that knows TOKEN."""

    port: int
    hasura: FakeHasura
    handlers: FakeHandlers | None = None

    def post(self, token: str, body: bytes = b"{}") -> Reply:
        """Deliver one body over a connection of its own."""
        with Sender(self.port) as sender:
            return sender.post(token, body)


def small_edge(processes: Processes, hasura: FakeHasura) -> Front:
    """The sandbox's wrapper as a process."""
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
def real(nginx: Callable[..., Stage]) -> Front:
    """The real edge; Hasura and the handlers behind it answer alike."""
    stage = nginx()
    return Front(stage.edge.port, stage.hasura, stage.handlers)


@pytest.fixture
def small(processes: Processes) -> Iterator[Front]:
    """The small one."""
    with FakeHasura() as hasura:
        yield small_edge(processes, hasura)


@pytest.fixture(params=["real", "small"])
def front(request: pytest.FixtureRequest) -> Front:
    """Each edge in turn."""
    found: Front = request.getfixturevalue(request.param)
    return found


def test_the_handlers_answer_is_handed_on(front: Front) -> None:
    """Every known status, with the id of the row and its error code, under 200."""
    for status in ("received", "duplicate", "skipped_kill_switch", "skipped_source_disabled", "dead_letter"):
        front.hasura.status = status
        reply = front.post(TOKEN)
        assert (reply.code, reply.status) == (200, status)
    assert reply.document == {"status": "dead_letter", "event_id": 1, "error_code": None}


def test_bytes_are_bytes(front: Front) -> None:
    """Anything may be in a body, or nothing; up to 256 KiB."""
    source = random.Random(11)
    bodies = [source.randbytes(size) for size in (0, 1, 1000, 255 * 1024, 256 * 1024)]
    bodies += [b'{"n":18446744073709551617,"n":"\\ud800"}', '{"tên":"Nguyễn"}'.encode()]
    assert {front.post(TOKEN, body).status for body in bodies} == {"received"}
    assert front.hasura.bodies == bodies


def test_too_much_is_too_large_under_200(front: Front) -> None:
    """257 KiB, announced or in chunks; nothing is stored."""
    assert front.post(TOKEN, b"x" * 257 * 1024).body.replace(b" ", b"") == b'{"status":"too_large"}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = (b"10000\r\n" + b"z" * 65536 + b"\r\n") * 5 + b"0\r\n\r\n"
    answer = raw_exchange(front.port, head.encode() + chunks)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"too_large"' in answer
    assert not front.hasura.deliveries


def test_a_token_that_cannot_be_one_is_unknown_and_goes_nowhere(front: Front) -> None:
    """Other letters, too long: nothing behind the edge sees it."""
    for token in ("x" * 129, "a%20b", "%c3%a9", "a;b", "a+b"):
        assert (front.post(token).code, front.post(token).status) == (200, "unknown_token"), token
    assert not front.hasura.deliveries


def test_a_token_may_come_percent_encoded(front: Front) -> None:
    """Decoded once."""
    assert front.post("".join(f"%{ord(letter):02X}" for letter in TOKEN)).status == "received"
    assert front.hasura.deliveries[0].token == TOKEN


def test_one_route_one_method(front: Front) -> None:
    """404 and 405 elsewhere."""
    with Sender(front.port) as sender:
        for path in ("/", "/api/pancake/record", "/api/pancake/record/", PATH + "/x"):
            assert sender.request("POST", path, b"{}").code == 404, path
        assert sender.request("GET", PATH).code == 405
    assert not front.hasura.deliveries


@pytest.mark.parametrize("answer", [Answer(200), Answer(400), Answer(500), Answer(200, b"[]")])
def test_what_hasura_did_not_take_is_never_answered_as_taken_by_it(front: Front, answer: Answer) -> None:
    """The real edge takes the other path; the small one says it failed."""
    front.hasura.override = answer
    reply = front.post(TOKEN)
    if front.handlers is None:
        assert reply.code == 502
    else:
        assert (reply.status, front.handlers.bodies) == ("received", [b"{}"])
