"""Forwarding: through Hasura, else to the handlers directly, byte by byte, within two seconds."""

import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.edge.fakes import ACCEPTED, FakePath
from tests.support.edge.harness import TOKEN, TOKEN_SHA256, EdgeHarness
from tests.support.edge.http_server import Answer
from tests.support.edge.sender import Reply, signed
from tests.support.waiting import eventually


def test_a_delivery_goes_through_hasura_with_all_inputs_of_the_action(harness: EdgeHarness) -> None:
    with harness.sender("127.0.0.7") as sender:
        reply = sender.post(TOKEN, b'{"id":"1"}')
    assert reply == Reply(200, b'{"status":"received","event_id":1,"error_code":null}')
    delivery = harness.hasura.deliveries[0]
    assert (delivery.token_sha256, delivery.raw, delivery.source_ip) == (
        TOKEN_SHA256,
        b'{"id":"1"}',
        "127.0.0.7",
    )
    assert delivery.arrived_at.endswith("Z")
    assert not harness.handlers.deliveries


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
def test_every_status_of_the_handlers_is_answered_to_the_sender(harness: EdgeHarness, status: str) -> None:
    harness.hasura.status = status
    with harness.sender() as sender:
        assert sender.post(TOKEN).status == status


def random_body(random_source: random.Random) -> bytes:
    """Return Unicode text, escapes, huge numbers, duplicate keys, or random bytes."""
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


