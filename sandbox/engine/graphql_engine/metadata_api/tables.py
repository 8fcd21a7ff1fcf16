"""Tables: tracking, permissions, structure, relationships that foreign keys suggest.

Facts: the engine's `RQL/DDL/Schema/Table` and `RQL/DDL/Permission` with their tests; recorded answers of a
genuine engine of v2.48.10.
"""

from typing import Any

from graphql_engine.catalog import ForeignKey, Table, key_of, spelled
from graphql_engine.changes import Context
from graphql_engine.errors import QErr
from graphql_engine.graphql.scalars import is_graphql_name
from graphql_engine.metadata.access import (
    DEFAULT_SOURCE,
    Json,
    find_source,
    find_table,
    mismatch,
    named,
    permission_name,
    put_list,
    required,
    table_object,
    without,
)
from graphql_engine.metadata_api.dispatch import Function, command
from graphql_engine.rawjson import Raw, kind_of

SOURCE_KINDS = ("pg", "citus", "cockroach", "mssql", "bigquery")
REQUIRED = {
    "insert": ("check",),
    "select": ("columns", "filter"),
    "update": ("columns", "filter"),
    "delete": ("filter",),
}
ROOT_FIELDS = (
    ("query_root_fields", "QueryRootFieldType", ("select", "select_by_pk", "select_aggregate")),
    (
        "subscription_root_fields",
        "SubscriptionRootFieldType",
        ("select", "select_by_pk", "select_aggregate", "select_stream"),
    ),
)
RELATION_KIND = "SELECT relkind FROM pg_class WHERE oid = to_regclass(format('%%I.%%I', %s::text, %s::text))"
RELATION_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized_view", "f": "foreign_table"}


@command("track_table", postgres=True)
async def track_table(context: Context, args: Any) -> None:
    if not isinstance(args, dict):
        raise mismatch("TrackTableV2", "Object", args)
    bare = "table" not in args
    arguments: Json = {"table": args} if bare else args
    name, source = arguments["table"], arguments.get("source")
    if (isinstance(name, dict) and "name" not in name) or not isinstance(source, str | None):
        raise QErr("parse-failed", 'key "name" not found')
    entry = find_source(context.metadata, source)
    if any(key_of(table["table"]) == key_of(name) for table in entry["tables"]):
        raise QErr("already-tracked", f'view/table already tracked: "{spelled(name)}"')
    if any(key_of(item["function"]) == key_of(name) for item in entry.get("functions", [])):
        raise QErr("not-supported", f'function with name "{spelled(name)}" already exists')
    table: Json = {"table": table_object(name)}
    if arguments.get("is_enum"):
        table["is_enum"] = True
    if configuration := arguments.get("configuration"):
        _check_configuration(configuration)
        table["configuration"] = configuration
    entry["tables"].append(table)
    context.subject = f"table {spelled(name)} in source {source or DEFAULT_SOURCE}"
    context.refresh = True


def _check_configuration(configuration: Json) -> None:
    name = configuration.get("custom_name")
    if name is not None and not is_graphql_name(name):
        raise QErr("parse-failed", f"{name} is not valid GraphQL name", "$.configuration.custom_name")


@command("list_source_kinds", changes=False)
async def list_source_kinds(_: Context, __: Json) -> Json:
    """Return the kinds of source that the engine knows; this stand-in has only `pg`."""
    return {
        "sources": [
            {"kind": kind, "builtin": True, "display_name": kind, "available": True} for kind in SOURCE_KINDS
        ]
    }


def _creator(kind: str) -> Function:
    async def create(context: Context, args: Json) -> None:
        table_name, source = required(args, "table"), args.get("source")
        role, definition = required(args, "role"), required(args, "permission")
        table = find_table(context.metadata, table_name, source)
        if role == "":
            raise QErr("parse-failed", "empty string not allowed", "$.role")
        _check_shape(kind, definition)
        items = table.setdefault(f"{kind}_permissions", [])
        if role == "admin" or named(items, role, "role"):
            raise QErr(
                "already-exists",
                f'{kind} permission already defined on table "{spelled(table_name)}" with role "{role}"',
            )
        entry: Json = {"role": role, "permission": definition}
        if args.get("comment") is not None:
            entry["comment"] = args["comment"]
        items.append(entry)
        context.subject = permission_name(kind, role, spelled(table_name), source)

    return create


def _check_shape(kind: str, definition: Json) -> None:
    if not isinstance(definition, dict):
        raise QErr("parse-failed", f"expected Object, but encountered {kind_of(definition)}", "$.permission")
    for key in REQUIRED[kind]:
        if key not in definition:
            raise QErr("parse-failed", f'key "{key}" not found', "$.permission")
    for key in ("filter", "check"):
        if not isinstance(definition.get(key) or {}, dict) or definition.get(key) == []:
            raise mismatch("boolean expression", "Object", definition[key], f"$.permission.{key}")
    columns, limit = definition.get("columns", []), definition.get("limit")
    if columns != "*" and not isinstance(columns, list):
        raise mismatch("[]", "Array", columns, "$.permission.columns")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise mismatch("Int", "Number", limit, "$.permission.limit")
    for key, type_name, tags in ROOT_FIELDS:
        for index, field in enumerate(definition.get(key) or []):
            if field not in tags:
                known = ",".join(f'"{tag}"' for tag in tags)
                raise QErr(
                    "parse-failed",
                    f"parsing Hasura.RQL.Types.Permission.{type_name} failed, expected one of the tags"
                    f' [{known}], but found tag "{field}"',
                    f"$.permission.{key}[{index}]",
                )


def _dropper(kind: str) -> Function:
    async def drop(context: Context, args: Json) -> None:
        table_name, role = required(args, "table"), required(args, "role")
        table = find_table(context.metadata, table_name, args.get("source"))
        key = f"{kind}_permissions"
        if named(table.get(key, []), role, "role") is None:
            raise QErr(
                "permission-denied",
                f'{kind} permission on "{spelled(table_name)}" for role "{role}" does not exist',
            )
        put_list(table, key, without(table[key], role, "role"))

    return drop


for _kind in REQUIRED:
    command(f"create_{_kind}_permission", postgres=True)(_creator(_kind))
    command(f"drop_{_kind}_permission", removes=True, postgres=True)(_dropper(_kind))


@command("suggest_relationships", changes=False, postgres=True)
async def suggest_relationships(context: Context, args: Json) -> Json:
    """Return both directions of every foreign key between tracked tables, or of those of the given tables."""
    entries = {key_of(t["table"]): t for t in find_source(context.metadata, args.get("source"))["tables"]}
    wanted = set(map(key_of, args["tables"])) if args.get("tables") else set(entries)
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
    return ({"type": "object", "from": holder, "to": target}, {"type": "array", "from": target, "to": holder})


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
    find_source(context.metadata, required(args, "source"))
    schema, name = key_of(required(args, "table"))
    table = context.engine.catalog.tables.get((schema, name))
    if table is None:
        return Raw("null")
    async with context.engine.pool.connection() as connection:
        cursor = await connection.execute(RELATION_KIND, [schema, name])
        rows = await cursor.fetchall()
    shown: Json = {
        "name": {"schema": schema, "name": name},
        "type": RELATION_KINDS.get(rows[0][0] if rows else "r", "table"),
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
        shown["primary_key"] = list(table.primary_key)
    shown |= {"insertable": table.insertable, "updatable": table.updatable, "deletable": table.deletable}
    return shown
