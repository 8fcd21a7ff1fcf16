"""What a delivery must prove: each signature, timestamp, secret and mode has one exact answer."""

import time
from itertools import product

from tests.edge.conftest import TOKEN, Stage
from tests.edge.fakes import Connection
from tests.edge.sender import Reply, signed

CURRENT, PREVIOUS, WRONG = b"current secret", b"previous secret", b"a secret of nobody"
MODES = ("off", "monitor", "enforce")
SHIFTS = (-360, -240, 240, 360)
SIGNERS = {"current": CURRENT, "previous": PREVIOUS, "wrong": WRONG, "missing": None}
BODY = '{"id":"1","name":"Nguyễn Văn A"}'.encode()


def connection_for(
    number: int, signature: str, allowlist: str = "off", ranges: list[str] | None = None
) -> Connection:
    """A connection of its own per case: token-<number>."""
    return Connection(
        id=f"00000000-0000-0000-0000-{number:012d}",
        tokens={f"token-{number}": None},
        signature_mode=signature,
        allowlist_mode=allowlist,
        allowed_ip_ranges=ranges or [],
        webhook_secrets=[CURRENT, PREVIOUS],
    )


def expected(mode: str, shift: int, signer: str) -> str:
    """The specification, in five lines."""
    if mode == "enforce" and abs(shift) > 300:
        return "timestamp_out_of_window"
    if mode == "enforce" and signer in ("wrong", "missing"):
        return "hmac_invalid"
    return "received"


def test_signature_by_timestamp_by_secret_by_mode(stage: Stage) -> None:
    """48 cases: exact answers, always 200; stored exactly if not refused; every refusal counted."""
    cases = list(product(MODES, SHIFTS, SIGNERS))
    stage.handlers.connections = [connection_for(n, mode) for n, (mode, _, _) in enumerate(cases)]
    wanted, got, stored = [], [], []
    with stage.sender() as sender:
        for number, (mode, shift, signer) in enumerate(cases):
            body = BODY + str(number).encode()
            headers = signed(SIGNERS[signer] or CURRENT, body, at=time.time() + shift)
            if SIGNERS[signer] is None:
                del headers["X-Pancake-Signature"]
            reply = sender.post(f"token-{number}", body, headers)
            got.append((reply.code, reply.status))
            wanted.append((200, expected(mode, shift, signer)))
            if wanted[-1][1] == "received":
                stored.append(body)
    assert got == wanted
    assert stage.bodies == stored
    for outcome in ("hmac_invalid", "timestamp_out_of_window"):
        series = f'pancake_webhook_requests_total{{hop="edge",status="{outcome}",code="200"}}'
        assert stage.metric(series) == [status for _, status in wanted].count(outcome)
        assert stage.metric(f'pancake_edge_monitored_total{{check="{outcome}"}}') == [
            expected("enforce", shift, signer) for mode, shift, signer in cases if mode == "monitor"
        ].count(outcome)


def test_allowlist_by_mode(stage: Stage) -> None:
    """Addresses and ranges, inside and outside; enforce without a list lets nobody in."""
    cases = [
        (mode, ranges, address)
        for mode in MODES
        for ranges, address in product(
            ([], ["127.0.0.8/30"], ["10.0.0.1", "127.0.0.9"]), ("127.0.0.9", "127.0.0.12")
        )
    ]
    stage.handlers.connections = [
        connection_for(number, "off", mode, ranges) for number, (mode, ranges, _) in enumerate(cases)
    ]
    for number, (mode, ranges, address) in enumerate(cases):
        inside = bool(ranges) and address == "127.0.0.9"
        with stage.sender(address) as sender:
            reply = sender.post(f"token-{number}", str(number).encode())
        refused = mode == "enforce" and not inside
        assert (reply.code, reply.status) == (200, "ip_not_allowed" if refused else "received"), (
            mode,
            ranges,
            address,
        )
        assert (str(number).encode() in stage.bodies) is not refused
    assert stage.metric('pancake_webhook_requests_total{hop="edge",status="ip_not_allowed",code="200"}') == 4
    assert stage.metric('pancake_edge_monitored_total{check="ip_not_allowed"}') == 4


def test_malformed_proofs_are_refused_like_wrong_ones(stage: Stage) -> None:
    """Missing or no number: out of window, whatever the signature; every odd signature: invalid."""
    stage.connection.webhook_secrets = [CURRENT]
    stage.connection.signature_mode = "enforce"
    stage.learn()
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
    ]
    invalid: list[str | None] = [
        None, "", signature[:-1], signature + "0", "g" + signature[1:], "sha256=" + signature,
        signature[::-1],
        "0" * 64,
    ]  # fmt: skip
    with stage.sender() as sender:
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
    assert stage.bodies == [BODY]


def test_a_shared_secret_in_a_header_of_the_connections_choice(stage: Stage) -> None:
    """What Pancake can send today: a custom header, two values valid during rotation, same modes."""
    stage.connection.header_secrets = [CURRENT, PREVIOUS]
    stage.connection.header_name = "X-Diva-Key"
    cases = [
        (CURRENT, "received"),
        (PREVIOUS, "received"),
        (WRONG, "secret_invalid"),
        (None, "secret_invalid"),
    ]
    for mode in MODES:
        stage.connection.signature_mode = mode
        stage.learn()
        with stage.sender() as sender:
            for secret, strict in cases:
                headers = {} if secret is None else {"X-Diva-Key": secret.decode()}
                wanted = strict if mode == "enforce" else "received"
                assert sender.post(TOKEN, b"{}", headers).status == wanted, (mode, secret)
    assert stage.metric('pancake_edge_monitored_total{check="secret_invalid"}') == 2
    assert len(stage.bodies) == 4 + 4 + 2


def test_with_both_secrets_set_both_must_be_proven(stage: Stage) -> None:
    """A header secret does not replace a signature that is demanded, nor the other way round."""
    stage.connection.webhook_secrets, stage.connection.header_secrets = [CURRENT], [PREVIOUS]
    stage.connection.signature_mode = "enforce"
    stage.learn()
    header = {"X-Pancake-Secret": PREVIOUS.decode()}
    with stage.sender() as sender:
        assert sender.post(TOKEN, BODY, signed(CURRENT, BODY)).status == "secret_invalid"
        assert sender.post(TOKEN, BODY, header).status == "timestamp_out_of_window"
        assert sender.post(TOKEN, BODY, {**signed(CURRENT, BODY), **header}).status == "received"


def test_enforce_without_any_secret_lets_nobody_in(stage: Stage) -> None:
    """A mode that demands a proof nobody can give fails closed, and says so."""
    stage.connection.signature_mode = "enforce"
    stage.learn()
    with stage.sender() as sender:
        reply = sender.post(TOKEN, BODY, signed(CURRENT, BODY))
        assert reply == Reply(200, b'{"status":"hmac_invalid"}')
    assert not stage.bodies


def test_refused_deliveries_spend_neither_quota_nor_budget(stage: Stage) -> None:
    """Whoever knows a token but no secret cannot crowd out Pancake from the same address."""
    stage.connection.webhook_secrets = [CURRENT]
    stage.connection.signature_mode = "enforce"
    stage.learn()
    stage.limit_and_wait(rate=1, burst=3)
    with stage.sender() as sender:
        assert {sender.post(TOKEN, BODY).status for _ in range(50)} == {"timestamp_out_of_window"}
        assert sender.post(TOKEN, BODY, signed(CURRENT, BODY)).status == "received"
    assert stage.metric(f'pancake_edge_budget_used{{connection="{stage.connection.id}"}}') == 0
