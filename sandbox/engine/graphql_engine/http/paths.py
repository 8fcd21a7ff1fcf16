"""What the engine does with every request before a route is chosen: empty segments of paths, CORS.

Facts: recorded requests; the engine's `Server/Middleware` (headers of answers to browsers).
"""

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
