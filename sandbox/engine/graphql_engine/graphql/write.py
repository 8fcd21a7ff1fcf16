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
from graphql_engine.graphql.model import TRUE, All, BoolExp, Compare, Const, TableView, both
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


def insert_cte(ctx: Context, view: TableView, rows: list[Json]) -> str:
    """Return the INSERT of `rows` (by SQL column name, without presets)."""
    assert view.insert is not None
    table = view.tracked.table
    alias = ctx.alias()
    used = [name for name in table.columns if name in view.insert.presets or any(name in row for row in rows)]
    if not used:
        used = list(table.columns)[:1]
    values = ", ".join(f"({_tuple(ctx, view, row, used)})" for row in rows)
    columns = ", ".join(ident(name) for name in used)
    check = condition(ctx, view.insert.check, alias)
    return (
        f"INSERT INTO {table_name(table)} AS {alias} ({columns}) VALUES {values} "
        f"RETURNING {alias}.*, coalesce({check}, false) AS {CHECK}"
    )


def _tuple(ctx: Context, view: TableView, row: Json, used: list[str]) -> str:
    assert view.insert is not None
    written: list[str] = []
    for name in used:
        type_ = view.tracked.table.columns[name].type
        if name in row:
            written.append(ctx.value(type_, row[name]))
        elif name in view.insert.presets:
            written.append(ctx.operand(view.insert.presets[name], type_))
        else:
            written.append("DEFAULT")
    return ", ".join(written)


def key_exp(view: TableView, values: Json) -> BoolExp:
    """Return the condition for the row with these primary key columns (by GraphQL name)."""
    columns = view.tracked.gql_columns
    return All(
        tuple(Compare(columns[name], "_eq", Const(v), columns[name].type) for name, v in values.items())
    )


def changed_columns(view: TableView, args: Json) -> dict[str, tuple[Any, Column]]:
    """Return {SQL column: (value, column)} of what a client sets."""
    columns = view.tracked.gql_columns
    return {columns[name].name: (value, columns[name]) for name, value in (args.get("_set") or {}).items()}


def update_cte(
    ctx: Context, view: TableView, changes: dict[str, tuple[Any, Column]], where: BoolExp
) -> str | None:
    """Return the UPDATE, or None if it would set nothing."""
    assert view.update is not None
    alias = ctx.alias()
    columns = view.tracked.table.columns
    values = {name: ctx.operand(preset, columns[name].type) for name, preset in view.update.presets.items()}
    values |= {name: ctx.value(column.type, value) for name, (value, column) in changes.items()}
    sets = [f"{ident(name)} = {value}" for name, value in values.items()]
    if not sets:
        return None
    test = condition(ctx, both(view.update.filter, where), alias)
    check = condition(ctx, view.update.check, alias)
    return (
        f"UPDATE {table_name(view.tracked.table)} AS {alias} SET {', '.join(sets)} WHERE {test} "
        f"RETURNING {alias}.*, coalesce({check}, false) AS {CHECK}"
    )


def delete_cte(ctx: Context, view: TableView, where: BoolExp) -> str:
    assert view.delete is not None
    alias = ctx.alias()
    test = condition(ctx, both(view.delete.filter, where), alias)
    return (
        f"DELETE FROM {table_name(view.tracked.table)} AS {alias} WHERE {test} "
        f"RETURNING {alias}.*, true AS {CHECK}"
    )


def client_where(ctx: Context, view: TableView, args: Json) -> BoolExp:
    return where_exp(ctx.views, view, args.get("where")) if args.get("where") else TRUE
