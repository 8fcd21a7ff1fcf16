"""The GraphQL endpoints: /v1/graphql always answers 200, /v1alpha1/graphql real statuses."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.graphql.run.execute import execute, read_request, run_operation
from graphql_engine.http.answers import answer, authenticate, parse_body, shows_internal

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


async def v1(request: Request, engine: Engine) -> Response:
    """Serve /v1/graphql. GET is for persisted queries only, other methods than POST are a fault."""
    if request.method not in ("GET", "POST"):
        return answer(QErr("unexpected", "Internal Server Error").as_api(), 500)
    try:
        session = await authenticate(request, engine)
        if request.method == "GET":
            raise QErr("not-supported", "PersistedQueryNotSupported")
        body = _body(await request.body(), engine)
    except QErr as error:
        return answer({"errors": [error.as_graphql()]})
    result = await execute(engine, session, body)
    return answer(result, cookies=session.response_cookies)


async def v1alpha1(request: Request, engine: Engine) -> Response:
    """Serve /v1alpha1/graphql: as /v1/graphql, but the error of a single request has its own status."""
    internal = False
    try:
        session = await authenticate(request, engine)
        internal = shows_internal(engine, session)
        body = _body(await request.body(), engine)
        if isinstance(body, list):
            return answer(await execute(engine, session, body), cookies=session.response_cookies)
        text, variables, name = read_request(body)
        data = await run_operation(engine, session, text, variables, name)
    except QErr as error:
        return answer({"errors": [error.as_graphql(include_internal=internal)]}, error.status)
    return answer({"data": data}, cookies=session.response_cookies)


async def relay(request: Request, engine: Engine) -> Response:
    """Serve /v1beta1/relay: refuse bad requests as the engine does, and all others: no Relay schema here."""
    try:
        await authenticate(request, engine)
        body = _body(await request.body(), engine)
        for item in body if isinstance(body, list) else [body]:
            read_request(item)
        raise QErr("not-supported", "this stand-in has no Relay schema")
    except QErr as error:
        return answer({"errors": [error.as_graphql()]})


def _body(raw: bytes, engine: Engine) -> Any:
    if len(raw) > engine.settings.query_max_bytes:
        raise QErr("validation-failed", f"the request is larger than {engine.settings.query_max_bytes} bytes")
    return parse_body(raw, exact=True)
