"""Forwarding: through Hasura, else to the handlers directly, unchanged, within two seconds, with a trace.

Also over TLS, to a host name, and while the machine's time is set.
"""

import json
import random
import re
import socket
import ssl
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.processes import Processes
from tests.support.edge.harness import (
    BUDGET_MAX_FAILURES,
    TOKEN,
    TOKEN_SHA256,
    Edge,
    EdgeHarness,
    write_certificate,
)
from tests.support.edge.surroundings import ACCEPTED, Reply
from tests.support.fake_services import Answer
from tests.support.waiting import eventually

HASURA_SKIPPED = 'pancake_edge_upstream_skipped{upstream="hasura"}'
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
NEEDS_FAKETIME = pytest.mark.skipif(
    FAKETIME is None,
    reason="nginx's time is set by libfaketime: apt-get install libfaketime to run these tests",
)
STEPS = ("-1h", "+1h")


def test_a_delivery_goes_through_hasura_with_all_inputs_of_the_action(harness: EdgeHarness) -> None:
    with harness.sender("127.0.0.7") as sender:
        reply = sender.post(TOKEN, b'{"id":"1"}')
    assert reply == Reply(200, b'{"status":"received","event_id":1,"error_code":null}')
    (delivery,) = harness.hasura.deliveries
    assert delivery.token_sha256 == TOKEN_SHA256
    assert (delivery.raw, delivery.source_ip) == (b'{"id":"1"}', "127.0.0.7")
    assert delivery.arrived_at.endswith("Z")
    assert not harness.handlers.deliveries


