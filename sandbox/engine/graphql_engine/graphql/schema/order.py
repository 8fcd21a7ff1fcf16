"""Input types of `order_by`, and the aggregates of a table.

Facts: the engine's `GraphQL/Schema/OrderBy`.
"""

from graphql import GraphQLInputField, GraphQLInputObjectType

from graphql_engine.catalog import Column
from graphql_engine.graphql.model.names import is_comparable
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.refused import of_table
from graphql_engine.graphql.schema.types import Builder, input_field, quoted
from graphql_engine.graphql.schema.where import numeric_columns

OPERATORS = (
    "avg",
    "max",
    "min",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
)
COMPARABLE_OPERATORS = ("max", "min")


def order_by_type(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_order_by`."""
    name = f"{view.name}_order_by"

    def fields() -> dict[str, GraphQLInputField]:
        assert view.select is not None
        made = {column: input_field(b.order_by()) for column in view.select.columns}
        for rel, target in b.views.relationships(view):
            if not rel.is_array:
                made[rel.name] = input_field(order_by_type(b, target))
            else:
                made[f"{rel.name}_aggregate"] = input_field(aggregate_order_by(b, target))
        return made

    text, refused = f"Ordering options when selecting data from {quoted(view)}.", of_table(view.tracked)
    return b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text, extensions=refused))


def operator_columns(view: TableView, operator: str) -> dict[str, Column]:
    """Return the readable columns that an aggregate operator applies to."""
    assert view.select is not None
    if operator in COMPARABLE_OPERATORS:
        return {n: c for n, c in view.select.columns.items() if is_comparable(c.type)}
    return numeric_columns(view.select.columns)


def aggregate_order_by(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_aggregate_order_by`."""
    name = f"{view.name}_aggregate_order_by"

    def fields() -> dict[str, GraphQLInputField]:
        made = {"count": input_field(b.order_by())}
        for operator in OPERATORS:
            columns = operator_columns(view, operator)
            if columns:
                made[operator] = input_field(_operator_order_by(b, view, operator, columns), strict=True)
        return made

    text = f"order by aggregate values of table {quoted(view)}"
    return b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text))


def _operator_order_by(
    b: Builder, view: TableView, operator: str, columns: dict[str, Column]
) -> GraphQLInputObjectType:
    name = f"{view.name}_{operator}_order_by"
    fields = {c: input_field(b.order_by(), column.comment) for c, column in columns.items()}
    text = f"order by {operator}() on columns of table {quoted(view)}"
    return b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text))
