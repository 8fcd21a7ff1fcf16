"""Types of what is read: rows, aggregates, `order_by`, and the arguments of select fields.

Facts: the engine's `GraphQL/Schema/OrderBy`.
"""

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLField,
    GraphQLFloat,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLString,
)

from graphql_engine.catalog import Column
from graphql_engine.graphql.model.names import is_comparable
from graphql_engine.graphql.model.tables import configuration, described
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.refused import of_inputs, of_table
from graphql_engine.graphql.schema.types import AnyType, Builder, argument, input_field, list_of, quoted
from graphql_engine.graphql.schema.where import bool_exp, numeric_columns

OPERATORS = (
    "avg", "max", "min", "stddev", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp", "variance",
)  # fmt: skip
COMPARABLE_OPERATORS = ("max", "min")


def order_by_type(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_order_by`."""

    def fields() -> dict[str, GraphQLInputField]:
        assert view.select is not None
        made = {column: input_field(b.order_by()) for column in view.select.columns}
        for rel, target in b.views.relationships(view):
            if not rel.is_array:
                made[rel.name] = input_field(order_by_type(b, target))
        return made

    text = f"Ordering options when selecting data from {quoted(view)}."
    return b.inputs(f"{view.name}_order_by", fields, text, refused=of_inputs(view.tracked))


def operator_columns(view: TableView, operator: str) -> dict[str, Column]:
    """Return the readable columns that an aggregate operator applies to."""
    assert view.select is not None
    if operator in COMPARABLE_OPERATORS:
        return {n: c for n, c in view.select.columns.items() if is_comparable(c.type)}
    return numeric_columns(view.select.columns)


def table_type(b: Builder, view: TableView) -> GraphQLObjectType:
    """Make `<table>`: the columns and relationships that the role may read."""
    explicit = configuration(view.tracked.entry).get("comment")
    default = view.tracked.table.comment or f"columns and relationships of {quoted(view)}"
    refused = of_table(view.tracked)
    return b.output(view.name, lambda: _table_fields(b, view), described(explicit, default), refused=refused)


def _table_fields(b: Builder, view: TableView) -> dict[str, GraphQLField]:
    assert view.select is not None
    fields: dict[str, GraphQLField] = {}
    for name, column in view.select.columns.items():
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
    """Make distinct_on, limit, offset, order_by and where."""
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
