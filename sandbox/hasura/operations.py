"""The one door to GraphQL: the compiler over tables and actions, or the actions alone."""

import json
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from psycopg import AsyncConnection

from sandbox.hasura.action_schema import run_actions
from sandbox.hasura.auth import Session
from sandbox.hasura.errors import QErr

if TYPE_CHECKING:
    from sandbox.hasura.engine import Engine

FOUND = find_spec("sandbox.hasura.graphql")
COMPILER: Any = import_module("sandbox.hasura.graphql") if FOUND and FOUND.origin else None


async def load_catalog(connection: AsyncConnection) -> Any:
    """What the compiler must know of the database; None without a compiler."""
    if COMPILER is None:
        return None
    return await import_module("sandbox.hasura.catalog").load_catalog(connection)


async def run_operation(
    engine: "Engine", session: Session, query: str, variables: dict[str, Any], operation: str | None
) -> Any:
    """The `data` of one operation; raises QErr."""
    if COMPILER is None:
        return await run_actions(engine, session, query, variables, operation)
    return await COMPILER.run_operation(engine, session, query, variables, operation)


async def execute(engine: "Engine", session: Session, request: Any) -> Any:
    """The body of an answer on /v1/graphql; never raises QErr."""
    if COMPILER is None:
        return await _execute_actions(engine, session, request)
    return await COMPILER.execute(engine, session, request)


def dumps(content: Any) -> str:
    """JSON text; parts that are JSON text already go in as they are."""
    if COMPILER is None:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return str(import_module("sandbox.hasura.graphql.rawjson").dumps(content))


async def _execute_actions(engine: "Engine", session: Session, request: Any) -> Any:
    if isinstance(request, list):
        return [await _execute_actions(engine, session, item) for item in request]
    try:
        if not isinstance(request, dict) or not isinstance(request.get("query"), str):
            raise QErr("invalid-json", "the key 'query' was not present")
        variables = request.get("variables") or {}
        data = await run_actions(engine, session, request["query"], variables, request.get("operationName"))
    except QErr as error:
        return {"errors": [error.as_graphql(include_internal=session.is_admin)]}
    return {"data": data}
