"""Permissions on tables.

Facts: the engine's `RQL/DDL/Permission` and its tests under `v1/permissions`.
"""

from graphql_engine.changes import Context
from graphql_engine.errors import QErr
from graphql_engine.metadata.access import (
    Json,
    find_table,
    mismatch,
    named,
    put_list,
    required,
    spelled,
    without,
)
from graphql_engine.metadata.names import permission_name
from graphql_engine.metadata_api.registry import Function, command
from graphql_engine.rawjson import kind_of

KINDS = ("insert", "select", "update", "delete")
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


for _kind in KINDS:
    command(f"create_{_kind}_permission", postgres=True)(_creator(_kind))
    command(f"drop_{_kind}_permission", removes=True, postgres=True)(_dropper(_kind))