def test_a_thousand_bodies_arrive_unchanged_on_either_path(harness: EdgeHarness) -> None:
    """The edge authenticates on both: the fakes answer 401 to a request without its secret."""
    source = random.Random(7)
    bodies = [source.randbytes(source.randrange(400)) for _ in range(1000)]
    assert set(harness.post_many(bodies[:500])) == {"received"}
    harness.hasura.stop()
    assert set(harness.post_many(bodies[500:])) == {"received"}
    assert (harness.hasura.bodies, harness.handlers.bodies) == (bodies[:500], bodies[500:])


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BAD_ANSWERS = {
    **{f"the status {code}": Answer(code) for code in (204, 301, 400, 401, 403, 404, 405, 500, 502)},
    **{
        f"the body {body!r}": Answer(200, body)
        for body in (
            b"", b"{", b"[]", b"{}", b'{"errors":[{"message":"x"}]}', b'{"pancake_ingest_record":null}',
            b'{"pancake_ingest_record":{"status":"fine"}}', b'{"pancake_ingest_record":{"status":7}}',
        )
    },
    "the right body under another status": Answer(201, ACCEPTED),
    "no content and no length": Answer(raw=b"HTTP/1.1 204 No Content\r\n\r\n"),
    "another protocol": Answer(raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "a head that ends early": Answer(raw=HEAD + b"Content-Type: appl"),
    "a head without an end": Answer(raw=HEAD + b"X-A: b\r\n" * 200),
    "a body that ends early": Answer(raw=HEAD + b"Content-Length: 99\r\n\r\n" + ACCEPTED),
    "a length that is no number": Answer(raw=HEAD + b"Content-Length: x\r\n\r\n" + ACCEPTED),
    "a body that is too long": Answer(raw=HEAD + b"Content-Length: 9999999\r\n\r\n" + ACCEPTED),
    "a malformed chunk": Answer(raw=CHUNKS + b"zz\r\n"),
    "a chunk that ends early": Answer(raw=CHUNKS + b"9\r\n{"),
    "chunks that are too long": Answer(raw=CHUNKS + b"ffffff\r\n" + ACCEPTED),
}  # fmt: skip


def test_any_answer_but_a_200_with_a_known_status_uses_the_other_path(
    harness: EdgeHarness, subtests: pytest.Subtests
) -> None:
    """For instance after a broken metadata apply: no delivery is lost."""
    for name, answer in BAD_ANSWERS.items():
        with subtests.test(name):
            harness.forget()
            harness.hasura.requests.clear()
            harness.handlers.deliveries.clear()
            harness.hasura.override = answer
            bodies = [b"%d" % number for number in range(6)]
            assert harness.post_many(bodies) == ["received"] * 6
            assert harness.hasura.posted
            assert harness.handlers.bodies == bodies
            assert not harness.edge.held()


def test_every_framing_of_an_answer_is_understood(harness: EdgeHarness, subtests: pytest.Subtests) -> None:
    for answer in (
        Answer(200, ACCEPTED, chunked=True),
        Answer(200, ACCEPTED, close=True),
        Answer(raw=b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"X-A\r\n\r\n" + ACCEPTED),
    ):
        with subtests.test(answer=answer):
            harness.hasura.override = answer
            assert harness.post_many([b"1", b"2", b"3"]) == ["received"] * 3
            assert not harness.handlers.deliveries


def timed_post(harness: EdgeHarness, token: str = TOKEN) -> float:
    began = time.monotonic()
    assert harness.post(token=token) == "spooled"
    return time.monotonic() - began


@pytest.mark.serial
def test_a_path_has_800_ms_and_the_sender_an_answer_within_two_seconds(shared: Edge) -> None:
    """Both paths hang: 1.6 s, then the spool. The next delivery does not wait: both paths are skipped."""
    harness = shared(EDGE_SKIP_SECONDS="5", EDGE_POLICY_SECONDS="60")
    harness.hasura.override = harness.handlers.override = Answer(200, ACCEPTED, delay_seconds=30)
    assert 1.5 < timed_post(harness) < 2
    assert timed_post(harness) < 0.5
    assert harness.edge.health()["skipped"] == {"hasura": 0, "handlers": 0}
    harness.forget()
    # The slowest case: a late policy is fetched to confirm a new token, then both paths hang.
    harness.connection.tokens["new"] = None
    harness.handlers.policy_delay_seconds = 0.6
    assert 1.3 < timed_post(harness, "new") < 2
    assert len(harness.edge.held()) == 3


def test_a_failing_path_is_skipped_and_then_probed(shared: Edge) -> None:
    harness = shared(EDGE_SKIP_SECONDS="1")
    harness.hasura.override = Answer(503)
    assert harness.post_many([b"x"] * 5) == ["received"] * 5
    assert len(harness.hasura.requests) == 1
    harness.hasura.override = None
    eventually(lambda: harness.post() == "received" and harness.hasura.deliveries)
    assert harness.metric(HASURA_SKIPPED) == 0
    assert harness.post() == "received"
    assert len(harness.hasura.deliveries) >= 2


def test_a_path_that_refuses_three_in_a_row_is_skipped(shared: Edge) -> None:
    """As after a broken metadata apply. Two refused deliveries skip nothing."""
    harness = shared(EDGE_SKIP_SECONDS="60")

    def count_requests(deliveries: int, answer: Answer | None) -> int:
        harness.hasura.override = answer
        before = len(harness.hasura.requests)
        assert set(harness.post_many([b"x"] * deliveries)) == {"received"}
        return len(harness.hasura.requests) - before

    assert count_requests(2, Answer(400)) == 2
    assert count_requests(1, None) == 1
    assert count_requests(5, Answer(400)) == 3
    assert harness.metric(HASURA_SKIPPED) == 1
    health = harness.edge.health()
    assert (health["skipped"], 0 <= health["delivered_seconds"] < 10) == ({"hasura": 400}, True)


def test_an_idle_connection_closed_by_the_upstream_is_not_a_failure(harness: EdgeHarness) -> None:
    """Also in the moment in which it is used again: the delivery is sent over a new one."""
    with harness.sender() as sender:
        assert sender.post(TOKEN).status == "received"
        harness.hasura.serves_once = True
        assert sender.post(TOKEN).status == "received"
        harness.hasura.stop()
        harness.hasura.start()
        assert sender.post(TOKEN).status == "received"
    assert (len(harness.hasura.deliveries), harness.handlers.deliveries) == (3, [])
    assert harness.metric(HASURA_SKIPPED) == 0


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OUTGOING = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")
INVALID = [
    "", "x", f"00-{TRACE}-{SPAN}", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE[1:]}-{SPAN}-01",
    f"01-{TRACE}-{SPAN}-01more", f"01-{TRACE}-{SPAN}-01-{'x' * 600}", f"00-{TRACE}-{SPAN}-zz",
    f'00-{TRACE}-{SPAN}-01","x":"',
]  # fmt: skip


def post_traced(
    harness: EdgeHarness, traceparent: str, body: bytes = b'{"id":"1"}'
) -> tuple[str, dict[str, str]]:
    before = len(harness.access_log())
    outcome = harness.post(body, {"traceparent": traceparent})
    eventually(lambda: len(harness.access_log()) > before)
    return outcome, json.loads(harness.access_log()[-1])


RECORD_ID = "2f941efe-d9a3-4d9a-affe-e123b06b8a44"
RECORD_IDS = {
    f'{{"id":"{RECORD_ID}","data":{{"id":"1"}}}}': RECORD_ID,
    f'{{"event":"record","data":{{"id":"{RECORD_ID}"}}}}': RECORD_ID,
    f'{{"id":null,"data":{{"id":"{RECORD_ID}"}}}}': "",
    '{"id":"0905111222"}': "",
    **dict.fromkeys(['{"id":905111222}', '{"data":1}', f'["{RECORD_ID}"]', "1", "", "{", "[" * 9_000], ""),
}


