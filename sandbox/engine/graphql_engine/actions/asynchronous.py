"""The loop that runs asynchronous actions from `hdb_catalog.hdb_action_log`.

Facts: the engine's `GraphQL/Execute/Action` (ten at a time, no retry, status texts).
"""

import json
import logging
from typing import Any

import anyio
from psycopg import Error
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from graphql_engine.actions.call import call_action
from graphql_engine.auth.session import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import JsonValue, QErr

log = logging.getLogger("graphql_engine.actions")


class AsyncActions:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._working: set[str] = set()

    async def run(self) -> None:
        """Run until the engine stops, then finish the calls in flight."""
        while not self._engine.stop.is_set():
            try:
                rows = await self._fetch() if self._any() else []
            except (Error, PoolTimeout) as error:
                log.error("asynchronous actions could not be fetched: %s", error)
                rows = []
            async with anyio.create_task_group() as group:
                for row in rows:
                    group.start_soon(self._call, row)
            with anyio.move_on_after(self._engine.settings.async_actions_interval_seconds):
                await self._engine.stop.wait()

    async def unlock(self) -> None:
        """Set the actions that a cancelled shutdown left in `processing` back to `created`."""
        async with self._engine.pool.connection() as connection:
            await connection.execute(
                "UPDATE hdb_catalog.hdb_action_log SET status = 'created'"
                " WHERE status = 'processing' AND id::text = ANY(%s)",
                [list(self._working)],
            )

    def _any(self) -> bool:
        actions = self._engine.metadata.get("actions", [])
        return any(action["definition"].get("kind") == "asynchronous" for action in actions)

    async def _fetch(self) -> list[dict[str, Any]]:
        async with self._engine.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(
                "UPDATE hdb_catalog.hdb_action_log SET status = 'processing' WHERE id IN ("
                "SELECT id FROM hdb_catalog.hdb_action_log WHERE status = 'created'"
                " FOR UPDATE SKIP LOCKED LIMIT 10)"
                " RETURNING id::text, action_name, request_headers, session_variables, input_payload"
            )
            rows = await cursor.fetchall()
        self._working.update(row["id"] for row in rows)
        return rows

    async def _call(self, row: dict[str, Any]) -> None:
        variables = row["session_variables"]
        session = Session(variables.get("x-hasura-role", "admin"), variables)
        output: JsonValue = None
        errors: JsonValue = None
        try:
            output = await call_action(
                self._engine,
                session,
                row["action_name"],
                row["input_payload"],
                None,
                dict(row["request_headers"]),
            )
        except QErr as error:
            errors = error.as_api()
        await self._finish(row["id"], output, errors)

    async def _finish(self, action_id: str, output: JsonValue, errors: JsonValue) -> None:
        status = "completed" if errors is None else "error"
        try:
            async with self._engine.pool.connection() as connection:
                await connection.execute(
                    "UPDATE hdb_catalog.hdb_action_log SET status = %s, response_payload = %s, errors = %s,"
                    " response_received_at = now() WHERE id::text = %s",
                    [
                        status,
                        None if errors is not None else json.dumps(output),
                        None if errors is None else json.dumps(errors),
                        action_id,
                    ],
                )
        except (Error, PoolTimeout) as error:
            log.error("the outcome of action %s could not be recorded: %s", action_id, error)
        self._working.discard(action_id)
