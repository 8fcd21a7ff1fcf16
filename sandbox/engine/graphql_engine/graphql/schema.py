"""Types of what is read: rows, counts, filters, orders; and what the schema leaves out.

A mark (in graphql-core's `extensions`) tells the input reader how to read a leaf: `column` is the
PostgreSQL type whose parser applies (`items`: to each item of a list), `strict` refuses null although the
type is nullable, `range` limits Int. Hasura and the metadata have what this stand-in does not execute: the
schema has none of it, and the extension `refused` of a type has the names of such fields, for errors that say
so. Facts: the engine's `GraphQL/Schema/*` and `Postgres/Instances/Schema`.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLString,
    OperationDefinitionNode,
)

from graphql_engine.catalog import Column, Type, key_of
from graphql_engine.errors import QErr, unsupported
from graphql_engine.graphql.model import (
    EQUALITY,
    OTHER_OPERATORS,
    Model,
    RoleViews,
    TableView,
    TrackedTable,
    array_of,
    configuration,
    entries,
    operand_type,
)
from graphql_engine.graphql.scalars import STRINGS, scalar_name

Json = dict[str, Any]
REFUSED_ARGUMENTS = {
    "columns", "distinct", "distinct_on", "on_conflict", "_inc", "_append", "_prepend", "_delete_key",
    "_delete_elem", "_delete_at_path",
}  # fmt: skip


def refused_fields(type_: Any) -> dict[str, str]:
    return dict(type_.extensions.get("refused", {}))


def no_field(type_: Any, name: str) -> QErr:
    feature = refused_fields(type_).get(name)
    if feature is not None:
        return unsupported(f'the {feature} "{name}"')
    return QErr("validation-failed", f"field '{name}' not found in type: '{type_.name}'")


def no_argument(field: str, name: str) -> QErr:
    if name in REFUSED_ARGUMENTS:
        return unsupported(f'the argument "{name}"')
    return QErr("validation-failed", f"'{field}' has no argument named '{name}'")


def no_mutations(metadata: Json, operation: OperationDefinitionNode) -> QErr:
    refused = of_roots(metadata)
    for field in operation.selection_set.selections:
        if isinstance(field, FieldNode) and field.name.value in refused:
            return unsupported(f'the {refused[field.name.value]} "{field.name.value}"')
    return QErr("validation-failed", "no mutations exist")


def of_table(tracked: TrackedTable) -> dict[str, str]:
    return dict.fromkeys(tracked.computed_fields, "computed field")


def of_inputs(tracked: TrackedTable) -> dict[str, str]:
    """Return the refused fields of filters and orders of a table."""
    return of_table(tracked) | _aggregates(tracked, "aggregate in a filter or order")


def _aggregates(tracked: TrackedTable, feature: str) -> dict[str, str]:
    return {f"{name}_aggregate": feature for name in tracked.relationships}


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


AnyType = Any
Named = TypeVar("Named", bound=GraphQLNamedType)


class Builder:
    """Make the types of one role, each once."""

    def __init__(self, views: RoleViews) -> None:
        self.views = views
        self.types: dict[str, GraphQLNamedType] = {
            t.name: t for t in (GraphQLInt, GraphQLFloat, GraphQLString, GraphQLBoolean, GraphQLID)
        }

    def once(self, name: str, make: Callable[[], Named]) -> Named:
        """Return the type called `name`; `make` makes it the first time."""
        if name not in self.types:
            self.types[name] = make()
        return self.types[name]  # type: ignore[return-value]

    def scalar(self, type_: Type) -> GraphQLScalarType:
        return self.named_scalar(scalar_name(type_))

    def named_scalar(self, name: str) -> GraphQLScalarType:
        return self.once(name, lambda: GraphQLScalarType(name))

    def value_type(self, type_: Type) -> AnyType:
        """Return the nullable GraphQL type of a PostgreSQL type."""
        if type_.element is not None:
            return GraphQLList(GraphQLNonNull(self.scalar(type_.element)))
        return self.scalar(type_)

    def inputs(self, name: str, fields: Any, refused: dict[str, str] | None = None) -> GraphQLInputObjectType:
        """Return the input type called `name`; `fields` are a dict, or a function that makes it later."""
        marks = {"refused": refused or {}}
        return self.once(name, lambda: GraphQLInputObjectType(name, fields, extensions=marks))

    def output(self, name: str, fields: Any, refused: dict[str, str] | None = None) -> GraphQLObjectType:
        marks = {"refused": refused or {}}
        return self.once(name, lambda: GraphQLObjectType(name, fields, extensions=marks))

    def order_by(self) -> GraphQLEnumType:
        return self.once("order_by", lambda: GraphQLEnumType("order_by", dict.fromkeys(DIRECTIONS)))


def argument(type_: AnyType, **marks: Any) -> GraphQLArgument:
    return GraphQLArgument(type_, extensions=marks)


def input_field(type_: AnyType, **marks: Any) -> GraphQLInputField:
    return GraphQLInputField(type_, extensions=marks)


def list_of(type_: AnyType) -> AnyType:
    return GraphQLList(GraphQLNonNull(type_))


Fields = dict[str, GraphQLInputField]
DIRECTIONS = {
    "asc": "ASC NULLS LAST",
    "asc_nulls_first": "ASC NULLS FIRST",
    "asc_nulls_last": "ASC NULLS LAST",
    "desc": "DESC NULLS FIRST",
    "desc_nulls_first": "DESC NULLS FIRST",
    "desc_nulls_last": "DESC NULLS LAST",
}
LISTS = ("_in", "_nin")
LIST_OPERATORS = ("_has_keys_any", "_has_keys_all")
CONTAINS = ("_contains", "_contained_in")
OPERATORS = {
    "strings": (
        "_like", "_nlike", "_ilike", "_nilike", "_similar", "_nsimilar", "_regex", "_iregex", "_nregex",
        "_niregex",
    ),
    "arrays": CONTAINS,
    "jsonb": (*CONTAINS, "_has_key", *LIST_OPERATORS),
}  # fmt: skip
REFUSED_OPERATORS = dict.fromkeys(OTHER_OPERATORS, "operator")


def bool_exp(b: Builder, view: TableView) -> GraphQLInputObjectType:
    return b.inputs(f"{view.name}_bool_exp", lambda: _bool_fields(b, view), of_inputs(view.tracked))


def _bool_fields(b: Builder, view: TableView) -> Fields:
    own = bool_exp(b, view)
    fields: Fields = {
        "_and": input_field(list_of(own), strict=True),
        "_not": input_field(own, strict=True),
        "_or": input_field(list_of(own), strict=True),
    }
    if view.select is None:
        return fields
    for name, column in view.select.columns.items():
        fields[name] = input_field(comparison_of(b, column.type), strict=True)
    for rel, target in b.views.relationships(view):
        fields[rel.name] = input_field(bool_exp(b, target), strict=True)
    return fields


def comparison_of(b: Builder, type_: Type) -> GraphQLInputObjectType:
    scalar = scalar_name(type_.element or type_)
    name = f"{scalar}_array_comparison_exp" if type_.element else f"{scalar}_comparison_exp"
    return b.inputs(name, lambda: _comparison_fields(b, type_), REFUSED_OPERATORS)


def _comparison_fields(b: Builder, type_: Type) -> Fields:
    value = b.value_type(type_)
    fields: Fields = {op: input_field(value, column=type_, strict=True) for op in EQUALITY}
    for op in LISTS:
        fields[op] = input_field(list_of(value), column=array_of(type_), items=True, strict=True)
    fields["_is_null"] = input_field(GraphQLBoolean, strict=True)
    kind = "arrays" if type_.element else "strings" if type_.internal in STRINGS else type_.internal
    for op in OPERATORS.get(kind, ()):
        right = operand_type(op, type_)
        items, strict = op in LIST_OPERATORS, op != "_has_key"
        fields[op] = input_field(b.value_type(right), column=right, items=items, strict=strict)
    return fields


def order_by_type(b: Builder, view: TableView) -> GraphQLInputObjectType:
    fields = {column: input_field(b.order_by()) for column in view.readable.columns}
    related = dict.fromkeys(view.tracked.relationships, "order by related rows")
    return b.inputs(f"{view.name}_order_by", fields, of_inputs(view.tracked) | related)


def table_type(b: Builder, view: TableView) -> GraphQLObjectType:
    """Make `<table>`: the columns and relationships that the role may read."""
    refused = of_table(view.tracked) | _aggregates(view.tracked, "aggregate of related rows")
    return b.output(view.name, lambda: _table_fields(b, view), refused)


def _table_fields(b: Builder, view: TableView) -> dict[str, GraphQLField]:
    fields: dict[str, GraphQLField] = {}
    for name, column in view.readable.columns.items():
        type_ = b.value_type(column.type)
        if not column.nullable:
            type_ = GraphQLNonNull(type_)
        fields[name] = GraphQLField(type_, _column_arguments(column))
    for rel, target in b.views.relationships(view):
        if rel.is_array:
            row_list = GraphQLNonNull(list_of(table_type(b, target)))
            fields[rel.name] = GraphQLField(row_list, select_arguments(b, target))
        else:
            fields[rel.name] = GraphQLField(table_type(b, target))
    return fields


def _column_arguments(column: Column) -> dict[str, GraphQLArgument] | None:
    if column.type.internal in ("json", "jsonb"):
        return {"path": argument(GraphQLString, json_path=True, strict=True)}
    return None


def select_arguments(b: Builder, view: TableView) -> dict[str, GraphQLArgument]:
    arguments = {
        "limit": argument(GraphQLInt, range="non-negative"),
        "offset": argument(GraphQLInt, range="big"),
        "where": argument(bool_exp(b, view)),
    }
    if view.readable.columns:
        arguments["order_by"] = argument(list_of(order_by_type(b, view)))
    return arguments


def aggregate_type(b: Builder, view: TableView) -> GraphQLObjectType:
    """Make `<table>_aggregate`: the number of rows."""
    others = (
        "avg", "max", "min", "stddev", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp", "variance",
    )  # fmt: skip
    count = {"count": GraphQLField(GraphQLNonNull(GraphQLInt))}
    aggregates = b.output(f"{view.name}_aggregate_fields", count, dict.fromkeys(others, "aggregate"))
    whole = {"aggregate": GraphQLField(aggregates)}
    return b.output(f"{view.name}_aggregate", whole, {"nodes": "list of aggregated rows"})
