"""What the metadata may define and this stand-in does not execute: its names, for errors that say so.

The schema has none of these fields and types. The extension `refused` of a type has the names of the fields.
"""

from collections.abc import Iterator
from typing import Any

from graphql import FieldNode, OperationDefinitionNode

from graphql_engine.errors import QErr, unsupported
from graphql_engine.graphql.model.tables import Model, TrackedTable, configuration, entries, key_of

Json = dict[str, Any]


def refused_fields(type_: Any) -> dict[str, str]:
    """Return the refused fields of a type with what they are."""
    return dict(type_.extensions.get("refused", {}))


def no_field(type_: Any, name: str) -> QErr:
    """Return the error for a field that a type does not have."""
    feature = refused_fields(type_).get(name)
    if feature is not None:
        return unsupported(f'the {feature} "{name}"')
    return QErr("validation-failed", f"field '{name}' not found in type: '{type_.name}'")


def no_mutations(metadata: Json, operation: OperationDefinitionNode) -> QErr:
    """Return the error for a mutation of a role that has none."""
    refused = of_roots(metadata)
    for field in operation.selection_set.selections:
        if isinstance(field, FieldNode) and field.name.value in refused:
            return unsupported(f'the {refused[field.name.value]} "{field.name.value}"')
    return QErr("validation-failed", "no mutations exist")


def of_table(tracked: TrackedTable) -> dict[str, str]:
    """Return the refused fields of the rows of a table."""
    return dict.fromkeys(tracked.computed_fields, "computed field")


def of_inputs(tracked: TrackedTable) -> dict[str, str]:
    """Return the refused fields of filters and orders of a table."""
    aggregates = {f"{name}_aggregate": "aggregate in a filter or order" for name in tracked.relationships}
    return of_table(tracked) | aggregates


def of_roots(metadata: Json) -> dict[str, str]:
    """Return the refused root fields: tracked functions, asynchronous actions."""
    refused = {name: "function" for item in entries(metadata, "functions") for name in _root_fields(item)}
    for action in metadata.get("actions") or []:
        if is_asynchronous(action):
            refused[action["name"]] = "asynchronous action"
    return refused


def is_asynchronous(action: Json) -> bool:
    definition = action["definition"]
    return bool(definition.get("type") != "query" and definition.get("kind") == "asynchronous")


def _root_fields(item: Json) -> Iterator[str]:
    base, names = _name(item), configuration(item).get("custom_root_fields") or {}
    yield names.get("function") or base
    yield names.get("function_aggregate") or f"{base}_aggregate"


def _name(item: Json) -> str:
    schema, name = key_of(item["function"])
    return str(configuration(item).get("custom_name") or (name if schema == "public" else f"{schema}_{name}"))


def types_of(metadata: Json, model: Model) -> dict[str, str]:
    """Return the refused types by name: those of enum tables, and the arguments of functions."""
    refused = {f"{_name(item)}_args": "function" for item in entries(metadata, "functions")}
    for tracked in model.tables.values():
        refused |= {f"{name}_args": "computed field" for name in tracked.computed_fields}
        if tracked.entry.get("is_enum"):
            refused |= {f"{tracked.name}_enum{end}": "enum table" for end in ("", "_comparison_exp")}
    return refused
