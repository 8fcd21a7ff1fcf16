"""Root fields of a role: their arguments, and a mark for the executor."""

from dataclasses import dataclass
from typing import Any

from graphql import GraphQLArgument, GraphQLField, GraphQLList, GraphQLNonNull

from graphql_engine.graphql.model.tables import described
from graphql_engine.graphql.model.views import SelectView, TableView, WriteView
from graphql_engine.graphql.schema.select import aggregate_type, select_arguments, table_type
from graphql_engine.graphql.schema.types import AnyType, Builder, argument, list_of, quoted
from graphql_engine.graphql.schema.where import bool_exp
from graphql_engine.graphql.schema.write import (
    conflict_argument,
    insert_input,
    key_arguments,
    key_input,
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


class _Table:
    """The root fields of one table, under their custom names."""

    def __init__(self, view: TableView) -> None:
        self.view = view
        self.fields: Fields = {}

    def add(
        self, kind: str, pattern: str, type_: AnyType, arguments: dict[str, GraphQLArgument], text: str
    ) -> None:
        """Add a field; {} stands for the table in its default name `pattern` and in `text`."""
        name, comment = self.view.tracked.root_field(kind, pattern.format(self.view.name))
        comment = described(comment, text.format(quoted(self.view)))
        self.fields[name] = root(type_, arguments, comment, Root(kind, self.view))


def query_fields(b: Builder, *, subscription: bool = False) -> Fields:
    """Make the fields of tables in query_root (or subscription_root)."""
    fields: Fields = {}
    for view in b.views.tables.values():
        if view.select is not None and view.select.columns:
            chosen = view.select.subscription_fields if subscription else view.select.query_fields
            fields |= _table_queries(b, view, view.select, chosen)
    return fields


def _table_queries(b: Builder, view: TableView, select: SelectView, chosen: frozenset[str] | None) -> Fields:
    made = _Table(view)
    row = table_type(b, view)
    arguments = select_arguments(b, view)
    if chosen is None or "select" in chosen:
        made.add("select", "{}", GraphQLNonNull(list_of(row)), arguments, "fetch data from the table: {}")
    if select.aggregations and (chosen is None or "select_aggregate" in chosen):
        text = "fetch aggregated fields from the table: {}"
        type_ = GraphQLNonNull(aggregate_type(b, view))
        made.add("select_aggregate", "{}_aggregate", type_, arguments, text)
    keys = key_arguments(b, view)
    if keys is not None and (chosen is None or "select_by_pk" in chosen):
        text = "fetch data from the table: {} using primary key columns"
        made.add("select_by_pk", "{}_by_pk", row, _by_key(keys), text)
    return made.fields


def _by_key(keys: dict[str, Any]) -> dict[str, GraphQLArgument]:
    return {name: argument(type_, c.comment, column=c.type) for name, (type_, c) in keys.items()}


def mutation_fields(b: Builder) -> Fields:
    """Make the fields of tables in mutation_root."""
    fields: Fields = {}
    for view in b.views.tables.values():
        if view.insert is not None:
            fields |= _inserts(b, view)
        if view.update is not None:
            fields |= _updates(b, view, view.update)
        if view.delete is not None:
            fields |= _deletes(b, view)
    return fields


def _inserts(b: Builder, view: TableView) -> Fields:
    row = insert_input(b, view)
    if not row.fields:
        return {}
    made = _Table(view)
    conflict = conflict_argument(b, view)
    many = {"objects": argument(GraphQLNonNull(list_of(row)), "the rows to be inserted"), **conflict}
    made.add("insert", "insert_{}", mutation_response(b, view), many, "insert data into the table: {}")
    if view.select is not None and view.select.columns:
        one = {"object": argument(GraphQLNonNull(row), "the row to be inserted"), **conflict}
        text = "insert a single row into the table: {}"
        made.add("insert_one", "insert_{}_one", table_type(b, view), one, text)
    return made.fields


def _updates(b: Builder, view: TableView, update: WriteView) -> Fields:
    operators = operator_arguments(b, view)
    if not operators and not update.presets:
        return {}
    made = _Table(view)
    response = mutation_response(b, view)
    where = argument(GraphQLNonNull(bool_exp(b, view)), "filter the rows which have to be updated")
    made.add("update", "update_{}", response, {**operators, "where": where}, "update data of the table: {}")
    keys = key_input(b, view)
    if keys is not None:
        by_key = {**operators, "pk_columns": argument(GraphQLNonNull(keys))}
        text = "update single row of the table: {}"
        made.add("update_by_pk", "update_{}_by_pk", table_type(b, view), by_key, text)
    updates = argument(GraphQLNonNull(list_of(updates_input(b, view))), "updates to execute, in order")
    text = "update multiples rows of table: {}"
    made.add("update_many", "update_{}_many", GraphQLList(response), {"updates": updates}, text)
    return made.fields


def _deletes(b: Builder, view: TableView) -> Fields:
    made = _Table(view)
    where = argument(GraphQLNonNull(bool_exp(b, view)), "filter the rows which have to be deleted")
    response = mutation_response(b, view)
    made.add("delete", "delete_{}", response, {"where": where}, "delete data from the table: {}")
    keys = key_arguments(b, view)
    if keys is not None:
        text = "delete single row from the table: {}"
        made.add("delete_by_pk", "delete_{}_by_pk", table_type(b, view), _by_key(keys), text)
    return made.fields
