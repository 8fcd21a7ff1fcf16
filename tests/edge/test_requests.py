"""The one route: requests of every kind to the real edge, and what it shares with the sandbox's small one."""

import json
import os
import random
import re
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofs import fuzz as corpus
from sandbox.edge import FOLDERS
from sandbox.postgres.server import free_port
from sandbox.serving import LoopbackServer
from sandbox.stack.edge import KNOWN_STATUSES, create_app
from tests.support.edge.harness import BUDGET_MAX_FAILURES, TOKEN, TOKEN_SHA256, Edge, EdgeHarness
from tests.support.edge.surroundings import HASURA_TOKEN, FakeEndpoint, Reply, Sender, raw_exchange, signed
from tests.support.fake_services import chunked
from tests.support.suites import IS_FULL
from tests.support.waiting import eventually

ROUTE = "/api/pancake/record/"
PATH = ROUTE + TOKEN
FORGED = "forged-by-the-sender"
"""The value of each header that only the edge may send to Hasura."""
LENGTH = "Content-Length: 2\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"
TWICE_ENCODED = "".join(f"%25{ord(letter):02x}" for letter in TOKEN)
LARGE = b"x" * 257 * 1024
"""A body over the limit."""


@dataclass(frozen=True)
class Attack:
    """Bytes to send, the status codes of all answers in order, and the bodies that arrive at Hasura."""

    sent: bytes
    codes: tuple[int, ...] = (400,)
    delivered: tuple[bytes, ...] = ()


def post(head: str = LENGTH, body: bytes = b"{}", path: str = PATH, line: str | None = None) -> bytes:
    """Return one request. `line`: the whole request line; `head`: lines after Host, each with its end."""
    first = f"POST {path} HTTP/1.1" if line is None else line
    return f"{first}\r\nHost: edge\r\n{head}\r\n".encode("latin-1") + body


def sound(sent: bytes) -> Attack:
    """A request that is odd but has one meaning: it is delivered once."""
    return Attack(sent, (200,), (b"{}",))


INNER = post("Content-Length: 7\r\n", b"inner!!")

FRAMING = {
    "a length and chunks": Attack(post("Content-Length: 5\r\n" + CHUNKED, LAST_CHUNK + INNER)),
    "chunks and a length": Attack(post(CHUNKED + "Content-Length: 5\r\n", LAST_CHUNK + INNER)),
    "two lengths": Attack(post("Content-Length: 2\r\nContent-Length: 0\r\n", b"{}" + INNER)),
    "one length twice": Attack(post(LENGTH + LENGTH)),
    "chunks of HTTP/1.0": Attack(post(CHUNKED, LAST_CHUNK + INNER, line=f"POST {PATH} HTTP/1.0")),
    "chunks declared twice": Attack(post(CHUNKED + CHUNKED, LAST_CHUNK + INNER)),
    "chunks with a blank before the colon": Attack(post("Transfer-Encoding : chunked\r\n", LAST_CHUNK)),
    "chunks with an underscore": Attack(
        post("Transfer_Encoding: chunked\r\n", LAST_CHUNK), (200, 400), (b"",)
    ),
    "a body that is a request": Attack(post(f"Content-Length: {len(INNER)}\r\n", INNER), (200,), (INNER,)),
    "an unread body that is a request": Attack(
        post(f"Content-Length: {len(INNER)}\r\n", INNER, "/elsewhere"), (404,)
    ),
    "a body without a length": Attack(post("", b"{}"), (200, 400), (b"",)),
    "a length that ends early": Attack(post("Content-Length: 1\r\n", b"{}"), (200, 400), (b"{",)),
    "lines that end with LF alone": sound(post().replace(b"\r\n", b"\n")),
    "a chunk with an extension": sound(post(CHUNKED, b"2;a=b\r\n{}\r\n" + LAST_CHUNK)),
    "chunks with a trailer": sound(post(CHUNKED, b"2\r\n{}\r\n0\r\nHost: x\r\n\r\n")),
    "chunks without an end": Attack(post(CHUNKED, b"2\r\n{}\r\n"), ()),
    "a body that breaks off": Attack(post("Content-Length: 50\r\n", b"half"), ()),
    "a request line that breaks off": Attack(post()[:30], ()),
    "a head that breaks off": Attack(post()[:-6], ()),
    "two requests at once": Attack(post() + INNER, (200, 200), (b"{}", b"inner!!")),
    "a malformed chunk to nowhere": Attack(post(CHUNKED, b"zz\r\n", "/nowhere"), (404, 400)),
    "a malformed chunk of a stranger": Attack(post(CHUNKED, b"zz\r\n", ROUTE + "unknown"), (200, 400)),
    "a hundred requests at once": Attack(post() * 100, (200,) * 100, (b"{}",) * 100),
    "a refused request before another": Attack(
        post(path="/elsewhere") + INNER, (404, 200), (b"inner!!",)
    ),
    "a malformed request before another": Attack(post("X A: b\r\n" + LENGTH) + INNER),
    **{
        f"the length {value!r}": Attack(post(f"Content-Length: {value}\r\n"))
        for value in ("2, 2", "-2", "+2", "0x2", "2a", "", "2 3", "\x0b2", "9" * 20, str(2**64 + 2))
    },
    **{
        f"the encoding {value!r}": Attack(post(f"Transfer-Encoding: {value}\r\n", LAST_CHUNK + INNER), (501,))
        for value in ("identity", "chunked, identity", "gzip, chunked", "xchunked", "chunked, chunked",
                      "\x0bchunked")
    },
    **{
        f"the chunk {chunk!r}": Attack(post(CHUNKED, chunk + b"\r\n" + LAST_CHUNK))
        for chunk in (b"zz\r\n{}", b"-1\r\n{}", b"0x2\r\n{}", b"\r\n{}", b"2\r\n{}XX", b"f" * 17 + b"\r\n{}")
    },
}  # fmt: skip
"""Two readers of a request could disagree about where it ends."""

