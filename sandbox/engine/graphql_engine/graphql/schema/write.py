"""Input and output types of mutations."""

from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLNonNull,
    GraphQLObjectType,
)

from graphql_engine.catalog import Column
from graphql_engine.graphql.model.conditions import INTEGER, TEXT, TEXTS
from graphql_engine.graphql.model.names import is_graphql_name, is_numeric
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.select import table_type
from graphql_engine.graphql.schema.types import Builder, argument, input_field, list_of, quoted
from graphql_engine.graphql.schema.where import bool_exp

Fields = dict[str, GraphQLInputField]
PLACEHOLDER = "_PLACEHOLDER"
JSONB_UPDATES = {
    "_append": "append existing jsonb value of filtered columns with new jsonb value",
    "_delete_at_path": "delete the field or element with specified path "
    "(for JSON arrays, negative integers count from the end)",
    "_delete_elem": "delete the array element with specified index (negative integers count from the end). "
    "throws an error if top level container is not an array",
    "_delete_key": "delete key/value pair or string element. "
    "key/value pairs are matched based on their key value",
    "_prepend": "prepend existing jsonb value of filtered columns with new jsonb value",
}


def mutation_response(b: Builder, view: TableView) -> GraphQLObjectType:
    """Make `<table>_mutation_response`: affected_rows, and returning if the role may read the table."""
    about = "number of rows affected by the mutation"
    fields = {"affected_rows": GraphQLField(GraphQLNonNull(GraphQLInt), description=about)}
    if b.views.selectable(view.tracked.table.key) is not None:
        rows, about = (
            GraphQLNonNull(list_of(table_type(b, view))),
            "data from the rows affected by the mutation",
        )
        fields["returning"] = GraphQLField(rows, description=about)
    text = f"response of any mutation on the table {quoted(view)}"
    return b.output(f"{view.name}_mutation_response", fields, text)


def column_field(b: Builder, column: Column) -> GraphQLInputField:
    """Make the field of a column that a client may set; null is allowed only if the column is nullable."""
    type_ = b.value_type(column.type)
    return input_field(type_, column.comment, column=column.type, strict=not column.nullable)


