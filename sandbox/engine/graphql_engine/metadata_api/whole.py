"""The metadata as a whole: export, replace, clear, reload, inconsistencies.

Facts: the engine's `RQL/DDL/Metadata` and its tests under `v1/metadata`.
"""

import copy
import json
from typing import Any, LiteralString

from graphql_engine.changes import Context
from graphql_engine.cron import read_schedule
from graphql_engine.errors import QErr, not_exists, unsupported
from graphql_engine.metadata.access import Json, dict_of, mismatch, required, table_object
from graphql_engine.metadata.export import exportable
from graphql_engine.metadata.shape import LISTS, OBJECTS, SHAPES, UNUSED, ShapeError, check
from graphql_engine.metadata.stored_queries import drop_inconsistent
from graphql_engine.metadata_api.dispatch import command

KNOWN = {"version", "sources", "actions", "custom_types", *LISTS, *OBJECTS, *UNUSED}
STATES: dict[str, LiteralString] = {
    "cli": "UPDATE hdb_catalog.hdb_version SET cli_state = %s",
    "console": "UPDATE hdb_catalog.hdb_version SET console_state = %s",
}


@command("export_metadata", changes=False)
async def export_metadata(context: Context, _: Any) -> Json:
    """Return the metadata; in version 2 with its resource version."""
    exported = exportable(context.metadata)
    if context.notes["version"] == 2:
        return {"resource_version": context.engine.resource_version, "metadata": exported}
    return exported


@command("replace_metadata")
async def replace_metadata(context: Context, args: Any) -> Any:
    """Replace the metadata; unchanged cron triggers keep their events.

    With `metadata` in the arguments the response lists inconsistencies; they are allowed only on request.
    """
    given = dict_of(args)
    wrapped = "metadata" in given
    try:
        wanted = normalized(dict_of(given["metadata"] if wrapped else given))
    except QErr as error:
        raise error.under("metadata") if wrapped else error from None
    private = [t for t in context.metadata.get("cron_triggers", []) if not t.get("include_in_metadata", True)]
    if private:
        wanted["cron_triggers"] = wanted.get("cron_triggers", []) + private
    context.metadata.clear()
    context.metadata.update(wanted)
    context.refresh = True
    context.allow_inconsistent = bool(wrapped and given.get("allow_inconsistent_metadata"))
    context.notes["whole"] = True
    if wrapped or context.notes["version"] == 2:
        context.notes["answer"] = lambda: inconsistency_report(context.engine.inconsistent)


def normalized(given: Json) -> Json:
    """Return a client's metadata with all that the engine adds to them.

    Raises QErr `parse-failed` or `not-supported` naming the key.
    """
    wanted = copy.deepcopy(given)
    if "sources" not in wanted or wanted.get("version") != 3:
        missing = QErr("parse-failed", 'key "tables" not found')
        raise unsupported("metadata without sources") if "tables" in wanted else missing
    if not isinstance(wanted["sources"], list):
        raise mismatch("[]", "Array", wanted["sources"], "$.sources")
    names = [collection.get("name") for collection in wanted.get("query_collections") or []]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        listed = ", ".join(twice)
        raise QErr(
            "parse-failed", f"multiple declarations exist for the following query collections: {listed}"
        )
    for key in set(wanted) - KNOWN:
        del wanted[key]  # the engine ignores them
    for key in UNUSED:
        if wanted.get(key):
            raise unsupported(key, f"$.{key}")
        wanted.pop(key, None)
    for index, source in enumerate(required(wanted, "sources")):
        source.setdefault("kind", "postgres")
        _checked(source, "source", f"sources[{index}]")
        for table in source["tables"]:
            table["table"] = table_object(table["table"])
    for name in (*LISTS, *OBJECTS):
        if name in wanted:
            _checked(wanted[name], name, name)
    for index, trigger in enumerate(wanted.get("cron_triggers", [])):
        try:
            read_schedule(trigger["schedule"])
        except QErr as error:
            raise QErr(error.code, error.message, f"$.cron_triggers[{index}].schedule") from error
    for name in ("actions", "custom_types"):
        if name in wanted:
            _checked(wanted[name], name, name)
    return wanted


