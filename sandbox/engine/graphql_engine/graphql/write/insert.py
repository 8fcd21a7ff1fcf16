"""INSERT with its conflict clause as a CTE. Facts: the engine's `Translate/Insert`."""

from typing import Any

from graphql_engine.graphql.document.operation import failed
from graphql_engine.graphql.model.boolexp import TRUE, Scope, both
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.write import PLACEHOLDER
from graphql_engine.graphql.sql.context import Context, ident, table_name
from graphql_engine.graphql.sql.where import condition
from graphql_engine.graphql.sql.where_values import where_exp
from graphql_engine.graphql.write.returning import CHECK

Json = dict[str, Any]


def insert_cte(ctx: Context, view: TableView, rows: list[Json], conflict: Json | None) -> str:
    """Return the INSERT of `rows` (by SQL column name, without presets)."""
    assert view.insert is not None
    table = view.tracked.table
    alias = ctx.alias()
    scope = Scope(alias, alias)
    used = [name for name in table.columns if name in view.insert.presets or any(name in row for row in rows)]
    if not used:
        used = list(table.columns)[:1]
    values = ", ".join(f"({_tuple(ctx, view, row, used, scope)})" for row in rows)
    columns = ", ".join(ident(name) for name in used)
    check, conflict_clause = _conflict(ctx, view, conflict, scope)
    return (
        f"INSERT INTO {table_name(table)} AS {alias} ({columns}) VALUES {values}{conflict_clause} "
        f"RETURNING {alias}.*, {check} AS {CHECK}"
    )


def _tuple(ctx: Context, view: TableView, row: Json, used: list[str], scope: Scope) -> str:
    assert view.insert is not None
    written: list[str] = []
    for name in used:
        type_ = view.tracked.table.columns[name].type
        if name in row:
            written.append(ctx.value(type_, row[name]))
        elif name in view.insert.presets:
            written.append(ctx.operand(view.insert.presets[name], type_, scope))
        else:
            written.append("DEFAULT")
    return ", ".join(written)


def _conflict(ctx: Context, view: TableView, conflict: Json | None, scope: Scope) -> tuple[str, str]:
    """Return (check expression, ON CONFLICT clause)."""
    assert view.insert is not None
    check = f"coalesce({condition(ctx, view.insert.check, scope)}, false)"
    if conflict is None:
        return check, ""
    target = f" ON CONFLICT ON CONSTRAINT {ident(conflict['constraint'])}"
    columns = conflict.get("update_columns") or []
    if not columns:
        return check, f"{target} DO NOTHING"
    update = view.update
    if update is None or PLACEHOLDER in columns:
        raise failed("erroneous column name")
    sets = []
    for name in columns:
        column = ident(view.tracked.gql_columns[name].name)
        sets.append(f"{column} = EXCLUDED.{column}")
    for name, operand in update.presets.items():
        sets.append(f"{ident(name)} = {ctx.operand(operand, view.tracked.table.columns[name].type, scope)}")
    test = both(update.filter, where_exp(ctx.views, view, conflict.get("where")))
    where = "" if test == TRUE else f" WHERE {condition(ctx, test, scope)}"
    update_check = f"coalesce({condition(ctx, update.check, scope)}, false)"
    check = f"CASE WHEN {scope.alias}.xmax::text = '0' THEN {check} ELSE {update_check} END"
    return check, f"{target} DO UPDATE SET {', '.join(sets)}{where}"
