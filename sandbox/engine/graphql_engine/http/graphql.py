"""/v1/graphql always answers 200, /v1alpha1/graphql real statuses; /api/rest/… runs a stored query.

The latter responds without the `data` wrapper and with real statuses. Facts: the engine's `Server/Rest` and
the endpoint trie of `RQL/Types/Endpoint`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from graphql import (
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    TypeNode,
)
from starlette.requests import Request
from starlette.responses import Response

from graphql_engine.engine import Engine
from graphql_engine.errors import JsonValue, QErr
from graphql_engine.graphql.run import execute, read_request, run_operation
from graphql_engine.graphql.scalars import is_graphql_name
from graphql_engine.http.answers import answer, authenticate, parse_body, shows_internal
from graphql_engine.metadata.stored_queries import one_operation, query_text
from graphql_engine.rawjson import loads

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


BOOLEANS = {"Bool", "Boolean"}
NUMBERS = {"Int", "Float", "Number", "Double", "float8", "numeric"}
SUPPORTED = ["GET", "POST", "PUT", "PATCH", "DELETE"]
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class TextValue:
    """A value from the path or the query string: its meaning depends on the type of the variable."""

    text: str


@dataclass(frozen=True)
class Match:
    """The endpoint of a request, with the values of its path parameters."""

    endpoint: dict[str, Any]
    path_values: dict[str, TextValue]


def find_endpoint(metadata: Mapping[str, Any], method: str, path: str) -> Match:
    """Return the endpoint for a method and the path below `/api/rest/`.

    Raises QErr: 404 for no endpoint, 405 for another method, 500 for several endpoints.
    """
    segments = path.split("/")
    matches, other_methods = [], set()
    for endpoint in metadata.get("rest_endpoints", []):
        values = _match(endpoint["url"].strip("/").split("/"), segments)
        if values is None:
            continue
        if method in endpoint["methods"]:
            matches.append(Match(endpoint, values))
        else:
            other_methods.update(endpoint["methods"])
    if len(matches) > 1:
        raise QErr("unexpected", "Multiple endpoints match request", status=500)
    if matches:
        return matches[0]
    if other_methods:
        allowed = ", ".join(sorted(other_methods))
        raise QErr("method-not-allowed", f"Allowed methods: {allowed}", status=405)
    raise QErr("not-found", "Endpoint not found", status=404)


def _match(pattern: list[str], segments: list[str]) -> dict[str, TextValue] | None:
    if len(pattern) != len(segments):
        return None
    values = {}
    for wanted, given in zip(pattern, segments, strict=True):
        if wanted.startswith(":"):
            values[wanted[1:]] = TextValue(given)
        elif wanted != given:
            return None
    return values


def body_arguments(body: bytes) -> dict[str, JsonValue]:
    """Return the top-level keys of a JSON object body; any other body has none."""
    try:
        parsed = loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def resolve_variables(query: str, given: Mapping[str, JsonValue | TextValue]) -> dict[str, JsonValue]:
    """Return the variables of a stored query.

    Raises QErr `bad-request` for a name the query does not declare, 500 if the query is not one operation.
    """
    declared = _declared(query)
    variables: dict[str, JsonValue] = {}
    for name, value in given.items():
        if not is_graphql_name(name):
            continue
        if name not in declared:
            raise QErr("bad-request", f"Unexpected variable {name}")
        if not isinstance(value, TextValue):
            variables[name] = value
        elif (resolved := _from_text(name, value.text, declared[name])) is not None:
            variables[name] = resolved
    return variables


@lru_cache(maxsize=512)
def _declared(query: str) -> dict[str, TypeNode]:
    operation = one_operation(query)
    if operation is None:
        raise QErr("unexpected", "A stored query should contain exactly one definition", status=500)
    return {node.variable.name.value: node.type for node in operation.variable_definitions or ()}


def _from_text(name: str, text: str, node: TypeNode) -> JsonValue:
    nullable = not isinstance(node, NonNullTypeNode)
    inner = node.type if isinstance(node, NonNullTypeNode) else node
    if isinstance(inner, ListTypeNode):
        raise QErr(
            "bad-request",
            "List variables are not currently supported in URL or Query parameters."
            f" (Variable {name}, with value {json.dumps(text)})",
        )
    assert isinstance(inner, NamedTypeNode)
    kind = inner.name.value
    if kind == "Boolean" and not text:
        return True
    if nullable and not text:
        return None
    return _scalar(text, kind)


def _scalar(text: str, kind: str) -> JsonValue:
    if kind not in BOOLEANS | NUMBERS:
        return text
    try:
        parsed = loads(text)
    except ValueError:
        return text
    if isinstance(parsed, bool):
        return parsed if kind in BOOLEANS else text
    return parsed if isinstance(parsed, int | Decimal) and kind in NUMBERS else text


async def rest(request: Request, engine: Engine) -> Response:
    session = await authenticate(request, engine)
    if request.method not in SUPPORTED:
        raise QErr("bad-request", f"Method {request.method} not supported.")
    match = find_endpoint(engine.metadata, request.method, request.path_params.get("path", ""))
    query = query_text(engine.metadata, match.endpoint)
    if query is None:
        raise QErr("not-exists", "the stored query of the endpoint does not exist", status=500)
    given: dict[str, Any] = {k: TextValue(v) for k, v in request.query_params.multi_items()}
    body = await request.body()
    if request.headers.get("Content-Type", "").startswith(FORM):
        given.update({k: TextValue(v) for k, v in parse_qsl(body.decode(errors="replace"))})
    given.update(body_arguments(body))
    given.update(match.path_values)
    try:
        variables = resolve_variables(query, given)
        data = await run_operation(engine, session, query, variables, None)
    except QErr as error:
        return answer(error.as_api(include_internal=shows_internal(engine, session)), error.status)
    return answer(data, cookies=session.response_cookies)
