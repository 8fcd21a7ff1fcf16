"""The HTTP client of webhooks: kept connections, what servers do to them, odd answers."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from graphql_engine.webhooks import Client, InvalidUrl

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(handle: Handler) -> Any:
    """A server that `handle` answers for; yields its URL."""
    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await handle(reader, writer)
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()[:2]
    client = Client()
    try:
        yield client, f"http://{host}:{port}/hook"
    finally:
        await client.aclose()
        listening.close()
        await asyncio.gather(*(task for task in served if task))


async def read(reader: asyncio.StreamReader) -> bytes:
    """Read one request whose body is `{}` or empty; return its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b"Content-Length: 2" in head:
        await reader.readexactly(2)
    return head


async def test_a_connection_is_kept_and_a_closed_one_is_replaced() -> None:
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            await read(reader)
            writer.write(OK)

    async with server(handle) as (client, url):
        for _ in range(3):
            assert (await client.post(url, [], b"{}")).text == "{}"
            await asyncio.sleep(0.05)
    assert connections == 2


async def test_only_what_was_asked_for_is_sent() -> None:
    heads = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read(reader))
        writer.write(OK)

    async with server(handle) as (client, url):
        await client.post(f"{url}?a=b c", [("X-One", "1")], b"{}")
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "POST /hook?a=b%20c HTTP/1.1"
    assert {line.split(":")[0] for line in lines[1:] if line} == {
        "Host",
        "Accept-Encoding",
        "Content-Length",
        "X-One",
    }


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
        % (len(gzip.compress(b"{}")), gzip.compress(b"{}")),
    ],
    ids=["chunked", "interim", "until the end", "gzip"],
)
async def test_every_form_of_an_answer_is_read(answer: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read(reader)
        writer.write(answer)

    async with server(handle) as (client, url):
        response = await client.post(url, [], b"{}")
    assert (response.status, response.text) == (200, "{}")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"nonsense\r\n\r\n"]
)
async def test_half_an_answer_is_an_error_of_the_connection(answer: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read(reader)
        writer.write(answer)

    async with server(handle) as (client, url):
        with pytest.raises(ConnectionError):
            await client.post(url, [], b"{}")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "Invalid URL"),
        ("http://[bad", "Invalid URL"),
        ("http://h:x/", "Invalid URL"),
        ("ftp://h/", "Invalid scheme"),
    ],
)
async def test_a_bad_url_is_refused(url: str, reason: str) -> None:
    with pytest.raises(InvalidUrl, match=reason):
        await Client().post(url, [], b"{}")
