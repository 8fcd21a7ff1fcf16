"""Pancake's API: pages, refusals, hostile answers, and the breaker in front of it."""

import asyncio
import gzip
import json
import logging
import re
import time
import traceback
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from leads.adapters.breaker import FAILURES_TO_OPEN, RECOVERY_SECONDS, Breaker, BreakerOpen
from leads.adapters.clock import Clock
from leads.adapters.pancake_api import Access, Page, PancakeApi
from leads.adapters.tracing import TraceContext, within
from leads.domain.errors import HostNotAllowed, PancakeKeyRejected, PancakeRefused, PancakeUnavailable
from leads.domain.hosts import DEFAULT_HOSTS
from tests.support.fakes import T0, MovableClock, SimulatorClock
from tests.support.settings import NOT_BASE_URLS, OTHER_HOSTS
from tests.support.waiting import eventually_async

KEY = "0123456789abcdef0123456789abcdef"
ACCESS = Access("c1", "https://crm.pancake.test/api", 123, KEY)
HOSTS = frozenset({"https://crm.pancake.test"})
Answer = Callable[[httpx.Request], httpx.Response]


class Script:
    """Answers each request with a function and records the requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)


def client(answer: Any, clock: Clock | None = None, **options: Any) -> PancakeApi:
    return PancakeApi(clock or SimulatorClock(), HOSTS, transport=httpx.MockTransport(answer), **options)


async def never(_: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


def always(status: int, body: object = None, headers: dict[str, str] | None = None) -> Answer:
    return lambda _: httpx.Response(status, json=body, headers=headers)


async def walked(pages: AsyncIterator[Page]) -> list[Page]:
    return [page async for page in pages]


def keyset(total: int, *, enveloped: bool = False, last: object = None) -> Answer:
    """A list of `total` records in pages of 30; `last` is the cursor in the last page."""

    def answer(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("cursor", "0"))
        entries = [{"id": str(i)} for i in range(start, min(start + 30, total))]
        body = {"entries": entries, "cursor": str(start + 30) if start + 30 < total else last}
        return httpx.Response(200, json={"success": True, "data": body} if enveloped else body)

    return answer


@pytest.mark.parametrize("enveloped", [False, True])
@pytest.mark.parametrize("last", [None, "", "30"])
async def test_a_list_is_read_to_its_end_in_either_shape(enveloped: bool, last: object) -> None:
    pages = await walked(client(keyset(65, enveloped=enveloped, last=last)).pages(ACCESS, "lead"))
    assert [len(page.entries) for page in pages] == [30, 30, 5]
    assert [page.ending for page in pages] == [None, None, "complete"]
    assert pages[-1].cursor is None


async def test_no_request_goes_to_a_base_url_of_another_host_or_form(subtests: pytest.Subtests) -> None:
    """As if it had come into the database by another way than `leads connection`."""
    script = Script(keyset(1))
    api = PancakeApi(SimulatorClock(), DEFAULT_HOSTS, transport=httpx.MockTransport(script))
    for url in (*NOT_BASE_URLS, *OTHER_HOSTS):
        with subtests.test(url):
            access = Access("c1", url, 123, KEY)
            with pytest.raises(HostNotAllowed, match="PANCAKE_API_HOSTS") as refused:
                await api.sources(access)
            assert KEY not in str(refused.value)
            with pytest.raises(HostNotAllowed):
                await api.record(access, "lead", "../../x?a=#")
            with pytest.raises(HostNotAllowed):
                await walked(api.pages(access, "lead"))
    assert (script.requests, api.breakers.level()) == ([], 0)


async def test_a_redirect_does_not_take_the_key_along_and_its_place_is_not_named() -> None:
    for status in (301, 302, 303, 307, 308):
        script = Script(always(status, headers={"Location": OTHER_HOSTS[0]}))
        with pytest.raises(PancakeRefused) as refused:
            await client(script).sources(ACCESS)
        assert OTHER_HOSTS[0] not in str(refused.value)
        assert [request.url.host for request in script.requests] == ["crm.pancake.test"]


async def test_the_request_names_workspace_table_key_filter_and_trace() -> None:
    script = Script(keyset(1))
    with within(TraceContext("1" * 32, "2" * 16, is_sampled=True)):
        await walked(client(script).pages(ACCESS, "lead", {"fields": []}, cursor="0"))
    assert script.requests[0].headers["traceparent"] == f"00-{'1' * 32}-{'2' * 16}-01"
    url = script.requests[0].url
    assert url.path == "/api/workspaces/123/lead/records"
    assert dict(url.params) == {"view_id": "all", "filter": '{"fields":[]}', "cursor": "0", "api_key": KEY}


async def test_a_full_page_that_repeats_its_cursor_is_reported_and_ends_the_list() -> None:
    def stuck(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"entries": [{"id": str(i)} for i in range(30)], "cursor": "same"})

    pages = await walked(client(stuck).pages(ACCESS, "lead"))
    assert [page.ending for page in pages] == [None, "repeated_cursor"]


async def test_a_list_can_be_read_on_from_a_cursor() -> None:
    api = client(keyset(1_000))
    pages = await walked(api.pages(ACCESS, "lead"))
    assert {page.ending for page in pages[:-1]} == {None}
    rest = await walked(api.pages(ACCESS, "lead", cursor=pages[2].cursor))
    assert rest[0].entries[0] == {"id": "90"}


async def test_an_incomplete_page_is_reported() -> None:
    def cut(request: httpx.Request) -> httpx.Response:
        answer = json.loads(keyset(90)(request).content)
        if request.url.params.get("cursor") == "30":
            del answer["entries"][10:]
        return httpx.Response(200, json=answer)

    pages = await walked(client(cut).pages(ACCESS, "lead"))
    assert [page.after_short for page in pages] == [False, False, True]


async def test_entries_that_are_no_records_are_skipped() -> None:
    pages = await walked(client(always(200, {"entries": [None, 1, {"id": "a"}]})).pages(ACCESS, "lead"))
    assert pages[0].entries == [{"id": "a"}]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (PancakeKeyRejected, always(401)),
        (PancakeKeyRejected, always(403, {"success": False})),
        (PancakeKeyRejected, always(200, {"success": False, "message": "?"})),
        *((PancakeRefused, always(status)) for status in (400, 404, 422)),
        (PancakeUnavailable, always(429)),
    ],
)
async def test_a_refusal_does_not_open_the_breaker(error: type[Exception], answer: Answer) -> None:
    api = client(answer)
    for _ in range(6):
        with pytest.raises(error):
            await api.sources(ACCESS)
    assert api.breakers.level() == 0


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_busy_or_failing_server_is_unavailable(status: int) -> None:
    with pytest.raises(PancakeUnavailable):
        await client(always(status)).sources(ACCESS)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"data": [1', b"\xff"])
async def test_an_answer_that_is_no_json_object_is_unavailable(content: bytes) -> None:
    with pytest.raises(PancakeUnavailable):
        await client(lambda _: httpx.Response(200, content=content)).sources(ACCESS)


async def test_a_slow_answer_is_cut_off_by_the_total_timeout() -> None:
    with pytest.raises(PancakeUnavailable, match="no complete answer"):
        await client(never, total_timeout_seconds=0.01).sources(ACCESS)


async def test_after_five_failures_the_breaker_of_the_host_opens() -> None:
    """For every connection of the host, with any path and port in their URLs, and for no other host."""
    script = Script(always(500))
    other = "https://crm.other.test"
    api = PancakeApi(SimulatorClock(), {*HOSTS, other}, transport=httpx.MockTransport(script))
    for number in range(5):
        with pytest.raises(PancakeUnavailable, match="500"):
            await api.sources(Access(f"c{number}", ACCESS.base_url, number, KEY))
    for path in ("/api", ":443/v2"):
        with pytest.raises(BreakerOpen):
            await api.sources(Access("c9", f"https://crm.pancake.test{path}", 9, KEY))
    assert (len(script.requests), api.breakers.level()) == (2 * 5, 2)
    with pytest.raises(PancakeUnavailable, match="500"):
        await api.sources(Access("c8", f"{other}/api", 8, KEY))


async def test_a_read_that_fails_soon_is_tried_once_more_in_the_time_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The breaker counts one failure: four such reads leave it closed."""
    answers = iter([always(503), always(200, {"data": [{"id": "1"}]}), *[always(503)] * 8])
    script = Script(lambda request: next(answers)(request))
    api = client(script)
    assert await api.sources(ACCESS) == [{"id": "1"}]
    for _ in range(4):
        with pytest.raises(PancakeUnavailable):
            await api.sources(ACCESS)
    assert (len(script.requests), api.breakers.level()) == (10, 0)
    asked = []

    async def silent(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(503) if len(asked) == 1 else await never(request)

    monkeypatch.setattr("leads.adapters.pancake_api.RETRY_PAUSE_SECONDS", 0.1)
    with pytest.raises(PancakeUnavailable, match="no complete answer"):
        await client(silent, total_timeout_seconds=0.3).sources(ACCESS)
    assert len(asked) == 2


async def test_a_read_that_failed_late_is_not_tried_again() -> None:
    clock = SimulatorClock()

    def late(_: httpx.Request) -> httpx.Response:
        clock.time += timedelta(seconds=1.6)  # and 0.5 s of pause are more than a third of 6 s
        return httpx.Response(503)

    script = Script(late)
    with pytest.raises(PancakeUnavailable):
        await client(script, clock).sources(ACCESS)
    assert len(script.requests) == 1


async def test_a_connection_is_not_read_before_the_retry_after_of_a_429(subtests: pytest.Subtests) -> None:
    """A short one is waited for. Other connections are read: the limit may be one of the key."""
    cases: list[tuple[str, float]] = [
        ("120", 120),
        ((T0 + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S GMT"), 90),
        ("9" * 400, 3600),
    ]
    for text, seconds in cases:
        with subtests.test(text[:40]):
            clock, script = SimulatorClock(), Script(always(429, headers={"Retry-After": text}))
            api = client(script, clock)
            for _ in range(6):
                with pytest.raises(PancakeUnavailable, match=r"answered 429|another"):
                    await api.sources(ACCESS)
            assert (len(script.requests), api.breakers.level()) == (1, 0)
            script.answer = always(200, {"data": []})
            assert await api.sources(Access("c2", ACCESS.base_url, 124, KEY)) == []
            clock.time += timedelta(seconds=seconds - 1)
            with pytest.raises(PancakeUnavailable, match="not to be called for another 1 s"):
                await api.sources(ACCESS)
            clock.time += timedelta(seconds=1)
            assert await api.sources(ACCESS) == []


@pytest.mark.parametrize(
    ("text", "pause"),
    [("1", 1.0), ("0", 0.5), ("", 0.5), ("soon", 0.5), ("-5", 0.5), ("Wed, 21 Oct 2015 07:28:00 -0000", 0.5)],
)
async def test_a_short_retry_after_is_waited_for_and_an_unreadable_one_is_none(
    text: str, pause: float
) -> None:
    clock = SimulatorClock()
    answers = iter([always(429, headers={"Retry-After": text}), always(200, {"data": []})])
    assert await client(lambda request: next(answers)(request), clock).sources(ACCESS) == []
    assert clock.time == T0 + timedelta(seconds=pause)


async def test_a_record_is_requested_by_table_and_may_be_none() -> None:
    script = Script(always(200, {"success": True, "data": {"id": "r1"}}))
    assert await client(script).record(ACCESS, "lead", "r1") == {"id": "r1"}
    url = script.requests[0].url
    assert (url.path, url.params["table_name"]) == ("/api/workspaces/123/record/r1", "lead")
    for answer in (
        always(404),
        always(200, {"success": True, "data": None}),
        always(200, {"success": False}),
    ):
        assert await client(answer).record(ACCESS, "lead", "r1") is None


async def test_a_record_id_cannot_change_the_path() -> None:
    script = Script(always(200, {"data": None}))
    await client(script).record(ACCESS, "lead", "../sources?x=")
    assert script.requests[0].url.raw_path.startswith(b"/api/workspaces/123/record/..%2Fsources%3Fx%3D?")


def failing(error: type[httpx.RequestError]) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error(f"cannot read {request.url}", request=request)

    return answer


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError, "no connection"),
        (httpx.ReadTimeout, "no answer in time"),
        (httpx.RemoteProtocolError, "the connection broke, or the answer is not HTTP"),
    ],
)
async def test_why_there_is_no_answer_is_said_in_words(error: type[httpx.RequestError], words: str) -> None:
    with pytest.raises(PancakeUnavailable, match=rf"^Pancake could not be read: {words}\.$"):
        await client(failing(error)).sources(ACCESS)