LINES = {
    **{
        f"the method {method[:12]!r}": Attack(post(line=f"{method} {PATH} HTTP/1.1"), (405,))
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND",
                       "_", "X" * 5000)
    },
    **{
        f"the method {method!r}": Attack(post(line=f"{method} {PATH} HTTP/1.1"))
        for method in ("post", "PO ST", "POST\x00", "P\xd6ST", "")
    },
    **{
        f"the version {version!r}": Attack(post(line=f"POST {PATH}{version}"), codes)
        for version, codes in {
            "": (), " HTTP/0.9": (400,), " HTTP/1": (400,), " http/1.1": (400,), " HTTP/1.1 x": (400,),
            " HTTP/1.\x001": (400,), "\tHTTP/1.1": (400,), " HTTP/2.0": (505,), " HTTP/9.9": (505,),
            " HTTP/11": (505,),
        }.items()
    },
    **{
        f"the target {target[:40]!r}": Attack(post(path=target))
        for target in (f"http://a@evil.example:1{PATH}", "*", "edge:443", f"file://{PATH}")
    },
    **{
        f"the target {target[:40]!r}": Attack(post(path=target), (404,))
        for target in (f"//evil.example{PATH}", f"https://127.0.0.1/{PATH}")
    },
    "the target of a proxy": sound(post(path=f"http://evil.example{PATH}")),
    "the version 1.0": sound(post(line=f"POST {PATH} HTTP/1.0")),
    "the version 1.2": sound(post(line=f"POST {PATH} HTTP/1.2")),
    "blanks in the request line": sound(post(line=f"POST  {PATH}  HTTP/1.1 ")),
    "empty lines first": sound(b"\r\n\r\n" + post()),
    "nothing": Attack(b"", ()),
    "a NUL": Attack(b"\0"),
    "the hello of TLS": Attack(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
    "the preface of HTTP/2": Attack(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30)),
    "a greeting of SMTP": Attack(b"EHLO edge\r\nMAIL FROM:<a@b>\r\n"),
    "an upgrade to HTTP/2": sound(post("Connection: Upgrade\r\nUpgrade: h2c\r\n" + LENGTH)),
    "an upgrade to a websocket": sound(post("Connection: Upgrade\r\nUpgrade: websocket\r\n" + LENGTH)),
    "a path of 40,000 characters": Attack(post(path=PATH + "x" * 40_000), (414,)),
    "a query of 7,000 characters": sound(post(path=PATH + "?" + "x" * 7_000)),
    "a query of 40,000 characters": Attack(post(path=PATH + "?" + "x" * 40_000), (414,)),
}  # fmt: skip
"""Request lines, versions, methods and protocols."""