def _checked(value: Any, kind: str, where: str) -> None:
    try:
        check(value, SHAPES[kind], where)
    except ShapeError as error:
        raise QErr("parse-failed", str(error), f"$.{where}{error.path[1:]}") from error


def inconsistency_report(inconsistent: list[Json]) -> Json:
    return {"is_consistent": not inconsistent, "inconsistent_objects": inconsistent}


@command("clear_metadata")
async def clear_metadata(context: Context, _: Any) -> None:
    """Remove everything but the source with its configuration."""
    sources = [{**source, "tables": []} for source in context.metadata["sources"]]
    for source in sources:
        source.pop("functions", None)
    context.metadata.clear()
    context.metadata.update({"version": 3, "sources": sources})
    context.refresh = True
    context.notes["whole"] = True
    context.notes["clears"] = True


@command("reload_metadata")
async def reload_metadata(context: Context, args: Any) -> None:
    """Read the catalog again; create the SQL triggers again if asked to.

    Raises QErr `not-exists` for a source that is not in the metadata.
    """
    known = {source["name"] for source in context.metadata["sources"]}
    wanted = (args or {}).get("reload_sources")
    for name in wanted if isinstance(wanted, list) else []:
        if name not in known:
            raise not_exists(f'Source with name "{name}" not found in metadata')
    context.refresh = True
    context.allow_inconsistent = True
    context.notes["reinstall"] = bool((args or {}).get("recreate_event_triggers"))
    context.notes["refill"] = True

    def report() -> Json:
        found = context.engine.inconsistent
        answer: Json = {"message": "success", "is_consistent": not found}
        if found:
            answer["inconsistent_objects"] = found
        return answer

    context.notes["answer"] = report
    context.notes["keep_version"] = True


@command("get_inconsistent_metadata", changes=False)
async def get_inconsistent_metadata(context: Context, _: Any) -> Json:
    return inconsistency_report(context.engine.inconsistent)


@command("drop_inconsistent_metadata")
async def drop_inconsistent_metadata(context: Context, _: Any) -> None:
    """Remove what is known to be inconsistent: a reload finds what SQL has broken since."""
    drop_inconsistent(context.metadata, context.engine.inconsistent)


@command("get_catalog_state", changes=False)
async def get_catalog_state(context: Context, _: Any) -> Json:
    """Return the states of CLI and console as they were set; the CLI's contains the applied migrations."""
    async with context.engine.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT hasura_uuid, cli_state, console_state FROM hdb_catalog.hdb_version"
        )
        rows = await cursor.fetchall()
    identity, cli, console = rows[0]
    return {"id": str(identity), "cli_state": cli, "console_state": console}


@command("set_catalog_state", changes=False)
async def set_catalog_state(context: Context, args: Json) -> None:
    kind, state = required(args, "type"), required(args, "state")
    if kind not in STATES:
        tags = ",".join(f'"{name}"' for name in STATES)
        raise QErr(
            "parse-failed",
            "parsing Hasura.RQL.Types.Metadata.Common.CatalogStateType failed, expected one of the tags"
            f' [{tags}], but found tag "{kind}"',
            "$.type",
        )
    async with context.engine.pool.connection() as connection:
        await connection.execute(STATES[kind], [json.dumps(state)])


@command("set_opentelemetry_config")
async def set_opentelemetry_config(context: Context, args: Json) -> None:
    context.metadata["opentelemetry"] = dict(args)


@command("set_graphql_schema_introspection_options")
async def set_introspection_options(context: Context, args: Json) -> None:
    roles = required(args, "disabled_for_roles")
    context.metadata["graphql_schema_introspection"] = {"disabled_for_roles": list(roles)}