def test_the_line_of_a_delivery_names_its_record(harness: EdgeHarness, subtests: pytest.Subtests) -> None:
    """On each path and in each shape of a body; only a UUID, since any other id may be a phone."""
    for body, record_id in RECORD_IDS.items():
        with subtests.test(body[:60]):
            outcome, line = post_traced(harness, "", body.encode())
            assert (outcome, line["record_id"]) == ("received", record_id)
    harness.hasura.stop()
    harness.handlers.stop()
    outcome, line = post_traced(harness, "", f'{{"id":"{RECORD_ID}"}}'.encode())
    assert (outcome, line["record_id"], line["event_id"]) == ("spooled", RECORD_ID, "")


@pytest.mark.parametrize(
    ("traceparent", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-00", "00"),
        (f"00-{TRACE}-{SPAN}-01", "01"),
        (f"01-{TRACE}-{SPAN}-03-further", "01"),  # a later version, sent on as the known one
    ],
)
def test_the_senders_trace_goes_on_with_a_span_of_the_edge(
    harness: EdgeHarness, traceparent: str, flags: str
) -> None:
    """By either path, and from the spool."""
    outcome, line = post_traced(harness, traceparent)
    headers = harness.hasura.posted[-1].headers
    match = OUTGOING.fullmatch(headers["traceparent"])
    assert match
    assert (match[1], match[3]) == (TRACE, flags)
    assert match[2] != SPAN
    assert (headers["x-b3-traceid"], headers["x-b3-spanid"]) == (TRACE, match[2])
    assert headers.get("x-b3-sampled") == ("1" if flags == "01" else None)
    assert (outcome, line["outcome"], line["trace_id"], line["event_id"]) == (*["received"] * 2, TRACE, "1")
    harness.hasura.stop()
    post_traced(harness, traceparent)
    assert harness.handlers.posted[-1].headers["x-b3-traceid"] == TRACE
    harness.handlers.stop()
    outcome, line = post_traced(harness, traceparent)
    assert (outcome, line["trace_id"], line["event_id"]) == ("spooled", TRACE, "")
    harness.handlers.start()
    eventually(lambda: len(harness.handlers.bodies) == 2)
    assert harness.handlers.posted[-1].headers["x-b3-traceid"] == TRACE


def test_without_a_valid_one_a_trace_begins_that_has_the_id_of_the_request(harness: EdgeHarness) -> None:
    for invalid in INVALID:
        _, line = post_traced(harness, invalid)
        match = OUTGOING.fullmatch(harness.hasura.posted[-1].headers["traceparent"])
        assert match, invalid
        assert line["trace_id"] == line["request_id"] == match[1] != TRACE, invalid


@pytest.mark.parametrize("trusted", [True, False])
def test_policy_and_deliveries_use_tls_to_a_trusted_peer_only(
    own: Edge, processes: Processes, trusted: bool
) -> None:
    peers, other = processes.directory("certificates-"), processes.directory("certificates-")
    write_certificate(peers)
    write_certificate(other)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(peers / "fullchain.pem", peers / "privkey.pem")
    harness = own(tls=context)
    harness.add_site(f"lua_ssl_trusted_certificate {(peers if trusted else other) / 'fullchain.pem'};\n")
    harness.edge.start()
    harness.edge.wait_ready()
    if trusted:
        harness.edge.wait_policy()
        assert harness.post_many([b"0", b"1", b"2"]) == ["received"] * 3
        assert harness.hasura.bodies == [b"0", b"1", b"2"]
        harness.hasura.stop()
        assert harness.post(b"3") == "received"
        assert harness.handlers.bodies == [b"3"]
    else:
        assert set(harness.post_many([b"x"] * 20)) == {"spooled"}
        eventually(lambda: len(harness.edge.held("unknown")) == 20)
        assert harness.hasura.requests + harness.handlers.requests == []


def answer_queries(server: socket.socket, silent: threading.Event, ignored: list[bytes]) -> None:
    """Answer every query (RFC 1035) with 127.0.0.1 for a second, unless `silent`; an empty one ends it."""
    flags_and_counts = struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
    record = struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4) + bytes([127, 0, 0, 1])
    while True:
        text, sender = server.recvfrom(512)
        if not text:
            return
        if silent.is_set():
            ignored.append(text)
        else:
            server.sendto(text[:2] + flags_and_counts + text[12:] + record, sender)


