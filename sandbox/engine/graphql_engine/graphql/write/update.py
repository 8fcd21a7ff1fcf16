"""UPDATE and DELETE as CTEs. Facts: the engine's `Translate/{Update,Delete}` and `GraphQL/Schema/Update`."""

from typing import Any

from graphql_engine.catalog import Column
from graphql_engine.graphql.document.operation import failed
from graphql_engine.graphql.model.boolexp import TRUE, All, BoolExp, Compare, Const, Scope, both
from graphql_engine.graphql.model.permissions import INTEGER, TEXT, TEXTS
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.sql.context import Context, ident, table_name
from graphql_engine.graphql.sql.where import condition
from graphql_engine.graphql.sql.where_values import where_exp
from graphql_engine.graphql.write.returning import CHECK

Json = dict[str, Any]
OPERATORS = {
    "_set": "{value}",
    "_inc": "({column} + {value})",
    "_append": "({column} || {value})",
    "_prepend": "({value} || {column})",
    "_delete_key": "({column} - {value})",
    "_delete_elem": "({column} - {value})",
    "_delete_at_path": "({column} #- {value})",
}
RIGHT_TYPES = {"_delete_key": TEXT, "_delete_elem": INTEGER, "_delete_at_path": TEXTS}


def key_exp(view: TableView, values: Json) -> BoolExp:
    """Return the condition for the row with these primary key columns (by GraphQL name)."""
    columns = view.tracked.gql_columns
    return All(
        tuple(Compare(columns[name], "_eq", Const(v), columns[name].type) for name, v in values.items())
    )


def changed_columns(
    view: TableView, args: Json, path: tuple[str | int, ...]
) -> dict[str, tuple[str, Any, Column]]:
    """Return {SQL column: (operator, value, column)} of all operators. Raises QErr for a repeated one."""
    found: dict[str, tuple[str, Any, Column]] = {}
    twice: list[str] = []
    for op in OPERATORS:
        for name, value in (args.get(op) or {}).items():
            column = view.tracked.gql_columns[name]
            if column.name in found:
                twice.append(column.name)
            found[column.name] = (op, value, column)
    if twice:
        names = ", ".join(f"'{name}'" for name in twice)
        raise failed(f"Column found in multiple operators: [{names}].").under(*path)
    return found


def update_cte(
    ctx: Context, view: TableView, changes: dict[str, tuple[str, Any, Column]], where: BoolExp
) -> str | None:
    """Return the UPDATE, or None if it would set nothing."""
    assert view.update is not None
    alias = ctx.alias()
    scope = Scope(alias, alias)
    sets: list[str] = []
    for name, operand in view.update.presets.items():
        sets.append(f"{ident(name)} = {ctx.operand(operand, view.tracked.table.columns[name].type, scope)}")
    for name, (op, value, column) in changes.items():
        right = ctx.value(RIGHT_TYPES.get(op, column.type), value)
        sets.append(f"{ident(name)} = " + OPERATORS[op].format(column=f"{alias}.{ident(name)}", value=right))
    if not sets:
        return None
    test = condition(ctx, both(view.update.filter, where), scope)
    check = condition(ctx, view.update.check, scope)
    return (
        f"UPDATE {table_name(view.tracked.table)} AS {alias} SET {', '.join(sets)} WHERE {test} "
        f"RETURNING {alias}.*, coalesce({check}, false) AS {CHECK}"
    )


def delete_cte(ctx: Context, view: TableView, where: BoolExp) -> str:
    assert view.delete is not None
    alias = ctx.alias()
    test = condition(ctx, both(view.delete.filter, where), Scope(alias, alias))
    return (
        f"DELETE FROM {table_name(view.tracked.table)} AS {alias} WHERE {test} "
        f"RETURNING {alias}.*, true AS {CHECK}"
    )


def client_where(ctx: Context, view: TableView, args: Json) -> BoolExp:
    """Return the `where` of a mutation as a condition."""
    return where_exp(ctx.views, view, args.get("where")) if args.get("where") else TRUE
