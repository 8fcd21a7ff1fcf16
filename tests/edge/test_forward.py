"""Forwarding: the bytes arrive as they were sent, by Hasura, else by the handlers, within two seconds."""

import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.edge.conftest import TOKEN, Stage, eventually
from tests.edge.fakes import Answer, Ingest
from tests.edge.sender import Reply, signed

RECEIVED = b'{"pancake_ingest_record":{"status":"received","event_id":1,"error_code":null}}'


def test_a_delivery_goes_through_hasura_with_everything_the_action_needs(stage: Stage) -> None:
    """Token, bytes, address of the sender and time of arrival; the answer is the handlers' own."""
    with stage.sender("127.0.0.7") as sender:
        reply = sender.post(TOKEN, b'{"id":"1"}')
    assert reply == Reply(200, b'{"status":"received","event_id":1,"error_code":null}')
    delivery = stage.hasura.deliveries[0]
    assert (delivery.token, delivery.raw, delivery.source_ip) == (TOKEN, b'{"id":"1"}', "127.0.0.7")
    assert delivery.arrived_at.endswith("Z")
    assert not stage.handlers.deliveries


@pytest.mark.parametrize(
    "status",
    [
        "received",
        "duplicate",
        "skipped_kill_switch",
        "skipped_source_disabled",
        "dead_letter",
        "unknown_token",
    ],
)
def test_every_status_of_the_handlers_is_handed_to_the_sender(stage: Stage, status: str) -> None:
    """The answer is unwrapped, whatever it is."""
    stage.hasura.status = status
    with stage.sender() as sender:
        assert sender.post(TOKEN).status == status


def body_of(random_source: random.Random) -> bytes:
    """One of: unicode text, escapes, huge numbers, duplicate keys, random bytes."""
    kind = random_source.randrange(5)
    if kind == 0:
        text = "".join(chr(random_source.choice([65, 0xE1, 0x1EA5, 0x1F600, 0x2028])) for _ in range(30))
        return json.dumps({"name": text}, ensure_ascii=False).encode()
    if kind == 1:
        return rb'{"name":"\u0000\ud800 \\ \/ \" ' + str(random_source.random()).encode() + rb'"}'
    if kind == 2:
        return b'{"n":%d,"m":1e%d}' % (2**64 + random_source.randrange(9), random_source.randrange(100, 999))
    if kind == 3:
        return b'{"a":1,"a":%d, "a" : "\t" }' % random_source.randrange(10**9)
    return random_source.randbytes(random_source.randrange(400))


