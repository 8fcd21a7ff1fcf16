"""/api/rest/…: run a stored query; respond without the `data` wrapper and with real statuses."""

from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from graphql_engine import rest
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.graphql.run.execute import run_operation
from graphql_engine.http.answers import answer, authenticate, shows_internal

SUPPORTED = ["GET", "POST", "PUT", "PATCH", "DELETE"]
METHODS = [*SUPPORTED, "HEAD", "OPTIONS"]
FORM = "application/x-www-form-urlencoded"


async def endpoint(request: Request, engine: Engine) -> Response:
    session = await authenticate(request, engine)
    if request.method not in SUPPORTED:
        raise QErr("bad-request", f"Method {request.method} not supported.")
    match = rest.find_endpoint(engine.metadata, request.method, request.path_params.get("path", ""))
    query = rest.stored_query(engine.metadata, match.endpoint)
    given: dict[str, Any] = {k: rest.TextValue(v) for k, v in request.query_params.multi_items()}
    body = await request.body()
    if request.headers.get("Content-Type", "").startswith(FORM):
        given.update({k: rest.TextValue(v) for k, v in parse_qsl(body.decode(errors="replace"))})
    given.update(rest.body_arguments(body))
    given.update(match.path_values)
    try:
        variables = rest.resolve_variables(query, given)
        data = await run_operation(engine, session, query, variables, None)
    except QErr as error:
        return answer(error.as_api(include_internal=shows_internal(engine, session)), error.status)
    return answer(data, cookies=session.response_cookies)