@pytest.mark.serial
def test_a_silent_name_server_delays_no_answer(own: Edge) -> None:
    """Hasura's name cannot be looked up: after 300 ms the delivery uses the other path."""
    silent, ignored, took_seconds = threading.Event(), list[bytes](), list[float]()
    with socket.socket(type=socket.SOCK_DGRAM) as server, ThreadPoolExecutor(1) as thread:
        server.bind(("127.0.0.1", 0))
        thread.submit(answer_queries, server, silent, ignored)
        harness = own()
        harness.edge.add_environment({"HASURA_URL": f"http://hasura.internal:{harness.hasura.port}"})
        harness.add_site(f"resolver 127.0.0.1:{server.getsockname()[1]} ipv6=off valid=1s;\n").bring_up()
        try:
            assert harness.post() == "received"
            assert len(harness.hasura.bodies) == 1
            silent.set()
            # No pooled connection: each attempt looks the name up once its second is over.
            harness.hasura.stop()
            while not ignored and sum(took_seconds) < 10:
                began = time.monotonic()
                assert harness.post() == "received"
                took_seconds.append(time.monotonic() - began)
        finally:
            server.sendto(b"", server.getsockname())
    assert ignored
    assert max(took_seconds) < 0.8


def set_time(harness: EdgeHarness, offset: str) -> None:
    """Shift the edge's time of day by an offset such as "-1h"."""
    fresh = harness.edge.directory / "time.new"
    fresh.write_text(offset + "\n")
    fresh.chmod(0o644)
    fresh.rename(harness.edge.directory / "time")


@pytest.fixture
def settable(own: Edge) -> Edge:
    """Start an edge whose time of day can be set, by libfaketime: `settable(EDGE_SKIP_SECONDS="1")`."""

    def start(**environment: str) -> EdgeHarness:
        harness = own(**environment)
        set_time(harness, "+0")
        variables = {
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DISABLE_SHM": "1",  # a process that is killed would leave its shared memory
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_TIMESTAMP_FILE": str(harness.edge.directory / "time"),
        }
        harness.edge.add_environment({"LD_PRELOAD": str(FAKETIME), **variables})
        return harness.add_site("".join(f"env {name};\n" for name in variables), "main.conf").bring_up()

    return start


@NEEDS_FAKETIME
@pytest.mark.parametrize("step", STEPS)
def test_paths_rates_and_unknown_tokens_do_not_depend_on_the_time_of_day(settable: Edge, step: str) -> None:
    """The machine's time is set an hour back or forward; durations stay what they are."""
    harness = settable(EDGE_POLICY_SECONDS="3600")
    harness.set_limits(rate=200, burst=100)
    assert {reply.status for reply in harness.flood(50)} == {"received"}
    harness.stop_upstreams()
    assert harness.post(b"before") == "spooled"
    set_time(harness, step)
    assert harness.post(b"after") == "spooled"
    harness.start_upstreams()
    # Skipping and probing take the same time: the spool is drained, live traffic passes.
    eventually(lambda: {b"after", b"before"} <= set(harness.bodies))
    eventually(lambda: harness.post() == "received")
    # No bucket seems to be full for an hour.
    assert {reply.status for reply in harness.flood(50)} == {"received"}
    # An unknown token is confirmed at once, whatever the age of the policy seems to be.
    harness.add_connection("brand-new")
    assert harness.post(token="brand-new") == "received"
    served = harness.handlers.policies_served
    assert harness.post(token="unknown") == "unknown_token"
    assert harness.handlers.policies_served == served + 1


@NEEDS_FAKETIME
@pytest.mark.parametrize("step", STEPS)
def test_setting_the_time_spends_no_budget_twice(settable: Edge, step: str) -> None:
    """Also after a restart, which reads times of the past or of the next hour from the journal."""
    harness = settable(EDGE_SPOOL_MAX_FILES="1")
    eventually((harness.edge.state / "policy-newest.sealed").exists)
    harness.stop_upstreams()
    codes = [reply.code for reply in harness.flood(101)]
    set_time(harness, step)
    codes += [reply.code for reply in harness.flood(100)]
    assert codes.count(503) == BUDGET_MAX_FAILURES
    if step.startswith("-"):
        harness.kill()
        assert harness.budget_used() == BUDGET_MAX_FAILURES
        assert {reply.status for reply in harness.flood(20)} == {"shed"}


@NEEDS_FAKETIME
def test_setting_the_time_back_during_a_hand_over_does_not_stop_the_drain(settable: Edge) -> None:
    harness = settable()
    harness.stop_upstreams()
    harness.post_many([b"%d" % number for number in range(8)])
    harness.hasura.override = Answer(200, ACCEPTED, delay_seconds=0.5)
    harness.hasura.start()
    eventually(lambda: len(harness.hasura.requests) >= 4)
    set_time(harness, "-1h")
    eventually(lambda: not harness.edge.held())
