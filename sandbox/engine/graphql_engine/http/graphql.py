"""The GraphQL endpoints: /v1/graphql always answers 200, /v1alpha1/graphql real statuses."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.graphql.run.execute import execute, run_operation
from graphql_engine.http.answers import answer, authenticate, parse_body, shows_internal


async def v1(request: Request, engine: Engine) -> Response:
    try:
        session = await authenticate(request, engine)
        body = _body(await request.body(), engine)
    except QErr as error:
        return answer({"errors": [error.as_graphql()]})
    result = await execute(engine, session, body)
    return answer(result, cookies=session.response_cookies)


async def v1alpha1(request: Request, engine: Engine) -> Response:
    """Serve /v1alpha1/graphql: errors are `{path, error, code}` items with their own status."""
    try:
        session = await authenticate(request, engine)
        body = _body(await request.body(), engine)
    except QErr as error:
        return answer({"errors": [error.as_api()]}, error.status)
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        return answer(await execute(engine, session, body))
    try:
        data = await run_operation(
            engine, session, body["query"], body.get("variables"), body.get("operationName")
        )
    except QErr as error:
        shown = error.as_api(include_internal=shows_internal(engine, session))
        return answer({"errors": [shown]}, error.status)
    return answer({"data": data}, cookies=session.response_cookies)


def _body(raw: bytes, engine: Engine) -> Any:
    if len(raw) > engine.settings.query_max_bytes:
        raise QErr("validation-failed", f"the request is larger than {engine.settings.query_max_bytes} bytes")
    return parse_body(raw, exact=True)