def test_a_thousand_bodies_arrive_unchanged_on_either_path(harness: EdgeHarness) -> None:
    source = random.Random(7)
    bodies = [random_body(source) for _ in range(1000)]
    with harness.sender() as sender:
        for number, body in enumerate(bodies):
            if number == 500:
                harness.hasura.stop()
            assert sender.post(TOKEN, body).status == "received"
    assert harness.hasura.bodies == bodies[:500]
    assert harness.handlers.bodies == bodies[500:]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            Answer(400, b'{"path":"$","error":"x","code":"validation-failed"}'),
            "a variable of the endpoint is missing",
        ),
        (Answer(401, b'{"path":"$","error":"x","code":"invalid-jwt"}'), "the role is missing"),
        (Answer(403, b"{}"), "forbidden"),
        (
            Answer(404, b'{"path":"$","error":"Endpoint not found","code":"not-found"}'),
            "the endpoint is missing",
        ),
        (Answer(405, b"{}"), "method not allowed"),
        (Answer(500, b'{"path":"$","error":"x","code":"unexpected"}'), "the handler failed"),
        (Answer(502, b"<html>"), "an answer of a proxy"),
        (Answer(301, b""), "a redirect"),
        (Answer(204, b""), "no content"),
        (Answer(200, b""), "an empty 200"),
        (Answer(200, b"{"), "a truncated 200"),
        (Answer(200, b"[]"), "a 200 of another shape"),
        (Answer(200, b'{"errors":[{"message":"x"}]}'), "a GraphQL error under 200"),
        (Answer(200, b'{"pancake_ingest_record":null}'), "a null result"),
        (Answer(200, b'{"pancake_ingest_record":{"status":"fine"}}'), "an unknown status"),
        (Answer(200, b'{"pancake_ingest_record":{"status":7}}'), "a status that is not a text"),
        (Answer(201, ACCEPTED), "the right body under another status"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_any_answer_but_a_200_with_a_known_status_uses_the_other_path(
    harness: EdgeHarness, answer: Answer, reason: str
) -> None:
    """For instance after a broken metadata apply: no delivery is lost."""
    harness.hasura.override = answer
    with harness.sender() as sender:
        replies = [sender.post(TOKEN, b"%d" % number) for number in range(6)]
    assert {(reply.code, reply.status) for reply in replies} == {(200, "received")}, reason
    assert harness.handlers.bodies == [b"%d" % number for number in range(6)]
    assert not harness.edge.held()


@pytest.mark.parametrize("answer", [Answer(200, ACCEPTED, chunked=True), Answer(200, ACCEPTED, close=True)])
def test_every_framing_of_an_answer_is_understood(harness: EdgeHarness, answer: Answer) -> None:
    """Chunked, and until the connection closes."""
    harness.hasura.override = answer
    with harness.sender() as sender:
        assert [sender.post(TOKEN).status for _ in range(3)] == ["received"] * 3
    assert not harness.handlers.deliveries


def hang(*servers: FakePath) -> None:
    """Make them accept requests and answer after 30 seconds."""
    for server in servers:
        server.override = Answer(200, ACCEPTED, delay_seconds=30)


def test_a_path_has_800_ms_and_the_sender_an_answer_within_two_seconds(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """Both paths hang: 1.6 s, then the spool. The next delivery does not wait: both paths are skipped."""
    harness = start_harness(EDGE_SKIP_SECONDS="5")
    hang(harness.hasura, harness.handlers)
    with harness.sender() as sender:
        began = time.monotonic()
        assert sender.post(TOKEN, b"1").status == "spooled"
        first = time.monotonic() - began
        began = time.monotonic()
        assert sender.post(TOKEN, b"2").status == "spooled"
        second = time.monotonic() - began
    assert 1.5 < first < 2
    assert second < 0.5
    assert len(harness.edge.held()) == 2


def test_confirming_a_token_is_part_of_the_two_seconds(start_harness: Callable[..., EdgeHarness]) -> None:
    """The slowest case: a late policy, then two paths that hang."""
    harness = start_harness(EDGE_SKIP_SECONDS="5", EDGE_POLICY_SECONDS="60")
    harness.connection.tokens["new"] = None
    harness.handlers.policy_delay_seconds = 0.6
    hang(harness.hasura, harness.handlers)
    with harness.sender() as sender:
        began = time.monotonic()
        assert sender.post("new", b"1").status == "spooled"
        took = time.monotonic() - began
    assert 1.3 < took < 2
    assert len(harness.edge.held()) == 1


def test_a_failing_path_is_skipped_and_then_probed(start_harness: Callable[..., EdgeHarness]) -> None:
    """While it is skipped it gets no request; a probe that succeeds ends the skipping."""
    harness = start_harness(EDGE_SKIP_SECONDS="1")
    harness.hasura.override = Answer(503)
    with harness.sender() as sender:
        for _ in range(5):
            assert sender.post(TOKEN).status == "received"
        requests = len(harness.hasura.requests)
        assert requests == 1
        harness.hasura.override = None
        eventually(lambda: sender.post(TOKEN).status == "received" and harness.hasura.deliveries)
        assert harness.metric('pancake_edge_upstream_skipped{upstream="hasura"}') == 0
        assert sender.post(TOKEN).status == "received"
    assert len(harness.hasura.deliveries) >= 2


def test_only_one_delivery_at_a_time_probes_a_path_that_failed(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """Hasura hangs: of many deliveries after the pause one tries it, the others use the other path."""
    harness = start_harness(EDGE_SKIP_SECONDS="1")
    harness.hasura.override = Answer(503)
    with harness.sender() as sender:
        sender.post(TOKEN)
    hang(harness.hasura)
    requests = len(harness.hasura.requests)
    # Until the pause is over: no metric shows its end, and a delivery that looks for it would be the probe.
    time.sleep(1.1)

    def deliver(number: int) -> str:
        with harness.sender() as sender:
            return sender.post(TOKEN, b"%d" % number).status

    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(deliver, range(20))) == {"received"}
    assert len(harness.hasura.requests) - requests == 1


def test_a_path_that_refuses_three_in_a_row_is_skipped(start_harness: Callable[..., EdgeHarness]) -> None:
    """As after a broken metadata apply. Two refused deliveries skip nothing."""
    harness = start_harness(EDGE_SKIP_SECONDS="60")

    def count_requests(deliveries: int) -> int:
        before = len(harness.hasura.requests)
        with harness.sender() as sender:
            assert {sender.post(TOKEN).status for _ in range(deliveries)} == {"received"}
        return len(harness.hasura.requests) - before

    refusal = Answer(400)
    harness.hasura.override = refusal
    assert count_requests(2) == 2
    harness.hasura.override = None
    assert count_requests(1) == 1
    harness.hasura.override = refusal
    assert count_requests(5) == 3
    assert harness.metric('pancake_edge_upstream_skipped{upstream="hasura"}') == 1


def test_an_idle_connection_closed_by_the_upstream_is_not_a_failure(harness: EdgeHarness) -> None:
    with harness.sender() as sender:
        assert sender.post(TOKEN).status == "received"
        harness.hasura.stop()
        harness.hasura.start()
        assert sender.post(TOKEN).status == "received"
    assert len(harness.hasura.deliveries) == 2
    assert harness.metric('pancake_edge_upstream_skipped{upstream="hasura"}') == 0


def test_the_edge_authenticates_on_both_paths(harness: EdgeHarness) -> None:
    """The fakes answer 401 to a request without its secret."""
    with harness.sender() as sender:
        sender.post(TOKEN)
        harness.hasura.stop()
        sender.post(TOKEN)
    assert (harness.hasura.unauthorized, harness.handlers.unauthorized) == (0, 0)
    assert len(harness.bodies) == 2


def test_a_signature_is_ignored_in_mode_off(harness: EdgeHarness) -> None:
    with harness.sender() as sender:
        assert sender.post(TOKEN, b"x", signed(b"any secret", b"y", at=0)).status == "received"
