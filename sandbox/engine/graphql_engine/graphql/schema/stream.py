"""Arguments of streaming subscriptions. Facts: the engine's `GraphQL/Schema/SubscriptionStream`."""

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
)

from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.types import Builder, argument, input_field, quoted
from graphql_engine.graphql.schema.where import bool_exp


def stream_arguments(b: Builder, view: TableView) -> dict[str, GraphQLArgument]:
    """Make batch_size, cursor and where of `<table>_stream`."""
    assert view.select is not None
    ordering = b.once(
        "cursor_ordering",
        lambda: GraphQLEnumType(
            "cursor_ordering",
            {
                "ASC": GraphQLEnumValue("ASC", description="ascending ordering of the cursor"),
                "DESC": GraphQLEnumValue("DESC", description="descending ordering of the cursor"),
            },
            description="ordering argument of a cursor",
        ),
    )
    value_name, name = f"{view.name}_stream_cursor_value_input", f"{view.name}_stream_cursor_input"
    columns = view.select.columns
    values = b.once(
        value_name,
        lambda: GraphQLInputObjectType(
            value_name,
            {n: input_field(b.value_type(c.type), column=c.type) for n, c in columns.items()},
            description="Initial value of the column from where the streaming should start",
        ),
    )
    cursor = b.once(
        name,
        lambda: GraphQLInputObjectType(
            name,
            {
                "initial_value": input_field(
                    GraphQLNonNull(values), "Stream column input with initial value"
                ),
                "ordering": input_field(ordering, "cursor ordering"),
            },
            description=f"Streaming cursor of the table {quoted(view)}",
        ),
    )
    return {
        "batch_size": argument(
            GraphQLNonNull(GraphQLInt),
            "maximum number of rows returned in a single batch",
            range="non-negative",
        ),
        "cursor": argument(
            GraphQLNonNull(GraphQLList(cursor)), "cursor to stream the results returned by the query"
        ),
        "where": argument(bool_exp(b, view), "filter the rows returned"),
    }
