"""One route, and whatever the network may send to it."""

import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.edge.conftest import TOKEN, Stage, eventually
from tests.edge.sender import Reply, raw_exchange, signed

RECEIVED = b'{"status":"received","event_id":1,"error_code":null}'
PATH = f"/api/pancake/record/{TOKEN}"


def post_raw(stage: Stage, head: str, body: bytes = b"", path: str = PATH, version: str = "1.1") -> bytes:
    """One request written by hand; the edge is asked to hang up after it."""
    text = f"POST {path} HTTP/{version}\r\nHost: edge\r\nConnection: close\r\n{head}\r\n"
    return raw_exchange(stage.edge.port, text.encode("latin-1") + body)


def code_of(answer: bytes) -> int:
    """Status code of a raw answer."""
    return int(answer.split(b" ", 2)[1])


def test_bodies_of_every_kind_and_size(stage: Stage) -> None:
    """Random bytes, nothing at all, 255 KiB and exactly 256 KiB pass as they are; 257 KiB is too large."""
    source = random.Random(3)
    bodies = [source.randbytes(1000), b"", b"\0" * 10, source.randbytes(255 * 1024), b"x" * 256 * 1024]
    with stage.sender() as sender:
        assert [sender.post(TOKEN, body).status for body in bodies] == ["received"] * 5
        reply = sender.post(TOKEN, b"x" * 257 * 1024)
        assert (reply.code, reply.status) == (200, "too_large")
        assert sender.post(TOKEN, b"after").status == "received"
    assert stage.bodies == [*bodies, b"after"]
    assert stage.metric('pancake_webhook_requests_total{hop="edge",status="too_large",code="200"}') == 1
    assert stage.metric(f'pancake_edge_budget_used{{connection="{stage.connection.id}"}}') == 0


def test_chunked_bodies(stage: Stage) -> None:
    """Put together again, signed as a whole; too large is too large in chunks as well."""
    stage.connection.webhook_secrets, stage.connection.signature_mode = [b"s"], "enforce"
    stage.learn()
    body = b"{" + b"a" * 70000 + b"}"
    proof = "".join(f"{name}: {value}\r\n" for name, value in signed(b"s", body).items())
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1], body[1:50000], body[50000:], b"")
    )
    assert RECEIVED in post_raw(stage, proof + "Transfer-Encoding: chunked\r\n", chunks)
    assert stage.bodies == [body]
    many = b"10000\r\n" + b"z" * 65536 + b"\r\n"
    answer = post_raw(stage, "Transfer-Encoding: chunked\r\n", many * 5 + b"0\r\n\r\n")
    assert code_of(answer) == 200
    assert answer.endswith(b'{"status":"too_large"}')


def test_headers_that_come_twice_prove_nothing(stage: Stage) -> None:
    """Two signatures, two timestamps: ambiguous is refused, even if one of them is right."""
    stage.connection.webhook_secrets, stage.connection.signature_mode = [b"s"], "enforce"
    stage.learn()
    good = signed(b"s", b"{}")
    stamp = f"X-Pancake-Timestamp: {good['X-Pancake-Timestamp']}\r\n"
    right = f"X-Pancake-Signature: {good['X-Pancake-Signature']}\r\n"
    wrong = f"X-Pancake-Signature: {'0' * 64}\r\n"
    length = "Content-Length: 2\r\n"
    assert b'"hmac_invalid"' in post_raw(stage, length + stamp + right + wrong, b"{}")
    assert b'"hmac_invalid"' in post_raw(stage, length + stamp + wrong + right, b"{}")
    assert b'"timestamp_out_of_window"' in post_raw(stage, length + stamp + stamp + right, b"{}")
    assert code_of(post_raw(stage, length + length + stamp + right, b"{}")) in (200, 400)
    assert b'"received"' in post_raw(stage, length + stamp + right, b"{}")


