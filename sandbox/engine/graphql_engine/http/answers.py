"""Shared by all endpoints: labelled JSON responses, errors, the session of a request; paths and CORS.

Facts: recorded requests; the engine's `Server/Middleware` (headers of answers to browsers).
"""

import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graphql_engine.auth import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.rawjson import dumps, loads

log = logging.getLogger("graphql_engine")
LABEL = ("X-Sandbox", "stand-in for tests; this is not Hasura")
NO_UTF8 = "Cannot decode input: Data.Text.Internal.Encoding.decodeUtf8: Invalid UTF-8 stream"
Handler = Callable[[Request, Engine], Awaitable[Response]]


def answer(content: Any, status: int = 200, cookies: list[str] | None = None) -> Response:
    """Return a JSON response with the header that says that this is not Hasura."""
    response = Response(dumps(content), status, media_type="application/json; charset=utf-8")
    response.headers[LABEL[0]] = LABEL[1]
    response.headers["X-Request-Id"] = str(uuid.uuid4())
    for cookie in cookies or []:
        response.headers.append("Set-Cookie", cookie)
    return response


def plain(text: str, status: int = 200) -> Response:
    return Response(text, status, {LABEL[0]: LABEL[1]}, media_type="text/plain; charset=utf-8")


def bind(engine: Engine, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Make a Starlette endpoint of a handler; a QErr becomes the API's error shape."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request, engine)
        except QErr as error:
            return answer(error.as_api(), error.status)
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.error("%s: the database cannot be reached: %s", request.url.path, error)
            away = QErr("postgres-error", "connection error", status=500)
            if request.url.path == "/v1/graphql":
                return answer({"errors": [away.as_graphql()]})
            return answer(away.as_api(), away.status)

    return endpoint


async def not_found(_: Request, __: Exception) -> Response:
    return answer(QErr("not-found", "resource does not exist", status=404).as_api(), 404)


async def crashed(request: Request, error: Exception) -> Response:
    """Return 500 for a fault of the stand-in itself; the trace goes to the log."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    response = answer(QErr("unexpected", "internal error of the stand-in", status=500).as_api(), 500)
    response.headers["Connection"] = "close"  # uvicorn closes it after an unhandled exception
    return response


async def authenticate(request: Request, engine: Engine) -> Session:
    """Return the session of a request, with the headers that its actions may forward. Raises QErr."""
    headers = dict(request.headers)
    session = engine.authenticator.session(headers)
    if not engine.is_traced:
        headers = {name: value for name, value in headers.items() if not name.startswith("x-b3-")}
    return Session(session.role, session.variables, session.backend_only, headers)


def shows_internal(engine: Engine, session: Session) -> bool:
    return engine.settings.dev_mode or (session.is_admin and engine.settings.admin_internal_errors)


def parse_body(body: bytes, *, exact: bool = False) -> Any:
    """Parse the JSON of a request; `exact` keeps numbers as decimals. Raises QErr `invalid-json`."""
    try:
        return loads(body) if exact else json.loads(body)
    except UnicodeError as error:
        raise QErr("invalid-json", NO_UTF8) from error
    except ValueError as error:
        if not body.strip():
            raise QErr("invalid-json", "Unexpected end-of-input, expecting JSON value") from error
        trailing = str(error).startswith("Extra data")
        raise QErr("invalid-json", "Trailing garbage" if trailing else f"Error in $: {error}") from error


METHODS = b"GET,POST,PUT,PATCH,DELETE,OPTIONS"
# Of seconds: how long a browser may keep the answer to a preflight.
MAX_AGE_SECONDS = b"1728000"
Headers = list[tuple[bytes, bytes]]


class Paths:
    """Leave out empty segments of the path: /v1//graphql/ is /v1/graphql."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "/")
        if "//" in path or (path.endswith("/") and path != "/"):
            scope = {**scope, "path": "/" + "/".join(filter(None, path.split("/")))}
        await self._app(scope, receive, send)


class Cors:
    """Answer browsers of any origin: preflights at once, other answers with the headers for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = _header(scope.get("headers", ()), b"origin")
        if scope["type"] != "http" or origin is None:
            await self._app(scope, receive, send)
            return
        headers: Headers = [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-allow-methods", METHODS),
        ]
        if scope["method"] == "OPTIONS":
            wanted = _header(scope["headers"], b"access-control-request-headers") or b""
            headers += [
                (b"access-control-max-age", MAX_AGE_SECONDS),
                (b"access-control-allow-headers", wanted),
                (b"content-type", b"text/plain charset=UTF-8"),
            ]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
