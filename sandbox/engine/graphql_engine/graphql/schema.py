"""Types of what is read: rows, aggregates, filters, orders; and what the schema leaves out.

A mark (in graphql-core's `extensions`) tells the input reader how to read a leaf: `column` is the
PostgreSQL type whose parser applies (`items`: to each item of a list), `strict` refuses null although the
type is nullable, `range` limits Int. The metadata may define what this stand-in does not execute: the schema
has none of it, and the extension `refused` of a type has the names of such fields, for errors that say so.
Facts: the engine's `GraphQL/Schema/*` and `Postgres/Instances/Schema`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLEnumValue,
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
    TEXT,
    TEXTS,
    Model,
    RoleViews,
    TableView,
    TrackedTable,
    array_of,
    configuration,
    described,
    entries,
    operand_type,
)
from graphql_engine.graphql.scalars import STRINGS, is_comparable, is_numeric, scalar_name

Json = dict[str, Any]


def refused_fields(type_: Any) -> dict[str, str]:
    return dict(type_.extensions.get("refused", {}))


def no_field(type_: Any, name: str) -> QErr:
    feature = refused_fields(type_).get(name)
    if feature is not None:
        return unsupported(f'the {feature} "{name}"')
    return QErr("validation-failed", f"field '{name}' not found in type: '{type_.name}'")


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


AnyType = Any
TEXTS_OF: Json = yaml.safe_load(Path(__file__).with_name("texts.yaml").read_text("utf-8"))
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

    def inputs(
        self, name: str, fields: Any, text: str | None = None, **extensions: Any
    ) -> GraphQLInputObjectType:
        """Return the input type called `name`; `fields` are a dict, or a function that makes it later."""
        return self.once(
            name, lambda: GraphQLInputObjectType(name, fields, description=text, extensions=extensions)
        )

    def output(self, name: str, fields: Any, text: str | None = None, **extensions: Any) -> GraphQLObjectType:
        return self.once(
            name, lambda: GraphQLObjectType(name, fields, description=text, extensions=extensions)
        )

    def enum(self, name: str, values: Mapping[str, str | None], text: str | None) -> GraphQLEnumType:
        made = {value: GraphQLEnumValue(value, description=about) for value, about in values.items()}
        return self.once(name, lambda: GraphQLEnumType(name, made, description=text))

    def order_by(self) -> GraphQLEnumType:
        return self.enum("order_by", TEXTS_OF["order"], "column ordering options")

    def select_columns(self, view: TableView) -> GraphQLEnumType | None:
        if view.select is None or not view.select.columns:
            return None
        values = dict.fromkeys(sorted(view.select.columns), "column name")
        text = f'select columns of table "{view.tracked.table.name}"'
        return self.enum(f"{view.name}_select_column", values, text)


def argument(type_: AnyType, description: str | None = None, **marks: Any) -> GraphQLArgument:
    return GraphQLArgument(type_, description=description, extensions=marks)


def input_field(type_: AnyType, description: str | None = None, **marks: Any) -> GraphQLInputField:
    return GraphQLInputField(type_, description=description, extensions=marks)


def list_of(type_: AnyType) -> AnyType:
    return GraphQLList(GraphQLNonNull(type_))


def quoted(view: TableView) -> str:
    """Return the table's name as descriptions write it."""
    table = view.tracked.table
    return f'"{table.name}"' if table.schema == "public" else f'"{table.schema}"."{table.name}"'


Fields = dict[str, GraphQLInputField]
EQUALITY = ("_eq", "_neq", "_gt", "_lt", "_gte", "_lte")
LISTS = ("_in", "_nin")
LIST_OPERATORS = ("_has_keys_any", "_has_keys_all", "_ancestor_any", "_descendant_any", "_matches_any")


def bool_exp(b: Builder, view: TableView) -> GraphQLInputObjectType:
    text = f"Boolean expression to filter rows from the table {quoted(view)}. All fields are combined with"
    refused = of_inputs(view.tracked)
    return b.inputs(
        f"{view.name}_bool_exp", lambda: _bool_fields(b, view), f"{text} a logical 'AND'.", refused=refused
    )


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
    text = f'Boolean expression to compare columns of type "{scalar}".'
    text += " All fields are combined with logical 'AND'."
    return b.inputs(name, lambda: _comparison_fields(b, type_), text)


def _comparison_fields(b: Builder, type_: Type) -> Fields:
    value = b.value_type(type_)
    fields: Fields = {}
    if type_.internal == "jsonb":
        fields["_cast"] = input_field(_cast(b, type_), strict=True)
    for op in EQUALITY:
        fields[op] = input_field(value, column=type_, strict=True)
    for op in LISTS:
        fields[op] = input_field(list_of(value), column=array_of(type_), items=True, strict=True)
    fields["_is_null"] = input_field(GraphQLBoolean, strict=True)
    kind = "arrays" if type_.element else "strings" if type_.internal in STRINGS else type_.internal
    for op, text in TEXTS_OF["operators"].get(kind, {}).items():
        right = operand_type(op, type_)
        items, strict = op in LIST_OPERATORS, op != "_has_key"
        shown = b.value_type(TEXTS if op == "_matches_any" else right)
        fields[op] = input_field(shown, text, column=right, items=items, strict=strict)
    return fields


def _cast(b: Builder, type_: Type) -> GraphQLInputObjectType:
    fields = {"String": input_field(comparison_of(b, TEXT), strict=True)}
    return b.inputs(f"{scalar_name(type_)}_cast_exp", fields)


