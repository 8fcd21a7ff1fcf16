"""Actions: the call of the handler, and the check of its answer against the action's output type.

Facts: the engine's `GraphQL/Execute/Action`; `Session.mkClientHeadersForward` for forwarded headers. Extra
fields are ignored, only the non-null fields of the outer object are checked, custom and PostgreSQL scalars
take any JSON. The messages are the engine's, mistakes included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import anyio
from graphql import ListTypeNode, NamedTypeNode, NonNullTypeNode, TypeNode, parse_type

from graphql_engine.auth import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import JsonValue, QErr, unexpected
from graphql_engine.rawjson import Raw, canonical, kind_of, loads
from graphql_engine.webhooks import (
    UNSENDABLE,
    USER_AGENT,
    Outgoing,
    Response,
    Trace,
    failure,
    fill_template,
    of_client,
    refuse_transforms,
    resolve_headers,
    send,
)

BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}
DEFAULT_TIMEOUT_SECONDS = 30
# The type of the engine that a handler's error is parsed as, in messages.
FAILURE = "Hasura.GraphQL.Execute.Action.Types.ActionWebhookErrorResponse(ActionWebhookErrorResponse)"
IGNORED_CLIENT_HEADERS = (
    "Content-Length", "Content-MD5", "User-Agent", "Host", "Origin", "Referer",
    "Accept", "Accept-Encoding", "Accept-Language", "Accept-Datetime", "Cache-Control",
    "Connection", "DNT", "Content-Type",
)  # fmt: skip
IGNORED_HEADERS = {name.lower() for name in IGNORED_CLIENT_HEADERS}
FORWARDED = {
    "host": "X-Forwarded-Host",
    "user-agent": "X-Forwarded-User-Agent",
    "origin": "X-Forwarded-Origin",
}


def check_output(value: JsonValue, output_type: str, custom_types: Mapping[str, Any]) -> None:
    """Compare a response with the output type. Raises QErr `unexpected` (400)."""
    node = _parsed(output_type)
    fields = _object_fields(base_name(node), custom_types)
    _check(value, node, fields)


@lru_cache(maxsize=512)
def _parsed(output_type: str) -> TypeNode:
    return parse_type(output_type)


def _check(value: JsonValue, node: TypeNode, fields: dict[str, str]) -> None:
    nullable = not isinstance(node, NonNullTypeNode)
    inner = node.type if isinstance(node, NonNullTypeNode) else node
    if isinstance(inner, NamedTypeNode) and not fields and inner.name.value not in BUILT_IN:
        return
    if value is None:
        if not nullable:
            raise _unexpected("got null for the action webhook response")
    elif isinstance(inner, ListTypeNode):
        if not isinstance(value, list):
            raise _unexpected("expecting array for the action webhook response")
        for item in value:
            _check(item, inner.type, fields)
    elif isinstance(inner, NamedTypeNode):
        _check_named(value, inner.name.value, fields)


def _check_named(value: JsonValue, name: str, fields: dict[str, str]) -> None:
    if isinstance(value, bool):
        if name != "Boolean":
            raise _unexpected(f"got scalar Boolean for the action webhook response, expecting {name}")
    elif isinstance(value, int | float | Decimal):
        if name not in ("Int", "Float"):
            raise _unexpected(f"got scalar String for the action webhook response, expecting {name}")
    elif isinstance(value, str):
        if name not in ("String", "ID"):
            raise _unexpected(f"got scalar String for the action webhook response, expecting {name}")
    elif isinstance(value, list):
        raise _unexpected(f"got array for the action webhook response, expecting {name}")
    elif name in BUILT_IN:
        raise _unexpected(f"got object for the action webhook response, expecting {name}")
    else:
        _check_object(value, fields)


def _check_object(value: dict[str, JsonValue], fields: dict[str, str]) -> None:
    for name, kind in fields.items():
        if not kind.endswith("!"):
            continue
        if name not in value:
            raise _unexpected(f'field "{name}" expected in webhook response, but not found')
        if value[name] is None:
            raise _unexpected(f'expecting not null value for field "{name}"')


def base_name(node: TypeNode) -> str:
    """Return the named type inside lists and non-nulls."""
    while isinstance(node, NonNullTypeNode | ListTypeNode):
        node = node.type
    assert isinstance(node, NamedTypeNode)
    return node.name.value


def _object_fields(name: str, custom_types: Mapping[str, Any]) -> dict[str, str]:
    for described in custom_types.get("objects", []):
        if described["name"] == name:
            return {field["name"]: field["type"] for field in described.get("fields", [])}
    return {}


def _unexpected(message: str) -> QErr:
    return QErr("unexpected", message, status=400)


@dataclass(frozen=True)
class _Call:
    """A request to a handler; `extensions.internal` of errors shows it."""

    url: str
    shown_url: str
    headers: list[tuple[str, str]]
    body: dict[str, JsonValue]

    def shown(self) -> dict[str, JsonValue]:
        return {
            "action": self.body["action"],
            "input": Raw(canonical(self.body["input"])),
            "request_query": self.body["request_query"],
            "transformed_request": None,
            "url": self.shown_url,
        }


async def call_action(
    engine: Engine,
    session: Session,
    action: Mapping[str, Any],
    arguments: dict[str, JsonValue],
    request_query: str,
) -> JsonValue:
    """Call the handler of an action once and return its checked response, with all its fields.

    Raises QErr with the status, code, message and extensions for the client.
    """
    definition = action["definition"]
    refuse_transforms(definition)
    call = _prepare(engine, session, action["name"], definition, arguments, request_query)
    outgoing = Outgoing(call.url, call.headers, canonical(call.body))
    seconds = float(definition.get("timeout", DEFAULT_TIMEOUT_SECONDS))
    response = await _send(engine, call, outgoing, seconds, of_client(session.client_headers))
    session.response_cookies.extend(reversed(response.all("set-cookie")))
    answer = _decode(response, call)
    if 200 <= response.status < 300:
        try:
            check_output(answer, definition["output_type"], engine.metadata.get("custom_types", {}))
        except QErr as error:
            error.internal = _internal("unexpected response", call, response, answer)
            raise
        return answer
    if 400 <= response.status < 500:
        raise _client_error(answer, call, response)
    raise unexpected(
        "internal error",
        _internal(f"expecting 2xx or 4xx status code, but found {response.status}", call, response, answer),
    )


def _prepare(
    engine: Engine,
    session: Session,
    name: str,
    definition: Mapping[str, Any],
    arguments: dict[str, JsonValue],
    request_query: str,
) -> _Call:
    environment = engine.settings.environment
    configured = resolve_headers(definition.get("headers"), environment)
    headers = {header.lower(): (header, value) for header, value in configured}
    if definition.get("forward_client_headers"):
        forwarded = forwarded_headers(session.client_headers, definition.get("ignored_client_headers"))
        for header, value in forwarded:
            headers.setdefault(header.lower(), (header, value))
    headers["content-type"] = ("Content-Type", "application/json")
    headers["user-agent"] = ("User-Agent", USER_AGENT)
    body = {
        "action": {"name": name},
        "input": arguments,
        "session_variables": session.variables,
        "request_query": request_query,
    }
    url = fill_template(definition["handler"], environment)
    return _Call(url, definition["handler"], list(headers.values()), body)


def forwarded_headers(
    client_headers: Mapping[str, str], ignored: list[str] | None = None
) -> list[tuple[str, str]]:
    """Return the client's headers for a handler: all but the ignored ones and `x-hasura-*`."""
    skip = {name.lower() for name in ignored} if ignored is not None else IGNORED_HEADERS
    passed = [
        (name, value)
        for name, value in client_headers.items()
        if name.lower() not in skip and not name.lower().startswith("x-hasura-")
    ]
    renamed = [(FORWARDED[k.lower()], v) for k, v in client_headers.items() if k.lower() in FORWARDED]
    return passed + renamed


