"""What the console asks about tables: relationships that foreign keys suggest, the columns of a table.

Facts: recorded answers of a genuine engine of v2.48.10.
"""

from typing import Any

from graphql_engine.catalog import ForeignKey, Table
from graphql_engine.changes import Context
from graphql_engine.metadata.access import Json, find_source, qualified, required, table_object
from graphql_engine.metadata_api.registry import command
from graphql_engine.rawjson import Raw

KIND = "SELECT relkind FROM pg_class WHERE oid = to_regclass(format('%%I.%%I', %s::text, %s::text))"
KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized_view", "f": "foreign_table"}


@command("suggest_relationships", changes=False, postgres=True)
async def suggest_relationships(context: Context, args: Json) -> Json:
    """Return both directions of every foreign key between tracked tables, or of those of the given tables."""
    entries = {qualified(t["table"]): t for t in find_source(context.metadata, args.get("source"))["tables"]}
    wanted = set(map(qualified, args["tables"])) if args.get("tables") else set(entries)
    omit = bool(args.get("omit_tracked"))
    found: list[Json] = []
    for key in sorted(entries):
        table = context.engine.catalog.tables.get(key)
        for foreign in table.foreign_keys if table is not None else ():
            if table is None or foreign.target not in entries or not {key, foreign.target} & wanted:
                continue
            one, many = _directions(table, foreign)
            if not omit or not _has_object(entries[key], foreign):
                found.append(one)
            if not omit or not _has_array(entries[foreign.target], table, foreign):
                found.append(many)
    return {"relationships": found}


def _directions(table: Table, foreign: ForeignKey) -> tuple[Json, Json]:
    schema, name = foreign.target
    holder = {
        "table": {"schema": table.schema, "name": table.name},
        "columns": list(foreign.columns),
        "constraint_name": foreign.name,
    }
    target = {"table": {"schema": schema, "name": name}, "columns": list(foreign.target_columns)}
    return (
        {"type": "object", "from": holder, "to": target},
        {"type": "array", "from": target, "to": holder},
    )


def _has_object(entry: Json, foreign: ForeignKey) -> bool:
    usings = [
        item["using"].get("foreign_key_constraint_on") for item in entry.get("object_relationships", [])
    ]
    return any(_columns(on) == set(foreign.columns) for on in usings if not isinstance(on, dict))


def _has_array(entry: Json, table: Table, foreign: ForeignKey) -> bool:
    usings = [item["using"].get("foreign_key_constraint_on") for item in entry.get("array_relationships", [])]
    return any(
        table_object(on["table"]) == table_object({"schema": table.schema, "name": table.name})
        and _columns(on.get("columns") or on["column"]) == set(foreign.columns)
        for on in usings
        if isinstance(on, dict)
    )


def _columns(on: Any) -> set[str]:
    return {on} if isinstance(on, str) else set(on or ())


@command("get_table_info", changes=False, postgres=True)
async def get_table_info(context: Context, args: Json) -> Json | Raw:
    """Return the structure of a table of the database, null if there is none."""
    find_source(context.metadata, args.get("source"))
    schema, name = qualified(required(args, "table"))
    table = context.engine.catalog.tables.get((schema, name))
    if table is None:
        return Raw("null")
    async with context.engine.pool.connection() as connection:
        cursor = await connection.execute(KIND, [schema, name])
        rows = await cursor.fetchall()
    shown: Json = {
        "name": {"schema": schema, "name": name},
        "type": KINDS.get(rows[0][0] if rows else "r", "table"),
        "columns": [
            {
                "name": column.name,
                "type": column.type.name,
                "nullable": column.nullable,
                "insertable": not column.generated and not column.always_identity,
                "updatable": not column.generated and not column.always_identity,
            }
            for column in table.columns.values()
        ],
    }
    if table.primary_key is not None:
        shown["primary_key"] = list(table.primary_key.columns)
    shown |= {"insertable": table.insertable, "updatable": table.updatable, "deletable": table.deletable}
    return shown
