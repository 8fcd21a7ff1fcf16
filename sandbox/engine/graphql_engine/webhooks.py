"""One HTTP call of a webhook, as event triggers, cron triggers and actions make it; trace context.

The client keeps connections and follows redirects; cookies last until the last redirect of a call. While
OpenTelemetry is on, trace context is read and sent as B3 with one header for each value. With
`traces_propagators: [tracecontext]` in its metadata the engine sends W3C `traceparent` too; not here.
Facts: the engine's `Eventing/HTTP` (failures, contents of invocation logs) and its HTTP client
`http-client` (cookies within a call, ten redirects, one more try on a connection that the server closed);
the headers that recorded requests carried.
"""

import asyncio
import json
import re
import secrets
import ssl
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import anyio
from httptools import HttpParserError, HttpResponseParser

from graphql_engine.errors import QErr, unsupported
from graphql_engine.settings import VERSION

_TRACE_ID = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
_SPAN_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Trace:
    """A span: ids in hexadecimal digits; without a parent it is the first one of its trace."""

    trace_id: str
    span_id: str
    parent_id: str | None = None

    def child(self) -> "Trace":
        return Trace(self.trace_id, secrets.token_hex(8), self.span_id)

    def context(self) -> dict[str, str]:
        """Return what an event stores of it."""
        return {"trace_id": self.trace_id, "span_id": self.span_id, "sampling_state": "1"}

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of a call of a webhook."""
        parent = [("X-B3-ParentSpanId", self.parent_id)] if self.parent_id else []
        return [
            ("X-B3-TraceId", self.trace_id),
            ("X-B3-SpanId", self.span_id),
            *parent,
            ("X-B3-Sampled", "1"),
        ]


def of_client(headers: Mapping[str, str]) -> Trace:
    """Return a span in the trace of a client's request, or in a new one."""
    given = {name.lower(): value for name, value in headers.items()}
    return _continue(given.get("x-b3-traceid"), given.get("x-b3-spanid"))


def of_event(context: object) -> Trace:
    """Return a span in the trace of an event's `trace_context`, or in a new one."""
    given = context if isinstance(context, Mapping) else {}
    return _continue(given.get("trace_id"), given.get("span_id"))


def _continue(trace_id: object, span_id: object) -> Trace:
    if not (isinstance(trace_id, str) and _TRACE_ID.fullmatch(trace_id)):
        return Trace(secrets.token_hex(16), secrets.token_hex(8))
    if not (isinstance(span_id, str) and _SPAN_ID.fullmatch(span_id)):
        return Trace(trace_id, secrets.token_hex(8))
    return Trace(trace_id, span_id).child()


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
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Client:
    """Connections by origin; the one that was used last is used first."""

    def __init__(self) -> None:
        self._idle: defaultdict[Origin, list[_Connection]] = defaultdict(list)
        self._ssl: ssl.SSLContext | None = None

    async def post(self, url: str, headers: Headers, content: bytes) -> Response:
        """Send a POST and follow redirects. Raises InvalidUrl or OSError; never limits the time."""
        method = "POST"
        cookies: dict[str, str] = {}
        for _ in range(MAX_REDIRECTS + 1):
            cookie = [("Cookie", "; ".join(cookies.values()))] if cookies else []
            response = await self._once(method, url, [*headers, *cookie], content)
            target = response.header("location")
            if not 300 <= response.status < 400 or target is None:
                return response
            given = [each.partition(";")[0] for each in response.all("set-cookie")]
            cookies |= {each.partition("=")[0]: each for each in given}
            before, url = url, urljoin(url, target)
            if origin_of(split_url(before)) != origin_of(split_url(url)):
                cookies = {}
            if response.status in (302, 303):
                method, content = "GET", b""
                headers = [(name, value) for name, value in headers if name.lower() != "content-type"]
        raise OSError("too many redirects")

    async def aclose(self) -> None:
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


# {{VARIABLE}}, spaces inside the braces allowed
TEMPLATE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
USER_AGENT = f"hasura-graphql-engine/{VERSION}"
LOG_VERSION = "2"
UNSENDABLE = (ValueError, OSError)


def fill_template(text: str, environment: Mapping[str, str]) -> str:
    """Replace each `{{VAR}}`. Raises QErr `not-found` naming the unset variables."""
    missing = [name for name in TEMPLATE.findall(text) if name not in environment]
    if missing:
        raise QErr("not-found", f"Value for environment variables not found: {', '.join(missing)}")
    return TEMPLATE.sub(lambda match: environment[match.group(1)], text)


def from_environment(name: str, environment: Mapping[str, str]) -> str:
    """Return one variable. Raises QErr `not-found` if it is not set."""
    if name not in environment:
        raise QErr("not-found", f"environment variable '{name}' not set")
    return environment[name]


