"""/api/rest/…: run a stored query; respond without the `data` wrapper and with real statuses.

Facts: the engine's `Server/Rest` and the endpoint trie of `RQL/Types/Endpoint`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from graphql import (
    GraphQLSyntaxError,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    TypeNode,
    parse,
)
from starlette.requests import Request
from starlette.responses import Response

from graphql_engine.engine import Engine
from graphql_engine.errors import JsonValue, QErr
from graphql_engine.graphql.model.names import is_graphql_name
from graphql_engine.graphql.run.execute import run_operation
from graphql_engine.http.answers import answer, authenticate, shows_internal
from graphql_engine.rawjson import loads

BOOLEANS = {"Bool", "Boolean"}
NUMBERS = {"Int", "Float", "Number", "Double", "float8", "numeric"}
SUPPORTED = ["GET", "POST", "PUT", "PATCH", "DELETE"]
METHODS = [*SUPPORTED, "HEAD", "OPTIONS"]
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


def stored_query(metadata: Mapping[str, Any], endpoint: Mapping[str, Any]) -> str:
    """Return the query of an endpoint. Raises QErr `not-exists`."""
    wanted = endpoint["definition"]["query"]
    for collection in metadata.get("query_collections", []):
        if collection["name"] == wanted["collection_name"]:
            for query in collection["definition"]["queries"]:
                if query["name"] == wanted["query_name"]:
                    return str(query["query"])
    raise QErr("not-exists", f"query with name {wanted['query_name']!r} does not exist", status=500)


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
    return {node.variable.name.value: node.type for node in _operation(query).variable_definitions or ()}


def _operation(query: str) -> OperationDefinitionNode:
    try:
        definitions = parse(query).definitions
    except GraphQLSyntaxError as error:
        raise QErr("unexpected", f"A stored query cannot be parsed: {error.message}", status=500) from error
    shorthand = query.lstrip().startswith("{")
    if len(definitions) != 1 or not isinstance(definitions[0], OperationDefinitionNode) or shorthand:
        raise QErr("unexpected", "A stored query should contain exactly one definition", status=500)
    return definitions[0]


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


async def endpoint(request: Request, engine: Engine) -> Response:
    session = await authenticate(request, engine)
    if request.method not in SUPPORTED:
        raise QErr("bad-request", f"Method {request.method} not supported.")
    match = find_endpoint(engine.metadata, request.method, request.path_params.get("path", ""))
    query = stored_query(engine.metadata, match.endpoint)
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