TOKENS = {
    **{
        f"the token {token[:50]!r}": Attack(post(path=ROUTE + token), (200,))
        for token in (*(TOKEN + more for more in (
                          "%2F", "%5C", ".", ";a=b", "%3Fa", "%23", "%0a", "%0d%0aX-A:%20b", "\\", "+",
                          "%c0%af", "\xe9", "x", TOKEN, "#x")),
                      "%c0%ae%c0%ae", TWICE_ENCODED,
                      "\\..\\" + TOKEN, "%ef%bb%bf" + TOKEN, TOKEN.upper(), TOKEN[:-1],
                      "*", "%25", "$1", "{}", "'--", "${jndi:x}", "a" * 128, "a" * 129)
    },
    **{
        f"the token {token!r}": Attack(post(path=ROUTE + token))
        for token in ("%00", TOKEN + "%00", TOKEN + "%", TOKEN + "%2", "%zz", "%u0041",
                      *(TOKEN + byte for byte in "\x00\x01\x08\x1f\x7f\t"))
    },
    "a token before a line end": Attack(post(path=PATH + "\n"), ()),
    "a query and a fragment": sound(post(path=PATH + "?token=other#x")),
    "a query with a path": sound(post(path=PATH + "?/../x")),
}  # fmt: skip
"""Other spellings of the token: none is the token, and an unknown one is not forwarded."""

PATHS = {
    **{
        f"the path {path!r}": Attack(post(path=path), (404,))
        for path in (*(ROUTE + token for token in (
                         f"..%2f{TOKEN}", f"%2e%2e%2f{TOKEN}", f"%252e%252e/{TOKEN}", f"x/../{TOKEN}",
                         f"../record/{TOKEN}", f"./{TOKEN}", f"/{TOKEN}", TOKEN + "/", TOKEN + "/.",
                         TOKEN + "/..", TOKEN + "#/../x")),
                     f"/api/pancake/./record/{TOKEN}", f"/api\\pancake\\record\\{TOKEN}",
                     f"/%61pi/pancake/record/{TOKEN}", f"/api/pancake/record%2f{TOKEN}",
                     f"/api/pancake/record;/{TOKEN}", "/api/rest/pancake/record", "/edge/policy",
                     "/actions/ingest_record", "/v1/graphql", "/v1/metadata", "/metrics", "/healthz")
    },
    **{
        f"the path {path!r}": Attack(post(path=path))
        for path in ("/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "", "?", "#", PATH[1:])
    },
}  # fmt: skip
"""Other ways to the route, and routes of what is behind the edge."""

HEADERS = {
    "no host": Attack(post().replace(b"Host: edge\r\n", b"")),
    "two hosts": Attack(post("Host: evil.example\r\n" + LENGTH)),
    "100 KB of headers": Attack(post("X-A: b\r\n" * 12_500 + LENGTH)),
    "a header of 9,000 characters": Attack(post(f"X-A: {'b' * 9_000}\r\n" + LENGTH)),
    "2,000 headers": Attack(post("".join(f"A{n}: b\r\n" for n in range(2_000)) + LENGTH)),
    "an announced body": Attack(post("Expect: 100-continue\r\n" + LENGTH), (100, 200), (b"{}",)),
    **{
        f"the header {line!r}": Attack(post(line + "\r\n" + LENGTH))
        for line in ("X-A: b\r\n c", " X-A: b", ": b", "X A: b", "X-A : b", "X-\x00A: b", "X-\x01A: b",
                     "X-A: \x00", "X-A: a\rb", "Host: a/b", "Host: ..", "Host: a\x00b")
    },
    **{
        f"the header {line[:40]!r}": sound(post(line + "\r\n" + LENGTH))
        for line in ("X-A", "X-A: \x01", "X-\xe9: b", "X-A: \xe9", "X_A: b", "X-A:" + "\t" * 500,
                     "Content-Type: multipart/form-data; boundary=" + "x" * 300, "Content-Encoding: gzip",
                     "Expect: something", "Range: bytes=0-0", "If-Match: *",
                     "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "Connection: Content-Length",
                     "Keep-Alive: 99999999999", "Cookie: " + "a=b; " * 500, "Max-Forwards: 0")
    },
    **{
        f"the forged {name}": sound(post(f"{name}: {FORGED}\r\n" + LENGTH))
        for name in ("Authorization", "X-Hasura-Admin-Secret", "X-Hasura-Role", "X-Hasura-User-Id",
                     "X-Handler-Secret", "X-Edge-Secret", "X-Forwarded-For", "X-Real-IP", "Forwarded",
                     "X-Forwarded-Proto", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override",
                     "Cookie")
    },
}  # fmt: skip
"""Headers that are malformed, too many, or that only the edge may send."""

ATTACKS = FRAMING | LINES | TOKENS | PATHS | HEADERS


def test_an_attack_stores_and_delivers_nothing_else(harness: EdgeHarness, subtests: pytest.Subtests) -> None:
    """Nothing is stored or delivered under another token or address, and the next delivery is served."""
    hasura = harness.hasura
    with harness.sender() as sender:
        for name, attack in ATTACKS.items():
            with subtests.test(name):
                hasura.requests.clear()
                hasura.deliveries.clear()
                answer = raw_exchange(harness.edge.port, attack.sent, ends=True)
                assert sender.post(TOKEN, b"after").status == "received"
                codes = tuple(int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer))
                assert codes == attack.codes
                assert hasura.bodies == [*attack.delivered, b"after"]
                assert {(each.token_sha256, each.source_ip) for each in hasura.deliveries} == {
                    (TOKEN_SHA256, "127.0.0.1")
                }
                assert not any(FORGED in str(request.headers) for request in hasura.requests)
                assert not [path for folder in FOLDERS for path in harness.edge.held(folder)]
    assert not harness.handlers.deliveries
    assert harness.errors_of("delivery") == 0
    assert harness.edge.errors() == ""


