"""Create, replace and drop the SQL triggers of event triggers.

Facts: the engine's `Backends/Postgres/DDL/EventTrigger` and its trigger template.
"""

from typing import Any

from psycopg import AsyncConnection, sql

from graphql_engine.errors import QErr, not_exists

OPERATIONS = ("INSERT", "UPDATE", "DELETE")
STRINGIFIED = ("int8", "numeric", "float4", "float8", "money")


async def install_trigger(
    connection: AsyncConnection, table: tuple[str, str], trigger: dict[str, Any], *, stringify: bool
) -> None:
    """Replace the functions and SQL triggers of one event trigger; `table` is (schema, name).

    Raises QErr `not-exists` for a column that the table lacks.
    """
    await drop_trigger(connection, trigger["name"])
    columns = await _columns(connection, table)
    for operation in OPERATIONS:
        spec = trigger["definition"].get(operation.lower())
        if spec is not None:
            await _create(connection, table, trigger["name"], operation, spec, columns, stringify=stringify)


async def drop_trigger(connection: AsyncConnection, name: str) -> None:
    """Drop the SQL triggers and functions of an event trigger; its events stay."""
    for operation in OPERATIONS:
        await connection.execute(
            sql.SQL("DROP FUNCTION IF EXISTS {} CASCADE").format(_function(name, operation))
        )


async def archive_events(connection: AsyncConnection, name: str) -> None:
    """Archive the events of a dropped trigger: a new trigger of that name does not deliver them."""
    await connection.execute(
        "UPDATE hdb_catalog.event_log SET archived = true WHERE trigger_name = %s", [name]
    )


async def installed_triggers(connection: AsyncConnection) -> set[str]:
    """Return the names of the event triggers whose functions exist in the database."""
    cursor = await connection.execute(
        "SELECT DISTINCT regexp_replace(p.proname, '^notify_hasura_(.*)_(INSERT|UPDATE|DELETE)$', '\\1')"
        " FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'hdb_catalog' AND p.proname ~ '^notify_hasura_.*_(INSERT|UPDATE|DELETE)$'"
    )
    return {str(row[0]) for row in await cursor.fetchall()}


def _function(trigger: str, operation: str) -> sql.Composed:
    name = sql.Identifier("hdb_catalog", f"notify_hasura_{trigger}_{operation}")
    return sql.SQL("{}()").format(name)


async def _columns(connection: AsyncConnection, table: tuple[str, str]) -> dict[str, str]:
    cursor = await connection.execute(
        "SELECT a.attname, t.typname FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid"
        " WHERE a.attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))"
        " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        list(table),
    )
    found = {str(name): str(kind) for name, kind in await cursor.fetchall()}
    if not found:
        raise not_exists(f'table "{table[1]}" does not exist')
    return found


async def _create(
    connection: AsyncConnection,
    table: tuple[str, str],
    name: str,
    operation: str,
    spec: dict[str, Any],
    columns: dict[str, str],
    *,
    stringify: bool,
) -> None:
    listened = _chosen(spec.get("columns", "*"), columns)
    delivered = _chosen(spec.get("payload") or "*", columns)
    null = sql.SQL("NULL::json")
    old = null if operation == "INSERT" else _row_to_json("OLD", delivered, columns, stringify=stringify)
    new = null if operation == "DELETE" else _row_to_json("NEW", delivered, columns, stringify=stringify)
    body = sql.SQL(
        "BEGIN RETURN NULL; END" if operation == "UPDATE" and not listened else _template(operation)
    ).format(
        old_row=_row("OLD", listened),
        new_row=_row("NEW", listened),
        old=old,
        new=new,
        trigger=sql.Literal(name),
    )
    await connection.execute(
        sql.SQL("CREATE OR REPLACE FUNCTION {} RETURNS trigger LANGUAGE plpgsql AS {}").format(
            _function(name, operation), sql.Literal(body.as_string(connection))
        )
    )
    await connection.execute(
        sql.SQL("CREATE TRIGGER {} AFTER {} ON {} FOR EACH ROW EXECUTE FUNCTION {}").format(
            sql.Identifier(f"notify_hasura_{name}_{operation}"),
            sql.SQL(operation),
            sql.Identifier(*table),
            _function(name, operation),
        )
    )


def _template(operation: str) -> str:
    insert = (
        "PERFORM hdb_catalog.insert_event_log(TG_TABLE_SCHEMA::text, TG_TABLE_NAME::text, {trigger}, TG_OP,"
        " json_build_object('old', {old}, 'new', {new}));"
    )
    if operation != "UPDATE":
        return f"BEGIN {insert} RETURN NULL; END"
    return (
        "DECLARE _old record; _new record; _differs boolean;"
        " BEGIN _old := {old_row}; _new := {new_row};"
        " BEGIN _differs := _old <> _new;"
        " EXCEPTION WHEN undefined_function THEN _differs := _old *<> _new; END;"
        f" IF _differs THEN {insert} END IF; RETURN NULL; END"
    )


def _chosen(spec: str | list[str], columns: dict[str, str]) -> list[str]:
    if spec == "*":
        return list(columns)
    for name in spec:
        if name not in columns:
            raise QErr("not-exists", f'column "{name}" does not exist')
    return list(spec)


def _row(variable: str, names: list[str]) -> sql.Composed:
    fields = sql.SQL(", ").join(sql.SQL(variable + ".{}").format(sql.Identifier(name)) for name in names)
    return sql.SQL("ROW({})").format(fields)


def _row_to_json(
    variable: str, names: list[str], columns: dict[str, str], *, stringify: bool
) -> sql.Composed:
    fields = []
    for name in names:
        field = sql.SQL(variable + ".{}").format(sql.Identifier(name))
        if stringify and columns[name] in STRINGIFIED:
            field = sql.SQL("{}::text AS {}").format(field, sql.Identifier(name))
        fields.append(field)
    return sql.SQL("row_to_json((SELECT e FROM (SELECT {}) AS e))").format(sql.SQL(", ").join(fields))
