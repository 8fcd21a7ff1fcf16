"""Check that actions and custom types use only types that exist.

Facts: the engine's `RQL/DDL/Action` (resolveAction).
"""

from collections.abc import Iterator, Mapping

from graphql import ListTypeNode, NamedTypeNode, NonNullTypeNode, TypeNode, parse_type

from graphql_engine.errors import QErr
from graphql_engine.metadata.access import DEFAULT_SOURCE, Json, qualified, spelled
from graphql_engine.webhooks.environment import fill_template

KINDS = ("scalars", "enums", "input_objects", "objects")
BULLET = "\n  • "
BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}
POSTGRES_SCALARS = {
    "bigint", "bigserial", "bit", "bool", "bpchar", "bytea", "char", "citext", "cidr", "date", "float8",
    "float4", "geography", "geometry", "inet", "int2", "int4", "int8", "integer", "interval", "json", "jsonb",
    "macaddr", "money", "name", "numeric", "raster", "serial", "smallint", "text", "time", "timestamp",
    "timestamptz", "timetz", "tsvector", "uuid", "varchar", "xml", "ltree", "lquery", "oid", "float", "real",
    "_text", "_int4", "_uuid",
}  # fmt: skip


def action_problems(
    metadata: Json, environment: Mapping[str, str], *, broken_types: bool
) -> Iterator[tuple[Json, str]]:
    """Return each action that names an unknown type or an unset variable, with the reason."""
    types = metadata.get("custom_types", {})
    inputs = _names(types, "scalars", "enums", "input_objects") | BUILT_IN | POSTGRES_SCALARS
    outputs = _names(types, "scalars", "enums", "objects") | BUILT_IN | POSTGRES_SCALARS
    for action in metadata.get("actions", []):
        if broken_types:
            yield action, "custom types are inconsistent"
        elif reason := _action_problem(action["definition"], inputs, outputs, environment):
            yield action, f'in action "{action["name"]}"; {reason}'


def _action_problem(
    definition: Json, inputs: set[str], outputs: set[str], environment: Mapping[str, str]
) -> str | None:
    for argument in definition.get("arguments", []):
        base = base_name(argument["type"])
        if base not in inputs:
            return (
                f'the type: "{base}" is not defined in custom types or it is not a scalar/enum/input_object'
            )
    base = base_name(definition["output_type"])
    if base not in outputs:
        return f'the type: "{base}" is not an object or scalar type defined in custom types'
    try:
        fill_template(definition["handler"], environment)
    except QErr as error:
        return error.message
    return None


def complete_action(action: Json) -> Json:
    """Return an action as inconsistent objects show it: with defaults, without permissions."""
    definition: Json = {"forward_client_headers": False, "headers": [], "timeout": 30, "type": "mutation"}
    definition |= action["definition"]
    definition["arguments"] = [{"description": None, **each} for each in definition.get("arguments") or []]
    shown = {key: value for key, value in action.items() if key != "permissions"}
    return {"comment": None, **shown, "definition": definition}


def complete_types(types: Json) -> Json:
    """Return custom types as inconsistent objects show them: with defaults."""
    shown: Json = {kind: list(types.get(kind, [])) for kind in ("enums", "scalars")}
    for kind, extra in (("input_objects", {}), ("objects", {"arguments": None})):
        shown[kind] = [
            {"description": None, **item}
            | {"fields": [{"description": None, **extra, **field} for field in item["fields"]]}
            for item in types.get(kind, [])
        ]
    for item in shown["objects"]:
        related = item.get("relationships") or []
        item["relationships"] = [{"source": DEFAULT_SOURCE, **each} for each in related]
    return shown


def _names(types: Json, *kinds: str) -> set[str]:
    return {item["name"] for kind in kinds for item in types.get(kind, [])}


def base_name(text: str) -> str:
    """Return the named type inside lists and non-nulls."""
    node: TypeNode = parse_type(text)
    while isinstance(node, NonNullTypeNode | ListTypeNode):
        node = node.type
    assert isinstance(node, NamedTypeNode)
    return node.name.value


def custom_type_problem(metadata: Json, *, broken_sources: bool) -> str | None:
    """Return the reason why the custom types are invalid, or None.

    broken_sources: no source can be used, so the scalars of PostgreSQL are not known.
    """
    types = metadata.get("custom_types", {})
    reasons = list(_duplicates(types))
    known = BUILT_IN | (set() if broken_sources else POSTGRES_SCALARS) | _names(types, "scalars", "enums")
    for item in types.get("input_objects", []):
        reasons += _field_problems(item, " input object", known | _names(types, "input_objects"))
    for item in types.get("objects", []) if not reasons else []:
        reasons += _field_problems(item, " object", known | _names(types, "objects"))
        reasons += _relationship_problems(item, metadata)
    if not reasons:
        return None
    start = "validation for the given custom types failed"
    if len(reasons) == 1:
        return f"{start} because {reasons[0]}"
    return f"{start} for the following reasons:{''.join(BULLET + reason for reason in reasons)}\n"


def _duplicates(types: Json) -> Iterator[str]:
    names = [item["name"] for kind in KINDS for item in types.get(kind, [])]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"duplicate type names: {_quoted(twice)}"
    for item in types.get("objects", []):
        fields = [field["name"] for field in item["fields"]]
        if twice := sorted({name for name in fields if fields.count(name) > 1}):
            yield f'the object "{item["name"]}" has duplicate fields: {_quoted(twice)}'


def _field_problems(item: Json, word: str, known: set[str]) -> Iterator[str]:
    for field in item.get("fields", []):
        base = base_name(field["type"])
        if base not in known:
            place = f'field "{field["name"]}" in {word} type "{item["name"]}"'
            yield f'the type "{base}" for {place} does not exist'


def _relationship_problems(item: Json, metadata: Json) -> Iterator[str]:
    tracked = {qualified(table["table"]) for source in metadata["sources"] for table in source["tables"]}
    for rel in item.get("relationships") or []:
        if qualified(rel["remote_table"]) not in tracked:
            yield (
                f'the remote table "{spelled(rel["remote_table"])}" for relationship "{rel["name"]}"'
                f' of object type "{item["name"]}" does not exist'
            )


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
