"""Run statements: errors become QErr, and a mutation's transaction carries the session."""

from typing import Any

import psycopg
from psycopg import AsyncConnection

from graphql_engine.auth import Session
from graphql_engine.pg_errors import query_error
from graphql_engine.rawjson import dumps
from graphql_engine.traces import of_client

SET_SESSION = (
    "SELECT set_config('hasura.user', %(session)s, true), set_config('hasura.tracecontext', %(trace)s, true)"
)


async def fetch(conn: AsyncConnection[Any], statement: str, params: dict[str, Any]) -> Any:
    """Return the first row of a statement, or None. Raises QErr."""
    try:
        cursor = await conn.execute(statement, params)
        return await cursor.fetchone()
    except psycopg.Error as error:
        raise query_error(error, statement) from error


async def announce(conn: AsyncConnection[Any], session: Session) -> None:
    """Set the session for triggers and functions of this transaction (event payloads show it)."""
    trace = of_client(session.client_headers).context()
    await fetch(conn, SET_SESSION, {"session": dumps(session.variables), "trace": dumps(trace)})
