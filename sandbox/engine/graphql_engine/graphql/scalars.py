"""Names of GraphQL types and root fields, and JSON values as PostgreSQL values.

Facts: the engine's `mkScalarTypeName`, its "hasura-default" naming convention, and `Postgres/SQL/Value`
(`parsePGValue`: strings are left for the database to check).
"""

import re
from decimal import Decimal
from typing import Any

from graphql_engine.catalog import Type
from graphql_engine.errors import QErr
from graphql_engine.rawjson import canonical, kind_of, scientific

# Name of the GraphQL specification.
GRAPHQL_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*\Z")
BUILT_IN = {"int4": "Int", "bool": "Boolean", "float4": "Float", "text": "String", "varchar": "String"}
RENAMED = {"int2": "smallint", "int8": "bigint", "char": "bpchar"}
STRINGS = {"bpchar", "varchar", "text", "citext"}


def is_graphql_name(name: str) -> bool:
    return GRAPHQL_NAME.match(name) is not None


def scalar_name(type_: Type) -> str:
    """Return the GraphQL scalar of a PostgreSQL type that is not an array."""
    name = BUILT_IN.get(type_.internal) or RENAMED.get(type_.internal) or type_.internal
    if type_.kind == "c":
        name += "_scalar"  # the name belongs to the object type of a table
    return name if is_graphql_name(name) else "unknown"


INTEGERS = {"int2": (16, "PGSmallInt"), "int4": (32, "PGInteger"), "int8": (64, "PGBigInt")}
FLOATS = {"float4": "real", "float8": "double precision"}
TEXTS = {"text", "varchar", "citext", "bpchar", "uuid", "date", "timestamp", "timestamptz", "timetz", "char"}
PARSERS = {
    "text": "Text", "varchar": "Text", "citext": "Text", "bpchar": "Char", "char": "Char", "uuid": "UUID",
    "date": "Day", "timestamp": "LocalTime", "timestamptz": "UTCTime", "timetz": "ZonedTimeOfDay",
}  # fmt: skip
NO_PATH = "Expecting label path: a sequence of zero or more labels separated by dots, for example L1.L2.L3"


def parse_pg(type_: Type, value: Any, path: tuple[str | int, ...]) -> Any:
    """Return `value` if a column of `type_` may take it. Raises QErr `parse-failed` with `path`."""
    message = refusal(type_, value)
    if message is not None:
        raise QErr("parse-failed", message).under(*path)
    return value


def refusal(type_: Type, value: Any) -> str | None:
    """Return the engine's reason to refuse `value` without asking the database, or None."""
    if type_.internal == "ltree" and (not isinstance(value, str) or "" in value.split(".")):
        return NO_PATH
    if value is None or (isinstance(value, str) and type_.element is None):
        return None
    if type_.element is not None:
        return _array_refusal(type_.element, value)
    name = type_.internal
    kind = kind_of(value)
    if name in INTEGERS:
        bits, spelled = INTEGERS[name]
        if kind != "Number":
            return _mismatch(f"Integer expected for input type: {spelled}", "Number", kind)
        return None if _fits(value, bits) else _outside(value)
    if name in FLOATS:
        if kind != "Number":
            spelled = FLOATS[name]
            return _mismatch(f"Float expected for input type: {spelled}", "Number", kind)
        return None
    if name in ("numeric", "money"):
        return (
            None
            if kind == "Number"
            else f"parsing Scientific failed, expected Number, but encountered {kind}"
        )
    if name == "bool":
        return None if kind == "Boolean" else f"expected Bool, but encountered {kind}"
    if name in TEXTS:
        return f"parsing {PARSERS[name]} failed, expected String, but encountered {kind}"
    if name in ("json", "jsonb", "geometry", "geography"):
        return None
    return f"A string is expected for type: {name}"


def _mismatch(parsed: str, expected: str, found: str) -> str:
    return f"parsing {parsed} failed, expected {expected}, but encountered {found}"


def _array_refusal(element: Type, value: Any) -> str | None:
    if isinstance(value, str):
        return None
    if not isinstance(value, list):
        return f"parsing [] failed, expected Array, but encountered {kind_of(value)}"
    for item in value:
        message = refusal(element, item)
        if message is not None:
            return message
    return None


def _fits(value: Any, bits: int) -> bool:
    exact = Decimal(str(value))
    bound = 2 ** (bits - 1)
    return exact == exact.to_integral_value() and -bound <= exact < bound


def _outside(value: Any) -> str:
    return (
        f"The value {scientific(Decimal(str(value)))} lies outside the bounds or is not an integer. "
        "Maybe it is a float, or is there integer overflow?"
    )


def to_text(type_: Type, value: Any) -> str | None:
    """Return the text of a value as PostgreSQL reads it for `type_`; None is NULL."""
    if value is None:
        return None
    if type_.internal in ("json", "jsonb"):
        return canonical(value)
    if type_.element is not None:
        return value if isinstance(value, str) else array_text(type_.element, value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | Decimal):
        return _number(type_, value)
    return canonical(value)


def _number(type_: Type, value: int | float | Decimal) -> str:
    exact = Decimal(str(value))
    if type_.internal in INTEGERS and exact == exact.to_integral_value():
        return str(int(exact))
    return f"{exact:.2f}" if type_.internal == "money" else scientific(exact)


def array_text(element: Type, items: Any) -> str:
    values = items if isinstance(items, list) else [items]
    return "{" + ",".join(_element(element, item) for item in values) + "}"


def _element(element: Type, item: Any) -> str:
    if item is None:
        return "NULL"
    if isinstance(item, list) and element.internal not in ("json", "jsonb"):
        return array_text(element, item)
    text = to_text(element, item)
    return '"' + (text or "").replace("\\", "\\\\").replace('"', '\\"') + '"'
