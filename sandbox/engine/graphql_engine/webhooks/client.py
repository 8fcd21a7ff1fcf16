"""A small HTTP client for webhooks: it keeps connections, follows redirects and keeps no cookies.

Facts: the engine's HTTP client `http-client` (no cookies, ten redirects, one more try on a connection that
the server closed); the headers that recorded requests carried.
"""

import asyncio
import ssl
import time
import zlib
from collections import defaultdict
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from httptools import HttpParserError, HttpResponseParser

MAX_REDIRECTS = 10
# An idle connection is given up after 2 s, before most servers close it on their side.
KEEP_SECONDS = 2.0
PORTS = {"http": 80, "https": 443}
Headers = list[tuple[str, str]]
Origin = tuple[str, str, int]


class InvalidUrl(ValueError):
    """The URL is none (`Invalid URL`) or has another scheme than http and https (`Invalid scheme`)."""


@dataclass(frozen=True)
class Response:
    """The answer of a webhook: names of headers as they were sent, the content without compression."""

    status: int
    headers: Headers
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", errors="replace")

    def header(self, name: str) -> str | None:
        """Return the first header of this name."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """Return all headers of this name, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Client:
    """Connections by origin; the one that was used last is used first."""

    def __init__(self) -> None:
        self._idle: defaultdict[Origin, list[_Connection]] = defaultdict(list)
        self._ssl: ssl.SSLContext | None = None

    async def post(self, url: str, headers: Headers, content: bytes) -> Response:
        """Send a POST and follow redirects. Raises InvalidUrl or OSError; never limits the time."""
        method = "POST"
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._once(method, url, headers, content)
            target = response.header("location")
            if not 300 <= response.status < 400 or target is None:
                return response
            url = urljoin(url, target)
            if response.status in (302, 303):
                method, content = "GET", b""
                headers = [(name, value) for name, value in headers if name.lower() != "content-type"]
        raise OSError("too many redirects")

    async def aclose(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _once(self, method: str, url: str, headers: Headers, content: bytes) -> Response:
        target = split_url(url)
        origin = origin_of(target)
        raw = _request(method, target, headers, content)
        kept = self._kept(origin)
        if kept is not None:
            try:
                return await self._exchange(origin, kept, raw)
            except ConnectionError:
                pass  # closed by the server meanwhile
        return await self._exchange(origin, await self._connect(origin), raw)

    def _kept(self, origin: Origin) -> "_Connection | None":
        connections = self._idle[origin]
        while connections:
            connection = connections.pop()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    async def _connect(self, origin: Origin) -> "_Connection":
        scheme, host, port = origin
        if scheme == "https" and self._ssl is None:
            self._ssl = ssl.create_default_context()
        context = self._ssl if scheme == "https" else None
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, host, port, ssl=context)
        return connection

    async def _exchange(self, origin: Origin, connection: "_Connection", raw: bytes) -> Response:
        try:
            response = await connection.exchange(raw)
        except BaseException:
            connection.close()
            raise
        idle = self._idle[origin]
        while idle and not idle[0].is_usable():
            idle.pop(0).close()
        if connection.is_usable():
            idle.append(connection)
        return response


class _Connection(asyncio.Protocol):
    """One connection; one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._used = time.monotonic()
        self._keeps = True

    def is_usable(self) -> bool:
        """Whether another request may be sent."""
        is_open = self._transport is not None and not self._transport.is_closing()
        return is_open and self._keeps and time.monotonic() - self._used < KEEP_SECONDS

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, raw: bytes) -> Response:
        """Send the bytes of a request and return the response. Raises ConnectionError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._parser = HttpResponseParser(self)
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._has_headers = False
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return await self._waiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()  # no exchange waits for it
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(ConnectionError(f"the response is not HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        names = {name.lower() for name, _ in self._headers} if self._waiter is not None else set()
        if (
            exc is None
            and names
            and self._has_headers
            and not names & {"content-length", "transfer-encoding"}
        ):
            self.on_message_complete()
        else:
            self._fail(ConnectionResetError(str(exc or "the server closed the connection")))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._has_headers = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim response
            self._headers, self._body, self._has_headers = [], [], False
            return
        self._keeps = self._parser.should_keep_alive()
        self._used = time.monotonic()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(Response(status, self._headers, _decoded(self._headers, self._body)))

    def _fail(self, error: ConnectionError) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self.close()


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL. Raises InvalidUrl."""
    try:
        target = urlsplit(url.strip())
        if not target.scheme or (target.scheme in PORTS and not target.hostname):
            raise InvalidUrl("Invalid URL")
        origin_of(target)
    except InvalidUrl:
        raise
    except ValueError as error:
        raise InvalidUrl("Invalid URL") from error
    return target


def origin_of(target: SplitResult) -> Origin:
    """Return scheme, host and port. Raises InvalidUrl for another scheme than http and https."""
    if target.scheme not in PORTS:
        raise InvalidUrl("Invalid scheme")
    return target.scheme, target.hostname or "", target.port or PORTS[target.scheme]


def _request(method: str, target: SplitResult, headers: Headers, content: bytes) -> bytes:
    path = quote(target.path or "/", safe="/%:@!$&'()*+,;=~")
    query = f"?{quote(target.query, safe='/%:@!$&()*+,;=~?')}" if target.query else ""
    lines = [f"{method} {path}{query} HTTP/1.1", f"Host: {target.netloc.rpartition('@')[2]}"]
    lines.append("Accept-Encoding: gzip")
    if method != "GET":
        lines.append(f"Content-Length: {len(content)}")
    lines += [f"{name}: {value}" for name, value in headers]
    head = "\r\n".join(lines)
    if head.count("\r") != len(lines) - 1 or head.count("\n") != len(lines) - 1:
        raise ConnectionError("a header holds a line break")
    return f"{head}\r\n\r\n".encode() + content


def _decoded(headers: Headers, body: list[bytes]) -> bytes:
    content = b"".join(body)
    encoding = next((value.lower() for name, value in headers if name.lower() == "content-encoding"), "")
    if encoding == "gzip" and content:
        return zlib.decompress(content, wbits=31)
    return content