def test_http_1_0(stage: Stage) -> None:
    """An old client gets its answer and the end of the connection."""
    answer = raw_exchange(stage.edge.port, f"POST {PATH} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    assert code_of(answer) == 200
    assert answer.endswith(RECEIVED)


def test_a_slow_client_is_waited_for_and_holds_up_nobody(stage: Stage) -> None:
    """Body in drips for more than a second; meanwhile others are answered at once."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nConnection: close\r\nContent-Length: 5\r\n\r\n".encode()
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(raw_exchange, stage.edge.port, head, b"s", b"l", b"o", b"w", b"!", pause=0.25)
        began = time.monotonic()
        with stage.sender() as sender:
            assert sender.post(TOKEN, b"fast").status == "received"
        assert time.monotonic() - began < 1
        assert slow.result().endswith(RECEIVED)
    assert stage.bodies == [b"fast", b"slow!"]


def test_a_body_in_drips_is_not_waited_for_without_an_end(nginx: Callable[..., Stage]) -> None:
    """Each byte comes in time, the body never: the connection ends, and the failure is on the books."""
    stage = nginx(started=False)
    stage.edge.edit("request.lua", "BODY_TIMEOUT_SECONDS = 10", "BODY_TIMEOUT_SECONDS = 1")
    stage.edge.bring_up()
    head = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nContent-Length: 100\r\n\r\n".encode()
    began = time.monotonic()
    raw_exchange(stage.edge.port, head, *[b"."] * 30, pause=0.2)
    assert 1 <= time.monotonic() - began < 3
    eventually(lambda: stage.metric(f'pancake_edge_budget_used{{connection="{stage.connection.id}"}}') == 1)
    timed_out = 'pancake_webhook_requests_total{hop="edge",status="client_timeout",code="408"}'
    assert stage.metric(timed_out) == 1
    assert not stage.bodies


def test_a_body_that_nginx_put_aside_is_read_or_is_a_failure(nginx: Callable[..., Stage]) -> None:
    """More framing than body goes through a file: the same bytes, or an error, never an empty delivery."""
    body = b"{" + b"a" * 60_000 + b"}"
    framed = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    stage = nginx()
    assert RECEIVED in post_raw(stage, "Transfer-Encoding: chunked\r\n", framed)
    assert stage.bodies == [body]
    broken = nginx(started=False)
    broken.edge.edit("files.lua", 'io.open(path, "rb")', 'io.open(path:gsub("client_body", "gone"), "rb")')
    broken.edge.bring_up()
    assert code_of(post_raw(broken, "Transfer-Encoding: chunked\r\n", framed)) == 500
    assert broken.metric(f'pancake_edge_budget_used{{connection="{broken.connection.id}"}}') == 1
    assert not broken.bodies


def test_a_malformed_body_of_a_stranger_is_no_error_of_ours(stage: Stage) -> None:
    """Chunks that are none, where nobody wanted a body."""
    for path in ("/nowhere", "/api/pancake/record/nobody"):
        post_raw(stage, "Transfer-Encoding: chunked\r\n", b"zz\r\n", path=path)
    assert stage.metric('pancake_edge_errors_total{source="delivery"}') == 0


def test_expect_100_continue(stage: Stage) -> None:
    """Some senders ask before they send."""
    answer = post_raw(stage, "Expect: 100-continue\r\nContent-Length: 2\r\n", b"{}")
    assert answer.startswith(b"HTTP/1.1 100 Continue")
    assert answer.endswith(RECEIVED)


def test_tokens_as_they_may_come(stage: Stage) -> None:
    """Percent-encoded once is the same token; what is no token is unknown, and nothing is stored."""
    encoded = "".join(f"%{ord(letter):02x}" for letter in TOKEN)
    unknown = [
        "no-such-token", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "a" * 129, "a" * 5000,
        TOKEN + "%20", encoded.replace("%", "%25"), "'%20OR%201=1--", TOKEN + "%0d%0aX-Evil:%201",
        TOKEN + "+", "%c3%a9" * 3, TOKEN + ";x=1", TOKEN + "%2F..",
    ]  # fmt: skip
    no_token = {TOKEN + "%00": 400, "%zz": 400, "%2e%2e": 404}
    with stage.sender() as sender:
        assert sender.post(encoded, b"1").status == "received"
        assert sender.post(TOKEN + "?a=b&c", b"2").status == "received"
        for token in unknown:
            assert sender.post(token, b"never") == Reply(200, b'{"status":"unknown_token"}'), token
        for token, code in no_token.items():
            assert sender.request("POST", f"/api/pancake/record/{token}", b"never").code == code, token
    assert stage.bodies == [b"1", b"2"]
    assert [delivery.token for delivery in stage.hasura.deliveries] == [TOKEN, TOKEN]
    assert len(stage.edge.held("unknown")) == 0


def test_a_uri_beyond_all_bounds_is_refused_by_nginx_itself(stage: Stage) -> None:
    """414, without a valid token and so without any budget."""
    assert code_of(post_raw(stage, "Content-Length: 0\r\n", path=PATH + "x" * 40000)) == 414


def test_there_is_one_route_and_no_way_around_it(stage: Stage) -> None:
    """Other paths, double slashes, dots, other methods: never a delivery."""
    paths = [
        "/", "/metrics", "/healthz", "/api/pancake/record", "/api/pancake/record/", PATH + "/", PATH + "/x",
        f"/api//pancake/record/{TOKEN}", f"//api/pancake/record/{TOKEN}", f"/api/pancake/x/../record/{TOKEN}",
        f"/api/pancake/record/../record/{TOKEN}", f"/api/pancake/record/%2e%2e/record/{TOKEN}",
        "/edge/policy",
        f"/API/pancake/record/{TOKEN}", f"/api/pancake%2Frecord/{TOKEN}", f"/api/pancake/record//{TOKEN}",
    ]  # fmt: skip
    for path in paths:
        assert code_of(post_raw(stage, "Content-Length: 2\r\n", b"{}", path=path)) == 404, path
    with stage.sender() as sender:
        for path in paths:
            reply = sender.request("POST", path, b"{}")
            assert reply.code == 404, path
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert sender.request(method, PATH).code == 405, method
        assert sender.request("HEAD", PATH).code == 405
        large = b"x" * 257 * 1024
        assert sender.request("PUT", PATH, large).code == 405
        assert sender.request("POST", PATH + "/x", large).code == 404
    assert not stage.bodies


def test_early_answers_leave_a_kept_alive_connection_in_step(stage: Stage) -> None:
    """A body that was not wanted is read away: it is not taken for the next request."""
    smuggled = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    with stage.sender() as sender:
        for _ in range(3):
            assert sender.post("nobody", smuggled).status == "unknown_token"
            assert sender.request("POST", "/elsewhere", smuggled).code == 404
        assert sender.post(TOKEN, b"mine").status == "received"
    assert stage.bodies == [b"mine"]


def test_smuggling_by_two_lengths_is_refused(stage: Stage) -> None:
    """Content-Length together with Transfer-Encoding never makes two requests of one."""
    inner = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\n\r\nX".encode()
    head = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    assert code_of(post_raw(stage, head, b"0\r\n\r\n" + inner)) == 400
    assert not stage.bodies


def test_a_body_that_never_comes_costs_a_connection_not_an_answer(stage: Stage) -> None:
    """Hanging up in the middle stores nothing and is on the books as a failure Pancake would count."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: e\r\nContent-Length: 50\r\n\r\nhalf".encode()
    with socket.create_connection(("127.0.0.1", stage.edge.port)) as connection:
        connection.sendall(head)
    used = f'pancake_edge_budget_used{{connection="{stage.connection.id}"}}'
    eventually(lambda: stage.metric(used) == 1)
    assert not stage.bodies
