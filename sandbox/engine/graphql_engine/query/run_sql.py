"""`run_sql`: run any SQL, and check that the metadata stays consistent.

Facts: the engine's `Backends/Postgres/DDL/RunSQL`.
"""

import copy
import re
from typing import Any

from psycopg import AsyncConnection, AsyncCursor, Error
from psycopg.pq import ExecStatus

from graphql_engine import changes
from graphql_engine.auth import Session
from graphql_engine.catalog import Catalog, load_catalog
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.events import install
from graphql_engine.graphql.sql.database import announce
from graphql_engine.metadata.access import Json, dict_of, find_source, mismatch, required
from graphql_engine.metadata.consistency import find_inconsistencies
from graphql_engine.metadata.schema_diff import drop_dependents, remove_dropped, tracked_oids
from graphql_engine.pg_errors import empty_query, postgres_error

# Text that may change the schema: the same words that the engine searches for.
DDL = re.compile(r"\balter\b|\bdrop\b|\breplace\b|\bcreate function\b|\bcomment on\b", re.IGNORECASE)


async def run_sql(engine: Engine, session: Session, args: Any) -> Json:
    """Run SQL as admin; return `result_type` and `result` of the last statement.

    Raises QErr: `access-denied`, `postgres-error`, `dependency-error`, or 500 for new inconsistencies.
    """
    if not session.is_admin:
        raise QErr("access-denied", "restricted access : admin only")
    text = required(dict_of(args), "sql")
    if not isinstance(text, str):
        raise mismatch("Text", "String", text, "$.sql")
    find_source(engine.metadata, args.get("source"))
    if args.get("read_only"):
        return await _plain(engine, session, text, read_only=True)
    wanted = args.get("check_metadata_consistency")
    if wanted if wanted is not None else DDL.search(text):
        return await _checked(engine, session, text, cascade=bool(args.get("cascade")))
    result = await _plain(engine, session, text, read_only=False)
    engine.catalog_stale = True
    return result


async def _plain(engine: Engine, session: Session, text: str, *, read_only: bool) -> Json:
    async with engine.pool.connection() as connection:
        return await _execute(connection, session, text, read_only=read_only)


async def _checked(engine: Engine, session: Session, text: str, *, cascade: bool) -> Json:
    async with engine.metadata_lock, engine.pool.connection() as connection:
        async with connection.transaction():
            result, new = await _change(engine, connection, session, text, cascade=cascade)
        if new:
            raise changes.newly_found(new)
    return result


async def _change(
    engine: Engine, connection: AsyncConnection, session: Session, text: str, *, cascade: bool
) -> tuple[Json, list[Json]]:
    """Run the SQL, and remove from the metadata what it dropped; return what else becomes inconsistent.

    The SQL stays done then and the metadata as it was, as with the engine, which looks at the metadata after
    the end of the transaction.
    """
    before = await tracked_oids(connection, engine.metadata)
    for name in engine.event_triggers:
        await install.drop_trigger(connection, name)
    result = await _execute(connection, session, text, read_only=False)
    metadata = copy.deepcopy(engine.metadata)
    await remove_dropped(connection, metadata, before)
    catalog = await load_catalog(connection)
    found, new = _look(engine, metadata, catalog)
    if drop_dependents(metadata, new, cascade=cascade):
        found, new = _look(engine, metadata, catalog)
    if new:
        broken = {each["name"] for each in found}
        await changes.install_event_triggers(engine, connection, metadata, broken, reinstall=True)
        return result, new
    changed = metadata != engine.metadata
    await changes.adopt(engine, connection, metadata, found, set(), reinstall=True)
    engine.catalog, engine.catalog_stale = catalog, False
    if changed:
        engine.resource_version += 1
    return result, []


def _look(engine: Engine, metadata: Json, catalog: Catalog) -> tuple[list[Json], list[Json]]:
    """Return the inconsistent objects, and those of them that are new."""
    found = find_inconsistencies(metadata, catalog, engine.settings.environment)
    known = {each["name"] for each in engine.inconsistent}
    return found, [each for each in found if each["name"] not in known]


async def _execute(connection: AsyncConnection, session: Session, text: str, *, read_only: bool) -> Json:
    cursor = connection.cursor()
    try:
        async with connection.transaction():
            if read_only:
                await cursor.execute("SET TRANSACTION READ ONLY")
            await announce(connection, session)
            await cursor.execute(text.encode())
            while cursor.nextset():
                pass
            if cursor.pgresult is not None and cursor.pgresult.status == ExecStatus.EMPTY_QUERY:
                raise QErr("postgres-error", "query execution failed", internal=empty_query(text))
            return _result(cursor)
    except Error as error:
        raise QErr(
            "postgres-error", "query execution failed", internal=postgres_error(error, text)
        ) from error


def _result(cursor: AsyncCursor[Any]) -> Json:
    result = cursor.pgresult
    if result is None or result.status != ExecStatus.TUPLES_OK:
        return {"result_type": "CommandOk", "result": None}
    columns = range(result.nfields)
    rows = [[(result.fname(column) or b"unknown").decode() for column in columns]]
    for row in range(result.ntuples):
        values = [result.get_value(row, column) for column in columns]
        rows.append(["NULL" if value is None else value.decode() for value in values])
    return {"result_type": "TuplesOk", "result": rows}
