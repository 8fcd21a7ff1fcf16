"""The commands of /v1/query and /v2/query that are older than GraphQL: data and `run_sql`.

select, update and delete are those that the console sends for its table editor; they run as GraphQL.
`run_sql` runs any SQL, and checks that the metadata stays consistent. Facts: documentation of this API;
recorded answers of a genuine engine of v2.48.10; the engine's `Backends/Postgres/DDL/RunSQL`.
"""

import copy
import re
from typing import Any

from psycopg import AsyncConnection, AsyncCursor, Error
from psycopg.pq import ExecStatus

from graphql_engine import changes, events
from graphql_engine.auth import Session
from graphql_engine.catalog import Catalog, key_of, load_catalog
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, empty_query, json_path, postgres_error, unsupported
from graphql_engine.graphql.run import run_operation
from graphql_engine.graphql.sql import announce
from graphql_engine.metadata.access import Json, dict_of, find_source, find_table, mismatch, required
from graphql_engine.metadata.consistency import (
    drop_dependents,
    find_inconsistencies,
    remove_dropped,
    tracked_oids,
)
from graphql_engine.rawjson import dumps, kind_of, loads

REFUSED = {"insert", "count"}


class Target:
    def __init__(self, engine: Engine, session: Session, args: Json) -> None:
        name = required(args, "table")
        self.engine = engine
        self.session = session
        try:
            entry = find_table(engine.metadata, name, args.get("source"))
        except QErr as error:
            raise error.under("table") from error
        schema, plain = key_of(name)
        default = plain if schema == "public" else f"{schema}_{plain}"
        self._configuration: Json = entry.get("configuration") or {}
        self.name = self._configuration.get("custom_name") or default
        self.columns = list(engine.catalog.tables[schema, plain].columns)

    def check_columns(self, columns: list[Any], path: str, *, numbered: bool = True) -> None:
        """Raise QErr for a column that does not exist."""
        for index, column in enumerate(columns):
            place = f"{path}[{index}]" if numbered else path
            if not isinstance(column, str):
                raise unsupported("a relationship among the columns of a data command", place)
            if column != "*" and column not in self.columns:
                raise QErr("permission-denied", f'no such column exists : "{column}"', place)

    def field(self, kind: str) -> str:
        """Return the name of a root field, custom ones included."""
        default = self.name if kind == "select" else f"{kind}_{self.name}"
        custom = (self._configuration.get("custom_root_fields") or {}).get(kind)
        if isinstance(custom, dict):
            custom = custom.get("name")
        return custom or default

    async def run(self, text: str, variables: Json) -> Any:
        """Return the value of the root field. Raises QErr with the path of these commands."""
        try:
            given = {key: value for key, value in variables.items() if value is not None}
            data = await run_operation(self.engine, self.session, text, given, None)
        except QErr as error:
            error.path = "$"
            raise
        return data["result"]


async def select(target: Target, args: Json) -> Any:
    for key in ("limit", "offset"):
        _check_number(args.get(key), key)
    columns = required(args, "columns")
    target.check_columns(columns, "$.columns")
    listed = " ".join(target.columns if "*" in columns else columns)
    text = (
        f"query ($where: {target.name}_bool_exp, $order_by: [{target.name}_order_by!], $limit: Int,"
        f" $offset: Int) {{ result: {target.field('select')}"
        f"(where: $where, order_by: $order_by, limit: $limit, offset: $offset) {{ {listed} }} }}"
    )
    variables: Json = {"where": where(args.get("where")), "order_by": order_by(args.get("order_by"))}
    return await target.run(text, variables | {"limit": args.get("limit"), "offset": args.get("offset")})


def _check_number(value: Any, key: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        reason = f"parsing Int failed, expected Number, but encountered {kind_of(value)}"
        raise QErr("parse-failed", reason, f"$.{key}")
    if value < 0:
        raise QErr("not-supported", "unexpected negative value", f"$.{key}")


async def update(target: Target, args: Json) -> Any:
    variables: Json = {"where": where(required(args, "where"))}
    for key in ("$inc", "$mul", "$default"):
        if args.get(key):
            raise unsupported(key)
    given = args.get("$set") or args.get("_set")
    if not given:
        raise QErr("unexpected-payload", "atleast one of $set, $inc, $mul has to be present")
    target.check_columns(list(given), json_path("$set"), numbered=False)
    variables["set"] = given
    text = (
        f"mutation ($where: {target.name}_bool_exp!, $set: {target.name}_set_input)"
        f" {{ result: {target.field('update')}(where: $where, _set: $set) {_answer(target, args)} }}"
    )
    return loads(dumps(await target.run(text, variables)))


async def delete(target: Target, args: Json) -> Any:
    text = (
        f"mutation ($where: {target.name}_bool_exp!) {{ result: {target.field('delete')}(where: $where)"
        f" {_answer(target, args)} }}"
    )
    return loads(dumps(await target.run(text, {"where": where(required(args, "where"))})))


def _answer(target: Target, args: Json) -> str:
    returning = args.get("returning")
    if not returning:
        return "{ affected_rows }"
    columns = target.columns if returning == "*" else returning
    target.check_columns(columns, "$.returning", numbered=False)
    return f"{{ affected_rows returning {{ {' '.join(columns)} }} }}"


def where(expression: Any) -> Any:
    """Translate a boolean expression: `$eq` becomes `_eq`, a bare value an equality."""
    if not isinstance(expression, dict):
        return expression
    translated: Json = {}
    for key, value in expression.items():
        name = f"_{key[1:]}" if key.startswith("$") else key
        if name in ("_and", "_or"):
            translated[name] = [where(each) for each in value]
        elif name == "_not":
            translated[name] = where(value)
        elif name.startswith("_"):
            translated[name] = value
        elif isinstance(value, dict):
            translated[name] = where(value)
        else:
            translated[name] = {"_is_null": True} if value is None else {"_eq": value}
    return translated


def order_by(given: Any) -> list[Json] | None:
    """Translate an order: `"-name"`, `{"column", "type", "nulls"}`, or lists of these."""
    if given is None:
        return None
    return [_order(item) for item in (given if isinstance(given, list) else [given])]


def _order(item: Any) -> Json:
    if isinstance(item, str):
        return {item.lstrip("+-"): "desc" if item.startswith("-") else "asc"}
    nulls = f"_nulls_{item['nulls']}" if item.get("nulls") else ""
    return {item["column"]: item.get("type", "asc") + nulls}


COMMANDS = {"select": select, "update": update, "delete": delete}


def is_command(kind: Any) -> bool:
    return isinstance(kind, str) and kind.removeprefix("pg_") in {*COMMANDS, *REFUSED}


async def run_command(engine: Engine, session: Session, kind: str, args: Any) -> Any:
    """Run a data command of an admin. Raises QErr `access-denied` for others, `not-supported` by name."""
    if not session.is_admin:
        raise QErr("access-denied", "restricted access : admin only")
    name = kind.removeprefix("pg_")
    if name == "insert" and dict_of(args).get("objects") == []:
        raise QErr("unexpected-payload", "objects should not be empty", "$.objects")
    if name in REFUSED:
        raise unsupported(name)
    return await COMMANDS[name](Target(engine, session, dict_of(args)), args)


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
        await events.drop_trigger(connection, name)
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
