"""Hasura's default names of GraphQL types and root fields.

Facts: the engine's `mkScalarTypeName` and its "hasura-default" naming convention.
"""

import re

from graphql_engine.catalog import Type

# Name of the GraphQL specification.
GRAPHQL_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*\Z")
BUILT_IN = {"int4": "Int", "bool": "Boolean", "float4": "Float", "text": "String", "varchar": "String"}
RENAMED = {"int2": "smallint", "int8": "bigint", "char": "bpchar"}
NUMERIC = {"int2", "int4", "int8", "float4", "float8", "numeric", "money"}
COMPARABLE = NUMERIC | {
    "bpchar", "varchar", "text", "citext", "date", "timestamp", "timestamptz", "timetz", "uuid",
    "ltree", "char",
}  # fmt: skip
STRINGS = {"bpchar", "varchar", "text", "citext"}
BIG_NUMBERS = {"int8", "numeric", "float8"}


def is_graphql_name(name: str) -> bool:
    """Whether GraphQL allows the text as a name."""
    return GRAPHQL_NAME.match(name) is not None


def scalar_name(type_: Type) -> str:
    """Return the GraphQL scalar of a PostgreSQL type that is not an array."""
    name = BUILT_IN.get(type_.internal) or RENAMED.get(type_.internal) or type_.internal
    if type_.kind == "c":
        name += "_scalar"  # the name belongs to the object type of a table
    return name if is_graphql_name(name) else "unknown"


def is_numeric(type_: Type) -> bool:
    """Whether sum, avg and _inc apply to the type."""
    return type_.element is None and type_.internal in NUMERIC


def is_comparable(type_: Type) -> bool:
    """Whether min and max apply to the type."""
    return type_.kind in ("e", "c") or type_.element is not None or type_.internal in COMPARABLE
