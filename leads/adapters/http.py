"""HTTP for the handlers: who may call a route, the answer to each error, one metric and log line per request.

To Hasura 503 means "nothing was claimed, deliver it again"; a 4xx is for people to read in the console. The
body always is JSON with `message` and `extensions.code`: Hasura reports anything else to a client of an
action as "not a valid json response from webhook".
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from ipaddress import ip_address
from json import JSONEncoder
from typing import Any, Generic, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from leads.adapters.clock import Clock
from leads.adapters.hasura_calls import Answer, read_body
from leads.adapters.logs import binding, log_request
from leads.adapters.metrics import Metrics
from leads.adapters.settings import Settings
from leads.adapters.tracing import trace_of_request, within
from leads.domain.errors import (
    InClearText,
    IntegrationError,
    Misconfigured,
    Refused,
    Retryable,
    Stopping,
    Unauthorized,
    Unavailable,
)
from leads.domain.hosts import is_private

_encode = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
Endpoint = Callable[[Request], Awaitable[Response]]
Call = TypeVar("Call")
Parts = TypeVar("Parts")
HANDLER_SECRET_HEADER = b"x-handler-secret"
EDGE_SECRET_HEADER = b"x-edge-secret"


class Application(Starlette):
    """Passes a POST to a route of Hasura straight to it.

    These routes need neither Starlette's middleware nor its search: RequestLog answers their errors.
    """

    def __init__(
        self, hasura_routes: Sequence[Route], routes: Sequence[Route], lifespan: Lifespan[Any]
    ) -> None:
        super().__init__(routes=[*hasura_routes, *routes], lifespan=lifespan)
        self.router.redirect_slashes = False
        self._posts = {route.path: route.app for route in hasura_routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        post = self._posts.get(scope["path"]) if scope.get("method") == "POST" else None
        await (post or super().__call__)(scope, receive, send)


@dataclass(frozen=True, slots=True)
class HasuraRoute(Generic[Parts, Call]):
    """A Hasura action or trigger and the function that serves it. `allows_edge`: the edge may call it too.

    `retry_after_seconds`: the Retry-After of every 503 whose error has none. With Retry-After, Hasura ignores
    its limit of retries.
    """

    path: str
    name: str
    read: Callable[[bytes, str], Call]
    handle: Callable[[Parts, Call], Awaitable[Answer]]
    allows_edge: bool = False
    retry_after_seconds: int | None = None

    def bind(self, parts: Parts, settings: Settings, metrics: Metrics, clock: Clock) -> Route:
        """Return the Starlette route: check the secret, read the body, call the handler."""

        # An ASGI application: Starlette's requests and responses cost as much as reading a delivery.
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            authenticate(scope, settings, clock.now(), allows_edge=self.allows_edge)
            call = self.read(await read_body(receive), self.name)
            await send_answer(scope, send, await self.handle(parts, call))

        log = RequestLog(
            serve,
            route=self.path,
            metrics=metrics,
            clock=clock,
            measures_delivery=self.allows_edge,
            retry_after_seconds=self.retry_after_seconds,
        )
        return Route(self.path, log, methods=["POST"])


class RequestLog:
    """Middleware of a route: counts each request and writes its canonical log line as the answer starts.

    It also answers every exception that reaches it: Starlette's own handler for `Exception` raises it again
    to the server, whose log would quote its message, which may hold personal data.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        route: str,
        metrics: Metrics,
        clock: Clock,
        measures_delivery: bool = False,
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`headers` are added to every answer. `measures_delivery`: observe the latency of a delivery."""
        self._app = app
        self._route = route
        self._clock = clock
        self._count = cache(lambda status: metrics.requests.labels(route, str(status)))
        self._latency = metrics.webhook_latency.labels("handler") if measures_delivery else None
        self._retry_after_seconds = retry_after_seconds
        self._headers = headers or {}
        metrics.add_route(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = self._clock.monotonic()
        has_started = False

        async def log_and_send(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                if self._headers:
                    MutableHeaders(scope=message).update(self._headers)
                self._log(scope, message["status"], self._clock.monotonic() - started)
            await send(message)

        with within(trace_of_request(scope["headers"])), binding():
            try:
                await self._app(scope, receive, log_and_send)
            except (Exception, asyncio.CancelledError) as raised:
                if has_started:
                    raise
                # Only the server cancels, when it ends and a call takes too long.
                error = raised if isinstance(raised, Exception) else Stopping()
                status, body, wait_seconds = error_response(error)
                if status == 503:
                    wait_seconds = wait_seconds or self._retry_after_seconds
                _notes(scope)["error"] = error
                try:
                    await send_answer(scope, log_and_send, body, status, wait_seconds)
                finally:  # its frames hold what was read, and this frame, which must not hold it: a cycle
                    del _notes(scope)["error"], error

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        self._count(status).inc()
        if self._latency:
            self._latency.observe(seconds)
        notes = _notes(scope)
        log_request(self._route, status, seconds, notes.get("log_answer", {}), notes.get("error"))


def authenticate(scope: Scope, settings: Settings, now: datetime, *, allows_edge: bool) -> None:
    """Accept Hasura's secret, and the edge's where it may call. Raises Unauthorized and InClearText."""
    if not (_is_tls(scope) or "handlers" in settings.clear_text or _is_caller_private(scope)):
        raise InClearText
    if settings.handler_secret.accepts(_header(scope, HANDLER_SECRET_HEADER), now):
        return
    if allows_edge and settings.edge_secret.accepts(_header(scope, EDGE_SECRET_HEADER), now):
        return
    raise Unauthorized


def _header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a header, whose name ASGI gives in lower case."""
    return next((value.decode("latin-1") for given, value in scope["headers"] if given == name), None)


