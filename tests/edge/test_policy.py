"""Policy: the handlers decide which tokens are valid; the edge uses the last policy while they are down."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sandbox.edge.nginx import state_key
from tests.support.edge.fakes import Connection
from tests.support.edge.harness import TOKEN, EdgeHarness
from tests.support.edge.http_server import Answer
from tests.support.edge.sender import signed
from tests.support.waiting import eventually

LONG_INTERVAL_SECONDS = "3600"
"""Of EDGE_POLICY_SECONDS: no scheduled fetch happens during a test."""
LONG_SECRET = b"a-long-secret" * 100
FAILED = 'pancake_edge_policy_refresh_total{result="failed"}'
NO_TIMES = ("2026-05-14T02:35:56+16:00", "2026-05-14T02:35:56-1560", "2026-05-14T02:35:56 soon")
"""Offsets that PostgreSQL refuses, and one that is none."""


def wait_for_failed_fetches(harness: EdgeHarness, count: float) -> None:
    """Wait until this number of fetches of the policy has failed since the start."""
    eventually(lambda: harness.metric(FAILED) >= count)


def test_a_new_token_is_known_at_once(start_harness: Callable[..., EdgeHarness]) -> None:
    """An unknown token makes the edge fetch the policy before the next scheduled fetch."""
    harness = start_harness(EDGE_POLICY_SECONDS=LONG_INTERVAL_SECONDS)
    harness.handlers.connections.append(Connection(id="2", tokens={"brand-new": None}))
    with harness.sender() as sender:
        assert sender.post("brand-new").status == "received"


def test_a_token_is_called_unknown_only_after_a_fetch(start_harness: Callable[..., EdgeHarness]) -> None:
    harness = start_harness(EDGE_POLICY_SECONDS=LONG_INTERVAL_SECONDS)
    served = harness.handlers.policies_served
    with harness.sender() as sender:
        for n in range(3):
            assert sender.post("unknown").status == "unknown_token"
            assert harness.handlers.policies_served == served + n + 1


def test_many_unknown_tokens_share_a_few_fetches(start_harness: Callable[..., EdgeHarness]) -> None:
    """At most about ten a second."""
    harness = start_harness(EDGE_POLICY_SECONDS=LONG_INTERVAL_SECONDS)
    served, began = harness.handlers.policies_served, time.monotonic()

    def post(number: int) -> set[str]:
        with harness.sender() as sender:
            return {sender.post(f"stranger-{number}-{step}").status for step in range(5)}

    with ThreadPoolExecutor(16) as threads:
        assert set().union(*threads.map(post, range(16))) == {"unknown_token"}
    assert harness.handlers.policies_served - served <= 10 * (time.monotonic() - began) + 3


def test_a_token_expires_at_its_time(harness: EdgeHarness) -> None:
    """Rotation: the old URL works until then. The time may be written with any offset."""
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    vietnam = (soon + timedelta(hours=7)).strftime("%Y-%m-%dT%H:%M:%S.%f+07:00")
    past = (datetime.now(UTC) - timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    harness.connection.tokens = {TOKEN: None, "old": vietnam, "older": past}
    harness.wait_for_new_policy()
    with harness.sender() as sender:
        assert sender.post("old").status == "received"
        assert sender.post("older").status == "unknown_token"
        eventually(lambda: sender.post("old").status == "unknown_token")
        assert datetime.now(UTC) > soon - timedelta(seconds=1)
        assert sender.post(TOKEN).status == "received"


def test_a_revoked_token_stops_with_the_next_policy(harness: EdgeHarness) -> None:
    harness.handlers.connections = []
    with harness.sender() as sender:
        eventually(lambda: sender.post(TOKEN).status == "unknown_token")


def test_the_policy_stays_active_without_the_handlers_even_after_a_restart(harness: EdgeHarness) -> None:
    """Read from disk: signatures are still demanded, valid deliveries stored, wrong ones refused."""
    harness.connection.webhook_secrets, harness.connection.signature_mode = [b"s"], "enforce"
    harness.wait_for_new_policy()
    harness.stop_upstreams()
    harness.restart()
    with harness.sender() as sender:
        assert sender.post(TOKEN, b"{}").status == "timestamp_out_of_window"
        assert sender.post(TOKEN, b"{}", signed(b"s", b"{}")).status == "spooled"
        assert sender.post("unknown", b"{}").status == "spooled"
    assert (len(harness.edge.held()), len(harness.edge.held("unknown"))) == (1, 1)


def test_a_malformed_policy_is_rejected(harness: EdgeHarness) -> None:
    """The last valid policy stays active and the failure is counted."""
    good = json.loads(harness.handlers.policy())
    first = good["connections"][0]

    def with_first(**changes: object) -> bytes:
        return json.dumps({**good, "connections": [{**first, **changes}]}).encode()

    broken = [
        b"", b"[]", b'{"version":"1"}', b'{"connections":[{"id":"1"}]}',
        *(with_first(**{key: None}) for key in first if key != "header_name"),
        with_first(token_sha256=[{"sha256": "ab", "expires_at": None}]),
        with_first(token_sha256=[{"sha256": "a" * 64, "expires_at": 7}]),
        *(with_first(token_sha256=[{"sha256": "a" * 64, "expires_at": time}]) for time in NO_TIMES),
        with_first(signature_mode="maybe"),
        with_first(webhook_secrets=["*"]),
        with_first(allowed_ip_ranges=["x/y"]),
    ]  # fmt: skip
    with harness.sender() as sender:
        for body in broken:
            failed = harness.metric(FAILED)
            harness.handlers.policy_override = Answer(200, body)
            wait_for_failed_fetches(harness, failed + 2)
            assert sender.post(TOKEN).status == "received", body
            assert sender.post("possibly-new-token").status == "spooled", body
        harness.handlers.policy_override = Answer(401)
        assert sender.post(TOKEN).status == "received"
    harness.handlers.policy_override = None
    eventually(lambda: not harness.edge.held("unknown"))


def test_unknown_tokens_wait_in_their_own_folder_while_the_handlers_are_down(harness: EdgeHarness) -> None:
    """Later a token that became valid is delivered, an unknown one dropped, a wrong proof refused."""
    harness.stop_upstreams()
    body = b'{"id":"7"}'
    with harness.sender() as sender:
        assert sender.post("later", body).status == "spooled"
        assert sender.post("strict", body, signed(b"s", body)).status == "spooled"
        assert sender.post("strict", b"forged", signed(b"x", b"forged")).status == "spooled"
        assert sender.post("headed", body, {"Authorization": LONG_SECRET.decode()}).status == "spooled"
        assert sender.post("unknown", body).status == "spooled"
    assert len(harness.edge.held("unknown")) == 5
    assert not harness.edge.held()
    strict = Connection(id="3", tokens={"strict": None}, signature_mode="enforce", webhook_secrets=[b"s"])
    headed = Connection(
        id="4", tokens={"headed": None}, signature_mode="enforce", header_secrets=[LONG_SECRET],
        header_name="Authorization",
    )  # fmt: skip
    harness.handlers.connections += [Connection(id="2", tokens={"later": None}), strict, headed]
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held("unknown"))
    deliveries = harness.hasura.deliveries + harness.handlers.deliveries
    tokens = ("headed", "later", "strict")
    assert {(delivery.token_sha256, delivery.raw) for delivery in deliveries} == {
        (hashlib.sha256(token.encode()).hexdigest(), body) for token in tokens
    }
    assert len(deliveries) == len(tokens)
    assert harness.metric('pancake_edge_drained_total{folder="unknown",outcome="unknown_token"}') == 1
    assert harness.metric('pancake_edge_drained_total{folder="unknown",outcome="hmac_invalid"}') == 1


def test_an_unknown_token_is_answered_before_its_body_is_read(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """Strangers fill neither unknown/ nor memory with slow bodies."""
    harness = start_harness(EDGE_POLICY_SECONDS=LONG_INTERVAL_SECONDS)
    head = b"POST /api/pancake/record/unknown HTTP/1.0\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", harness.edge.port), timeout=2) as connection:
        connection.sendall(head)
        assert connection.recv(1000).endswith(b'{"status":"unknown_token"}')
    assert not harness.edge.held("unknown")


def restart_with(harness: EdgeHarness, keys: str) -> None:
    """Restart the edge with other EDGE_STATE_KEYS and wait until it has a policy."""
    harness.edge.stop()
    harness.edge.state_keys = keys
    harness.edge.bring_up()


def test_after_a_change_of_keys_the_policy_is_encrypted_with_the_new_key(harness: EdgeHarness) -> None:
    """The old key can then be removed, even while the handlers are down."""
    old, new = harness.edge.state_keys, state_key("k2")
    restart_with(harness, f"{new},{old}")
    eventually(lambda: (harness.edge.state / "policy.sealed").read_bytes().startswith(b"PE1\x02k2"))
    harness.stop_upstreams()
    restart_with(harness, new)
    with harness.sender() as sender:
        assert sender.post(TOKEN).status == "spooled"
    assert not harness.edge.held("unknown")


def test_the_folder_of_unknown_tokens_is_small_and_then_sheds(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """Strangers cannot fill the disk. The answer is 200 in both cases."""
    harness = start_harness(EDGE_UNKNOWN_MAX_FILES="3")
    harness.stop_upstreams()
    with harness.sender() as sender:
        replies = [sender.post("unknown") for _ in range(5)]
    assert [reply.status for reply in replies] == ["spooled"] * 3 + ["shed"] * 2
    assert {reply.code for reply in replies} == {200}


def test_handlers_that_hang_do_not_delay_valid_tokens(start_harness: Callable[..., EdgeHarness]) -> None:
    """Only the sender with the unknown token waits."""
    harness = start_harness(EDGE_POLICY_SECONDS=LONG_INTERVAL_SECONDS)
    harness.handlers.policy_override = Answer(200, b"{}", delay_seconds=30)
    answers: list[str] = []

    def post_unknown() -> None:
        with harness.sender() as sender:
            answers.append(sender.post("unknown").status)

    stranger = threading.Thread(target=post_unknown)
    stranger.start()
    began = time.monotonic()
    with harness.sender() as sender:
        assert sender.post(TOKEN).status == "received"
    assert time.monotonic() - began < 0.5
    stranger.join()
    assert answers == ["spooled"]


def test_unknown_token_from_the_handlers_overrides_the_policy(harness: EdgeHarness) -> None:
    """It is the answer, and nothing is spooled."""
    harness.hasura.status = "unknown_token"
    with harness.sender() as sender:
        assert sender.post(TOKEN).status == "unknown_token"
    assert not harness.edge.held()


def test_no_log_holds_a_token_or_a_body(harness: EdgeHarness) -> None:
    """Neither access log nor error log, with and without upstreams."""
    with harness.sender() as sender:
        sender.post(TOKEN, b"secret body")
        sender.post("stranger-token-value", b"secret body")
        sender.post(TOKEN, b"z" * 300 * 1024)
        harness.stop_upstreams()
        sender.post(TOKEN, b"secret body")
        sender.post("stranger-token-value", b"secret body")
    outcomes = ["received", "unknown_token", "too_large", "spooled", "spooled"]
    eventually(lambda: len(harness.edge.access_log().splitlines()) == len(outcomes))
    text = harness.edge.access_log() + harness.edge.errors()
    for hidden in (TOKEN, "stranger-token-value", "secret body", hashlib.sha256(TOKEN.encode()).hexdigest()):
        assert hidden not in text
    entries = [json.loads(line) for line in harness.edge.access_log().splitlines()]
    assert [entry["outcome"] for entry in entries] == outcomes
    assert entries[0]["connection"] == harness.connection.id
    assert entries[0]["upstream"] == "hasura"
    assert entries[0]["source_ip"] == "127.0.0.1"


def test_after_a_fetch_without_an_answer_other_strangers_do_not_wait(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    harness = start_harness(EDGE_POLICY_SECONDS=LONG_INTERVAL_SECONDS)
    harness.handlers.policy_override = Answer(200, b"{}", delay_seconds=30)
    with harness.sender() as sender:
        assert sender.post("unknown").status == "spooled"
        began = time.monotonic()
        assert sender.post("unknown").status == "spooled"
    assert time.monotonic() - began < 0.5