@pytest.mark.parametrize(
    "answer", [always(200, {"data": []}), always(500), always(401), always(404), failing(httpx.ConnectError)]
)
async def test_the_key_is_in_no_log_exception_or_repr(
    answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpx")
    api = client(answer)
    outcome: object = (await asyncio.gather(api.sources(ACCESS), return_exceptions=True))[0]
    shown = repr(ACCESS) + repr(outcome)
    if isinstance(outcome, BaseException):
        shown += "".join(traceback.format_exception(outcome))
        assert outcome.__context__ is None
        assert outcome.__cause__ is None
    await api.aclose()
    assert KEY not in shown
    assert KEY not in caplog.text


LIMIT_BYTES = 200_000
MAX_SECONDS = 1.0
MAX_MEMORY_BYTES = 40 * LIMIT_BYTES
"""Parsed JSON takes a multiple of its text."""


def zipped(content: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        content = gzip.compress(content)
    return content


def digits(count: int) -> bytes:
    return b'{"data": [{"id": ' + b"9" * count + b"}]}"


READABLE: dict[str, tuple[bytes, str]] = {
    "a number of 190,000 digits": (digits(190_000), ""),
    "a number with a large exponent": (b'{"data": [{"id": 1e999999999}]}', ""),
    "numbers that are none": (b'{"data": [{"id": NaN, "n": -Infinity}]}', ""),
    "20,000 keys": (json.dumps({"data": [{f"{n:x}": 0 for n in range(15_000)}]}).encode(), ""),
    "one key 20,000 times": (b'{"data": [{' + b",".join([b'"id":1'] * 20_000) + b"}]}", ""),
    "50,000 records": (b'{"data": [' + b",".join([b"{}"] * 50_000) + b"]}", ""),
    "a text of 190,000 escapes": (b'{"data": [{"id": "' + b"\\u0000" * 30_000 + b'"}]}', ""),
    "half a pair of surrogates": (b'{"data": [{"id": "\\ud800"}]}', ""),
    "a compressed body with an end of another": (zipped(b'{"data": []}') + b"x" * 1000, "gzip"),
}
"""Bodies, each with its Content-Encoding."""

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "a list nested 100,000 deep": (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ""),
    "objects nested 20,000 deep": (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, ""),
    "a list that is not closed": (b'{"data": ' + b"[" * 150_000, ""),
    "a byte that is not UTF-8": (b'{"data": [{"id": "\xff"}]}', ""),
    "a compressed body of 200 MB": (zipped(bytes(200_000_000)), "gzip"),
    "a body compressed twice": (zipped(bytes(200_000_000), 2), "gzip, gzip"),
    "a body compressed three times": (zipped(bytes(200_000_000), 3), "gzip, gzip, gzip"),
    "a torn compressed body": (zipped(b'{"data": []}')[:-6], "gzip"),
    "plain text that says it is compressed": (b'{"data": []}', "gzip"),
    "an encoding that is not known": (b'{"data": []}', "zstd"),
    "300,000 bytes": (json.dumps({"data": ["x" * 300_000]}).encode(), ""),
}


@pytest.mark.parametrize("name", READABLE | UNREADABLE)
async def test_a_bomb_costs_little(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processor time and in memory. It is unavailable, or read as it is; nothing else is raised."""
    content, encoding = (READABLE | UNREADABLE)[name]

    def answer(_: httpx.Request) -> httpx.Response:
        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 65_536):
                yield content[at : at + 65_536]

        headers = {"Content-Encoding": encoding} if encoding else {}
        return httpx.Response(200, content=chunks(), headers=headers)

    monkeypatch.setattr("leads.adapters.pancake_api.MAX_ANSWER_BYTES", LIMIT_BYTES)
    api = client(answer)
    tracemalloc.start()
    began = time.thread_time()
    is_read = True
    try:
        await api.sources(ACCESS)
    except PancakeUnavailable:
        is_read = False
    finally:
        seconds = time.thread_time() - began
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert is_read == (name in READABLE)
    assert seconds < MAX_SECONDS
    assert peak_bytes < MAX_MEMORY_BYTES


@pytest.mark.parametrize("size", [0, 1, 70_000])
async def test_a_compressed_answer_is_read(size: int) -> None:
    """Pancake may compress; several pieces of the network make up one body."""
    body = {"data": [{"id": "x" * size}]}

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "gzip"
        return httpx.Response(
            200, content=zipped(json.dumps(body).encode()), headers={"Content-Encoding": "gzip"}
        )

    assert await client(answer).sources(ACCESS) == body["data"]


@pytest.mark.parametrize(("missing", "expected"), [(0, [{"id": "1"}]), (5, [])])
async def test_a_compressed_answer_comes_over_a_real_connection(
    httpserver: HTTPServer, missing: int, expected: list[object]
) -> None:
    """Whole, or broken off before its end."""
    body = zipped(b'{"data": [{"id": "1"}]}')
    response = Response(body[: len(body) - missing])
    response.headers |= {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
    httpserver.expect_request(re.compile("/.*")).respond_with_response(response)
    host = httpserver.url_for("").rstrip("/")
    api = PancakeApi(MovableClock(), {host})
    found: list[object] = []
    with nullcontext() if expected else pytest.raises(PancakeUnavailable):
        found = [*await api.sources(Access("c1", host, 123, "any"))]
    await api.aclose()
    assert found == expected


class Guarded:
    """A service behind a breaker with a clock; it waits for `gate` and raises `error` if it is set."""

    def __init__(self) -> None:
        self.clock = SimulatorClock()
        self.breaker = Breaker("pancake_rest:test", self.clock)
        self.error: BaseException | None = PancakeUnavailable()
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def _answer(self, error: BaseException | None) -> str:
        self.calls += 1
        await self.gate.wait()
        if error is not None:
            raise error
        return "answer"

    async def call(self) -> str:
        return await self.breaker.call_async(self._answer, self.error)

    async def fail(self, times: int = FAILURES_TO_OPEN, then_seconds: float = 0.0) -> None:
        """Fail so many times, each time followed by some seconds."""
        for _ in range(times):
            with pytest.raises(PancakeUnavailable):
                await self.call()
            self.clock.time += timedelta(seconds=then_seconds)

    def recover(self, seconds: float = RECOVERY_SECONDS) -> None:
        """Let the service answer again, some seconds later."""
        self.clock.time += timedelta(seconds=seconds)
        self.error = None


@pytest.fixture
async def guarded() -> Guarded:
    return Guarded()


@pytest.mark.test_case("TC-013-003")
async def test_it_opens_at_the_fifth_failure_within_sixty_seconds(guarded: Guarded) -> None:
    """Not at five failures over five minutes."""
    await guarded.fail(5, then_seconds=75)
    assert guarded.breaker.level == 0
    await guarded.fail(4, then_seconds=15)
    assert guarded.breaker.level == 0
    await guarded.fail(1)
    assert (guarded.breaker.level, guarded.calls) == (2, 10)
    with pytest.raises(BreakerOpen):
        await guarded.call()
    assert guarded.calls == 10


async def test_successes_in_between_do_not_hide_five_failures(guarded: Guarded) -> None:
    for _ in range(4):
        await guarded.fail(1)
        guarded.error = None
        assert await guarded.call() == "answer"
        guarded.error = PancakeUnavailable()
    await guarded.fail(1)
    assert guarded.breaker.level == 2


@pytest.mark.test_case("TC-013-004")
async def test_it_is_half_open_after_thirty_seconds_and_closes_on_success(guarded: Guarded) -> None:
    """The failures before are forgotten then."""
    await guarded.fail()
    guarded.recover(29.9)
    assert guarded.breaker.level == 2
    guarded.recover(0.1)
    assert guarded.breaker.level == 1
    assert await guarded.call() == "answer"
    assert guarded.breaker.level == 0
    guarded.error = PancakeUnavailable()
    await guarded.fail(4)
    assert guarded.breaker.level == 0


@pytest.mark.test_case("TC-013-005")
async def test_a_failed_probe_opens_it_for_another_thirty_seconds(guarded: Guarded) -> None:
    """It says since when it is not closed, however many probes fail."""
    assert guarded.breaker.open_since is None
    opened = guarded.clock.monotonic()
    await guarded.fail()
    for probes in range(1, 4):
        guarded.clock.time += timedelta(seconds=RECOVERY_SECONDS)
        assert guarded.breaker.level == 1
        await guarded.fail(1)
        assert (guarded.calls, guarded.breaker.level) == (5 + probes, 2)
        assert guarded.breaker.open_since == opened
    guarded.recover()
    await guarded.call()
    assert (guarded.breaker.open_since, guarded.breaker.answered_at) == (None, guarded.clock.monotonic())


async def test_only_one_of_twenty_callers_probes(guarded: Guarded) -> None:
    await guarded.fail()
    guarded.recover()
    guarded.gate.clear()
    callers = [asyncio.create_task(guarded.call()) for _ in range(20)]
    await eventually_async(lambda: sum(task.done() for task in callers) == 19)
    guarded.gate.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert (guarded.calls, results.count("answer")) == (6, 1)
    assert sum(isinstance(result, BreakerOpen) for result in results) == 19


async def test_after_a_cancelled_probe_the_next_caller_probes(guarded: Guarded) -> None:
    await guarded.fail()
    guarded.recover()
    guarded.gate.clear()
    probe = asyncio.create_task(guarded.call())
    await eventually_async(lambda: guarded.calls == 6)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert guarded.breaker.level == 1
    guarded.gate.set()
    assert await guarded.call() == "answer"


async def test_a_call_started_before_it_opened_does_not_close_it(guarded: Guarded) -> None:
    open_gate, late = guarded.gate, asyncio.Event()
    guarded.gate, guarded.error = late, None
    early = asyncio.create_task(guarded.call())
    await eventually_async(lambda: guarded.calls == 1)
    guarded.gate, guarded.error = open_gate, PancakeUnavailable()
    await guarded.fail()
    late.set()
    assert await early == "answer"
    assert guarded.breaker.level == 2


async def test_a_refusal_is_an_answer_and_closes_it(guarded: Guarded) -> None:
    await guarded.fail()
    guarded.recover()
    guarded.error = PancakeKeyRejected("Pancake answered 401.", status=401)
    with pytest.raises(PancakeKeyRejected):
        await guarded.call()
    assert guarded.breaker.level == 0