def _is_tls(scope: Scope) -> bool:
    return bool(scope.get("scheme") == "https")


def _is_caller_private(scope: Scope) -> bool:
    """Whether the caller is on this machine or in a private network."""
    client = scope.get("client")
    return client is not None and is_private(client[0])


async def send_answer(
    scope: Scope, send: Send, body: Answer, status: int = 200, retry_after_seconds: int | None = None
) -> None:
    """Send a JSON object, which the log line shows too."""
    _notes(scope)["log_answer"] = body
    content = _encode(body).encode()
    lines = [(b"content-length", b"%d" % len(content)), (b"content-type", b"application/json")]
    if retry_after_seconds:
        lines.append((b"retry-after", b"%d" % retry_after_seconds))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": content})


def _notes(scope: Scope) -> dict[str, Any]:
    """Return what a request leaves for its log line; `request.state` of Starlette has it too."""
    notes: dict[str, Any] = scope.setdefault("state", {})
    return notes


def error_response(error: Exception) -> tuple[int, dict[str, object], int | None]:
    """Return status, body and seconds of Retry-After for an error; the only map from errors to answers."""
    if not isinstance(error, IntegrationError):
        return 500, {"message": "internal error", "extensions": {"code": "internal"}}, None
    status = 422
    if isinstance(error, Misconfigured):
        status = 500
    elif isinstance(error, Refused):
        status = error.status
    elif isinstance(error, Retryable):
        status = 503
    seconds = error.retry_after_seconds if isinstance(error, Unavailable) else None
    return status, {"message": str(error), "extensions": {"code": error.code}}, seconds


def answer(request: Request, body: Answer, *, log: Mapping[str, object]) -> Response:
    """Answer 200 with a JSON object; the log line shows `log` instead."""
    _notes(request.scope)["log_answer"] = log
    return JSONResponse(body)


def authenticate_edge_in_private(scope: Scope, settings: Settings, now: datetime) -> None:
    """Accept the edge's secret, over loopback or TLS only. Raises Unauthorized."""
    is_edge = settings.edge_secret.accepts(_header(scope, EDGE_SECRET_HEADER), now)
    if not is_edge or not (_is_tls(scope) or _is_caller_local(scope)):
        raise Unauthorized


def _is_caller_local(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ip_address(client[0]).is_loopback
    except ValueError:
        return False


def only_on(address: tuple[str, int] | None, endpoint: Endpoint) -> Endpoint:
    """Let an endpoint answer on the port of that address alone, and 404 on others; None: on every port."""

    async def guarded(request: Request) -> Response:
        server: tuple[str, int | None] = request.scope.get("server") or ("", None)
        if address is not None and server[1] != address[1]:
            raise HTTPException(404)
        return await endpoint(request)

    return guarded
