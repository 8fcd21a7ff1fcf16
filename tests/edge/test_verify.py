"""Proofs: the exact outcome for each signature, timestamp, secret, address and mode."""

import time
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from tests.support.edge.harness import TOKEN, EdgeHarness
from tests.support.edge.proofs import (
    CURRENT,
    MODES,
    PREVIOUS,
    SHIFTS_SECONDS,
    SIGNERS,
    WRONG,
    connection_for,
    expected_outcome,
)
from tests.support.edge.sender import Reply, signed
from tests.support.waiting import eventually

BODY = '{"id":"1","name":"Nguyễn Văn A"}'.encode()


def test_signature_by_timestamp_by_secret_by_mode(harness: EdgeHarness) -> None:
    """48 cases: always 200, stored unless refused, every refusal counted."""
    cases = list(product(MODES, SHIFTS_SECONDS, SIGNERS))
    harness.handlers.connections = [connection_for(n, mode) for n, (mode, _, _) in enumerate(cases)]
    wanted, got, stored = [], [], []
    with harness.sender() as sender:
        for number, (mode, shift, signer) in enumerate(cases):
            body = BODY + str(number).encode()
            headers = signed(SIGNERS[signer] or CURRENT, body, at=time.time() + shift)
            if SIGNERS[signer] is None:
                del headers["X-Pancake-Signature"]
            reply = sender.post(f"token-{number}", body, headers)
            got.append((reply.code, reply.status))
            wanted.append((200, expected_outcome(mode, shift, signer)))
            if wanted[-1][1] == "received":
                stored.append(body)
    assert got == wanted
    assert harness.bodies == stored
    for outcome in ("hmac_invalid", "timestamp_out_of_window"):
        series = f'pancake_webhook_requests_total{{hop="edge",status="{outcome}",code="200"}}'
        assert harness.metric(series) == [status for _, status in wanted].count(outcome)
        assert harness.metric(f'pancake_edge_monitored_total{{check="{outcome}"}}') == [
            expected_outcome("enforce", shift, signer) for mode, shift, signer in cases if mode == "monitor"
        ].count(outcome)


def test_allowlist_by_mode(harness: EdgeHarness) -> None:
    """Addresses and ranges, inside and outside; enforce with an empty list refuses every address."""
    cases = [
        (mode, ranges, address)
        for mode in MODES
        for ranges, address in product(
            ([], ["127.0.0.8/30"], ["10.0.0.1", "127.0.0.9"]), ("127.0.0.9", "127.0.0.12")
        )
    ]
    harness.handlers.connections = [
        connection_for(number, "off", mode, ranges) for number, (mode, ranges, _) in enumerate(cases)
    ]
    for number, (mode, ranges, address) in enumerate(cases):
        inside = bool(ranges) and address == "127.0.0.9"
        with harness.sender(address) as sender:
            reply = sender.post(f"token-{number}", str(number).encode())
        refused = mode == "enforce" and not inside
        assert (reply.code, reply.status) == (200, "ip_not_allowed" if refused else "received"), (
            mode,
            ranges,
            address,
        )
        assert (str(number).encode() in harness.bodies) is not refused
    assert (
        harness.metric('pancake_webhook_requests_total{hop="edge",status="ip_not_allowed",code="200"}') == 4
    )
    assert harness.metric('pancake_edge_monitored_total{check="ip_not_allowed"}') == 4


def test_malformed_proofs_are_refused_like_wrong_ones(harness: EdgeHarness) -> None:
    """A missing or malformed timestamp is out of the window; a malformed signature is invalid."""
    harness.connection.webhook_secrets = [CURRENT]
    harness.connection.signature_mode = "enforce"
    harness.wait_for_new_policy()
    good = signed(CURRENT, BODY)
    stamp, signature = good["X-Pancake-Timestamp"], good["X-Pancake-Signature"]
    out_of_window: list[str | None] = [
        None,
        "",
        "now",
        "0x10",
        "-5",
        "nan",
        "inf",
        "1e9",
        stamp + "000",
        stamp + "x",
        stamp + ".",
        stamp + ".0",
    ]
    invalid: list[str | None] = [
        None, "", signature[:-1], signature + "0", "g" + signature[1:], "sha256=" + signature,
        signature[::-1],
        "0" * 64,
    ]  # fmt: skip
    with harness.sender() as sender:
        for text in out_of_window:
            headers = {"X-Pancake-Signature": signature} | (
                {} if text is None else {"X-Pancake-Timestamp": text}
            )
            assert sender.post(TOKEN, BODY, headers).body == b'{"status":"timestamp_out_of_window"}', text
        for text in invalid:
            headers = {"X-Pancake-Timestamp": stamp} | ({} if text is None else {"X-Pancake-Signature": text})
            assert sender.post(TOKEN, BODY, headers).status == "hmac_invalid", text
        assert sender.post(TOKEN, BODY + b" ", good).status == "hmac_invalid"
        assert (
            sender.post(TOKEN, BODY, {**good, "X-Pancake-Signature": signature.upper()}).status == "received"
        )
    assert harness.bodies == [BODY]


