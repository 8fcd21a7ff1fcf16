"""Policy: the handlers say which tokens are valid; the edge keeps to it when they are away."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sandbox.edge.nginx import state_key
from tests.edge.conftest import TOKEN, Stage, eventually
from tests.edge.fakes import Answer, Connection
from tests.edge.sender import signed
from tests.edge.test_spool import away, back

SLOW_POLICY = "3600"
LONG_SECRET = b"a-long-secret" * 100
FAILED = 'pancake_edge_policy_refresh_total{result="failed"}'


def failures_reach(stage: Stage, n: float) -> None:
    """Wait until that many fetches of the policy have failed."""
    eventually(lambda: stage.metric(FAILED) >= n)


def test_a_new_token_is_known_at_once(nginx: Callable[..., Stage]) -> None:
    """An unknown token makes the edge ask; it does not wait for the next round."""
    stage = nginx(EDGE_POLICY_SECONDS=SLOW_POLICY)
    stage.handlers.connections.append(Connection(id="2", tokens={"brand-new": None}))
    with stage.sender() as sender:
        assert sender.post("brand-new").status == "received"


def test_unknown_is_said_only_after_asking(nginx: Callable[..., Stage]) -> None:
    """Each unknown token is confirmed by a policy fetched after its arrival."""
    stage = nginx(EDGE_POLICY_SECONDS=SLOW_POLICY)
    served = stage.handlers.policies_served
    with stage.sender() as sender:
        for n in range(3):
            assert sender.post("nobody").status == "unknown_token"
            assert stage.handlers.policies_served == served + n + 1


def test_many_unknown_tokens_share_a_few_questions(nginx: Callable[..., Stage]) -> None:
    """At most about ten fetches a second, however many strangers knock."""
    stage = nginx(EDGE_POLICY_SECONDS=SLOW_POLICY)
    served, began = stage.handlers.policies_served, time.monotonic()

    def knock(number: int) -> set[str]:
        with stage.sender() as sender:
            return {sender.post(f"stranger-{number}-{step}").status for step in range(5)}

    with ThreadPoolExecutor(16) as threads:
        assert set().union(*threads.map(knock, range(16))) == {"unknown_token"}
    assert stage.handlers.policies_served - served <= 10 * (time.monotonic() - began) + 3


def test_a_token_expires_when_the_handlers_said(stage: Stage) -> None:
    """Rotation: the old URL works until its time, also in another time zone's writing."""
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    vietnam = (soon + timedelta(hours=7)).strftime("%Y-%m-%dT%H:%M:%S.%f+07:00")
    past = (datetime.now(UTC) - timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    stage.connection.tokens = {TOKEN: None, "old": vietnam, "older": past}
    stage.learn()
    with stage.sender() as sender:
        assert sender.post("old").status == "received"
        assert sender.post("older").status == "unknown_token"
        eventually(lambda: sender.post("old").status == "unknown_token")
        assert datetime.now(UTC) > soon - timedelta(seconds=1)
        assert sender.post(TOKEN).status == "received"


def test_a_revoked_token_stops_with_the_next_policy(stage: Stage) -> None:
    """Removing a connection is enough."""
    stage.handlers.connections = []
    with stage.sender() as sender:
        eventually(lambda: sender.post(TOKEN).status == "unknown_token")


def test_the_policy_stays_in_force_when_the_handlers_are_away_even_after_a_restart(stage: Stage) -> None:
    """From disk: signatures are still demanded, valid deliveries kept, wrong ones refused."""
    stage.connection.webhook_secrets, stage.connection.signature_mode = [b"s"], "enforce"
    stage.learn()
    away(stage)
    stage.edge.kill()
    stage.edge.start()
    stage.edge.wait_ready()
    with stage.sender() as sender:
        assert sender.post(TOKEN, b"{}").status == "timestamp_out_of_window"
        assert sender.post(TOKEN, b"{}", signed(b"s", b"{}")).status == "spooled"
        assert sender.post("nobody", b"{}").status == "spooled"
    assert (len(stage.edge.held()), len(stage.edge.held("unknown"))) == (1, 1)


def test_a_policy_that_makes_no_sense_is_not_taken(stage: Stage) -> None:
    """Whatever is wrong with it, the last good one stays in force and the failure is counted."""
    good = json.loads(stage.handlers._policy())
    first = good["connections"][0]

    def with_first(**changes: object) -> bytes:
        return json.dumps({**good, "connections": [{**first, **changes}]}).encode()

    broken = [
        b"", b"[]", b'{"version":"1"}', b'{"connections":[{"id":"1"}]}',
        *(with_first(**{key: None}) for key in first if key != "header_name"),
        with_first(token_sha256=[{"sha256": "ab", "expires_at": None}]),
        with_first(token_sha256=[{"sha256": "a" * 64, "expires_at": 7}]),
        with_first(signature_mode="maybe"),
        with_first(webhook_secrets=["*"]),
        with_first(allowed_ip_ranges=["x/y"]),
    ]  # fmt: skip
    with stage.sender() as sender:
        for body in broken:
            failed = stage.metric(FAILED)
            stage.handlers.policy_override = Answer(200, body)
            failures_reach(stage, failed + 2)
            assert sender.post(TOKEN).status == "received", body
            assert sender.post("perhaps-a-new-token").status == "spooled", body
        stage.handlers.policy_override = Answer(401)
        assert sender.post(TOKEN).status == "received"
    stage.handlers.policy_override = None
    eventually(lambda: not stage.edge.held("unknown"))


def test_unknown_tokens_wait_in_a_spool_of_their_own_while_nobody_can_be_asked(stage: Stage) -> None:
    """Then: a token that became valid is delivered, an unknown one ends there, a wrong proof is refused."""
    away(stage)
    body = b'{"id":"7"}'
    with stage.sender() as sender:
        assert sender.post("later", body).status == "spooled"
        assert sender.post("strict", body, signed(b"s", body)).status == "spooled"
        assert sender.post("strict", b"forged", signed(b"x", b"forged")).status == "spooled"
        assert sender.post("headed", body, {"Authorization": LONG_SECRET.decode()}).status == "spooled"
        assert sender.post("nobody", body).status == "spooled"
    assert len(stage.edge.held("unknown")) == 5
    assert not stage.edge.held()
    strict = Connection(id="3", tokens={"strict": None}, signature_mode="enforce", webhook_secrets=[b"s"])
    headed = Connection(
        id="4", tokens={"headed": None}, signature_mode="enforce", header_secrets=[LONG_SECRET],
        header_name="Authorization",
    )  # fmt: skip
    stage.handlers.connections += [Connection(id="2", tokens={"later": None}), strict, headed]
    back(stage)
    eventually(lambda: not stage.edge.held("unknown"))
    deliveries = stage.hasura.deliveries + stage.handlers.deliveries
    assert sorted((delivery.token, delivery.raw) for delivery in deliveries) == [
        ("headed", body),
        ("later", body),
        ("strict", body),
    ]
    assert stage.metric('pancake_edge_drained_total{folder="unknown",outcome="unknown_token"}') == 1
    assert stage.metric('pancake_edge_drained_total{folder="unknown",outcome="hmac_invalid"}') == 1


def test_a_slow_body_does_not_make_a_token_one_that_nobody_could_be_asked_about(
    nginx: Callable[..., Stage],
) -> None:
    """They are asked before the body is read: strangers fill neither unknown/ nor memory."""
    stage = nginx(EDGE_POLICY_SECONDS=SLOW_POLICY)
    head = b"POST /api/pancake/record/nobody HTTP/1.0\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", stage.edge.port), timeout=2) as connection:
        connection.sendall(head)
        assert connection.recv(1000).endswith(b'{"status":"unknown_token"}')
    assert not stage.edge.held("unknown")