def insert_input(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_insert_input`. Rows of relationships cannot be inserted with it."""
    assert view.insert is not None
    text = f"input type for inserting data into table {quoted(view)}"
    refused = dict.fromkeys(view.tracked.relationships, "nested insert")
    return _column_inputs(b, f"{view.name}_insert_input", view.insert.columns, text, refused=refused)


def conflict_argument(b: Builder, view: TableView) -> dict[str, GraphQLArgument]:
    """Make `on_conflict` as an argument of a root field."""
    type_ = _on_conflict(b, view)
    return {} if type_ is None else {"on_conflict": argument(type_, "upsert condition")}


def _on_conflict(b: Builder, view: TableView) -> GraphQLInputObjectType | None:
    constraints = [c for c in view.tracked.table.constraints() if is_graphql_name(c.name)]
    if not constraints:
        return None
    about = "unique or primary key constraint on columns "
    values = {c.name: about + ", ".join(f'"{column}"' for column in c.columns) for c in constraints}
    text = f"unique or primary key constraints on table {quoted(view)}"
    constraint = b.enum(f"{view.name}_constraint", values, text)
    columns = GraphQLNonNull(list_of(update_columns(b, view)))
    fields: Fields = {
        "constraint": input_field(GraphQLNonNull(constraint)),
        "update_columns": GraphQLInputField(columns, default_value=[]),
        "where": input_field(bool_exp(b, view), strict=True),
    }
    text = f"on_conflict condition type for table {quoted(view)}"
    return b.inputs(f"{view.name}_on_conflict", fields, text)


def update_columns(b: Builder, view: TableView) -> GraphQLEnumType:
    """Make `<table>_update_column`, with a placeholder if the role may update no column."""
    columns = view.update.columns if view.update is not None else {}
    values: dict[str, str | None] = dict.fromkeys(sorted(columns), "column name")
    text = f"update columns of table {quoted(view)}"
    placeholder: dict[str, str | None] = {PLACEHOLDER: "placeholder (do not use)"}
    return b.enum(f"{view.name}_update_column", values or placeholder, text)


def update_operators(b: Builder, view: TableView) -> dict[str, tuple[GraphQLInputObjectType, str]]:
    """Make the `_set`, `_inc`, … objects that the role's columns allow, with their descriptions."""
    assert view.update is not None
    columns = view.update.columns
    if not columns:
        return {}
    jsonb = {n: c for n, c in columns.items() if c.type.internal == "jsonb"}
    numbers = {n: c for n, c in columns.items() if is_numeric(c.type)}
    made: dict[str, tuple[GraphQLInputObjectType, str]] = {}
    if jsonb:
        for op, text in JSONB_UPDATES.items():
            made[op] = (_jsonb_update(b, view, op, jsonb, text), text)
    if numbers:
        text = "increments the numeric columns with given value of the filtered values"
        table = f"input type for incrementing numeric columns in table {quoted(view)}"
        made["_inc"] = (_column_inputs(b, f"{view.name}_inc_input", numbers, table), text)
    table = f"input type for updating data in table {quoted(view)}"
    made["_set"] = (
        _column_inputs(b, f"{view.name}_set_input", columns, table),
        "sets the columns of the filtered rows to the given values",
    )
    return made


def _column_inputs(
    b: Builder, name: str, columns: dict[str, Column], text: str, **extensions: Any
) -> GraphQLInputObjectType:
    fields = {n: column_field(b, column) for n, column in columns.items()}
    return b.inputs(name, fields, text, **extensions)


def _jsonb_update(
    b: Builder, view: TableView, op: str, columns: dict[str, Column], text: str
) -> GraphQLInputObjectType:
    def field(column: Column) -> GraphQLInputField:
        if op == "_delete_at_path":
            return input_field(list_of(b.scalar(TEXT)), column.comment, column=TEXTS, items=True, strict=True)
        if op == "_delete_elem":
            return input_field(b.scalar(INTEGER), column.comment, column=INTEGER, strict=True)
        if op == "_delete_key":
            return input_field(b.scalar(TEXT), column.comment, column=TEXT)
        return column_field(b, column)

    return b.inputs(f"{view.name}{op}_input", {n: field(column) for n, column in columns.items()}, text)


def operator_arguments(b: Builder, view: TableView) -> dict[str, GraphQLArgument]:
    return {op: argument(t, text, strict=True) for op, (t, text) in update_operators(b, view).items()}


def key_arguments(b: Builder, view: TableView) -> dict[str, Any] | None:
    """Return {name: (non-null type, column)} of the primary key, or None if the role cannot read it."""
    key = view.tracked.table.primary_key
    if key is None or view.select is None:
        return None
    visible = {c.name: n for n, c in view.select.columns.items()}
    if not all(name in visible for name in key.columns):
        return None
    columns = view.tracked.table.columns
    return {
        visible[name]: (GraphQLNonNull(b.value_type(columns[name].type)), columns[name])
        for name in key.columns
    }


def key_input(b: Builder, view: TableView) -> GraphQLInputObjectType | None:
    """Make `<table>_pk_columns_input`."""
    keys = key_arguments(b, view)
    if keys is None:
        return None
    fields = {n: input_field(t, column.comment, column=column.type) for n, (t, column) in keys.items()}
    text = f"primary key columns input for table: {view.tracked.table.name}"
    return b.inputs(f"{view.name}_pk_columns_input", fields, text)


def updates_input(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_updates`: one element of update_<table>_many."""
    fields = {op: input_field(t, text, strict=True) for op, (t, text) in update_operators(b, view).items()}
    where = GraphQLNonNull(bool_exp(b, view))
    fields["where"] = input_field(where, "filter the rows which have to be updated")
    return b.inputs(f"{view.name}_updates", fields)