def test_a_shared_secret_in_the_header_of_the_connection(harness: EdgeHarness) -> None:
    """The proof that Pancake can send today. During rotation two values are valid."""
    harness.connection.header_secrets = [CURRENT, PREVIOUS]
    harness.connection.header_name = "X-Diva-Key"
    cases = [
        (CURRENT, "received"),
        (PREVIOUS, "received"),
        (WRONG, "secret_invalid"),
        (None, "secret_invalid"),
    ]
    for mode in MODES:
        harness.connection.signature_mode = mode
        harness.wait_for_new_policy()
        with harness.sender() as sender:
            for secret, strict in cases:
                headers = {} if secret is None else {"X-Diva-Key": secret.decode()}
                wanted = strict if mode == "enforce" else "received"
                assert sender.post(TOKEN, b"{}", headers).status == wanted, (mode, secret)
    assert harness.metric('pancake_edge_monitored_total{check="secret_invalid"}') == 2
    assert len(harness.bodies) == 4 + 4 + 2


def test_a_signature_proves_one_body_only(harness: EdgeHarness) -> None:
    """timestamp.body is signed: a timestamp with a fraction could take its digits from another body."""
    harness.connection.webhook_secrets, harness.connection.signature_mode = [CURRENT], "enforce"
    harness.wait_for_new_policy()
    proof = signed(CURRENT, b"5." + BODY)
    moved = proof | {"X-Pancake-Timestamp": proof["X-Pancake-Timestamp"] + ".5"}
    with harness.sender() as sender:
        assert sender.post(TOKEN, b"5." + BODY, proof).status == "received"
        assert sender.post(TOKEN, BODY, moved).status == "timestamp_out_of_window"
    assert harness.bodies == [b"5." + BODY]


@pytest.mark.parametrize("kind", ["webhook_secrets", "header_secrets"])
def test_a_previous_secret_ends_at_its_time_also_if_no_new_policy_comes(
    harness: EdgeHarness, kind: str
) -> None:
    """By the clock of the edge: the policy still lists the secret."""
    setattr(harness.connection, kind, [CURRENT, PREVIOUS])
    ends = datetime.now(UTC) + timedelta(seconds=8)
    harness.connection.secret_ends, harness.connection.signature_mode = [None, ends.isoformat()], "enforce"
    harness.wait_for_new_policy()

    def answer(secret: bytes) -> str:
        headers = {"X-Pancake-Secret": secret.decode()} if kind == "header_secrets" else signed(secret, BODY)
        with harness.sender() as sender:
            return sender.post(TOKEN, BODY, headers).status

    refused = "secret_invalid" if kind == "header_secrets" else "hmac_invalid"
    assert answer(PREVIOUS) == "received"
    eventually(lambda: answer(PREVIOUS) == refused)
    assert datetime.now(UTC) >= ends - timedelta(seconds=1), "the edge drops the fraction"
    assert answer(CURRENT) == "received"


def test_with_both_secrets_set_both_are_demanded(harness: EdgeHarness) -> None:
    """Neither proof replaces the other."""
    harness.connection.webhook_secrets, harness.connection.header_secrets = [CURRENT], [PREVIOUS]
    harness.connection.signature_mode = "enforce"
    harness.wait_for_new_policy()
    header = {"X-Pancake-Secret": PREVIOUS.decode()}
    with harness.sender() as sender:
        assert sender.post(TOKEN, BODY, signed(CURRENT, BODY)).status == "secret_invalid"
        assert sender.post(TOKEN, BODY, header).status == "timestamp_out_of_window"
        assert sender.post(TOKEN, BODY, {**signed(CURRENT, BODY), **header}).status == "received"


def test_enforce_without_a_secret_refuses_every_delivery(harness: EdgeHarness) -> None:
    harness.connection.signature_mode = "enforce"
    harness.wait_for_new_policy()
    with harness.sender() as sender:
        reply = sender.post(TOKEN, BODY, signed(CURRENT, BODY))
        assert reply == Reply(200, b'{"status":"hmac_invalid"}')
    assert not harness.bodies


def test_refused_deliveries_use_neither_rate_nor_budget(harness: EdgeHarness) -> None:
    """A sender that knows a token but no secret takes no rate from Pancake at the same address."""
    harness.connection.webhook_secrets = [CURRENT]
    harness.connection.signature_mode = "enforce"
    harness.wait_for_new_policy()
    harness.set_limits(rate=1, burst=3)
    with harness.sender() as sender:
        assert {sender.post(TOKEN, BODY).status for _ in range(50)} == {"timestamp_out_of_window"}
        assert sender.post(TOKEN, BODY, signed(CURRENT, BODY)).status == "received"
    assert harness.budget_used() == 0