def restart_with(stage: Stage, keys: str) -> None:
    """As after a change of EDGE_STATE_KEYS; returns once a policy is in force."""
    stage.edge.stop()
    stage.edge.state_keys = keys
    stage.edge.bring_up()


def test_after_a_change_of_keys_the_policy_on_disk_is_sealed_anew(stage: Stage) -> None:
    """Then the old key may go, whatever happens to the handlers meanwhile."""
    old, new = stage.edge.state_keys, state_key("k2")
    restart_with(stage, f"{new},{old}")
    eventually(lambda: (stage.edge.state / "policy.sealed").read_bytes().startswith(b"PE1\x02k2"))
    away(stage)
    restart_with(stage, new)
    with stage.sender() as sender:
        assert sender.post(TOKEN).status == "spooled"
    assert not stage.edge.held("unknown")


def test_the_spool_of_unknown_tokens_is_small_and_then_sheds(nginx: Callable[..., Stage]) -> None:
    """Strangers cannot fill the disk, and nobody hears an error from it."""
    stage = nginx(EDGE_UNKNOWN_MAX_FILES="3")
    away(stage)
    with stage.sender() as sender:
        replies = [sender.post("nobody") for _ in range(5)]
    assert [reply.status for reply in replies] == ["spooled"] * 3 + ["shed"] * 2
    assert {reply.code for reply in replies} == {200}


def test_handlers_that_hang_do_not_hold_up_valid_tokens(nginx: Callable[..., Stage]) -> None:
    """Asking about a stranger takes its time; others do not wait for it."""
    stage = nginx(EDGE_POLICY_SECONDS=SLOW_POLICY)
    stage.handlers.policy_override = Answer(200, b"{}", after=30)
    answers: list[str] = []

    def knock() -> None:
        with stage.sender() as sender:
            answers.append(sender.post("nobody").status)

    stranger = threading.Thread(target=knock)
    stranger.start()
    began = time.monotonic()
    with stage.sender() as sender:
        assert sender.post(TOKEN).status == "received"
    assert time.monotonic() - began < 0.5
    stranger.join()
    assert answers == ["spooled"]


def test_a_final_word_of_the_handlers_beats_the_policy(stage: Stage) -> None:
    """They no longer know the token: that is the answer, and nothing is spooled."""
    stage.hasura.status = "unknown_token"
    with stage.sender() as sender:
        assert sender.post(TOKEN).status == "unknown_token"
    assert not stage.edge.held()


def test_no_token_and_no_body_in_any_log(stage: Stage) -> None:
    """Access log and error log, on good days and on bad ones."""
    with stage.sender() as sender:
        sender.post(TOKEN, b"secret body")
        sender.post("nobody-token-value", b"secret body")
        sender.post(TOKEN, b"z" * 300 * 1024)
        away(stage)
        sender.post(TOKEN, b"secret body")
        sender.post("nobody-token-value", b"secret body")
    outcomes = ["received", "unknown_token", "too_large", "spooled", "spooled"]
    eventually(lambda: len(stage.edge.access_log().splitlines()) == len(outcomes))
    text = stage.edge.access_log() + stage.edge.errors()
    for hidden in (TOKEN, "nobody-token-value", "secret body", hashlib.sha256(TOKEN.encode()).hexdigest()):
        assert hidden not in text
    entries = [json.loads(line) for line in stage.edge.access_log().splitlines()]
    assert [entry["outcome"] for entry in entries] == outcomes
    assert entries[0]["connection"] == stage.connection.id
    assert entries[0]["upstream"] == "hasura"
    assert entries[0]["source_ip"] == "127.0.0.1"
