"""INSERT, UPDATE and DELETE as CTEs, and the response of a mutation.

A mutation is one statement (a CTE and a SELECT over it). If the response needs more than the row's columns, a
second statement reads the rows back, because a statement does not see its own writes.
Facts: the engine's `Translate/{Insert,Update,Delete,Returning}` and `GraphQL/Schema/Update`.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from graphql_engine.catalog import Column
from graphql_engine.errors import QErr
from graphql_engine.graphql.document import failed
from graphql_engine.graphql.model import (
    INTEGER,
    TEXT,
    TEXTS,
    TRUE,
    All,
    BoolExp,
    Compare,
    Const,
    Scope,
    TableView,
    both,
)
from graphql_engine.graphql.roles import PLACEHOLDER
from graphql_engine.graphql.selection import Sel
from graphql_engine.graphql.sql import (
    JSON,
    Context,
    Source,
    condition,
    fetch,
    ident,
    literal,
    object_json,
    row_json,
    rows_json,
    table_name,
    where_exp,
)
from graphql_engine.rawjson import Raw, dumps

CHECK = "check__"
VIOLATED = "check constraint of an insert/update permission has failed"
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


@dataclass
class Output:
    """What the response contains. single: the row itself, else a mutation response."""

    view: TableView
    sels: list[Sel]
    single: bool

    def row_selections(self) -> list[list[Sel]]:
        return [self.sels] if self.single else [s.subs for s in self.sels if s.name == "returning"]

    def reaches_out(self) -> bool:
        """Whether a selection is not a column of the row."""
        columns = self.view.select.columns if self.view.select else {}
        return any(
            not sel.is_typename and sel.name not in columns for sels in self.row_selections() for sel in sels
        )

    def empty(self) -> Raw:
        """Return the response of an update that sets nothing: no field of a single row is in it."""
        if self.single:
            return Raw("{}")
        values: Json = {}
        for sel in self.sels:
            known = {"affected_rows": 0, "returning": []}
            values[sel.alias] = known.get(sel.name, sel.type_name)
        return Raw(dumps(values))


async def run_mutation(conn: AsyncConnection[Any], ctx: Context, cte: str, output: Output) -> Raw:
    """Run `cte` (a data change returning all columns and `check__`); return the response. Raises QErr."""
    if output.reaches_out():
        rows, affected = await run_and_fetch(conn, ctx, cte)
        return await answer_from_rows(conn, ctx, rows, affected, output)
    alias = ctx.alias()
    body = _inline(ctx, output, alias)
    check = f"coalesce((SELECT bool_and({CHECK}) FROM m), true)"
    row = await fetch(conn, f"WITH m AS ({cte}) SELECT ({body})::text, {check}", ctx.params)
    if not row[1]:
        raise QErr("permission-error", VIOLATED)
    return Raw("null" if row[0] is None else row[0])


def _inline(ctx: Context, output: Output, alias: str) -> str:
    if output.single:
        return f"SELECT {row_json(ctx, output.view, output.sels, alias)} FROM m AS {alias} LIMIT 1"
    fields = []
    for sel in output.sels:
        if sel.name == "affected_rows":
            value = "(SELECT count(*) FROM m)"
        elif sel.name == "returning":
            row = row_json(ctx, output.view, sel.subs, alias)
            value = f"(SELECT coalesce(json_agg({row}), '[]'::json) FROM m AS {alias})"
        else:
            value = f"{literal(sel.type_name)}::text"
        fields.append((sel.alias, value))
    return f"SELECT {object_json(fields)}"


async def run_and_fetch(conn: AsyncConnection[Any], ctx: Context, cte: str) -> tuple[list[str], int]:
    """Run `cte`; return the affected rows as JSON texts, and their number. Raises QErr."""
    statement = (
        f"WITH m AS ({cte}) SELECT coalesce(array_agg(row_to_json(m)::text), '{{}}'), "
        f"count(*), coalesce(bool_and({CHECK}), true) FROM m"
    )
    rows, affected, allowed = await fetch(conn, statement, ctx.params)
    if not allowed:
        raise QErr("permission-error", VIOLATED)
    ctx.params.clear()
    return rows, affected


async def answer_from_rows(
    conn: AsyncConnection[Any], ctx: Context, rows: list[str], affected: int, output: Output
) -> Raw:
    """Read rows back from their JSON, with their relationships and computed fields."""
    name = table_name(output.view.tracked.table)
    fields: list[tuple[str, str]] = []

    def source() -> Source:
        texts = ctx.text(JSON, "[" + ",".join(rows) + "]")
        return Source(f"json_populate_recordset(NULL::{name}, {texts})", filtered=False)

    if output.single:
        single = source()
        single.single = True
        body = rows_json(ctx, output.view, output.sels, single)
    else:
        for sel in output.sels:
            if sel.name == "affected_rows":
                fields.append((sel.alias, f"{int(affected)}"))
            elif sel.name == "returning":
                fields.append((sel.alias, rows_json(ctx, output.view, sel.subs, source())))
            else:
                fields.append((sel.alias, f"{literal(sel.type_name)}::text"))
        body = object_json(fields)
    row = await fetch(conn, f"SELECT ({body})::text", ctx.params)
    return Raw("null" if row[0] is None else row[0])


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
    return where_exp(ctx.views, view, args.get("where")) if args.get("where") else TRUE
