"""Tracking and customization of tables.

Facts: the engine's `RQL/DDL/Schema/Table` and its tests under `v1/track_table`, `v1/set_table_*`.
"""

from typing import Any

from graphql_engine.changes import Context, find_again
from graphql_engine.errors import QErr, not_exists
from graphql_engine.metadata.access import (
    DEFAULT_SOURCE,
    Json,
    dict_of,
    find_source,
    find_table,
    mismatch,
    qualified,
    required,
    spelled,
    table_object,
)
from graphql_engine.metadata.dependents import dependents_of_table
from graphql_engine.metadata_api.registry import SUCCESS, command
from graphql_engine.rest import GRAPHQL_NAME

KINDS = ("pg", "citus", "cockroach", "mssql", "bigquery")


@command("track_table", "add_existing_table_or_view", postgres=True)
async def track_table(context: Context, args: Any) -> None:
    if not isinstance(args, dict):
        raise mismatch("TrackTableV2", "Object", args)
    bare = "table" not in args
    arguments: Json = {"table": args} if bare else args
    name, source = arguments["table"], arguments.get("source")
    if (isinstance(name, dict) and "name" not in name) or not isinstance(source, str | None):
        raise QErr("parse-failed", 'key "name" not found')
    _track(context, name, source, arguments)


def _track(context: Context, name: Any, source: str | None, arguments: Json) -> None:
    tables = find_source(context.metadata, source)["tables"]
    if any(qualified(table["table"]) == qualified(name) for table in tables):
        raise QErr("already-tracked", f'view/table already tracked: "{spelled(name)}"')
    for function in find_source(context.metadata, source).get("functions", []):
        if qualified(function["function"]) == qualified(name):
            raise QErr("not-supported", f'function with name "{spelled(name)}" already exists')
    entry: Json = {"table": table_object(name)}
    if arguments.get("is_enum"):
        entry["is_enum"] = True
    if arguments.get("configuration"):
        _check_configuration(arguments["configuration"])
        entry["configuration"] = arguments["configuration"]
    tables.append(entry)
    context.subject = f"table {spelled(name)} in source {source or DEFAULT_SOURCE}"
    context.refresh = True


@command("track_tables", postgres=True)
async def track_tables(context: Context, args: Json) -> Json:
    """Track several tables; the answer warns of those that cannot be tracked."""
    await find_again(context.engine, context.metadata)
    warnings = []
    for table in required(args, "tables"):
        name = table["table"]
        try:
            if qualified(name) not in context.engine.catalog.tables:
                reason = f'Inconsistent object: no such table/view exists in source: "{spelled(name)}"'
                raise QErr("invalid-configuration", reason)
            _track(context, name, table.get("source"), table)
        except QErr as error:
            warnings.append(_warning("track-table-failed", table, error))
    return SUCCESS | ({"warnings": warnings} if warnings else {})


def _warning(code: str, table: Json, error: QErr) -> Json:
    place = f"table {spelled(table['table'])} in source {table.get('source') or DEFAULT_SOURCE}"
    return {"code": code, "message": error.message, "name": place, "type": "table"}


@command("untrack_table", removes=True, postgres=True)
async def untrack_table(context: Context, args: Any) -> None:
    """Remove a table from the metadata; relationships of other tables to it only with `cascade`."""
    arguments = args if isinstance(args, dict) and "table" in args else {"table": args}
    _untrack(context, arguments)


@command("untrack_tables", removes=True, postgres=True)
async def untrack_tables(context: Context, args: Json) -> Json:
    """Untrack several tables; the answer warns of those that cannot be untracked."""
    warnings = []
    for table in required(args, "tables"):
        try:
            _untrack(context, table)
        except QErr as error:
            warnings.append(_warning("untrack-table-failed", table, error))
    return SUCCESS | ({"warnings": warnings} if warnings else {})


