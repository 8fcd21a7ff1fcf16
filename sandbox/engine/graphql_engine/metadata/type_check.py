"""Check that actions and custom types use only types that exist.

Facts: the engine's `RQL/DDL/Action` (resolveAction).
"""

from collections.abc import Iterator

from graphql import ListTypeNode, NamedTypeNode, NonNullTypeNode, TypeNode, parse_type

from graphql_engine.metadata.access import Json

BULLET = "\n  • "
BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}
POSTGRES_SCALARS = {
    "bigint", "bigserial", "bit", "bool", "bpchar", "bytea", "char", "citext", "cidr", "date", "float8",
    "float4", "geography", "geometry", "inet", "int2", "int4", "int8", "integer", "interval", "json", "jsonb",
    "macaddr", "money", "name", "numeric", "raster", "serial", "smallint", "text", "time", "timestamp",
    "timestamptz", "timetz", "tsvector", "uuid", "varchar", "xml", "ltree", "lquery", "oid", "float", "real",
    "_text", "_int4", "_uuid",
}  # fmt: skip


def action_problems(metadata: Json) -> Iterator[tuple[Json, str]]:
    """Return each action that names an unknown type, with the reason."""
    types = metadata.get("custom_types", {})
    inputs = _names(types, "scalars", "enums", "input_objects") | BUILT_IN | POSTGRES_SCALARS
    outputs = _names(types, "scalars", "enums", "objects") | BUILT_IN | POSTGRES_SCALARS
    for action in metadata.get("actions", []):
        definition = action["definition"]
        for argument in definition.get("arguments", []):
            base = base_name(argument["type"])
            if base not in inputs:
                yield (
                    action,
                    f'the type: "{base}" is not defined in custom types or it is not a'
                    " scalar/enum/input_object",
                )
                break
        else:
            base = base_name(definition["output_type"])
            if base not in outputs:
                yield action, f'the type: "{base}" is not an object or scalar type defined in custom types'


def _names(types: Json, *kinds: str) -> set[str]:
    return {item["name"] for kind in kinds for item in types.get(kind, [])}


def base_name(text: str) -> str:
    """Return the named type inside lists and non-nulls."""
    node: TypeNode = parse_type(text)
    while isinstance(node, NonNullTypeNode | ListTypeNode):
        node = node.type
    assert isinstance(node, NamedTypeNode)
    return node.name.value


def custom_type_problem(types: Json) -> str | None:
    """Return the reason why the custom types are invalid, or None."""
    known = _names(types, "scalars", "enums", "objects") | BUILT_IN | POSTGRES_SCALARS
    reasons = [
        f'the type "{base_name(field["type"])}" for field "{field["name"]}" in  object type'
        f' "{described["name"]}" does not exist'
        for described in types.get("objects", [])
        for field in described.get("fields", [])
        if base_name(field["type"]) not in known
    ]
    if not reasons:
        return None
    start = "validation for the given custom types failed"
    if len(reasons) == 1:
        return f"{start} because {reasons[0]}"
    return f"{start} for the following reasons:{''.join(BULLET + reason for reason in reasons)}\n"