def resolve_headers(
    headers: list[dict[str, Any]] | None, environment: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return configured headers with their values. Raises QErr `not-found` for an unset variable."""
    resolved = []
    for header in headers or []:
        if "value_from_env" in header:
            resolved.append((header["name"], from_environment(header["value_from_env"], environment)))
        else:
            resolved.append((header["name"], fill_template(str(header["value"]), environment)))
    return resolved


def resolve_webhook(trigger: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    if trigger.get("webhook_from_env"):
        return from_environment(trigger["webhook_from_env"], environment)
    return fill_template(str(trigger["webhook"]), environment)


@dataclass(frozen=True)
class Outgoing:
    """A POST to a webhook; `body` is JSON."""

    url: str
    headers: list[tuple[str, str]]
    body: str


def refuse_transforms(holder: Mapping[str, Any]) -> None:
    """Raise QErr `not-supported` for an action or a trigger with a transform: it cannot be called."""
    for key in ("request_transform", "response_transform"):
        if holder.get(key):
            raise unsupported(key)


@dataclass(frozen=True)
class Reply:
    """The response of a webhook. Without a response `status` is None and `body` contains the reason."""

    status: int | None
    body: str
    headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether the engine counts the delivery as done."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def retry_after(self) -> int | None:
        """Seconds of a usable `Retry-After` on a failed response; only a positive integer counts."""
        if self.status is None or self.succeeded:
            return None
        for name, value in self.headers:
            if name.lower() == "retry-after":
                return int(value) if value.strip().isdigit() and int(value) > 0 else None
        return None

    def logged(self) -> dict[str, Any]:
        """Return the `response` of an invocation log."""
        if self.status is None or self.status >= 300:
            return {"data": {"message": self.body}, "type": "client_error", "version": LOG_VERSION}
        headers = [{"name": name, "value": value} for name, value in self.headers]
        data = {"body": self.body, "headers": headers, "status": self.status}
        return {"data": data, "type": "webhook_response", "version": LOG_VERSION}


def request_headers(configured: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers to send: the engine's own two (which win), then configured ones."""
    own = [("Content-Type", "application/json"), ("User-Agent", USER_AGENT)]
    names = {name.lower() for name, _ in own}
    kept = [(name, value) for name, value in configured if name.lower() not in names]
    return own + kept


def logged_request(
    body: str, headers: list[dict[str, Any]] | None, version: str = LOG_VERSION, *, late: bool = False
) -> str:
    """Return the `request` of an invocation log; variables of the environment appear by name only.

    late: the call timed out, and the engine logs no headers.
    """
    own = [{"name": name, "value": value} for name, value in request_headers([])]
    shown = [] if late else [*own, *(headers or [])]
    return f'{{"payload":{body},"headers":{json.dumps(shown)},"version":"{version}"}}'


async def send(client: Client, request: Outgoing, trace: Trace | None) -> Response:
    """Send a request, without a limit of time; logs do not show the trace. Raises one of UNSENDABLE."""
    headers = [*request.headers, *(trace.headers() if trace else ())]
    return await client.post(request.url, headers, request.body.encode())


async def call(client: Client, request: Outgoing, seconds: float, trace: Trace | None) -> Reply:
    """Send a request. Failures of the network or the webhook never raise; the reply tells them.

    seconds: limit of the whole exchange. Raises TimeoutError after it.
    """
    try:
        with anyio.fail_after(seconds):
            response = await send(client, request, trace)
    except TimeoutError:
        raise
    except UNSENDABLE as error:
        return Reply(None, json.dumps(failure(error, request, seconds)))
    return Reply(response.status, response.text, response.headers)


async def deliver(
    client: Client, trigger: Mapping[str, Any], environment: Mapping[str, str], body: str, seconds: float,
    trace: Trace | None,
) -> Reply:  # fmt: skip
    """Call the webhook of a trigger as `call` does; if it is not configured well, the reply says so."""
    try:
        refuse_transforms(trigger)
        url = resolve_webhook(trigger, environment)
        headers = request_headers(resolve_headers(trigger.get("headers"), environment))
    except QErr as error:
        return Reply(None, error.message)
    return await call(client, Outgoing(url, headers, body), seconds, trace)


def failure(error: Exception, request: Outgoing, seconds: float) -> dict[str, Any]:
    """Return how the engine describes a call without a response: to logs and in `internal`."""
    if isinstance(error, InvalidUrl):
        return {"message": str(error), "type": "invalid_url"}
    target = split_url(request.url)
    scheme, host, port = origin_of(target)
    is_late = isinstance(error, TimeoutError)
    return {
        "message": "Response timeout" if is_late else f"Connection failure: {error}",
        "request": {
            "host": host,
            "method": "POST",
            "path": target.path,
            "port": port,
            "queryString": f"?{target.query}" if target.query else "",
            "responseTimeout": f"ResponseTimeoutMicro {int(seconds * 1_000_000)}",
            "secure": scheme == "https",
        },
        "type": "http_exception",
    }
