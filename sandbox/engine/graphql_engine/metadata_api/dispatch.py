"""The table of commands, which the other modules of the package fill; and how a request runs one.

A command changes a copy of the metadata, which the engine adopts or refuses. Commands of Hasura that this
stand-in does not have are in the table too: each is refused by name, none is ignored.
"""

import contextlib
import copy
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import Error

from graphql_engine import changes
from graphql_engine.auth import Session
from graphql_engine.changes import Context
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, postgres_error, unexpected, unsupported
from graphql_engine.metadata.access import DEFAULT_SOURCE, Json, mismatch
from graphql_engine.metadata.shape import LISTS, OBJECTS, SHAPES, check
from graphql_engine.settings import StartError

SUCCESS = {"message": "success"}


Function = Callable[[Context, Json], Awaitable[Any]]
PREFIX = "pg_"
REFUSED = """
add_computed_field add_existing_table_or_view add_host_to_tls_allowlist add_inherited_role
add_query_to_collection add_remote_schema add_remote_schema_permissions add_source bulk_atomic
bulk_keep_going cleanup_event_trigger_logs create_action create_array_relationship
create_function_permission create_object_relationship create_remote_relationship
create_remote_schema_remote_relationship create_scheduled_event dc_add_agent dc_delete_agent
delete_remote_relationship delete_remote_schema_remote_relationship delete_scheduled_event drop_action
drop_computed_field drop_function_permission drop_host_from_tls_allowlist drop_inherited_role
drop_query_collection drop_query_from_collection drop_relationship drop_remote_schema_permissions
drop_rest_endpoint drop_source dump_internal_state get_source_kind_capabilities get_source_tables
introspect_remote_schema pause_event_trigger_cleanups reload_remote_schema remove_api_limits
remove_metrics_config remove_remote_schema rename_query_collection rename_relationship rename_source
resume_event_trigger_cleanups set_api_limits set_apollo_federation_config set_custom_types
set_feature_flag set_function_customization set_metrics_config set_naming_convention
set_opentelemetry_status set_permission_comment set_query_tags
set_relationship_comment set_table_configuration set_table_custom_fields set_table_customization
set_table_is_enum track_function track_logical_model track_native_query track_stored_procedure track_tables
untrack_function untrack_logical_model untrack_native_query untrack_stored_procedure untrack_table
untrack_tables update_action update_remote_relationship update_remote_schema
update_remote_schema_remote_relationship update_scope_of_collection_in_allowlist update_source
"""


@dataclass(frozen=True)
class Command:
    """A command. changes: it changes metadata; removes: new inconsistencies are a 500; postgres: its name on
    /v1/metadata has the prefix `pg_`, on /v1/query it has not."""

    function: Function
    changes: bool
    removes: bool
    postgres: bool


COMMANDS: dict[str, Command] = {}


def command(
    *names: str, changes: bool = True, removes: bool = False, postgres: bool = False
) -> Callable[[Function], Function]:
    """Register a function under its names; `postgres` adds each name with the prefix `pg_`."""

    def register(function: Function) -> Function:
        for name in names:
            COMMANDS[name] = Command(function, changes, removes, postgres)
            if postgres:
                COMMANDS[PREFIX + name] = COMMANDS[name]
        return function

    return register


def _refusal(name: str) -> Function:
    async def refuse(_: Context, __: Any) -> None:
        raise unsupported(name)

    return refuse


for _name in REFUSED.split():
    command(_name, f"{PREFIX}{_name}", changes=False)(_refusal(_name))


log = logging.getLogger("graphql_engine.metadata")
BULK = "bulk"
TWO_VERSIONS = ("replace_metadata", "export_metadata")
UNPARSED = (
    "Error when parsing command {0}.\nSee our documentation at https://hasura.io/docs/latest/graphql/core/"
    "api-reference/metadata-api/index.html#metadata-apis.\nInternal error message: {1}"
)
BACKENDS = {"citus", "cockroach", "mssql", "bigquery"}


async def run(engine: Engine, session: Session, request: Any, names: str = "pg") -> Any:
    """Run one request of /v1/metadata, or with the names "older" the metadata part of /v1/query.

    One that only reads waits for no other.
    Raises QErr: `access-denied` unless admin, `conflict` 409 for another resource version.
    """
    check_request(request, names)
    if not session.is_admin:
        raise QErr("access-denied", "restricted access : admin only", "$.args")
    async with engine.metadata_lock if _changes(request, names) else contextlib.nullcontext():
        if request["type"] == BULK:
            return await _bulk(engine, session, request, names)
        return await run_one(engine, session, request, names)


def _changes(request: Json, names: str) -> bool:
    if request["type"] == BULK:
        return any(_changes(item, names) for item in request["args"])
    return find(request["type"], names).changes


