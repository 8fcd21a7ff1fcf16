"""Run actions and select from their output; relationships of output types are read from tables."""

import logging
import uuid
from collections.abc import Callable
from typing import Any

from graphql_engine.actions.call import call_action
from graphql_engine.auth.session import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, unexpected
from graphql_engine.graphql.document.selection import Sel
from graphql_engine.graphql.model.boolexp import All, Compare, Const
from graphql_engine.graphql.model.tables import Relationship
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.roots import Root
from graphql_engine.graphql.sql.context import Context, key_name
from graphql_engine.graphql.sql.database import fetch
from graphql_engine.graphql.sql.select import Source, aggregate_json, rows_json
from graphql_engine.rawjson import Raw, dumps, loads

log = logging.getLogger("graphql_engine.actions")
Json = dict[str, Any]
START = """
INSERT INTO hdb_catalog.hdb_action_log
  (action_name, session_variables, request_headers, input_payload, created_at, status)
VALUES (%(name)s, %(session)s::jsonb, %(headers)s::jsonb, %(input)s::jsonb, now(), 'created')
RETURNING id::text
"""
RESULT = """
SELECT json_build_object('id', id, 'created_at', created_at, 'output', response_payload,
         'errors', errors)::text, session_variables
FROM hdb_catalog.hdb_action_log WHERE id = %(id)s::uuid AND action_name = %(name)s
"""


class ActionRunner:
    """Run the action fields of one operation. new_context makes a statement context."""

    def __init__(
        self, engine: Engine, session: Session, text: str, new_context: Callable[[], Context]
    ) -> None:
        self.engine = engine
        self.session = session
        self.text = text
        self.new_context = new_context

    async def run(self, root: Root, sel: Sel) -> Any:
        """Return the value of an action's root field. Raises QErr."""
        name = root.entry["name"]
        if root.kind == "action_start":
            return await self._start(name, sel.args)
        if root.kind == "action_result":
            return await self._result(name, sel)
        headers = self.session.client_headers
        try:
            output = await call_action(self.engine, self.session, name, sel.args, self.text, headers)
        except QErr as error:
            self._log(error)
            raise
        return await self.pick(output, sel.subs)

    def _log(self, error: QErr) -> None:
        """Log a failed call as the engine's `http-log` does: with request and response, for every role."""
        if error.internal is not None and "http-log" in self.engine.settings.enabled_log_types:
            log.error("http-log: %s", dumps(error.as_api(include_internal=True)))

    async def _start(self, name: str, given: Json) -> str:
        headers = [[k, v] for k, v in self.session.client_headers.items()]
        params = {
            "name": name,
            "session": dumps(self.session.variables),
            "headers": dumps(headers),
            "input": dumps(given),
        }
        async with self.engine.pool.connection() as conn:
            row = await fetch(conn, START, params)
        return str(row[0])

    async def _result(self, name: str, sel: Sel) -> Any:
        try:
            uuid.UUID(str(sel.args["id"]))
        except ValueError as error:
            raise QErr("parse-failed", "invalid UUID").under(
                "selectionSet", sel.alias, "args", "id"
            ) from error
        async with self.engine.pool.connection() as conn:
            row = await fetch(conn, RESULT, {"id": str(sel.args["id"]), "name": name})
        if row is None:
            raise unexpected("database query error", {"error": "Rows returned != 1"})
        if not self.session.is_admin and row[1] != self.session.variables:
            return None
        record = loads(row[0])
        picked: Json = {}
        for sub in sel.subs:
            if sub.is_typename:
                picked[sub.alias] = sub.type_name
            elif sub.name == "output" and record["output"] is not None:
                picked[sub.alias] = await self.pick(record["output"], sub.subs)
            else:
                picked[sub.alias] = record[sub.name]
        return picked

    async def pick(self, value: Any, sels: list[Sel]) -> Any:
        """Return the selected fields of an action's output."""
        if not sels or value is None:
            return value
        if isinstance(value, list):
            return [await self.pick(item, sels) for item in value]
        if not isinstance(value, dict):
            return value  # as in the engine, only the outer object was checked
        picked: Json = {}
        for sel in sels:
            if sel.is_typename:
                picked[sel.alias] = sel.type_name
                continue
            assert sel.definition is not None
            mark = (sel.definition.extensions or {}).get("action_relationship")
            if mark is not None:
                picked[sel.alias] = await self._related(mark, value, sel)
            else:
                picked[sel.alias] = await self.pick(value.get(sel.name), sel.subs)
        return picked

    async def _related(self, mark: tuple[Relationship, TableView], value: Json, sel: Sel) -> Any:
        rel, view = mark
        ctx = self.new_context()
        columns = view.tracked.table.columns
        keys = All(
            tuple(
                Compare(columns[remote], "_eq", Const(value.get(own)), columns[remote].type)
                for own, remote in rel.mapping
            )
        )
        source = Source(key_name(rel.target), extra=keys, args=sel.args, single=not rel.is_array)
        if sel.name != rel.name:
            body = aggregate_json(ctx, view, sel, source)
        else:
            body = rows_json(ctx, view, sel.subs, source)
        async with self.engine.pool.connection() as conn:
            row = await fetch(conn, f"SELECT ({body})::text", ctx.params)
        return Raw("null" if row[0] is None else row[0])
