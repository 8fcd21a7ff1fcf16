"""Values of a request, literal or JSON, and their names in messages."""

from decimal import Decimal
from typing import Any

from graphql import (
    BooleanValueNode,
    EnumValueNode,
    FloatValueNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    StringValueNode,
    ValueNode,
)

from graphql_engine.graphql.document.operation import Json

Value = Json | ValueNode
LITERALS: dict[type[ValueNode], str] = {
    IntValueNode: "an integer",
    FloatValueNode: "a float",
    StringValueNode: "a string",
    BooleanValueNode: "a boolean",
    NullValueNode: "null",
    EnumValueNode: "an enum value",
    ListValueNode: "a list",
    ObjectValueNode: "an object",
}


def is_null(value: Value) -> bool:
    """Whether a value is null, as a literal or as JSON."""
    return isinstance(value, NullValueNode) or (isinstance(value, Json) and value.value is None)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def described(value: Value) -> str:
    """Return the name of a kind of value in messages."""
    if not isinstance(value, Json):
        return LITERALS.get(type(value), "null")
    plain = value.value
    if plain is None:
        return "null"
    if isinstance(plain, bool):
        return "a boolean"
    if isinstance(plain, str):
        return "a string"
    if isinstance(plain, list):
        return "a list"
    return "an object" if isinstance(plain, dict) else "a number"
