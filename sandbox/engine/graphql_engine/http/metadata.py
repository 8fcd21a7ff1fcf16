"""/v1/metadata, /v2/query, and the older /v1/query, which serves both."""

import copy
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from graphql_engine import changes
from graphql_engine import metadata_api as api
from graphql_engine.auth import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.http.answers import answer, authenticate, parse_body, shows_internal
from graphql_engine.metadata_api.dispatch import malformed_means_refused
from graphql_engine.query import is_command, run_command, run_sql
from graphql_engine.rawjson import kind_of

V2_SQL = {"run_sql", "pg_run_sql"}
BULKS = {"bulk", "concurrent_bulk"}
BEFORE_RUNNING = {"parse-failed", "access-denied"}


async def v1_metadata(request: Request, engine: Engine) -> Response:
    session = await authenticate(request, engine)
    try:
        return answer(await api.run(engine, session, parse_body(await request.body())))
    except QErr as error:
        return _failed(engine, session, error)


async def v2_query(request: Request, engine: Engine) -> Response:
    """Serve /v2/query: SQL and data."""
    session = await authenticate(request, engine)
    try:
        return answer(await _query(engine, session, parse_body(await request.body()), metadata=False))
    except QErr as error:
        return _failed(engine, session, error)


async def v1_query(request: Request, engine: Engine) -> Response:
    """Serve /v1/query: SQL, data and metadata."""
    session = await authenticate(request, engine)
    try:
        return answer(await _query(engine, session, parse_body(await request.body()), metadata=True))
    except QErr as error:
        if error.code == "parse-failed" and error.path.startswith("$.args"):
            error.path = error.path.replace(".args", "")  # the engine's paths omit the arguments here
        return _failed(engine, session, error)


def _failed(engine: Engine, session: Session, error: QErr) -> Response:
    return answer(error.as_api(include_internal=shows_internal(engine, session)), error.status)


async def _query(engine: Engine, session: Session, request: Any, *, metadata: bool) -> Any:
    if not isinstance(request, dict):
        raise QErr(
            "parse-failed", f"parsing Object failed, expected Object, but encountered {kind_of(request)}"
        )
    if "type" not in request:
        raise QErr("parse-failed", 'key "type" not found')
    kind = request["type"]
    if kind in BULKS:
        return await _bulk(engine, session, request, metadata=metadata)
    if kind in V2_SQL:
        return await _placed(run_sql(engine, session, request.get("args")), metadata=metadata)
    if is_command(kind):
        with malformed_means_refused(kind):
            return await _placed(run_command(engine, session, kind, request.get("args")), metadata=metadata)
    if not metadata:
        raise QErr("parse-failed", f"Unrecognised RQLQuery type: {kind}")
    return await api.run(engine, session, request, "older")


async def _placed(work: Any, *, metadata: bool) -> Any:
    """Await a command; the paths of /v2/query name the arguments only where they cannot be read."""
    try:
        return await work
    except QErr as error:
        if metadata or error.code in BEFORE_RUNNING:
            raise error.under("args") from error
        raise


async def _bulk(engine: Engine, session: Session, request: dict[str, Any], *, metadata: bool) -> list[Any]:
    items = request.get("args")
    if not isinstance(items, list):
        raise QErr("parse-failed", f"expected Array, but encountered {kind_of(items)}", "$.args")
    before, version = copy.deepcopy(engine.metadata), engine.resource_version
    results = []
    for index, item in enumerate(items):
        try:
            results.append(await _query(engine, session, item, metadata=metadata))
        except QErr as error:
            if metadata and engine.resource_version != version:
                await changes.restore(engine, before, version)
            place = ("args", index) if metadata or error.code in BEFORE_RUNNING else (index,)
            raise error.under(*place) from error
    return results
