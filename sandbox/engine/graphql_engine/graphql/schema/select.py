"""Output types of tables: rows, aggregates, and the arguments of select fields."""

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLInt,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLString,
)

from graphql_engine.catalog import Column
from graphql_engine.graphql.model.tables import configuration, described
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.order import (
    COMPARABLE_OPERATORS,
    OPERATORS,
    operator_columns,
    order_by_type,
)
from graphql_engine.graphql.schema.refused import of_table
from graphql_engine.graphql.schema.types import AnyType, Builder, argument, list_of, quoted
from graphql_engine.graphql.schema.where import bool_exp


def table_type(b: Builder, view: TableView) -> GraphQLObjectType:
    """Make `<table>`: the columns and relationships that the role may read."""
    explicit = configuration(view.tracked.entry).get("comment")
    comment = described(
        explicit, view.tracked.table.comment or f"columns and relationships of {quoted(view)}"
    )
    return b.once(
        view.name,
        lambda: GraphQLObjectType(
            view.name,
            lambda: _table_fields(b, view),
            description=comment,
            extensions=of_table(view.tracked),
        ),
    )


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
    name = f"{view.name}_aggregate"

    def fields() -> dict[str, GraphQLField]:
        return {
            "aggregate": GraphQLField(_aggregate_fields(b, view)),
            "nodes": GraphQLField(GraphQLNonNull(list_of(table_type(b, view)))),
        }

    text = f"aggregated selection of {quoted(view)}"
    return b.once(name, lambda: GraphQLObjectType(name, fields, description=text))


def _aggregate_fields(b: Builder, view: TableView) -> GraphQLObjectType:
    name = f"{view.name}_aggregate_fields"

    def fields() -> dict[str, GraphQLField]:
        made = {"count": GraphQLField(GraphQLNonNull(GraphQLInt), _count_arguments(b.select_columns(view)))}
        for operator in OPERATORS:
            columns = operator_columns(view, operator)
            if columns:
                made[operator] = GraphQLField(_operator_fields(b, view, operator, columns))
        return made

    text = f"aggregate fields of {quoted(view)}"
    return b.once(name, lambda: GraphQLObjectType(name, fields, description=text))


def _count_arguments(columns: GraphQLEnumType | None) -> dict[str, GraphQLArgument]:
    arguments = {"distinct": argument(GraphQLBoolean)}
    if columns is not None:
        arguments = {"columns": argument(list_of(columns), strict=True), **arguments}
    return arguments


def _operator_fields(
    b: Builder, view: TableView, operator: str, columns: dict[str, Column]
) -> GraphQLObjectType:
    name = f"{view.name}_{operator}_fields"

    def made_type(column: Column) -> AnyType:
        exact = operator in (*COMPARABLE_OPERATORS, "sum")
        return b.value_type(column.type) if exact else GraphQLFloat

    fields = {c: GraphQLField(made_type(column), description=column.comment) for c, column in columns.items()}
    text = f"aggregate {operator} on columns"
    return b.once(name, lambda: GraphQLObjectType(name, fields, description=text))
