"""Find the command of a request, run it on a copy of the metadata, and let the engine adopt the copy."""

import contextlib
import copy
import logging
from collections.abc import Iterator
from typing import Any

from psycopg import Error

from graphql_engine import changes
from graphql_engine.auth.session import Session
from graphql_engine.changes import Context
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, unexpected
from graphql_engine.metadata import keys
from graphql_engine.metadata.access import Json, dict_of, kind_of
from graphql_engine.metadata.directory import LISTS, OBJECTS
from graphql_engine.metadata.shape import check
from graphql_engine.metadata_api.registry import COMMANDS, SUCCESS, Command
from graphql_engine.pg_report import postgres_error
from graphql_engine.settings import StartError

log = logging.getLogger("graphql_engine.metadata")
BULKS = {"bulk", "bulk_keep_going", "bulk_atomic"}
BACKENDS = {"pg", "postgres", "citus", "cockroach", "mssql", "bigquery", "mysql"}


async def run(engine: Engine, session: Session, request: Any) -> Any:
    """Run one request of /v1/metadata (or the metadata part of /v1/query).

    Raises QErr: `access-denied` unless admin, `conflict` 409 for another resource version.
    """
    if not isinstance(request, dict):
        raise QErr(
            "parse-failed", f"parsing RQLMetadata failed, expected Object, but encountered {kind_of(request)}"
        )
    if "type" not in request:
        raise QErr("parse-failed", 'key "type" not found')
    if request["type"] not in BULKS:
        try:
            find(request["type"])
        except QErr as error:
            if session.is_admin or error.code == "parse-failed":
                raise
    if not session.is_admin:
        raise QErr("access-denied", "restricted access : admin only", "$.args")
    async with engine.metadata_lock:
        expected = request.get("resource_version")
        if expected is not None and expected != engine.resource_version:
            raise QErr(
                "conflict",
                f"metadata resource version referenced ({expected}) did not match current version",
                status=409,
            )
        return await run_one(engine, session, request)


async def run_one(engine: Engine, session: Session, request: Any) -> Any:
    """Run one request, bulk or single, that is authorised and holds the engine's lock."""
    kind = dict_of(request).get("type")
    if kind in BULKS:
        return await _bulk(engine, session, str(kind), request.get("args"))
    command = find(str(kind))
    try:
        return await _single(engine, session, command, request)
    except QErr as error:
        raise error.under("args") from error


async def _bulk(engine: Engine, session: Session, kind: str, items: Any) -> list[Any]:
    if not isinstance(items, list):
        raise QErr("parse-failed", f"expected Array, but encountered {kind_of(items)}", "$.args")
    before, version = copy.deepcopy(engine.metadata), engine.resource_version
    results: list[Any] = []
    for index, item in enumerate(items):
        try:
            results.append(await run_one(engine, session, item))
        except QErr as error:
            placed = error.under("args", index)
            if kind == "bulk_keep_going":
                results.append(placed.as_api(include_internal=True))
                continue
            if kind == "bulk_atomic":
                await changes.restore(engine, before, version)
            raise placed from error
    return results


async def _single(engine: Engine, session: Session, command: Command, request: dict[str, Any]) -> Any:
    args = request.get("args")
    if args is None:
        args = {}
    metadata = copy.deepcopy(engine.metadata) if command.changes else engine.metadata
    context = Context(engine, session, metadata, notes={"version": request.get("version", 1)})
    with malformed_means_refused(str(request.get("type"))):
        result = await command.function(context, args)
        if command.changes:
            check_shape(context.metadata)
            await changes.change(engine, context, removes=command.removes)
    if command.changes and "answer" in context.notes:
        return context.notes["answer"]()
    return SUCCESS if result is None else result


def check_shape(metadata: Json) -> None:
    """Raise QErr `parse-failed` for metadata of the wrong shape; unknown keys are accepted."""
    shapes: dict[str, Any] = {"actions": [keys.ACTION], "custom_types": keys.CUSTOM_TYPES}
    shapes |= LISTS | OBJECTS
    try:
        for source in metadata["sources"]:
            check(source, keys.SOURCE, "metadata", lenient=True)
        for name, shape in shapes.items():
            if name in metadata:
                check(metadata[name], shape, "metadata", f"$.{name}", lenient=True)
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


def find(kind: str) -> Command:
    """Return a command by name. Raises QErr `parse-failed` or `not-supported`."""
    found = COMMANDS.get(kind)
    if found is not None:
        return found
    prefix, _, rest = kind.partition("_")
    if prefix not in BACKENDS:
        raise QErr(
            "parse-failed",
            f'unknown metadata command "{kind}"; "{prefix}" was not recognized as a valid backend name',
        )
    if prefix in {"pg", "postgres"}:
        raise QErr("parse-failed", f'unknown metadata command "{rest}" for backend postgres')
    raise QErr("not-supported", f"the backend {prefix} is not supported by this stand-in")
