"""The REST client: both answer shapes, the error class of each failure, no key in a log."""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from leads.adapters.breaker import BreakerOpen
from leads.adapters.pancake_api import Access, Page, PancakeApi
from leads.domain.errors import HostNotAllowed, PancakeKeyRejected, PancakeRefused, PancakeUnavailable

KEY = "0123456789abcdef0123456789abcdef"
ACCESS = Access("c1", "https://crm.pancake.test/api", 123, KEY)
HOSTS = frozenset({"https://crm.pancake.test"})
Answer = Callable[[httpx.Request], httpx.Response]


class Clock:
    """A clock that does not move."""

    def now(self) -> datetime:
        return datetime(2026, 5, 14, 2, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


class Script:
    """Answers each request with a function and records the requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)


def client(answer: Answer, **options: Any) -> PancakeApi:
    return PancakeApi(Clock(), HOSTS, transport=httpx.MockTransport(answer), **options)


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


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/api",
        "http://crm.pancake.test/api",
        "https://crm.pancake.test:8443/api",
        "https://crm.pancake.test.evil.example/api",
        "https://crm.pancake.test@evil.example/api",
        "https://evil.example\\@crm.pancake.test/api",
        "https://crm.pancake.test/x?a=",
        "https://crm.pancake.test/api#",
        "https://crm.pancake.test/api/..",
        "//crm.pancake.test/api",
    ],
)
async def test_no_request_goes_to_a_base_url_of_another_host_or_form(url: str) -> None:
    script = Script(keyset(1))
    api = client(script)
    with pytest.raises(HostNotAllowed, match="PANCAKE_API_HOSTS"):
        await api.sources(Access("c1", url, 123, KEY))
    assert (script.requests, api.breakers.level()) == ([], 0)


async def test_a_redirect_does_not_take_the_key_along() -> None:
    script = Script(lambda _: httpx.Response(302, headers={"Location": "https://evil.example/"}))
    with pytest.raises(PancakeRefused):
        await client(script).sources(ACCESS)
    assert [request.url.host for request in script.requests] == ["crm.pancake.test"]


async def test_the_request_names_workspace_table_key_and_filter() -> None:
    script = Script(keyset(1))
    await walked(client(script).pages(ACCESS, "lead", {"fields": []}, cursor="0"))
    url = script.requests[0].url
    assert url.path == "/api/workspaces/123/lead/records"
    assert dict(url.params) == {"view_id": "all", "filter": '{"fields":[]}', "cursor": "0", "api_key": KEY}


async def test_a_full_page_that_repeats_its_cursor_is_reported_and_ends_the_list() -> None:
    def stuck(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"entries": [{"id": str(i)} for i in range(30)], "cursor": "same"})

    pages = await walked(client(stuck).pages(ACCESS, "lead"))
    assert [page.ending for page in pages] == [None, "repeated_cursor"]


async def test_a_list_stops_at_the_page_limit_and_can_be_resumed() -> None:
    api = client(keyset(1_000))
    pages = await walked(api.pages(ACCESS, "lead", max_pages=3))
    assert [page.ending for page in pages] == [None, None, "page_limit"]
    rest = await walked(api.pages(ACCESS, "lead", cursor=pages[-1].cursor))
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


@pytest.mark.parametrize("answer", [always(401), always(403, {"success": False, "message": {}})])
async def test_a_rejected_key_is_reported_and_does_not_open_the_breaker(answer: Answer) -> None:
    api = client(answer)
    for _ in range(6):
        with pytest.raises(PancakeKeyRejected):
            await api.sources(ACCESS)
    assert api.breakers.level() == 0


async def test_success_false_with_status_200_is_a_rejected_key_too() -> None:
    with pytest.raises(PancakeKeyRejected):
        await client(always(200, {"success": False, "message": "?"})).sources(ACCESS)


@pytest.mark.parametrize("status", [400, 404, 422, 302])
async def test_an_invalid_request_does_not_open_the_breaker(status: int) -> None:
    api = client(always(status, headers={"Location": "https://elsewhere.test/"}))
    for _ in range(6):
        with pytest.raises(PancakeRefused):
            await api.sources(ACCESS)
    assert api.breakers.level() == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("Thu, 14 May 2026 02:01:30 GMT", 90),
        ("0", 1),
        ("Wed, 13 May 2026 02:01:30 GMT", 1),
        ("999999", 3600),
        ("soon", 30),
        (None, 30),
    ],
)
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_or_failing_server_is_unavailable_with_its_retry_after(
    status: int, header: str | None, seconds: float
) -> None:
    with pytest.raises(PancakeUnavailable) as caught:
        await client(always(status, headers={"Retry-After": header} if header else None)).sources(ACCESS)
    assert caught.value.retry_after_seconds == seconds


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"data": [1', b"\xff"])
async def test_an_answer_that_is_no_json_object_is_unavailable(content: bytes) -> None:
    with pytest.raises(PancakeUnavailable):
        await client(lambda _: httpx.Response(200, content=content)).sources(ACCESS)


async def test_an_answer_is_not_read_beyond_the_limit() -> None:
    with pytest.raises(PancakeUnavailable, match="too large"):
        await client(always(200, {"data": ["x" * 2_000]}), max_answer_bytes=1_000).sources(ACCESS)


async def test_a_slow_answer_is_cut_off_by_the_total_timeout() -> None:
    class Trickle(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    api = PancakeApi(Clock(), HOSTS, transport=Trickle(), total_timeout_seconds=0.01)
    with pytest.raises(PancakeUnavailable, match="no complete answer"):
        await api.sources(ACCESS)


async def test_after_five_failures_the_breaker_of_the_connection_opens() -> None:
    script = Script(always(500))
    api = client(script)
    for _ in range(5):
        with pytest.raises(PancakeUnavailable):
            await api.sources(ACCESS)
    with pytest.raises(BreakerOpen):
        await api.sources(ACCESS)
    assert len(script.requests) == 5
    assert api.breakers.level() == 2
    with pytest.raises(PancakeUnavailable, match="500"):
        await api.sources(Access("c2", ACCESS.base_url, 124, KEY))


@pytest.mark.parametrize(
    "answer", [always(404), always(200, {"success": True, "data": None}), always(200, {"success": False})]
)
async def test_a_record_that_is_not_found_is_none(answer: Answer) -> None:
    assert await client(answer).record(ACCESS, "lead", "r1") is None


async def test_a_record_id_cannot_change_the_path() -> None:
    script = Script(always(200, {"data": None}))
    await client(script).record(ACCESS, "lead", "../sources?x=")
    assert script.requests[0].url.raw_path.startswith(b"/api/workspaces/123/record/..%2Fsources%3Fx%3D?")


async def test_a_record_is_requested_by_table() -> None:
    script = Script(always(200, {"success": True, "data": {"id": "r1"}}))
    assert await client(script).record(ACCESS, "lead", "r1") == {"id": "r1"}
    assert script.requests[0].url.path == "/api/workspaces/123/record/r1"
    assert script.requests[0].url.params["table_name"] == "lead"


def _refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError(f"cannot reach {request.url}", request=request)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError, "no connection"),
        (httpx.ReadTimeout, "no answer in time"),
        (httpx.RemoteProtocolError, "the connection broke, or the answer is not HTTP"),
    ],
)
async def test_why_there_is_no_answer_is_said_in_words(error: type[httpx.RequestError], words: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error(f"cannot read {request.url}", request=request)

    with pytest.raises(PancakeUnavailable, match=rf"^Pancake could not be read: {words}\.$"):
        await client(answer).sources(ACCESS)


@pytest.mark.parametrize(
    "answer", [always(200, {"data": []}), always(500), always(401), always(404), _refuse]
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
