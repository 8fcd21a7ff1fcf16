"""Run the root fields of tables and actions."""

import logging
from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from graphql_engine.actions import call_action
from graphql_engine.auth import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, unexpected
from graphql_engine.graphql.document.selection import Sel
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.roots import Root
from graphql_engine.graphql.sql.context import Context, key_name
from graphql_engine.graphql.sql.database import fetch
from graphql_engine.graphql.sql.select import Source, aggregate_json, rows_json
from graphql_engine.graphql.write import (
    Output,
    changed_columns,
    client_where,
    delete_cte,
    insert_cte,
    key_exp,
    run_mutation,
    update_cte,
)
from graphql_engine.rawjson import Raw, dumps

Json = dict[str, Any]
NewContext = Callable[[], Context]
Conn = AsyncConnection[Any]
WRITES = {"insert", "insert_one", "update", "update_by_pk", "update_many", "delete", "delete_by_pk"}
READS = {"select", "select_by_pk", "select_aggregate"}


def read_statement(ctx: Context, root: Root, sel: Sel) -> str:
    view = root.view
    assert view is not None
    table = key_name(view.tracked.table.key)
    source = Source(table, args=sel.args)
    if root.kind == "select_by_pk":
        source = Source(table, extra=key_exp(view, sel.args), single=True)
    if root.kind == "select_aggregate":
        body = aggregate_json(ctx, view, sel, source)
    else:
        body = rows_json(ctx, view, sel.subs, source)
    return f"SELECT ({body})::text"


async def read(conn: Conn, ctx: Context, root: Root, sel: Sel) -> Raw:
    """Run a root field that reads. Raises QErr."""
    row = await fetch(conn, read_statement(ctx, root, sel), ctx.params)
    return Raw("null" if row[0] is None else row[0])


async def write(conn: Conn, new_context: NewContext, root: Root, sel: Sel) -> Raw:
    """Run a root field that writes, inside the transaction of `conn`. Raises QErr."""
    view = root.view
    assert view is not None
    path = ("selectionSet", sel.name, "args")
    output = Output(view, sel.subs, root.kind in ("insert_one", "update_by_pk", "delete_by_pk"))
    if root.kind in ("insert", "insert_one"):
        word = "object" if root.kind == "insert_one" else "objects"
        objects = [sel.args["object"]] if root.kind == "insert_one" else sel.args["objects"]
        try:
            return await _insert(conn, new_context(), view, objects, sel.args.get("on_conflict"), output)
        except QErr as error:
            raise error.under(*path, word) if error.path == "$" else error from None
    if root.kind == "update_many":
        return await _update_many(conn, new_context, view, sel.args["updates"], output, (*path, "updates"))
    if root.kind in ("update", "update_by_pk"):
        return await _update(conn, new_context(), view, sel.args, output, path)
    ctx = new_context()
    where = key_exp(view, sel.args) if root.kind == "delete_by_pk" else client_where(ctx, view, sel.args)
    return await run_mutation(conn, ctx, delete_cte(ctx, view, where), output)


async def _insert(
    conn: Conn, ctx: Context, view: TableView, objects: list[Json], conflict: Json | None, output: Output
) -> Raw:
    assert view.insert is not None
    if not objects:
        return output.empty()
    columns = view.insert.columns
    rows = [{columns[name].name: value for name, value in item.items()} for item in objects]
    return await run_mutation(conn, ctx, insert_cte(ctx, view, rows, conflict), output)


async def _update_many(
    conn: Conn,
    new_context: NewContext,
    view: TableView,
    updates: list[dict[str, Any]],
    output: Output,
    path: tuple[str | int, ...],
) -> Raw:
    """Run the updates in order. Those that set nothing have no answer; the engine fails on a mix of both."""
    places = enumerate(updates)
    changing = [bool(changed_columns(view, item, (*path, index))) for index, item in places]
    if not any(changing) and not _presets(view):
        return Raw("[]")
    if not all(changing) and not _presets(view):
        raise unexpected("database query error")
    answers = [
        await _update(conn, new_context(), view, item, output, (*path, index))
        for index, item in enumerate(updates)
    ]
    return Raw(dumps(answers))


def _presets(view: TableView) -> bool:
    return view.update is not None and bool(view.update.presets)


async def _update(
    conn: Conn,
    ctx: Context,
    view: TableView,
    args: dict[str, Any],
    output: Output,
    path: tuple[str | int, ...],
) -> Raw:
    changes = changed_columns(view, args, path)
    keys = args.get("pk_columns")
    where = key_exp(view, keys) if keys is not None else client_where(ctx, view, args)
    cte = update_cte(ctx, view, changes, where)
    return output.empty() if cte is None else await run_mutation(conn, ctx, cte, output)


log = logging.getLogger("graphql_engine.actions")


async def run_action(engine: Engine, session: Session, text: str, action: Json, sel: Sel) -> Any:
    """Call the handler of an action; return what is selected of its output. Raises QErr."""
    try:
        output = await call_action(engine, session, action, sel.args, text)
    except QErr as error:
        # As the engine's `http-log` does: with request and response, for every role.
        if error.internal is not None and "http-log" in engine.settings.enabled_log_types:
            log.error("http-log: %s", dumps(error.as_api(include_internal=True)))
        raise
    return _pick(output, sel.subs)


def _pick(value: Any, sels: list[Sel]) -> Any:
    if isinstance(value, list):
        return [_pick(item, sels) for item in value]
    if not sels or not isinstance(value, dict):
        return value  # as in the engine, only the outer object was checked
    return {s.alias: s.type_name if s.is_typename else _pick(value.get(s.name), s.subs) for s in sels}
