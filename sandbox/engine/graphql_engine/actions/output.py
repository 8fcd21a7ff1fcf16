"""Check the response of an action's handler against the action's output type.

Facts: the engine's `GraphQL/Execute/Action`: extra fields are ignored, only the non-null fields of the outer
object are checked, custom and PostgreSQL scalars take any JSON. Its messages are copied, mistakes included.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from graphql import ListTypeNode, NamedTypeNode, NonNullTypeNode, TypeNode, parse_type

from graphql_engine.errors import JsonValue, QErr

BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}


def check_output(value: JsonValue, output_type: str, custom_types: Mapping[str, Any]) -> None:
    """Compare a response with the output type. Raises QErr `unexpected` (400)."""
    node = _parsed(output_type)
    fields = _object_fields(_base_name(node), custom_types)
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


def _base_name(node: TypeNode) -> str:
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
