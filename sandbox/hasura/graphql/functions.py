"""Calls of database functions: computed fields and tracked functions."""

from typing import Any

from sandbox.hasura.catalog import Function
from sandbox.hasura.graphql.context import Context, ident, key_name, table_name
from sandbox.hasura.graphql.model import ComputedField
from sandbox.hasura.graphql.views import TableView

Json = dict[str, Any]


def whole_row(view: TableView, alias: str) -> str:
    """The row at `alias` as a value of its table's type."""
    table = view.tracked.table
    columns = ", ".join(f"{alias}.{ident(name)}" for name in table.columns)
    return f"(ROW({columns})::{table_name(table)})"


def computed_call(ctx: Context, view: TableView, item: ComputedField, alias: str, given: Json) -> str:
    """The call of a computed field's function on the row at `alias`."""
    function = ctx.catalog.functions[item.function][0]
    row_argument = item.table_argument or (function.arguments[0].name if function.arguments else "")
    return call(ctx, function, given, {row_argument: whole_row(view, alias)}, item.session_argument)


def call(
    ctx: Context, function: Function, given: Json, fixed: dict[str, str], session_argument: str | None
) -> str:
    """The call with arguments by name where a default is skipped, else by position."""
    written: list[str] = []
    by_name = False
    for argument in function.arguments:
        if argument.name in fixed:
            value = fixed[argument.name]
        elif session_argument and argument.name == session_argument:
            value = ctx.session_json()
        elif argument.name in given:
            value = ctx.value(argument.type, given[argument.name])
        else:
            by_name = True
            continue
        written.append(f"{ident(argument.name)} => {value}" if by_name else value)
    return f"{key_name((function.schema, function.name))}({', '.join(written)})"