def _untrack(context: Context, arguments: Json) -> None:
    name, source = arguments["table"], arguments.get("source")
    entry = find_source(context.metadata, source)
    place = f"table {spelled(name)} in source {source or DEFAULT_SOURCE}"
    tracked = any(qualified(table["table"]) == qualified(name) for table in entry["tables"])
    if not tracked or any(each["name"] == place for each in context.engine.inconsistent):
        raise QErr("already-untracked", f'view/table already untracked: "{spelled(name)}"')
    dependents = dependents_of_table(context.metadata, context.engine.catalog, qualified(name))
    if dependents and not arguments.get("cascade"):
        raise dependency_error([text for text, _ in dependents])
    for _, remove in dependents:
        remove()
    entry["tables"] = [table for table in entry["tables"] if qualified(table["table"]) != qualified(name)]


def dependency_error(dependents: list[str]) -> QErr:
    """Return the engine's refusal to remove an object that others depend on."""
    return QErr(
        "dependency-error", f"cannot drop due to the following dependent objects: {', '.join(dependents)}"
    )


@command("set_table_is_enum", postgres=True)
async def set_table_is_enum(context: Context, args: Json) -> None:
    """Set whether the rows of a table are the values of an enum."""
    name, source = required(args, "table"), args.get("source")
    table = find_table(context.metadata, name, source)
    if required(args, "is_enum"):
        table["is_enum"] = True
    else:
        table.pop("is_enum", None)
    context.subject = f"table {spelled(name)} in source {source or DEFAULT_SOURCE}"
    context.refresh = True


@command("set_table_customization", "set_table_configuration", postgres=True)
async def set_table_customization(context: Context, args: Json) -> None:
    """Replace the custom names of a table."""
    name, source = required(args, "table"), args.get("source")
    table = find_table(context.metadata, name, source)
    _configure(table, dict_of(args.get("configuration") or {}))
    context.subject = f"table {spelled(name)} in source {source or DEFAULT_SOURCE}"


@command("set_table_custom_fields")
async def set_table_custom_fields(context: Context, args: Json) -> None:
    """Set custom names in the older shape of set_table_customization."""
    table = find_table(context.metadata, required(args, "table"), args.get("source"))
    keys = ("custom_root_fields", "custom_column_names")
    _configure(table, {key: args[key] for key in keys if args.get(key)})


def _check_configuration(configuration: Json) -> None:
    name = configuration.get("custom_name")
    if name is not None and not GRAPHQL_NAME.match(name):
        raise QErr("parse-failed", f"{name} is not valid GraphQL name", "$.configuration.custom_name")


def _configure(table: Json, configuration: Json) -> None:
    _check_configuration(configuration)
    if configuration:
        table["configuration"] = configuration
    else:
        table.pop("configuration", None)


@command("get_source_tables", changes=False, postgres=True)
async def get_source_tables(context: Context, args: Json) -> list[Json]:
    """Return the tables of the source's database."""
    find_source(context.metadata, args.get("source"))
    catalog = context.engine.catalog
    names = sorted(catalog.tables)
    return [{"name": name, "schema": schema} for schema, name in names]


@command("list_source_kinds", changes=False)
async def list_source_kinds(_: Context, __: Json) -> Json:
    """Return the kinds of source that the engine knows; this stand-in has only `pg`."""
    return {
        "sources": [
            {"kind": kind, "builtin": True, "display_name": kind, "available": True} for kind in KINDS
        ]
    }


@command("add_source", "drop_source", "rename_source", "update_source", postgres=True)
async def sources_are_fixed(context: Context, args: Json) -> Json:
    """Refuse changes of sources."""
    name = required(args, "name")
    is_known = any(source["name"] == name for source in context.metadata["sources"])
    if "configuration" in args and is_known:
        raise QErr("already-exists", f'source with name "{name}" already exists')
    if "configuration" not in args and not is_known:
        raise not_exists(f'source with name "{name}" does not exist')
    raise QErr("not-supported", "this stand-in has exactly one source, chosen when it starts")


@command("set_apollo_federation_config", postgres=True)
async def set_apollo_federation_config(_: Context, args: Json) -> Json:
    """Refuse federation."""
    if args.get("apollo_federation_config"):
        raise QErr("not-supported", "apollo federation is not supported by this stand-in")
    return SUCCESS