OPERATORS = (
    "avg", "max", "min", "stddev", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp", "variance",
)  # fmt: skip
COMPARABLE_OPERATORS = ("max", "min")


def order_by_type(b: Builder, view: TableView) -> GraphQLInputObjectType:

    def fields() -> dict[str, GraphQLInputField]:
        made = {column: input_field(b.order_by()) for column in view.readable.columns}
        for rel, target in b.views.relationships(view):
            if not rel.is_array:
                made[rel.name] = input_field(order_by_type(b, target))
        return made

    text = f"Ordering options when selecting data from {quoted(view)}."
    return b.inputs(f"{view.name}_order_by", fields, text, refused=of_inputs(view.tracked))


def operator_columns(view: TableView, operator: str) -> dict[str, Column]:
    """Return the readable columns that an aggregate operator applies to."""
    applies = is_comparable if operator in COMPARABLE_OPERATORS else is_numeric
    return {name: column for name, column in view.readable.columns.items() if applies(column.type)}


def table_type(b: Builder, view: TableView) -> GraphQLObjectType:
    """Make `<table>`: the columns and relationships that the role may read."""
    explicit = configuration(view.tracked.entry).get("comment")
    default = view.tracked.table.comment or f"columns and relationships of {quoted(view)}"
    refused = of_table(view.tracked)
    return b.output(view.name, lambda: _table_fields(b, view), described(explicit, default), refused=refused)


def _table_fields(b: Builder, view: TableView) -> dict[str, GraphQLField]:
    fields: dict[str, GraphQLField] = {}
    for name, column in view.readable.columns.items():
        type_ = b.value_type(column.type)
        if not column.nullable:
            type_ = GraphQLNonNull(type_)
        fields[name] = GraphQLField(
            type_, _column_arguments(column), description=view.tracked.column_comment(column)
        )
    for rel, target in b.views.relationships(view):
        if rel.is_array:
            description = rel.comment or "An array relationship"
            row_list = GraphQLNonNull(list_of(table_type(b, target)))
            fields[rel.name] = GraphQLField(row_list, select_arguments(b, target), description=description)
            if target.select is not None and target.select.aggregations:
                aggregate = GraphQLNonNull(aggregate_type(b, target))
                fields[f"{rel.name}_aggregate"] = GraphQLField(
                    aggregate, select_arguments(b, target), description="An aggregate relationship"
                )
        else:
            columns = [view.tracked.table.columns.get(own) for own, _ in rel.mapping]
            nullable = any(c is None or c.nullable for c in columns) or rel.after_parent
            row: AnyType = table_type(b, target)
            filtered = b.views.role != "admin" and target.select is not None and target.select.filter.items  # type: ignore[union-attr]
            by_key = any(
                set(k.columns) == {own for own, _ in rel.mapping} for k in view.tracked.table.foreign_keys
            )
            certain = not nullable and by_key and not filtered
            description = rel.comment or "An object relationship"
            fields[rel.name] = GraphQLField(GraphQLNonNull(row) if certain else row, description=description)
    return fields


def _column_arguments(column: Column) -> dict[str, GraphQLArgument] | None:
    if column.type.internal in ("json", "jsonb"):
        return {"path": argument(GraphQLString, "JSON select path", json_path=True, strict=True)}
    return None


def select_arguments(b: Builder, view: TableView) -> dict[str, GraphQLArgument]:
    arguments: dict[str, GraphQLArgument] = {}
    columns = b.select_columns(view)
    if columns is not None:
        arguments["distinct_on"] = argument(list_of(columns), "distinct select on columns")
    arguments["limit"] = argument(GraphQLInt, "limit the number of rows returned", range="non-negative")
    arguments["offset"] = argument(GraphQLInt, "skip the first n rows. Use only with order_by", range="big")
    if columns is not None or b.views.relationships(view):
        arguments["order_by"] = argument(
            list_of(order_by_type(b, view)), "sort the rows by one or more columns"
        )
    arguments["where"] = argument(bool_exp(b, view), "filter the rows returned")
    return arguments


def aggregate_type(b: Builder, view: TableView) -> GraphQLObjectType:
    """Make `<table>_aggregate`: aggregate and nodes."""

    def fields() -> dict[str, GraphQLField]:
        return {
            "aggregate": GraphQLField(_aggregate_fields(b, view)),
            "nodes": GraphQLField(GraphQLNonNull(list_of(table_type(b, view)))),
        }

    return b.output(f"{view.name}_aggregate", fields, f"aggregated selection of {quoted(view)}")


def _aggregate_fields(b: Builder, view: TableView) -> GraphQLObjectType:
    columns = b.select_columns(view)
    counted = {} if columns is None else {"columns": argument(list_of(columns), strict=True)}
    counted["distinct"] = argument(GraphQLBoolean)
    fields = {"count": GraphQLField(GraphQLNonNull(GraphQLInt), counted)}
    for operator in OPERATORS:
        if applicable := operator_columns(view, operator):
            fields[operator] = GraphQLField(_operator_fields(b, view, operator, applicable))
    return b.output(f"{view.name}_aggregate_fields", fields, f"aggregate fields of {quoted(view)}")


def _operator_fields(
    b: Builder, view: TableView, operator: str, columns: dict[str, Column]
) -> GraphQLObjectType:
    exact = operator in (*COMPARABLE_OPERATORS, "sum")
    fields = {
        name: GraphQLField(b.value_type(column.type) if exact else GraphQLFloat, description=column.comment)
        for name, column in columns.items()
    }
    return b.output(f"{view.name}_{operator}_fields", fields, f"aggregate {operator} on columns")
