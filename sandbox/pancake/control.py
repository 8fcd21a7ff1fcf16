"""The control API below `/control`: create leads, set faults, read what was written; and the application."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from sandbox.pancake import api
from sandbox.pancake.workspace import Workspace


def create_app(workspace: Workspace) -> Starlette:
    """Serve both APIs of one workspace, which is closed with the application."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await workspace.aclose()

    app = Starlette(routes=[*api.routes(), *routes()], lifespan=lifespan)
    app.state.workspace = workspace
    return app


def routes() -> list[BaseRoute]:
    return [
        Route("/control/state", _state, methods=["GET"]),
        Route("/control/leads", _leads, methods=["POST"]),
        Route("/control/edits", _edits, methods=["POST"]),
        Route("/control/bulk", _bulk, methods=["POST"]),
        Route("/control/records", _records, methods=["GET"]),
        Route("/control/faults", _faults, methods=["POST", "DELETE"]),
        Route("/control/webhook", _webhook, methods=["POST"]),
        Route("/control/webhook/{action}", _switch, methods=["POST"]),
    ]


def _workspace(request: Request) -> Workspace:
    workspace: Workspace = request.app.state.workspace
    return workspace


async def _body(request: Request) -> dict[str, Any]:
    content = await request.body()
    body: dict[str, Any] = json.loads(content) if content else {}
    return body


def _described(workspace: Workspace) -> dict[str, Any]:
    sender = workspace.sender
    return {
        "records": {name: len(table.current) for name, table in workspace.tables.items()},
        "counts": dict(workspace.counts + sender.counts),
        "pending": sender.pending,
        "webhook": {
            **asdict(sender.settings),
            "headers": sorted(sender.settings.headers),
            "enabled": sender.enabled,
            "suspensions": [moment.isoformat() for moment in sender.suspensions],
        },
        "faults": asdict(workspace.faults),
    }


async def _state(request: Request) -> Response:
    return JSONResponse(_described(_workspace(request)))


async def _leads(request: Request) -> Response:
    """Create `{count, rate?}` leads, `rate` per second or at once, and answer when all are created."""
    body, workspace = await _body(request), _workspace(request)
    rate_per_second, created = float(body.get("rate", 0)), []
    for _ in range(int(body.get("count", 1))):
        created.append(workspace.new_lead()["id"])
        if rate_per_second:
            await asyncio.sleep(1 / rate_per_second)
        elif len(created) % 50 == 0:  # let the sender run
            await asyncio.sleep(0)
    return JSONResponse({"record_ids": created})


async def _edits(request: Request) -> Response:
    """Change the leads of `{record_ids}`."""
    wanted, workspace = (await _body(request))["record_ids"], _workspace(request)
    try:
        return JSONResponse({"record_ids": [workspace.edit_lead(record_id)["id"] for record_id in wanted]})
    except KeyError as error:
        return JSONResponse({"error": f"no lead has the id {error}"}, 404)


async def _bulk(request: Request) -> Response:
    """Create `{count}` leads between `{start, end}`, without webhooks."""
    body, workspace = await _body(request), _workspace(request)
    start, end = (datetime.fromisoformat(body[name]) for name in ("start", "end"))
    workspace.bulk(int(body["count"]), start, end)
    return JSONResponse({"records": len(workspace.tables["lead"].current)})


async def _records(request: Request) -> Response:
    """Stream every lead as a JSON line: the current record and the versions that were delivered."""
    workspace = _workspace(request)

    async def lines() -> AsyncIterator[bytes]:
        for record_id, content in list(workspace.tables["lead"].current.items()):
            delivered = json.dumps(workspace.sender.delivered.get(record_id, []))
            yield b'{"record":%b,"delivered":%b}\n' % (content, delivered.encode())

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def _webhook(request: Request) -> Response:
    """Set `{url, headers}`: where leads are sent from now on."""
    body, settings = await _body(request), _workspace(request).sender.settings
    settings.url, settings.headers = body["url"], body["headers"]
    return JSONResponse(_described(_workspace(request))["webhook"])


async def _faults(request: Request) -> Response:
    """POST sets the given faults, DELETE switches all off."""
    workspace = _workspace(request)
    try:
        if request.method == "DELETE":
            workspace.faults.reset()
            workspace.first_cursor = ""
        else:
            workspace.faults.change(await _body(request))
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 422)
    return JSONResponse(asdict(workspace.faults))


async def _switch(request: Request) -> Response:
    """Enable or suspend the webhook, or wait until it is idle."""
    sender, action = _workspace(request).sender, request.path_params["action"]
    if action == "idle":
        await sender.idle()
    elif action in ("enable", "suspend"):
        getattr(sender, action)()
    else:
        return JSONResponse({"error": f"unknown action {action}; use enable, suspend or idle"}, 404)
    return JSONResponse(_described(_workspace(request))["webhook"])
