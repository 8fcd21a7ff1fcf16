"""Inserts with related rows: parents first, then the row, then its children, in one transaction.

Facts: the engine's `Postgres/Execute/Insert`.
"""

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from graphql_engine.errors import QErr
from graphql_engine.graphql.document.operation import failed
from graphql_engine.graphql.model.tables import Relationship
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.sql.context import Context
from graphql_engine.graphql.write.insert import insert_cte
from graphql_engine.graphql.write.returning import (
    Output,
    answer_from_rows,
    parse_row,
    run_and_fetch,
    run_mutation,
)
from graphql_engine.rawjson import Raw

Json = dict[str, Any]
Path = tuple[str | int, ...]


class Inserter:
    """Insert on one connection; new_context makes a new statement context."""

    def __init__(self, conn: AsyncConnection[Any], new_context: Callable[[], Context]) -> None:
        self.conn = conn
        self.new_context = new_context

    async def run(
        self, view: TableView, objects: list[Json], conflict: Json | None, output: Output, path: Path
    ) -> Raw:
        """Insert all objects and return the response. Raises QErr with the path of the object."""
        if not objects:
            return output.empty()
        ctx = self.new_context()
        if not any(self._relations(view, item) for item in objects):
            rows = [self._columns(view, item) for item in objects]
            try:
                return await run_mutation(self.conn, ctx, insert_cte(ctx, view, rows, conflict), output)
            except QErr as error:
                raise _placed(error, path) from None
        texts: list[str] = []
        affected = 0
        for index, item in enumerate(objects):
            count, text = await self._one(view, item, conflict, {}, (*path, index))
            affected += count
            texts += [] if text is None else [text]
        try:
            return await answer_from_rows(self.conn, ctx, texts, affected, output)
        except QErr as error:
            raise _placed(error, path) from None

    def _columns(self, view: TableView, item: Json) -> Json:
        assert view.insert is not None
        return {view.insert.columns[n].name: v for n, v in item.items() if n in view.insert.columns}

    def _relations(self, view: TableView, item: Json) -> list[tuple[Relationship, Json]]:
        assert view.insert is not None
        pairs = [
            (view.tracked.relationships[name], value)
            for name, value in item.items()
            if name not in view.insert.columns and value is not None
        ]
        return [(rel, value) for rel, value in pairs if not rel.is_array or value["data"]]

    async def _one(
        self, view: TableView, item: Json, conflict: Json | None, given: Json, path: Path
    ) -> tuple[int, str | None]:
        columns = self._columns(view, item)
        relations = self._relations(view, item)
        before = [(rel, value) for rel, value in relations if not rel.is_array and not rel.after_parent]
        after = [(rel, value) for rel, value in relations if rel.is_array or rel.after_parent]
        _check_determined(columns, given, [rel for rel, _ in relations if not rel.is_array], path)
        affected = 0
        for rel, value in before:
            count, determined = await self._parent(rel, value, path)
            affected += count
            columns |= determined
        ctx = self.new_context()
        try:
            rows, count = await run_and_fetch(
                self.conn, ctx, insert_cte(ctx, view, [columns | given], conflict)
            )
        except QErr as error:
            raise _placed(error, path) from None
        affected += count
        if after and not rows:
            raise _placed(_no_rows("array relations", view), path)
        for rel, value in after:
            affected += await self._children(rel, value, parse_row(rows[0]), path)
        return affected, rows[0] if rows else None

    async def _parent(self, rel: Relationship, value: Json, path: Path) -> tuple[int, Json]:
        target = self._target(rel)
        here = (*path, rel.name, "data")
        affected, text = await self._one(target, value["data"], value.get("on_conflict"), {}, here)
        if text is None:
            name = target.tracked.table.name
            message = f'cannot proceed to insert object relation "{rel.name}" since insert to table "{name}"'
            raise _placed(QErr("not-supported", f"{message} affects zero rows"), (*path, rel.name))
        row = parse_row(text)
        return affected, {own: row[remote] for own, remote in rel.mapping}

    async def _children(self, rel: Relationship, value: Json, row: Json, path: Path) -> int:
        target = self._target(rel)
        given = {remote: row[own] for own, remote in rel.mapping}
        here = (*path, rel.name, "data")
        objects = value["data"] if isinstance(value["data"], list) else [value["data"]]
        conflict = value.get("on_conflict")
        if any(self._relations(target, item) for item in objects):
            affected = 0
            for index, item in enumerate(objects):
                count, _ = await self._one(target, item, conflict, given, (*here, index))
                affected += count
            return affected
        rows = [self._columns(target, item) for item in objects]
        for index, columns in enumerate(rows):
            _check_determined(columns, given, [], (*here, index))
        ctx = self.new_context()
        cte = insert_cte(ctx, target, [columns | given for columns in rows], conflict)
        try:
            return (await run_and_fetch(self.conn, ctx, cte))[1]
        except QErr as error:
            raise _placed(error, here) from None

    def _target(self, rel: Relationship) -> TableView:
        return self.new_context().views.tables[rel.target]


def _check_determined(columns: Json, given: Json, relations: list[Relationship], path: Path) -> None:
    twice = [name for name in columns if name in given]
    if twice:
        names = ", ".join(f'"{name}"' for name in twice)
        message = (
            f"cannot insert {names} columns as their values are already being determined by parent insert"
        )
        raise failed(message).under(*path)
    for rel in relations:
        known = [own for own, _ in rel.mapping if own in columns or own in given]
        if known and not rel.after_parent:
            names = ", ".join(f'"{name}"' for name in known)
            what = f'cannot insert object relationship "{rel.name}" as {names}'
            raise failed(f"{what} column values are already determined").under(*path, rel.name)


def _no_rows(what: str, view: TableView) -> QErr:
    name = view.tracked.table.name
    return QErr(
        "not-supported", f'cannot proceed to insert {what} since insert to table "{name}" affects zero rows'
    )


def _placed(error: QErr, path: Path) -> QErr:
    return error.under(*path) if error.path == "$" else error
