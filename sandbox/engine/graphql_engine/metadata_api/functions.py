"""Tracked functions and computed fields.

Facts: the engine's `RQL/DDL/Schema/Function` and `RQL/DDL/ComputedField`.
"""

from typing import Any

from graphql_engine.changes import Context
from graphql_engine.errors import QErr, not_exists
from graphql_engine.metadata.access import (
    DEFAULT_SOURCE,
    Json,
    find_source,
    find_table,
    named,
    put_list,
    qualified,
    required,
    spelled,
    table_object,
    without,
)
from graphql_engine.metadata_api.registry import command
from graphql_engine.metadata_api.tables import dependency_error


@command("track_function", postgres=True)
async def track_function(context: Context, args: Any) -> None:
    bare = isinstance(args, str) or "function" not in args
    arguments: Json = {"function": args} if bare else args
    name, source = arguments["function"], arguments.get("source")
    entry = find_source(context.metadata, source)
    functions = entry.setdefault("functions", [])
    if any(qualified(item["function"]) == qualified(name) for item in functions):
        raise QErr("already-tracked", f'function already tracked: "{spelled(name)}"')
    if any(qualified(table["table"]) == qualified(name) for table in entry["tables"]):
        raise QErr("not-supported", f'table with name "{spelled(name)}" already exists')
    item: Json = {"function": table_object(name)}
    for key in ("configuration", "comment"):
        if arguments.get(key):
            item[key] = arguments[key]
    functions.append(item)
    context.subject = f"function {spelled(name)} in source {source or DEFAULT_SOURCE}"
    context.refresh = True


@command("untrack_function", removes=True, postgres=True)
async def untrack_function(context: Context, args: Any) -> None:
    bare = isinstance(args, str) or "function" not in args
    arguments: Json = {"function": args} if bare else args
    entry, item = _find(context, arguments)
    put_list(entry, "functions", [each for each in entry["functions"] if each is not item])


@command("set_function_customization", postgres=True)
async def set_function_customization(context: Context, args: Json) -> None:
    _, item = _find(context, args)
    item.pop("configuration", None)
    if args.get("configuration"):
        item["configuration"] = args["configuration"]


@command("create_function_permission", postgres=True)
async def create_function_permission(context: Context, args: Json) -> None:
    _, item = _find(context, args)
    role = required(args, "role")
    if named(item.get("permissions", []), role, "role"):
        raise QErr(
            "already-exists",
            f'permission of role "{role}" already exists for function "{spelled(args["function"])}"'
            f" in source: {args.get('source') or DEFAULT_SOURCE}",
        )
    item.setdefault("permissions", []).append({"role": role})


@command("drop_function_permission", removes=True, postgres=True)
async def drop_function_permission(context: Context, args: Json) -> None:
    _, item = _find(context, args)
    role = required(args, "role")
    if named(item.get("permissions", []), role, "role") is None:
        raise not_exists(
            f'permission of role "{role}" does not exist for function "{spelled(args["function"])}"'
            f" in source: {args.get('source') or DEFAULT_SOURCE}"
        )
    put_list(item, "permissions", without(item["permissions"], role, "role"))


def _find(context: Context, args: Json) -> tuple[Json, Json]:
    name = required(args, "function")
    entry = find_source(context.metadata, args.get("source"))
    for item in entry.get("functions", []):
        if qualified(item["function"]) == qualified(name):
            return entry, item
    raise not_exists(
        f'function "{spelled(name)}" does not exist in source: {args.get("source") or DEFAULT_SOURCE}'
    )


@command("add_computed_field", postgres=True)
async def add_computed_field(context: Context, args: Json) -> None:
    table_name, source, name = required(args, "table"), args.get("source"), required(args, "name")
    try:
        table = find_table(context.metadata, table_name, source)
    except QErr as error:
        raise error.under("table") from error
    if named(table.get("computed_fields", []), name):
        raise QErr(
            "already-exists", f'field with name "{name}" already exists in table "{spelled(table_name)}"'
        )
    definition = dict(required(args, "definition"))
    definition["function"] = table_object(definition["function"])
    entry: Json = {"name": name, "definition": definition}
    if args.get("comment") is not None:
        entry["comment"] = args["comment"]
    table.setdefault("computed_fields", []).append(entry)
    place = f"in table {spelled(table_name)} in source {source or DEFAULT_SOURCE}"
    context.subject = f"computed_field {name} {place}"
    context.refresh = True


@command("drop_computed_field", removes=True, postgres=True)
async def drop_computed_field(context: Context, args: Json) -> None:
    table = find_table(context.metadata, required(args, "table"), args.get("source"))
    name = required(args, "name")
    if named(table.get("computed_fields", []), name) is None:
        raise not_exists(f'computed field "{name}" does not exist', "$.name")
    users = [
        item
        for item in table.get("select_permissions", [])
        if name in (item["permission"].get("computed_fields") or [])
    ]
    if users and not args.get("cascade"):
        place = f'in source "{args.get("source") or DEFAULT_SOURCE}"'
        raise dependency_error(
            [f"permission {spelled(args['table'])}.{item['role']}.select {place}" for item in users]
        )
    for item in users:
        item["permission"]["computed_fields"].remove(name)
    put_list(table, "computed_fields", without(table["computed_fields"], name))
