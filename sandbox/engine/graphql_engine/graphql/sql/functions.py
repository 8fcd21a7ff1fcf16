"""Calls of database functions: computed fields and tracked functions."""

from typing import Any

from graphql_engine.catalog import Function, Table
from graphql_engine.errors import QErr
from graphql_engine.graphql.model.tables import ComputedField
from graphql_engine.graphql.sql.context import Context, ident, key_name, table_name

Json = dict[str, Any]


def whole_row(table: Table, alias: str) -> str:
    """Return the row at `alias` as a value of its table's type."""
    columns = ", ".join(f"{alias}.{ident(name)}" for name in table.columns)
    return f"(ROW({columns})::{table_name(table)})"


def computed_call(ctx: Context, table: Table, item: ComputedField, alias: str, given: Json) -> str:
    """Return the call of a computed field's function on the row at `alias`."""
    fixed = {item.row_argument: whole_row(table, alias)}
    return call(ctx, item.function, given, fixed, item.session_argument)


def call(
    ctx: Context, function: Function, given: Json, fixed: dict[str, str], session_argument: str | None
) -> str:
    """Return the call: positional arguments up to the first omitted default, named ones after it.

    Raises QErr for an argument that may not be omitted.
    """
    written: list[str] = []
    by_name = False
    for argument in function.arguments:
        if argument.name in fixed:
            value = fixed[argument.name]
        elif session_argument and argument.name == session_argument:
            value = ctx.session_json(argument.type)
        elif argument.name in given:
            if by_name:
                raise QErr("not-supported", "Only last set of positional arguments can be omitted")
            value = ctx.value(argument.type, given[argument.name])
        elif not argument.has_default:
            raise QErr("not-supported", "Non default arguments cannot be omitted")
        else:
            by_name = True
            continue
        written.append(f"{ident(argument.name)} => {value}" if by_name else value)
    return f"{key_name((function.schema, function.name))}({', '.join(written)})"