CODES = {100, 200, 400, 404, 405, 408, 413, 414, 429, 444, 501, 505}
PARTS = (
    b"\r\n",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"0",
    b"-1",
    b"%0d%0a",
    TOKEN.encode(),
    PATH.encode(),
    CHUNKED.encode(),
)
"""Bytes that mean something to a parser."""


@st.composite
def mutated(draw: st.DrawFn) -> tuple[list[bytes], bool]:
    """A request of the tables or of the corpus that is cut, spliced and changed; its pieces; if it ends."""
    seeds = [attack.sent for attack in ATTACKS.values()] + corpus.read_corpus("edge")
    sent = draw(st.sampled_from(seeds))[:20_000]
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, len(sent)))
        end = draw(st.integers(begin, min(len(sent), begin + draw(st.sampled_from((0, 1, 8, 400))))))
        other = draw(st.sampled_from(seeds))
        put = draw(
            st.sampled_from(PARTS) | st.binary(max_size=8) | st.just(sent[begin:end] * 2) | st.just(other)
        )
        sent = sent[:begin] + put[:20_000] + sent[end:]
    cut = draw(st.integers(0, len(sent)))
    return [piece for piece in (sent[:cut], sent[cut:]) if piece], draw(st.booleans())


def fuzz(harness: EdgeHarness, examples: int) -> int:
    """Send mutated requests; each is answered as HTTP, and delivers with the one token or not at all.

    Return how many. The shortest one that fails, which hypothesis sends last, is kept in the corpus.
    """
    sent: list[bytes] = []

    @settings(
        max_examples=examples, deadline=None, database=None, report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(mutated())
    def run(request: tuple[list[bytes], bool]) -> None:
        pieces, ends = request
        sent.append(b"".join(pieces))
        answer = raw_exchange(harness.edge.port, *pieces, ends=ends, gives_up_after=0.3)
        codes = {int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)}
        assert codes <= CODES, (pieces, answer)
        assert harness.errors_of("delivery") == 0, pieces
        assert not harness.handlers.deliveries, pieces

    workers = harness.edge.workers()
    try:
        run()
    except AssertionError:
        corpus.keep("edge", sent[-1])
        raise
    assert harness.post(b"after") == "received"
    assert harness.edge.workers() == workers, "a worker has died"
    assert {each.token_sha256 for each in harness.hasura.deliveries} == {TOKEN_SHA256}
    assert not any(FORGED in str(request.headers) for request in harness.hasura.requests)
    assert not [path for folder in FOLDERS for path in harness.edge.held(folder)]
    lines = harness.edge.errors().splitlines()
    # On a busy machine the handlers may be late.
    assert not [line for line in lines if "policy not fetched: timeout" not in line]
    return len(sent)


