"""The HTTP face: one table of routes, and the two shapes of errors they answer with."""

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.hasura import operations, rest
from sandbox.hasura.auth import Session
from sandbox.hasura.engine import Engine
from sandbox.hasura.errors import QErr
from sandbox.hasura.graphql.rawjson import loads
from sandbox.hasura.settings import VERSION

log = logging.getLogger("sandbox.hasura")
LABEL = ("X-Sandbox", "stand-in for tests; this is not Hasura")
Handler = Callable[[Request, Engine], Awaitable[Response]]


def create_app(engine: Engine) -> Starlette:
    """The application around an opened engine; its lifespan runs the background work."""
    routes = [
        Route("/healthz", _bind(engine, healthz), methods=["GET"]),
        Route("/hasura/healthz", _bind(engine, healthz), methods=["GET"]),
        Route("/v1/version", _bind(engine, version), methods=["GET"]),
        Route("/v1/graphql", _bind(engine, graphql), methods=["POST"]),
        Route("/api/rest/{path:path}", _bind(engine, rest_endpoint), methods=rest_methods()),
        Route("/sandbox/chaos", _bind(engine, chaos), methods=["GET", "POST"]),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(engine.run)
            try:
                yield
            finally:
                await engine.drain()
                group.cancel_scope.cancel()

    return Starlette(routes=routes, lifespan=lifespan)


def rest_methods() -> list[str]:
    """The methods a RESTified endpoint may have."""
    return ["GET", "POST", "PUT", "PATCH", "DELETE"]


def answer(content: Any, status: int = 200, cookies: list[str] | None = None) -> Response:
    """A JSON answer with the label that says what this is."""
    response = Response(operations.dumps(content), status, media_type="application/json; charset=utf-8")
    response.headers[LABEL[0]] = LABEL[1]
    for cookie in cookies or []:
        response.headers.append("Set-Cookie", cookie)
    return response


def _bind(engine: Engine, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request, engine)
        except QErr as error:
            return answer(error.as_api(), error.status)

    return endpoint


async def authenticate(request: Request, engine: Engine) -> Session:
    """The session of a request, with the headers its actions may forward; raises QErr."""
    headers = dict(request.headers)
    session = engine.authenticator.session(headers)
    return Session(session.role, session.variables, session.backend_only, headers)


async def healthz(request: Request, engine: Engine) -> Response:
    """OK, a warning about inconsistent metadata, or ERROR."""
    status, text = 200, "OK"
    if engine.inconsistent:
        strict = request.query_params.get("strict") == "true"
        text = "WARN: inconsistent objects in schema"
        status = 500 if strict else 200
    return Response(text, status, headers={LABEL[0]: LABEL[1]}, media_type="text/plain; charset=utf-8")


async def version(_: Request, __: Engine) -> Response:
    """The version whose behaviour is imitated."""
    return answer({"server_type": "ce", "version": VERSION})


async def graphql(request: Request, engine: Engine) -> Response:
    """/v1/graphql: status 200 whatever happens."""
    try:
        session = await authenticate(request, engine)
        body = parse_body(await request.body())
    except QErr as error:
        return answer({"errors": [error.as_graphql()]})
    result = await operations.execute(engine, session, body)
    return answer(result, cookies=session.response_cookies)


def parse_body(body: bytes) -> Any:
    """The JSON of a request; raises QErr `invalid-json`."""
    try:
        return loads(body)
    except ValueError as error:
        reason = "not enough input" if not body.strip() else str(error)
        raise QErr("invalid-json", f"Error in $: {reason}") from error


async def rest_endpoint(request: Request, engine: Engine) -> Response:
    """/api/rest/…: a stored query, answered without the `data` wrapper and with real statuses."""
    session = await authenticate(request, engine)
    match = rest.find_endpoint(engine.metadata, request.method, request.path_params["path"])
    query = rest.stored_query(engine.metadata, match.endpoint)
    given: dict[str, Any] = {k: rest.TextValue(v) for k, v in request.query_params.multi_items()}
    given.update(rest.body_arguments(await request.body()))
    given.update(match.path_values)
    variables = rest.resolve_variables(query, given)
    try:
        data = await operations.run_operation(engine, session, query, variables, None)
    except QErr as error:
        return answer(error.as_api(include_internal=session.is_admin), error.status)
    return answer(data, cookies=session.response_cookies)


async def chaos(request: Request, engine: Engine) -> Response:
    """/sandbox/chaos, not one of Hasura's routes: shows or replaces the plan of faults. Admin only."""
    session = await authenticate(request, engine)
    if not session.is_admin:
        raise QErr("access-denied", "restricted access : admin only")
    if request.method == "POST":
        engine.chaos.load(parse_body(await request.body()))
    return answer(engine.chaos.shown())
