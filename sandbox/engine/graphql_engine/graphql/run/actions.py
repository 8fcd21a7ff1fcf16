"""Run actions and select from their output; relationships of output types are read from tables."""

import logging
from collections.abc import Callable
from typing import Any

from graphql_engine.actions.call import call_action
from graphql_engine.auth.session import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.graphql.document.selection import Sel
from graphql_engine.graphql.model.boolexp import All, Compare, Const
from graphql_engine.graphql.model.tables import Relationship
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.roots import Root
from graphql_engine.graphql.sql.context import Context, key_name
from graphql_engine.graphql.sql.database import fetch
from graphql_engine.graphql.sql.select import Source, aggregate_json, rows_json
from graphql_engine.rawjson import Raw, dumps

log = logging.getLogger("graphql_engine.actions")
Json = dict[str, Any]


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
        try:
            output = await call_action(self.engine, self.session, root.action, sel.args, self.text)
        except QErr as error:
            self._log(error)
            raise
        return await self.pick(output, sel.subs)

    def _log(self, error: QErr) -> None:
        """Log a failed call as the engine's `http-log` does: with request and response, for every role."""
        if error.internal is not None and "http-log" in self.engine.settings.enabled_log_types:
            log.error("http-log: %s", dumps(error.as_api(include_internal=True)))

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
