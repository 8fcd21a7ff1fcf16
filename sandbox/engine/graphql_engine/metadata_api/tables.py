"""Tracking and customization of tables.

Facts: the engine's `RQL/DDL/Schema/Table` and its tests under `v1/track_table`, `v1/set_table_*`.
"""

from typing import Any

from graphql_engine.changes import Context
from graphql_engine.errors import QErr
from graphql_engine.metadata.access import (
    DEFAULT_SOURCE,
    Json,
    find_source,
    mismatch,
    qualified,
    spelled,
    table_object,
)
from graphql_engine.metadata_api.registry import command
from graphql_engine.rest import GRAPHQL_NAME

KINDS = ("pg", "citus", "cockroach", "mssql", "bigquery")


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
    if any(qualified(table["table"]) == qualified(name) for table in entry["tables"]):
        raise QErr("already-tracked", f'view/table already tracked: "{spelled(name)}"')
    if any(qualified(item["function"]) == qualified(name) for item in entry.get("functions", [])):
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
    if name is not None and not GRAPHQL_NAME.match(name):
        raise QErr("parse-failed", f"{name} is not valid GraphQL name", "$.configuration.custom_name")


@command("list_source_kinds", changes=False)
async def list_source_kinds(_: Context, __: Json) -> Json:
    """Return the kinds of source that the engine knows; this stand-in has only `pg`."""
    return {
        "sources": [
            {"kind": kind, "builtin": True, "display_name": kind, "available": True} for kind in KINDS
        ]
    }
