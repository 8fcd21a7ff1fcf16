"""What our client calls of the vendor's REST API (OpenAPI 2.0.0): list and read records, list sources."""

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.pancake.leads import SOURCES
from sandbox.pancake.store import TABLES, read_cursor, read_filter, write_cursor
from sandbox.pancake.workspace import Workspace

JSON = "application/json"


def routes() -> list[BaseRoute]:
    base = "/api/workspaces/{workspace_id:int}"
    return [
        Route(base + "/sources", _guarded(_sources), methods=["GET"]),
        Route(base + "/record/{record_id}", _guarded(_record), methods=["GET"]),
        Route(base + "/{table}/records", _guarded(_records), methods=["GET"]),
    ]


def _failure(status: int, message: object, **headers: str) -> Response:
    return JSONResponse({"success": False, "message": message}, status, headers)


def _guarded(answer: Any) -> Any:
    """Wrap an endpoint: apply faults, check API key, workspace and table, then answer."""

    async def endpoint(request: Request) -> Response:
        workspace: Workspace = request.app.state.workspace
        faults = workspace.faults
        workspace.counts["rest_requests"] += 1
        if faults.slow_seconds:
            await asyncio.sleep(faults.slow_seconds)
        if refused := _refusal(request, workspace):
            workspace.counts["rest_refused"] += 1
            return refused
        response: Response = await answer(request, workspace)
        if faults.truncate_body:
            return Response(bytes(response.body)[: len(response.body) // 2], media_type=JSON)
        return response

    return endpoint


def _refusal(request: Request, workspace: Workspace) -> Response | None:
    faults = workspace.faults
    if faults.down:
        return Response("upstream unavailable", 503, {"Retry-After": "1"})
    if faults.rate_limited:
        return _failure(429, "Too many requests", **{"Retry-After": "2"})
    if workspace.leads.chance(faults.error_rate):
        return _failure(500, "Internal server error")
    if faults.success_false:
        return _failure(200, "Invalid api_key")
    if faults.unauthorized or request.query_params.get("api_key") != workspace.api_key:
        return _failure(401, "Invalid api_key")
    if request.path_params["workspace_id"] != workspace.workspace_id:
        return _failure(403, {})
    if request.path_params.get("table", TABLES[0]) not in TABLES:
        return _failure(404, "Not found")
    return None


async def _records(request: Request, workspace: Workspace) -> Response:
    faults, table = workspace.faults, workspace.tables[request.path_params["table"]]
    workspace.counts["pages"] += 1
    try:
        text = None if faults.ignore_filter else request.query_params.get("filter")
        low, high = read_filter(text)
        cursor = read_cursor(found) if (found := request.query_params.get("cursor")) else None
    except (ValueError, KeyError, TypeError):
        return _failure(422, "invalid filter or cursor")
    if faults.wrong_filter and text:
        low = high = 0
    entries, last = table.page(low, high, cursor)
    following = write_cursor(last) if last else ""
    if faults.repeat_cursor and last:
        workspace.first_cursor = workspace.first_cursor if cursor else following
        following = workspace.first_cursor
    if faults.cut_page and len(entries) > faults.cut_page:
        del entries[1 : 1 + faults.cut_page]
    body = b'{"cursor":%b,"entries":[%b]}' % (json.dumps(following).encode(), b",".join(entries))
    return Response(b'{"success":true,"data":%b}' % body, media_type=JSON)


async def _record(request: Request, workspace: Workspace) -> Response:
    table = workspace.tables.get(request.query_params.get("table_name", ""))
    if table is None:
        return _failure(422, "table_name is required")
    content = table.current.get(request.path_params["record_id"], b"null")
    return Response(b'{"success":true,"data":%b}' % content, media_type=JSON)


async def _sources(request: Request, workspace: Workspace) -> Response:
    known = [*SOURCES, *((i, name, 0) for i, name in workspace.more_sources.items())]
    empty = dict.fromkeys(("parent_id", "image", "custom_id", "link"))
    data = [
        {"id": source_id, "name": name, "is_removed": source_id in workspace.removed_sources, **empty}
        for source_id, name, _ in known
    ]
    return JSONResponse({"success": True, "data": data})