async def _send(engine: Engine, call: _Call, outgoing: Outgoing, seconds: float, trace: Trace) -> Response:
    try:
        with anyio.fail_after(seconds):
            return await send(engine.http, outgoing, trace if engine.is_traced else None)
    except UNSENDABLE as error:
        reason = failure(error, outgoing, seconds)
        internal = {"error": reason, "request": call.shown(), "response": None}
        raise unexpected("http exception when calling webhook", internal) from error


def _decode(response: Response, call: _Call) -> JsonValue:
    try:
        return loads(response.content)
    except ValueError as error:
        internal = _internal(f"invalid json: {error}", call, response, response.text)
        raise unexpected("not a valid json response from webhook", internal) from error


def _client_error(answer: JsonValue, call: _Call, response: Response) -> QErr:
    internal = _internal("unexpected response", call, response, answer)
    if not isinstance(answer, dict):
        reason = f"parsing {FAILURE} failed, expected Object, but encountered {kind_of(answer)}"
        return QErr("parse-failed", reason, internal=internal)
    if "message" not in answer:
        return QErr("parse-failed", f'parsing {FAILURE} failed, key "message" not found', internal=internal)
    message, code, extensions = answer["message"], answer.get("code"), answer.get("extensions")
    if not isinstance(message, str):
        reason = f"parsing Text failed, expected String, but encountered {kind_of(message)}"
        return QErr("parse-failed", reason, "$.message", internal=internal)
    if extensions is not None:
        return QErr(code or "unexpected", message, status=response.status, extensions=extensions)
    return QErr(str(code or "unexpected"), message, status=response.status)


def _internal(error: str, call: _Call, response: Response, body: JsonValue) -> dict[str, JsonValue]:
    headers = [{"name": name, "value": value} for name, value in response.headers]
    shown = {"status": response.status, "headers": headers, "body": body}
    return {"error": error, "request": call.shown(), "response": shown}
