"""Answers of Pancake's API that attack the reader: they cost little, and become data or an error."""

import asyncio
import gzip
import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from leads.adapters.pancake_api import PAGE_LIMIT, Access, PancakeApi
from leads.domain.errors import PancakeUnavailable
from tests.support.fakes import MovableClock

ACCESS = Access("c1", "https://crm.pancake.test/api", 123, "0123456789abcdef0123456789abcdef")
LIMIT_BYTES = 200_000
MAX_SECONDS = 1.0
MAX_MEMORY_BYTES = 40 * LIMIT_BYTES
"""Parsed JSON takes a multiple of its text."""


def zipped(content: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        content = gzip.compress(content)
    return content


def reader(answer: Any) -> PancakeApi:
    return PancakeApi(
        MovableClock(), {"https://crm.pancake.test"}, transport=httpx.MockTransport(answer),
        max_answer_bytes=LIMIT_BYTES,
    )  # fmt: skip


def digits(count: int) -> bytes:
    return b'{"data": [{"id": ' + b"9" * count + b"}]}"


UNREADABLE = {
    "a list that is not closed", "a body compressed twice", "a body compressed three times",
    "a torn compressed body", "plain text that says it is compressed", "an encoding that is not known",
    "a compressed body of 200 MB", "300,000 bytes", "a byte that is not UTF-8", "a list nested 100,000 deep",
    "objects nested 20,000 deep",
}  # fmt: skip
BOMBS: dict[str, tuple[bytes, str]] = {
    "a list nested 100,000 deep": (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ""),
    "objects nested 20,000 deep": (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, ""),
    "a list that is not closed": (b'{"data": ' + b"[" * 150_000, ""),
    "a number of 190,000 digits": (digits(190_000), ""),
    "a number with a large exponent": (b'{"data": [{"id": 1e999999999}]}', ""),
    "numbers that are none": (b'{"data": [{"id": NaN, "n": -Infinity}]}', ""),
    "20,000 keys": (json.dumps({"data": [{f"{n:x}": 0 for n in range(15_000)}]}).encode(), ""),
    "one key 20,000 times": (b'{"data": [{' + b",".join([b'"id":1'] * 20_000) + b"}]}", ""),
    "50,000 records": (b'{"data": [' + b",".join([b"{}"] * 50_000) + b"]}", ""),
    "a text of 190,000 escapes": (b'{"data": [{"id": "' + b"\\u0000" * 30_000 + b'"}]}', ""),
    "half a pair of surrogates": (b'{"data": [{"id": "\\ud800"}]}', ""),
    "a byte that is not UTF-8": (b'{"data": [{"id": "\xff"}]}', ""),
    "a compressed body of 200 MB": (zipped(bytes(200_000_000)), "gzip"),
    "a body compressed twice": (zipped(bytes(200_000_000), 2), "gzip, gzip"),
    "a body compressed three times": (zipped(bytes(200_000_000), 3), "gzip, gzip, gzip"),
    "a torn compressed body": (zipped(b'{"data": []}')[:-6], "gzip"),
    "a compressed body with an end of another": (zipped(b'{"data": []}') + b"x" * 1000, "gzip"),
    "plain text that says it is compressed": (b'{"data": []}', "gzip"),
    "an encoding that is not known": (b'{"data": []}', "zstd"),
    "300,000 bytes": (b" " * 300_000, ""),
}
"""Bodies, each with its Content-Encoding."""


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_costs_little(name: str) -> None:
    """In processor time and in memory. It is unavailable, or read as it is; nothing else is raised."""
    content, encoding = BOMBS[name]

    def answer(_: httpx.Request) -> httpx.Response:
        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 65_536):
                yield content[at : at + 65_536]

        headers = {"Content-Encoding": encoding} if encoding else {}
        return httpx.Response(200, content=chunks(), headers=headers)

    api = reader(answer)
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
    assert is_read == (name not in UNREADABLE)
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

    assert await reader(answer).sources(ACCESS) == body["data"]


async def test_a_list_without_an_end_stops_at_the_page_limit() -> None:
    """Every page has a new cursor."""
    asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(200, json={"entries": [{"id": "1"}], "cursor": f"{asked}" * 1000})

    pages = [page async for page in reader(answer).pages(ACCESS, "lead", max_pages=50)]
    assert (asked, pages[-1].ending) == (50, PAGE_LIMIT)


@pytest.mark.parametrize(("missing", "is_read"), [(0, True), (5, False)])
async def test_a_compressed_answer_comes_over_a_real_connection(missing: int, is_read: bool) -> None:
    """Whole, or broken off before its end."""
    body = zipped(b'{"data": [{"id": "1"}]}')

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body[: len(body) - missing])
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        api = PancakeApi(MovableClock(), {host})
        try:
            found = await api.sources(Access("c1", host, 123, ACCESS.api_key))
        except PancakeUnavailable:
            found = []
        await api.aclose()
    assert found == ([{"id": "1"}] if is_read else [])
