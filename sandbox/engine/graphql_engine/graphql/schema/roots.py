"""Root fields of a role: their arguments, and a mark for the executor."""

from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLNonNull,
)

from graphql_engine.graphql.model.tables import described
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.select import (
    aggregate_type,
    select_arguments,
    table_type,
)
from graphql_engine.graphql.schema.stream import stream_arguments
from graphql_engine.graphql.schema.types import AnyType, Builder, argument, list_of, quoted
from graphql_engine.graphql.schema.where import bool_exp
from graphql_engine.graphql.schema.write import (
    conflict_argument,
    insert_input,
    key_arguments,
    key_input,
    many,
    mutation_response,
    operator_arguments,
    updates_input,
)

Fields = dict[str, GraphQLField]


@dataclass(frozen=True)
class Root:
    """The mark of a root field: `kind` on `view`, or the entry of an action."""

    kind: str
    view: TableView | None = None
    action: Any = None


def root(type_: AnyType, arguments: dict[str, GraphQLArgument], text: str | None, mark: Root) -> GraphQLField:
    """Make a root field with its mark."""
    return GraphQLField(type_, arguments, description=text, extensions={"root": mark})


def query_fields(b: Builder, *, subscription: bool = False) -> Fields:
    """Make the fields of tables in query_root (or subscription_root)."""
    fields: Fields = {}
    for view in b.views.tables.values():
        if view.select is not None and view.select.columns:
            fields |= _table_queries(b, view, subscription)
    return fields


def _allowed(view: TableView, kind: str, subscription: bool) -> bool:
    assert view.select is not None
    chosen = view.select.subscription_fields if subscription else view.select.query_fields
    return chosen is None or kind in chosen


def _table_queries(b: Builder, view: TableView, subscription: bool) -> Fields:
    assert view.select is not None
    fields: Fields = {}
    row = table_type(b, view)
    rows = GraphQLNonNull(list_of(row))
    arguments = select_arguments(b, view)
    if _allowed(view, "select", subscription):
        name, text = view.tracked.root_field("select", view.name)
        text = described(text, f"fetch data from the table: {quoted(view)}")
        fields[name] = root(rows, arguments, text, Root("select", view))
    if view.select.aggregations and _allowed(view, "select_aggregate", subscription):
        name, text = view.tracked.root_field("select_aggregate", f"{view.name}_aggregate")
        text = described(text, f"fetch aggregated fields from the table: {quoted(view)}")
        aggregate = GraphQLNonNull(aggregate_type(b, view))
        fields[name] = root(aggregate, arguments, text, Root("select_aggregate", view))
    keys = key_arguments(b, view)
    if keys is not None and _allowed(view, "select_by_pk", subscription):
        name, text = view.tracked.root_field("select_by_pk", f"{view.name}_by_pk")
        text = described(text, f"fetch data from the table: {quoted(view)} using primary key columns")
        by_key = {n: argument(t, c.comment, column=c.type) for n, (t, c) in keys.items()}
        fields[name] = root(row, by_key, text, Root("select_by_pk", view))
    if subscription and view.select.columns and _allowed(view, "select_stream", subscription):
        name, text = view.tracked.root_field("select_stream", f"{view.name}_stream")
        text = described(text, f"fetch data from the table in a streaming manner: {quoted(view)}")
        fields[name] = root(rows, stream_arguments(b, view), text, Root("select_stream", view))
    return fields


def mutation_fields(b: Builder) -> Fields:
    """Make the fields of tables in mutation_root."""
    fields: Fields = {}
    for view in b.views.tables.values():
        if view.insert is not None:
            fields |= _inserts(b, view)
        if view.update is not None:
            fields |= _updates(b, view)
        if view.delete is not None:
            fields |= _deletes(b, view)
    return fields


def _readable(view: TableView) -> bool:
    return view.select is not None and bool(view.select.columns)


def _inserts(b: Builder, view: TableView) -> Fields:
    row = insert_input(b, view)
    if not row.fields:
        return {}
    name, text = view.tracked.root_field("insert", f"insert_{view.name}")
    objects = argument(GraphQLNonNull(list_of(row)), "the rows to be inserted")
    arguments = {"objects": objects, **conflict_argument(b, view)}
    text = described(text, f"insert data into the table: {quoted(view)}")
    fields = {name: root(mutation_response(b, view), arguments, text, Root("insert", view))}
    if _readable(view):
        name, text = view.tracked.root_field("insert_one", f"insert_{view.name}_one")
        one = {
            "object": argument(GraphQLNonNull(row), "the row to be inserted"),
            **conflict_argument(b, view),
        }
        text = described(text, f"insert a single row into the table: {quoted(view)}")
        fields[name] = root(table_type(b, view), one, text, Root("insert_one", view))
    return fields


def _updates(b: Builder, view: TableView) -> Fields:
    operators = operator_arguments(b, view)
    fields: Fields = {}
    assert view.update is not None
    if not operators and not view.update.presets:
        return fields
    where = argument(GraphQLNonNull(bool_exp(b, view)), "filter the rows which have to be updated")
    name, text = view.tracked.root_field("update", f"update_{view.name}")
    response = mutation_response(b, view)
    text = described(text, f"update data of the table: {quoted(view)}")
    fields[name] = root(response, {**operators, "where": where}, text, Root("update", view))
    keys = key_input(b, view)
    if keys is not None:
        name, text = view.tracked.root_field("update_by_pk", f"update_{view.name}_by_pk")
        text = described(text, f"update single row of the table: {quoted(view)}")
        arguments = {**operators, "pk_columns": argument(GraphQLNonNull(keys))}
        fields[name] = root(table_type(b, view), arguments, text, Root("update_by_pk", view))
    name, text = view.tracked.root_field("update_many", f"update_{view.name}_many")
    updates = argument(GraphQLNonNull(list_of(updates_input(b, view))), "updates to execute, in order")
    text = described(text, f"update multiples rows of table: {quoted(view)}")
    fields[name] = root(many(response), {"updates": updates}, text, Root("update_many", view))
    return fields


def _deletes(b: Builder, view: TableView) -> Fields:
    fields: Fields = {}
    where = argument(GraphQLNonNull(bool_exp(b, view)), "filter the rows which have to be deleted")
    name, text = view.tracked.root_field("delete", f"delete_{view.name}")
    text = described(text, f"delete data from the table: {quoted(view)}")
    fields[name] = root(mutation_response(b, view), {"where": where}, text, Root("delete", view))
    keys = key_arguments(b, view)
    if keys is not None:
        name, text = view.tracked.root_field("delete_by_pk", f"delete_{view.name}_by_pk")
        text = described(text, f"delete single row from the table: {quoted(view)}")
        by_key = {n: argument(t, c.comment, column=c.type) for n, (t, c) in keys.items()}
        fields[name] = root(table_type(b, view), by_key, text, Root("delete_by_pk", view))
    return fields
