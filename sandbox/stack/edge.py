"""A stand-in for the edge: forward Pancake's raw body to Hasura's endpoint `pancake/record`.

It serves machines without nginx. Path, answers and the call to Hasura are those of the real edge, as
tests/edge/test_requests.py checks; signatures, allowlist, limits and spool are missing.
"""

import base64
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from leads.domain.canonical_json import MAX_BODY_BYTES
from sandbox.serving import read_address, serve

TOKEN_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,128}")
KNOWN_STATUSES = frozenset((
    "received", "duplicate", "skipped_kill_switch", "skipped_source_disabled", "dead_letter",
    "unknown_token",
))  # fmt: skip


def create_app(hasura_url: str, token: str) -> Starlette:
    """Create the edge. `token` is the JWT of role pancake_edge."""
    client = httpx.AsyncClient(
        base_url=hasura_url, timeout=10,
        headers={"Authorization": f"Bearer {token}"}, limits=httpx.Limits(max_connections=64),
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    async def record(request: Request) -> Response:
        body = await request.body()
        if len(body) > MAX_BODY_BYTES:
            return JSONResponse({"status": "too_large"})
        if not TOKEN_PATTERN.fullmatch(request.path_params["token"]):
            return JSONResponse({"status": "unknown_token"})
        call = {
            "token_sha256": sha256(request.path_params["token"].encode()).hexdigest(),
            "raw": base64.b64encode(body).decode(),
            "source_ip": request.client.host if request.client else None,
            "arrived_at": datetime.now(UTC).isoformat(),
        }
        try:
            answer = await client.post("/api/rest/pancake/record", json=call)
            output = answer.raise_for_status().json()["pancake_ingest_record"]
            if output["status"] not in KNOWN_STATUSES:
                raise ValueError(output["status"])
            return JSONResponse(output)
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            return JSONResponse({"status": "unavailable", "error": type(error).__name__}, status_code=502)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("OK")

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/api/pancake/record/{token}", record, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
        ],
    )


if __name__ == "__main__":
    app = create_app(os.environ["HASURA_URL"], os.environ["HASURA_EDGE_TOKEN"])
    serve(app, *read_address("sandbox.stack.edge", __doc__))
