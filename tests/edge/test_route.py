"""The one route, and requests of every kind to it."""

import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.support.edge.harness import TOKEN, TOKEN_SHA256, EdgeHarness
from tests.support.edge.sender import Reply, raw_exchange, signed
from tests.support.waiting import eventually

RECEIVED = b'{"status":"received","event_id":1,"error_code":null}'
PATH = f"/api/pancake/record/{TOKEN}"


def post_raw(
    harness: EdgeHarness, head: str, body: bytes = b"", path: str = PATH, version: str = "1.1"
) -> bytes:
    """Send one request written by hand, with Connection: close. Return the raw answer."""
    text = f"POST {path} HTTP/{version}\r\nHost: edge\r\nConnection: close\r\n{head}\r\n"
    return raw_exchange(harness.edge.port, text.encode("latin-1") + body)


def code_of(answer: bytes) -> int:
    """Return the status code of a raw answer."""
    return int(answer.split(b" ", 2)[1])


def test_bodies_of_every_kind_and_size(harness: EdgeHarness) -> None:
    """Random bytes, 0 bytes, 255 KiB and exactly 256 KiB pass unchanged; 257 KiB is too large."""
    source = random.Random(3)
    bodies = [source.randbytes(1000), b"", b"\0" * 10, source.randbytes(255 * 1024), b"x" * 256 * 1024]
    with harness.sender() as sender:
        assert [sender.post(TOKEN, body).status for body in bodies] == ["received"] * 5
        reply = sender.post(TOKEN, b"x" * 257 * 1024)
        assert (reply.code, reply.status) == (200, "too_large")
        assert sender.post(TOKEN, b"after").status == "received"
    assert harness.bodies == [*bodies, b"after"]
    assert harness.metric('pancake_webhook_requests_total{hop="edge",status="too_large",code="200"}') == 1
    assert harness.budget_used() == 0


def test_chunked_bodies(harness: EdgeHarness) -> None:
    """The signature covers the whole body; the size limit applies as well."""
    harness.connection.webhook_secrets, harness.connection.signature_mode = [b"s"], "enforce"
    harness.wait_for_new_policy()
    body = b"{" + b"a" * 70000 + b"}"
    proof = "".join(f"{name}: {value}\r\n" for name, value in signed(b"s", body).items())
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1], body[1:50000], body[50000:], b"")
    )
    assert RECEIVED in post_raw(harness, proof + "Transfer-Encoding: chunked\r\n", chunks)
    assert harness.bodies == [body]
    many = b"10000\r\n" + b"z" * 65536 + b"\r\n"
    answer = post_raw(harness, "Transfer-Encoding: chunked\r\n", many * 5 + b"0\r\n\r\n")
    assert code_of(answer) == 200
    assert answer.endswith(b'{"status":"too_large"}')


def test_repeated_headers_prove_nothing(harness: EdgeHarness) -> None:
    """Two signatures or two timestamps are refused, even if one of them is right."""
    harness.connection.webhook_secrets, harness.connection.signature_mode = [b"s"], "enforce"
    harness.wait_for_new_policy()
    good = signed(b"s", b"{}")
    stamp = f"X-Pancake-Timestamp: {good['X-Pancake-Timestamp']}\r\n"
    right = f"X-Pancake-Signature: {good['X-Pancake-Signature']}\r\n"
    wrong = f"X-Pancake-Signature: {'0' * 64}\r\n"
    length = "Content-Length: 2\r\n"
    assert b'"hmac_invalid"' in post_raw(harness, length + stamp + right + wrong, b"{}")
    assert b'"hmac_invalid"' in post_raw(harness, length + stamp + wrong + right, b"{}")
    assert b'"timestamp_out_of_window"' in post_raw(harness, length + stamp + stamp + right, b"{}")
    assert code_of(post_raw(harness, length + length + stamp + right, b"{}")) in (200, 400)
    assert b'"received"' in post_raw(harness, length + stamp + right, b"{}")