def test_mutated_requests_break_nothing(harness: EdgeHarness) -> None:
    """Some; with --full for ten minutes, or for FUZZ_SECONDS; scripts/fuzz --edge --keep adds them up."""
    harness.set_limits(rate=1e6, burst=1e6)
    ends_at = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "600" if IS_FULL else "0"))
    fuzz(harness, 60)
    while (began := time.monotonic()) < ends_at:
        count = fuzz(harness, 500)
        if "FUZZ_KEEP" in os.environ:
            corpus.add_run("edge", time.monotonic() - began, count)
        harness.hasura.requests.clear()
        harness.hasura.deliveries.clear()


def test_a_finding_is_kept_in_the_corpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A request that is not answered as HTTP: the shortest is kept once, and sent again in each run."""
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    (tmp_path / "edge.txt").write_text(f"{b64encode(b'before').decode()}\n")
    harness = Mock()
    harness.edge.port, harness.errors_of.return_value, harness.handlers.deliveries = free_port(), 0, []
    monkeypatch.setattr(sys.modules[__name__], "raw_exchange", lambda *_, **__: b"HTTP/1.1 299 ")
    for _ in range(2):
        with pytest.raises(AssertionError):
            fuzz(harness, 5)
    assert corpus.read_corpus("edge")[:1] == [b"before"]
    assert 2 <= len(corpus.read_corpus("edge")) <= 3


def test_runs_are_added_up_and_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert corpus.QUOTED.findall(corpus.PAGE.read_text()) == [corpus.quote_totals()]
    for name in ("PAGE", "TOTALS"):
        copied = tmp_path / getattr(corpus, name).name
        copied.write_text(getattr(corpus, name).read_text())
        monkeypatch.setattr(corpus, name, copied)
    before = json.loads(corpus.TOTALS.read_text())["edge"]
    for _ in range(2):
        corpus.add_run("edge", 30.2, 400)
    total = f"{before['executions'] + 800:,} requests in {before['seconds'] + 60:,} s."
    assert corpus.QUOTED.findall(corpus.PAGE.read_text()) == [corpus.quote_totals()]
    assert corpus.quote_totals().endswith(total)


def test_repeated_headers_prove_nothing(harness: EdgeHarness) -> None:
    harness.enforce(webhook_secrets=[b"s"])
    good = signed(b"s", b"{}")
    stamp = f"X-Pancake-Timestamp: {good['X-Pancake-Timestamp']}\r\n"
    right = f"X-Pancake-Signature: {good['X-Pancake-Signature']}\r\n"
    wrong = f"X-Pancake-Signature: {'0' * 64}\r\n"
    for lines, outcome in (
        (stamp + right + wrong, b'"hmac_invalid"'),
        (stamp + wrong + right, b'"hmac_invalid"'),
        (stamp + stamp + right, b'"timestamp_out_of_window"'),
        (stamp + right, b'"received"'),
    ):
        assert outcome in raw_exchange(harness.edge.port, post(f"Connection: close\r\n{LENGTH}{lines}"))


def test_a_body_that_is_too_slow_ends_the_request(own: Edge) -> None:
    """Each byte arrives within client_body_timeout; all of them would take 6 s. The failure is counted."""
    harness = own().edit("request.lua", "BODY_TIMEOUT_SECONDS = 10", "BODY_TIMEOUT_SECONDS = 1").bring_up()
    raw_exchange(harness.edge.port, post("Content-Length: 30\r\n", b""), *[b"."] * 30, pause_seconds=0.2)
    eventually(lambda: harness.budget_used() == 1)
    assert harness.answered("client_timeout", 408) == 1
    assert not harness.bodies


def test_a_body_that_nginx_wrote_to_a_file_is_read_or_is_a_failure(harness: EdgeHarness, own: Edge) -> None:
    """A chunked body with long framing goes through a file. It must never become an empty delivery.

    Its signature covers all of it.
    """
    harness.enforce(webhook_secrets=[b"s"])
    body = b"{" + b"a" * 60_000 + b"}"
    proof = "".join(f"{name}: {value}\r\n" for name, value in signed(b"s", body).items())
    sent = post(f"Connection: close\r\n{proof}{CHUNKED}", chunked(*(b"%c" % byte for byte in body)))
    assert b'"received"' in raw_exchange(harness.edge.port, sent)
    assert harness.bodies == [body]
    broken = own()
    broken.edge.edit("files.lua", 'io.open(path, "rb")', 'io.open(path:gsub("client_body", "gone"), "rb")')
    broken.bring_up()
    assert raw_exchange(broken.edge.port, sent).startswith(b"HTTP/1.1 500 ")
    assert broken.budget_used() == 1
    assert not broken.bodies
    broken.set_limits(deny=["127.0.0.4"])
    broken.flood(BUDGET_MAX_FAILURES, address="127.0.0.4")
    assert raw_exchange(broken.edge.port, sent).endswith(b'{"status":"shed"}')


def test_an_early_answer_keeps_a_connection_usable(harness: EdgeHarness) -> None:
    """The unread body is discarded: it is not taken for the next request."""
    smuggled = post(body=b"{}")
    with harness.sender() as sender:
        for _ in range(3):
            assert sender.post("unknown", smuggled).status == "unknown_token"
            assert sender.request("POST", "/elsewhere", smuggled).code == 404
            assert sender.request("PUT", PATH, LARGE).code == 405
            assert sender.request("POST", PATH + "/x", LARGE).code == 404
            assert sender.post(TOKEN, LARGE) == Reply(200, b'{"status":"too_large"}')
        assert sender.post(TOKEN, b"mine").status == "received"
    assert harness.bodies == [b"mine"]
    assert (harness.answered("too_large"), harness.answered("method_not_allowed", 405)) == (3, 3)
    assert harness.budget_used() == 0


@dataclass
class Front:
    """An edge in front of a fake Hasura that knows TOKEN."""

    port: int
    hasura: FakeEndpoint

    def post(self, token: str, body: bytes = b"{}") -> Reply:
        with Sender(self.port) as sender:
            return sender.post(token, body)


@pytest.fixture
def real(harness: EdgeHarness) -> Front:
    return Front(harness.edge.port, harness.hasura)


@pytest.fixture(scope="module")
def small() -> Iterator[Front]:
    with closing(FakeEndpoint()) as hasura, LoopbackServer(create_app(hasura.url, HASURA_TOKEN)) as server:
        yield Front(int(server.url.rpartition(":")[2]), hasura)


@pytest.fixture(params=["real", "small"])
def front(request: pytest.FixtureRequest) -> Front:
    """Each edge in turn, in front of a Hasura that has forgotten everything."""
    edge: Front = request.getfixturevalue(request.param)
    edge.hasura.reset()
    return edge


def test_the_answer_of_the_handlers_is_passed_on(front: Front) -> None:
    for status in KNOWN_STATUSES:
        front.hasura.status = status
        reply = front.post(TOKEN)
        assert (reply.code, reply.document) == (200, {"status": status, "event_id": 1, "error_code": None})


def test_a_body_may_be_any_bytes(front: Front) -> None:
    source = random.Random(11)
    bodies = [source.randbytes(size) for size in (0, 1, 1000, 255 * 1024, 256 * 1024)]
    bodies += [b'{"n":18446744073709551617,"n":"\\ud800"}', '{"tên":"Nguyễn"}'.encode(), b"\0" * 10]
    assert {front.post(TOKEN, body).status for body in bodies} == {"received"}
    assert front.hasura.bodies == bodies


def test_a_body_over_the_limit_is_answered_200_too_large(front: Front) -> None:
    assert front.post(TOKEN, LARGE).body.replace(b" ", b"") == b'{"status":"too_large"}'
    sent = post(f"Connection: close\r\n{CHUNKED}", chunked(*[b"z" * 65536] * 5))
    answer = raw_exchange(front.port, sent.replace(b"Host: edge", b"Host: localhost"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"too_large"' in answer
    assert not front.hasura.deliveries


def test_there_is_one_route_with_one_method_and_an_encoded_token_is_decoded(front: Front) -> None:
    with Sender(front.port) as sender:
        for path in ("/", "/api/pancake/record", ROUTE, PATH + "/x"):
            assert sender.request("POST", path, b"{}").code == 404, path
        assert sender.request("GET", PATH).code == 405
    for token in ("x" * 129, "a%20b", "%c3%a9", "a;b", "a+b"):
        assert (front.post(token).code, front.post(token).status) == (200, "unknown_token"), token
    assert not front.hasura.deliveries
    assert front.post("".join(f"%{ord(letter):02X}" for letter in TOKEN)).status == "received"
    assert front.hasura.deliveries[0].token_sha256 == TOKEN_SHA256
