"""Input and output types of mutations."""

from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
)

from graphql_engine.catalog import Column
from graphql_engine.graphql.model.names import is_graphql_name, is_numeric
from graphql_engine.graphql.model.permissions import INTEGER, TEXT, TEXTS
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.select import table_type
from graphql_engine.graphql.schema.types import AnyType, Builder, argument, input_field, list_of, quoted
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
    name = f"{view.name}_mutation_response"

    def fields() -> dict[str, GraphQLField]:
        made = {
            "affected_rows": GraphQLField(
                GraphQLNonNull(GraphQLInt), description="number of rows affected by the mutation"
            )
        }
        if b.views.selectable(view.tracked.table.key) is not None:
            made["returning"] = GraphQLField(
                GraphQLNonNull(list_of(table_type(b, view))),
                description="data from the rows affected by the mutation",
            )
        return made

    text = f"response of any mutation on the table {quoted(view)}"
    return b.once(name, lambda: GraphQLObjectType(name, fields, description=text))


def column_field(b: Builder, view: TableView, column: Column) -> GraphQLInputField:
    """Make the field of a column that a client may set; null is allowed only if the column is nullable."""
    type_ = b.value_type(column.type)
    return input_field(type_, column.comment, column=column.type, strict=not column.nullable)


def insert_input(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_insert_input`: columns, and the rows of relationships that are inserted with it."""
    name = f"{view.name}_insert_input"

    def fields() -> Fields:
        assert view.insert is not None
        made = {n: column_field(b, view, column) for n, column in view.insert.columns.items()}
        for rel in view.tracked.relationships.values():
            target = b.views.tables.get(rel.target)
            if target is not None and target.insert is not None:
                made[rel.name] = input_field(_nested_insert(b, target, rel.is_array))
        return made

    text = f"input type for inserting data into table {quoted(view)}"
    return b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text))


def _nested_insert(b: Builder, view: TableView, many: bool) -> GraphQLInputObjectType:
    kind = "arr" if many else "obj"
    name = f"{view.name}_{kind}_rel_insert_input"

    def fields() -> Fields:
        row: AnyType = insert_input(b, view)
        made = {"data": input_field(GraphQLNonNull(list_of(row) if many else row))}
        return made | conflict_fields(b, view)

    text = (
        f"input type for inserting {'array' if many else 'object'} relation for remote table {quoted(view)}"
    )
    return b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text))


def conflict_fields(b: Builder, view: TableView) -> Fields:
    """Make `on_conflict`, if the table has a key and the role may read the table (for its `where`)."""
    type_ = _on_conflict(b, view)
    return {} if type_ is None else {"on_conflict": input_field(type_, "upsert condition")}


def conflict_argument(b: Builder, view: TableView) -> dict[str, GraphQLArgument]:
    """Make `on_conflict` as an argument of a root field."""
    type_ = _on_conflict(b, view)
    return {} if type_ is None else {"on_conflict": argument(type_, "upsert condition")}


def _on_conflict(b: Builder, view: TableView) -> GraphQLInputObjectType | None:
    constraints = [c for c in view.tracked.table.constraints() if is_graphql_name(c.name)]
    if not constraints:
        return None
    name = f"{view.name}_on_conflict"

    def fields() -> Fields:
        values = {
            c.name: GraphQLEnumValue(
                c.name,
                description="unique or primary key constraint on columns "
                + ", ".join(f'"{column}"' for column in c.columns),
            )
            for c in constraints
        }
        constraint = GraphQLEnumType(
            f"{view.name}_constraint",
            values,
            description=f"unique or primary key constraints on table {quoted(view)}",
        )
        enum = b.once(f"{view.name}_constraint", lambda: constraint)
        made: Fields = {
            "constraint": input_field(GraphQLNonNull(enum)),
            "update_columns": GraphQLInputField(
                GraphQLNonNull(list_of(update_columns(b, view))), default_value=[]
            ),
        }
        made["where"] = input_field(bool_exp(b, view), strict=True)
        return made

    text = f"on_conflict condition type for table {quoted(view)}"
    return b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text))


def update_columns(b: Builder, view: TableView) -> GraphQLEnumType:
    """Make `<table>_update_column`, with a placeholder if the role may update no column."""
    name = f"{view.name}_update_column"
    columns = view.update.columns if view.update is not None else {}
    values = {c: GraphQLEnumValue(c, description="column name") for c in sorted(columns)}
    if not values:
        values = {PLACEHOLDER: GraphQLEnumValue(PLACEHOLDER, description="placeholder (do not use)")}
    text = f"update columns of table {quoted(view)}"
    return b.once(name, lambda: GraphQLEnumType(name, values, description=text))


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
        made["_inc"] = (_column_inputs(b, view, f"{view.name}_inc_input", numbers, table), text)
    table = f"input type for updating data in table {quoted(view)}"
    made["_set"] = (
        _column_inputs(b, view, f"{view.name}_set_input", columns, table),
        "sets the columns of the filtered rows to the given values",
    )
    return made


def _column_inputs(
    b: Builder, view: TableView, name: str, columns: dict[str, Column], text: str
) -> GraphQLInputObjectType:
    def fields() -> Fields:
        return {n: column_field(b, view, column) for n, column in columns.items()}

    return b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text))


def _jsonb_update(
    b: Builder, view: TableView, op: str, columns: dict[str, Column], text: str
) -> GraphQLInputObjectType:
    name = f"{view.name}{op}_input"

    def field(column: Column) -> GraphQLInputField:
        if op == "_delete_at_path":
            return input_field(list_of(b.scalar(TEXT)), column.comment, column=TEXTS, items=True, strict=True)
        if op == "_delete_elem":
            return input_field(b.scalar(INTEGER), column.comment, column=INTEGER, strict=True)
        if op == "_delete_key":
            return input_field(b.scalar(TEXT), column.comment, column=TEXT)
        return column_field(b, view, column)

    fields = {n: field(column) for n, column in columns.items()}
    return b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text))


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
    name = f"{view.name}_pk_columns_input"
    fields = {n: input_field(t, column.comment, column=column.type) for n, (t, column) in keys.items()}
    text = f"primary key columns input for table: {view.tracked.table.name}"
    return b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text))


def updates_input(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_updates`: one element of update_<table>_many."""
    name = f"{view.name}_updates"
    fields = {op: input_field(t, text, strict=True) for op, (t, text) in update_operators(b, view).items()}
    fields["where"] = input_field(
        GraphQLNonNull(bool_exp(b, view)), "filter the rows which have to be updated"
    )
    return b.once(name, lambda: GraphQLInputObjectType(name, fields))


def many(type_: AnyType) -> AnyType:
    """Make a list of nullable items."""
    return GraphQLList(type_)