def test_http_1_0(harness: EdgeHarness) -> None:
    answer = raw_exchange(
        harness.edge.port, f"POST {PATH} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    )
    assert code_of(answer) == 200
    assert answer.endswith(RECEIVED)


def test_a_slow_client_is_served_and_delays_no_other(harness: EdgeHarness) -> None:
    """Its body takes more than a second; meanwhile other requests are answered at once."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nConnection: close\r\nContent-Length: 5\r\n\r\n".encode()
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(
            raw_exchange, harness.edge.port, head, b"s", b"l", b"o", b"w", b"!", pause_seconds=0.25
        )
        began = time.monotonic()
        with harness.sender() as sender:
            assert sender.post(TOKEN, b"fast").status == "received"
        assert time.monotonic() - began < 1
        assert slow.result().endswith(RECEIVED)
    assert harness.bodies == [b"fast", b"slow!"]


def test_a_body_that_is_too_slow_ends_the_request(start_harness: Callable[..., EdgeHarness]) -> None:
    """Each byte arrives within client_body_timeout, the body does not; the failure is counted."""
    harness = start_harness(started=False)
    harness.edge.edit("request.lua", "BODY_TIMEOUT_SECONDS = 10", "BODY_TIMEOUT_SECONDS = 1")
    harness.edge.bring_up()
    head = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nContent-Length: 100\r\n\r\n".encode()
    began = time.monotonic()
    raw_exchange(harness.edge.port, head, *[b"."] * 30, pause_seconds=0.2)
    assert 1 <= time.monotonic() - began < 3
    eventually(lambda: harness.budget_used() == 1)
    timed_out = 'pancake_webhook_requests_total{hop="edge",status="client_timeout",code="408"}'
    assert harness.metric(timed_out) == 1
    assert not harness.bodies


def test_a_body_that_nginx_wrote_to_a_file_is_read_or_is_a_failure(
    start_harness: Callable[..., EdgeHarness],
) -> None:
    """A chunked body with long framing goes through a file. It must never become an empty delivery."""
    body = b"{" + b"a" * 60_000 + b"}"
    framed = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    harness = start_harness()
    assert RECEIVED in post_raw(harness, "Transfer-Encoding: chunked\r\n", framed)
    assert harness.bodies == [body]
    broken = start_harness(started=False)
    broken.edge.edit("files.lua", 'io.open(path, "rb")', 'io.open(path:gsub("client_body", "gone"), "rb")')
    broken.edge.bring_up()
    assert code_of(post_raw(broken, "Transfer-Encoding: chunked\r\n", framed)) == 500
    assert broken.budget_used() == 1
    assert not broken.bodies


def test_a_malformed_body_of_a_stranger_is_not_an_internal_error(harness: EdgeHarness) -> None:
    for path in ("/nowhere", "/api/pancake/record/unknown"):
        post_raw(harness, "Transfer-Encoding: chunked\r\n", b"zz\r\n", path=path)
    assert harness.metric('pancake_edge_errors_total{source="delivery"}') == 0


def test_expect_100_continue(harness: EdgeHarness) -> None:
    answer = post_raw(harness, "Expect: 100-continue\r\nContent-Length: 2\r\n", b"{}")
    assert answer.startswith(b"HTTP/1.1 100 Continue")
    assert answer.endswith(RECEIVED)


def test_forms_of_a_token(harness: EdgeHarness) -> None:
    """Percent-encoded once is the same token; any other text is unknown, and nothing is stored."""
    encoded = "".join(f"%{ord(letter):02x}" for letter in TOKEN)
    unknown = [
        "no-such-token", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "a" * 129, "a" * 5000,
        TOKEN + "%20", encoded.replace("%", "%25"), "'%20OR%201=1--", TOKEN + "%0d%0aX-Evil:%201",
        TOKEN + "+", "%c3%a9" * 3, TOKEN + ";x=1", TOKEN + "%2F..",
    ]  # fmt: skip
    no_token = {TOKEN + "%00": 400, "%zz": 400, "%2e%2e": 404}
    with harness.sender() as sender:
        assert sender.post(encoded, b"1").status == "received"
        assert sender.post(TOKEN + "?a=b&c", b"2").status == "received"
        for token in unknown:
            assert sender.post(token, b"never") == Reply(200, b'{"status":"unknown_token"}'), token
        for token, code in no_token.items():
            assert sender.request("POST", f"/api/pancake/record/{token}", b"never").code == code, token
    assert harness.bodies == [b"1", b"2"]
    assert [delivery.token_sha256 for delivery in harness.hasura.deliveries] == [TOKEN_SHA256] * 2
    assert len(harness.edge.held("unknown")) == 0


def test_a_very_long_uri_is_refused_by_nginx(harness: EdgeHarness) -> None:
    """414; the request has no valid token and so no budget."""
    assert code_of(post_raw(harness, "Content-Length: 0\r\n", path=PATH + "x" * 40000)) == 414


def test_no_other_path_or_method_is_a_delivery(harness: EdgeHarness) -> None:
    paths = [
        "/", "/metrics", "/healthz", "/api/pancake/record", "/api/pancake/record/", PATH + "/", PATH + "/x",
        f"/api//pancake/record/{TOKEN}", f"//api/pancake/record/{TOKEN}", f"/api/pancake/x/../record/{TOKEN}",
        f"/api/pancake/record/../record/{TOKEN}", f"/api/pancake/record/%2e%2e/record/{TOKEN}",
        "/edge/policy",
        f"/API/pancake/record/{TOKEN}", f"/api/pancake%2Frecord/{TOKEN}", f"/api/pancake/record//{TOKEN}",
    ]  # fmt: skip
    for path in paths:
        assert code_of(post_raw(harness, "Content-Length: 2\r\n", b"{}", path=path)) == 404, path
    with harness.sender() as sender:
        for path in paths:
            reply = sender.request("POST", path, b"{}")
            assert reply.code == 404, path
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert sender.request(method, PATH).code == 405, method
        assert sender.request("HEAD", PATH).code == 405
        large = b"x" * 257 * 1024
        assert sender.request("PUT", PATH, large).code == 405
        assert sender.request("POST", PATH + "/x", large).code == 404
    assert not harness.bodies


def test_an_early_answer_keeps_a_connection_usable(harness: EdgeHarness) -> None:
    """The unread body is discarded: it is not taken for the next request."""
    smuggled = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    with harness.sender() as sender:
        for _ in range(3):
            assert sender.post("unknown", smuggled).status == "unknown_token"
            assert sender.request("POST", "/elsewhere", smuggled).code == 404
        assert sender.post(TOKEN, b"mine").status == "received"
    assert harness.bodies == [b"mine"]


def test_request_smuggling_by_two_lengths_is_refused(harness: EdgeHarness) -> None:
    """Content-Length together with Transfer-Encoding."""
    inner = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\n\r\nX".encode()
    head = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    assert code_of(post_raw(harness, head, b"0\r\n\r\n" + inner)) == 400
    assert not harness.bodies


def test_a_client_that_disconnects_stores_nothing_and_counts_as_a_failure(harness: EdgeHarness) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nContent-Length: 50\r\n\r\nhalf".encode()
    with socket.create_connection(("127.0.0.1", harness.edge.port)) as connection:
        connection.sendall(head)
    eventually(lambda: harness.budget_used() == 1)
    assert not harness.bodies
