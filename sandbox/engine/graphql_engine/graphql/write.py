"""INSERT, UPDATE and DELETE as CTEs, and the response of a mutation.

A mutation is one statement (a CTE and a SELECT over it). It does not see its own writes, so that the response
has columns of the rows only.
Facts: the engine's `Translate/{Insert,Update,Delete,Returning}` and `GraphQL/Schema/Update`.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from graphql_engine.catalog import Column
from graphql_engine.errors import QErr, unsupported
from graphql_engine.graphql.model import TRUE, All, BoolExp, Compare, Const, TableView, both
from graphql_engine.graphql.selection import Sel
from graphql_engine.graphql.sql import (
    Context,
    condition,
    fetch,
    ident,
    literal,
    object_json,
    row_json,
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

    def check(self) -> None:
        """Raise QErr `not-supported` for a selection that is not a column of the row."""
        columns = self.view.select.columns if self.view.select else {}
        rows = [self.sels] if self.single else [sel.subs for sel in self.sels if sel.name == "returning"]
        for sel in (each for sels in rows for each in sels):
            if not sel.is_typename and sel.name not in columns:
                raise unsupported(f'the relationship "{sel.name}" of a changed row')

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
    output.check()
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