def test_a_thousand_bodies_arrive_byte_by_byte_by_either_path(stage: Stage) -> None:
    """Nothing between the sender and the handlers re-encodes a body."""
    source = random.Random(7)
    bodies = [body_of(source) for _ in range(1000)]
    with stage.sender() as sender:
        for number, body in enumerate(bodies):
            if number == 500:
                stage.hasura.stop()
            assert sender.post(TOKEN, body).status == "received"
    assert stage.hasura.bodies == bodies[:500]
    assert stage.handlers.bodies == bodies[500:]


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (
            Answer(400, b'{"path":"$","error":"x","code":"validation-failed"}'),
            "a variable of the endpoint is gone",
        ),
        (Answer(401, b'{"path":"$","error":"x","code":"invalid-jwt"}'), "the role is gone"),
        (Answer(403, b"{}"), "forbidden"),
        (
            Answer(404, b'{"path":"$","error":"Endpoint not found","code":"not-found"}'),
            "the endpoint is gone",
        ),
        (Answer(405, b"{}"), "another method"),
        (Answer(500, b'{"path":"$","error":"x","code":"unexpected"}'), "the handler failed behind it"),
        (Answer(502, b"<html>"), "a proxy speaks"),
        (Answer(301, b""), "a redirect"),
        (Answer(204, b""), "nothing"),
        (Answer(200, b""), "an empty 200"),
        (Answer(200, b"{"), "a 200 that is cut off"),
        (Answer(200, b"[]"), "a 200 of another shape"),
        (Answer(200, b'{"errors":[{"message":"x"}]}'), "a GraphQL error under 200"),
        (Answer(200, b'{"pancake_ingest_record":null}'), "a null result"),
        (Answer(200, b'{"pancake_ingest_record":{"status":"fine"}}'), "a status nobody defined"),
        (Answer(200, b'{"pancake_ingest_record":{"status":7}}'), "a status that is no word"),
        (Answer(201, RECEIVED), "the right body under another status"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_whatever_is_not_a_known_status_under_200_sends_the_delivery_the_other_way(
    stage: Stage, answer: Answer, what: str
) -> None:
    """After a broken metadata apply Hasura answers quickly and wrongly: nothing may be lost by that."""
    stage.hasura.override = answer
    with stage.sender() as sender:
        replies = [sender.post(TOKEN, b"%d" % number) for number in range(6)]
    assert {(reply.code, reply.status) for reply in replies} == {(200, "received")}, what
    assert stage.handlers.bodies == [b"%d" % number for number in range(6)]
    assert not stage.edge.held()


@pytest.mark.parametrize("answer", [Answer(200, RECEIVED, chunked=True), Answer(200, RECEIVED, close=True)])
def test_every_framing_of_an_answer_is_understood(stage: Stage, answer: Answer) -> None:
    """Chunked and until-close answers are as good as those with a length."""
    stage.hasura.override = answer
    with stage.sender() as sender:
        assert [sender.post(TOKEN).status for _ in range(3)] == ["received"] * 3
    assert not stage.handlers.deliveries


def hang(*servers: Ingest) -> None:
    """Let them accept and never answer in time."""
    for server in servers:
        server.override = Answer(200, RECEIVED, after=30)


def test_a_path_gets_800_ms_and_the_sender_an_answer_within_two_seconds(nginx: Callable[..., Stage]) -> None:
    """Both paths hang: 1.6 s of trying, then the spool; the next one does not wait at all."""
    stage = nginx(EDGE_SKIP_SECONDS="5")
    hang(stage.hasura, stage.handlers)
    with stage.sender() as sender:
        began = time.monotonic()
        assert sender.post(TOKEN, b"1").status == "spooled"
        first = time.monotonic() - began
        began = time.monotonic()
        assert sender.post(TOKEN, b"2").status == "spooled"
        second = time.monotonic() - began
    assert 1.5 < first < 2
    assert second < 0.5
    assert len(stage.edge.held()) == 2


def test_asking_about_a_token_takes_nothing_from_the_two_seconds(nginx: Callable[..., Stage]) -> None:
    """The slowest case there is: the policy comes late, then both paths hang; the sender waits no longer."""
    stage = nginx(EDGE_SKIP_SECONDS="5", EDGE_POLICY_SECONDS="60")
    stage.connection.tokens["new"] = None
    stage.handlers.policy_after = 0.6
    hang(stage.hasura, stage.handlers)
    with stage.sender() as sender:
        began = time.monotonic()
        assert sender.post("new", b"1").status == "spooled"
        took = time.monotonic() - began
    assert 1.3 < took < 2
    assert len(stage.edge.held()) == 1


def test_a_failing_path_is_skipped_and_then_probed_by_one(nginx: Callable[..., Stage]) -> None:
    """While it is skipped nobody knocks; then one delivery does, and its success opens the path for all."""
    stage = nginx(EDGE_SKIP_SECONDS="1")
    stage.hasura.override = Answer(503)
    with stage.sender() as sender:
        for _ in range(5):
            assert sender.post(TOKEN).status == "received"
        knocks = len(stage.hasura.requests)
        assert knocks == 1
        stage.hasura.override = None
        eventually(lambda: sender.post(TOKEN).status == "received" and stage.hasura.deliveries)
        assert stage.metric('pancake_edge_upstream_skipped{upstream="hasura"}') == 0
        assert sender.post(TOKEN).status == "received"
    assert len(stage.hasura.deliveries) >= 2


def test_only_one_delivery_at_a_time_probes_a_path_that_failed(nginx: Callable[..., Stage]) -> None:
    """Hasura hangs: of many deliveries after the pause one waits for it, the others go the other way."""
    stage = nginx(EDGE_SKIP_SECONDS="1")
    stage.hasura.override = Answer(503)
    with stage.sender() as sender:
        sender.post(TOKEN)
    hang(stage.hasura)
    knocks = len(stage.hasura.requests)
    time.sleep(1.1)

    def deliver(number: int) -> str:
        with stage.sender() as sender:
            return sender.post(TOKEN, b"%d" % number).status

    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(deliver, range(20))) == {"received"}
    assert len(stage.hasura.requests) - knocks == 1


def test_a_path_that_refuses_three_in_a_row_is_skipped(nginx: Callable[..., Stage]) -> None:
    """After a broken metadata apply nobody goes on asking Hasura first; two odd deliveries skip nothing."""
    stage = nginx(EDGE_SKIP_SECONDS="60")

    def asked(deliveries: int) -> int:
        before = len(stage.hasura.requests)
        with stage.sender() as sender:
            assert {sender.post(TOKEN).status for _ in range(deliveries)} == {"received"}
        return len(stage.hasura.requests) - before

    refusal = Answer(400)
    stage.hasura.override = refusal
    assert asked(2) == 2
    stage.hasura.override = None
    assert asked(1) == 1
    stage.hasura.override = refusal
    assert asked(5) == 3
    assert stage.metric('pancake_edge_upstream_skipped{upstream="hasura"}') == 1


def test_an_idle_connection_that_the_upstream_closed_is_not_a_failure(stage: Stage) -> None:
    """A stale pooled connection is replaced; Hasura is not skipped for it."""
    with stage.sender() as sender:
        assert sender.post(TOKEN).status == "received"
        stage.hasura.stop()
        stage.hasura.start()
        assert sender.post(TOKEN).status == "received"
    assert len(stage.hasura.deliveries) == 2
    assert stage.metric('pancake_edge_upstream_skipped{upstream="hasura"}') == 0


def test_the_edge_proves_who_it_is_on_both_paths(stage: Stage) -> None:
    """The fakes answer 401 to anybody else."""
    with stage.sender() as sender:
        sender.post(TOKEN)
        stage.hasura.stop()
        sender.post(TOKEN)
    assert (stage.hasura.unauthorized, stage.handlers.unauthorized) == (0, 0)
    assert len(stage.bodies) == 2


def test_a_signature_that_nobody_asked_for_is_ignored(stage: Stage) -> None:
    """Mode off: whatever the headers say."""
    with stage.sender() as sender:
        assert sender.post(TOKEN, b"x", signed(b"whatever", b"y", at=0)).status == "received"
