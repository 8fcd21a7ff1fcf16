"""HTTP for the handlers: who may call a route, the answer to each error, one metric and log line per request.

To Hasura 503 means "nothing was claimed, deliver it again"; a 4xx is for people to read in the console. The
body always is JSON with `message` and `extensions.code`: Hasura reports anything else to a client of an
action as "not a valid json response from webhook".
"""

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
from leads.adapters.hasura_calls import read_body
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
    Unauthorized,
    Unavailable,
)
from leads.domain.private_hosts import is_private

HANDLER_SECRET_HEADER = "x-handler-secret"  # noqa: S105 - the name of a header
EDGE_SECRET_HEADER = "x-edge-secret"  # noqa: S105 - the name of a header

Endpoint = Callable[[Request], Awaitable[Response]]
Answer = dict[str, Any]
"""What a handler answers with status 200: a JSON object."""
Call = TypeVar("Call")
Parts = TypeVar("Parts")


@dataclass(frozen=True, slots=True)
class HasuraRoute(Generic[Parts, Call]):
    """A Hasura action or trigger and the function that serves it. `allows_edge`: the edge may call it too.

    `retry_after_seconds`: the Retry-After of each 503 whose error names no other. Hasura then never gives a
    trigger's event up because of a 503: it looks at the limit of the tries only without Retry-After.
    """

    path: str
    name: str
    read: Callable[[bytes, str], Call]
    handle: Callable[[Parts, Call], Awaitable[Answer]]
    allows_edge: bool = False
    retry_after_seconds: int | None = None

    def bind(self, parts: Parts, settings: Settings, metrics: Metrics, clock: Clock) -> Route:
        """Return the Starlette route: check the secret, read the body, call the handler."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            request.state.retry_after_seconds = self.retry_after_seconds
            authenticate(request, settings, clock.now(), allows_edge=self.allows_edge)
            call = self.read(await read_body(request.stream()), self.name)
            response = answer(request, await self.handle(parts, call))
            await response(scope, receive, send)

        # An ASGI application, not a function of a request: Starlette would wrap that one twice.
        log = RequestLog(
            serve, route=self.path, metrics=metrics, clock=clock, measures_delivery=self.allows_edge
        )
        return Route(self.path, log, methods=["POST"])


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
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`headers` are added to every answer. `measures_delivery`: observe the latency of a delivery."""
        self._app = app
        self._route = route
        self._clock = clock
        self._count = cache(lambda status: metrics.requests.labels(route, str(status)))
        self._latency = metrics.webhook_latency.labels("handler") if measures_delivery else None
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
            except Exception as error:
                if has_started:
                    raise
                response = await answer_error(Request(scope, receive), error)
                await response(scope, receive, log_and_send)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        self._count(status).inc()
        if self._latency:
            self._latency.observe(seconds)
        state = scope.get("state", {})
        log_request(self._route, status, seconds, state.get("log_answer", {}), state.get("error"))


class _Json(JSONResponse):
    """As Starlette's, which builds an encoder for each answer."""

    _encode = staticmethod(JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode)

    def render(self, content: object) -> bytes:
        return self._encode(content).encode()


def answer(request: Request, body: Answer, *, log: Mapping[str, object] | None = None) -> Response:
    """Answer 200 with a JSON object; the log line shows `log` instead of the body, if given."""
    request.state.log_answer = body if log is None else log
    return _Json(body)


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an exception with its status, body and headers."""
    status, body, headers = error_response(error)
    seconds = getattr(request.state, "retry_after_seconds", None)
    if status == 503 and seconds:
        headers = {"Retry-After": str(seconds)} | headers
    request.state.error = error
    request.state.log_answer = body
    return _Json(body, status, headers)


def error_response(error: Exception) -> tuple[int, dict[str, object], dict[str, str]]:
    """Return status, body and headers for an exception; the only map from errors to answers."""
    if not isinstance(error, IntegrationError):
        return 500, _error_body("internal error", "internal"), {}
    if isinstance(error, Misconfigured):
        return 500, _error_body(str(error), error.code), {}
    if isinstance(error, Refused):
        return error.status, _error_body(str(error), error.code), {}
    if isinstance(error, Retryable):
        retry_after_seconds = error.retry_after_seconds if isinstance(error, Unavailable) else None
        headers = {"Retry-After": str(retry_after_seconds)} if retry_after_seconds else {}
        return 503, _error_body(str(error), error.code), headers
    return 422, _error_body(str(error), error.code), {}


def authenticate(request: Request, settings: Settings, now: datetime, *, allows_edge: bool) -> None:
    """Accept Hasura's secret, and the edge's where it may call. Raises Unauthorized and InClearText."""
    if not (_is_tls(request) or "handlers" in settings.clear_text or _is_caller_private(request)):
        raise InClearText
    if settings.handler_secret.accepts(request.headers.get(HANDLER_SECRET_HEADER), now):
        return
    if allows_edge and settings.edge_secret.accepts(request.headers.get(EDGE_SECRET_HEADER), now):
        return
    raise Unauthorized


def authenticate_edge_in_private(request: Request, settings: Settings, now: datetime) -> None:
    """Accept the edge's secret, over loopback or TLS only. Raises Unauthorized."""
    is_edge = settings.edge_secret.accepts(request.headers.get(EDGE_SECRET_HEADER), now)
    if not is_edge or not _is_private(request):
        raise Unauthorized


def _is_tls(request: Request) -> bool:
    # Not request.url, which costs more than the rest of the check.
    return request.scope.get("scheme") == "https"


def _is_caller_private(request: Request) -> bool:
    """Whether the caller is on this machine or in a private network."""
    return request.client is not None and is_private(request.client.host)


def _is_private(request: Request) -> bool:
    """Whether the hop cannot be read by others: TLS, or a caller on this machine."""
    if _is_tls(request):
        return True
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _error_body(message: str, code: str) -> dict[str, object]:
    return {"message": message, "extensions": {"code": code}}


def only_on(port: int | None, endpoint: Endpoint) -> Endpoint:
    """Let an endpoint answer on that port of the process alone, and 404 on others; None: on every port."""

    async def guarded(request: Request) -> Response:
        server: tuple[str, int | None] = request.scope.get("server") or ("", None)
        if port is not None and server[1] != port:
            raise HTTPException(404)
        return await endpoint(request)

    return guarded
