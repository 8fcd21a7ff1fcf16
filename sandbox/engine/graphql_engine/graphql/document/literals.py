"""Values as requests bring them, literal or JSON, and what messages call them."""

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
    """Whether it is null, of either kind."""
    return isinstance(value, NullValueNode) or (isinstance(value, Json) and value.value is None)


def is_number(value: Any) -> bool:
    """Whether it is a JSON number."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def described(value: Value) -> str:
    """What messages call a value."""
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