def check_request(request: Any, names: str) -> None:
    """Raise QErr `parse-failed` for a request of the wrong shape or an unknown type, also in a bulk."""
    if not isinstance(request, dict):
        raise mismatch("RQLMetadata", "Object", request)
    if "type" not in request:
        raise QErr("parse-failed", 'key "type" not found')
    kind, version = request["type"], request.get("version")
    if not isinstance(kind, str):
        raise mismatch("Text", "String", kind, "$.type")
    if kind != BULK:
        find(kind, names)
    if version is not None and (not isinstance(version, int) or isinstance(version, bool)):
        raise mismatch("Int", "Number", version, "$.version")
    if version not in (None, 1, 2):
        raise QErr("parse-failed", f"expected 1 or 2, encountered {version}", "$.version")
    if version == 2 and kind not in TWO_VERSIONS:
        tags = ",".join(f'"{name}"' for name in TWO_VERSIONS)
        raise QErr(
            "parse-failed",
            "parsing Hasura.Server.API.Metadata.Types.RQLMetadataV2 failed, expected tag field to be one of"
            f' [{tags}], but found tag "{kind}"',
            "$.type",
        )
    expected = request.get("resource_version")
    if expected is not None and not isinstance(expected, int):
        raise mismatch("Int64", "Number", expected, "$.resource_version")
    if "args" not in request:
        raise QErr("parse-failed", 'key "args" not found')
    if kind == BULK:
        items = request["args"]
        if not isinstance(items, list):
            raise mismatch("[]", "Array", items, "$.args")
        for index, item in enumerate(items):
            try:
                check_request(item, names)
            except QErr as error:
                raise error.under("args", index) from error


async def run_one(engine: Engine, session: Session, request: Json, names: str) -> Any:
    """Run one checked request that is no bulk."""
    command = find(request["type"], names)
    try:
        return await _single(engine, session, command, request)
    except QErr as error:
        if error.code == "conflict":
            raise
        if error.code == "parse-failed" and command.postgres and names == "pg":
            name = request["type"].removeprefix(PREFIX)
            error.message = UNPARSED.format(name, error.message)
        raise error.under("args") from error


async def _bulk(engine: Engine, session: Session, request: Json, names: str) -> list[Any]:
    """Run a bulk: as a whole or not at all."""
    before, version = copy.deepcopy(engine.metadata), engine.resource_version
    results: list[Any] = []
    try:
        for index, item in enumerate(request["args"]):
            results.append(await _item(engine, session, item, names, index))
        if engine.resource_version != version:
            check_version(request, version)
    except QErr:
        if engine.resource_version != version:
            await changes.restore(engine, before, version)
        raise
    return results


async def _item(engine: Engine, session: Session, item: Json, names: str, index: int) -> Any:
    try:
        if item["type"] == BULK:
            return await _bulk(engine, session, item, names)
        return await run_one(engine, session, item, names)
    except QErr as error:
        raise error.under("args", index) from error


def check_version(request: Json, version: int) -> None:
    """Raise QErr `conflict` if a request expects another resource version."""
    expected = request.get("resource_version")
    if expected is not None and expected != version:
        raise QErr(
            "conflict",
            f"metadata resource version referenced ({expected}) did not match current version",
            status=409,
        )


async def _single(engine: Engine, session: Session, command: Command, request: dict[str, Any]) -> Any:
    args = {} if request["args"] is None else request["args"]
    metadata = copy.deepcopy(engine.metadata) if command.changes else engine.metadata
    context = Context(engine, session, metadata, notes={"version": request.get("version") or 1})
    with malformed_means_refused(request["type"]):
        result = await command.function(context, args)
        if command.changes:
            check_shape(context.metadata)
            context.before_storing = lambda: check_version(request, engine.resource_version)
            await changes.change(engine, context, removes=command.removes)
    if command.changes and "answer" in context.notes:
        return context.notes["answer"]()
    return SUCCESS if result is None else result


def check_shape(metadata: Json) -> None:
    """Raise QErr `parse-failed` for metadata of the wrong shape; unknown keys are accepted."""
    try:
        for source in metadata["sources"]:
            check(source, SHAPES["source"], "metadata", lenient=True)
        for name in ("actions", "custom_types", *LISTS, *OBJECTS):
            if name in metadata:
                check(metadata[name], SHAPES[name], "metadata", f"$.{name}", lenient=True)
    except StartError as error:
        raise QErr("parse-failed", str(error)) from error


@contextlib.contextmanager
def malformed_means_refused(kind: str) -> Iterator[None]:
    """Turn exceptions from malformed arguments into QErr `parse-failed`."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        log.info("malformed arguments of %s", kind, exc_info=True)
        raise QErr("parse-failed", f"the arguments are malformed: {error!r}") from error
    except Error as error:
        raise unexpected("database query error", postgres_error(error, kind)) from error


def find(kind: str, names: str) -> Command:
    """Return a command by its name on /v1/metadata ("pg") or /v1/query ("older").

    Raises QErr `parse-failed` or `not-supported`.
    """
    found = COMMANDS.get(kind)
    if found is not None and (not found.postgres or kind.startswith(PREFIX) == (names == "pg")):
        return found
    if names == "older":
        known = ",".join(f'"{name}"' for name in COMMANDS if not name.startswith(PREFIX))
        raise QErr(
            "parse-failed",
            "parsing Hasura.Server.API.Query.RQLQueryV1 failed, expected tag field to be one of"
            f' [{known}], but found tag "{kind}"',
            "$.type",
        )
    prefix, _, rest = kind.partition("_")
    if prefix in {"pg", "postgres"}:
        raise QErr("parse-failed", f'unknown metadata command "{rest}" for backend postgres')
    if prefix in BACKENDS:
        raise QErr("unexpected", f'source with name "{DEFAULT_SOURCE}" is inconsistent', "$.args")
    raise QErr("parse-failed", f'unknown metadata command "{rest}" for backend {prefix}')
