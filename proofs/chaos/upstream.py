"""The upstream of an edge that is tested alone: it accepts and keeps every delivery."""

import base64
import hashlib

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proofs.bench.environment import TOKEN

CONNECTION = "bench"
POLICY = {
    "version": "1",
    "connections": [
        {
            "id": CONNECTION,
            "token_sha256": [{"sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "expires_at": None}],
            "signature_mode": "off",
            "allowlist_mode": "off",
        }
    ],
}


def create_upstream() -> Starlette:
    """Create Hasura's endpoint, the handlers' policy, and `/taken`: the bodies as they arrived."""
    taken: list[str] = []

    async def record(request: Request) -> Response:
        taken.append(base64.b64decode((await request.json())["raw"]).decode())
        answer = {"status": "received", "event_id": len(taken), "error_code": None}
        return JSONResponse({"pancake_ingest_record": answer})

    async def policy(request: Request) -> Response:
        return JSONResponse(POLICY)

    async def bodies(request: Request) -> Response:
        return JSONResponse(taken)

    return Starlette(
        routes=[
            Route("/api/rest/pancake/record", record, methods=["POST"]),
            Route("/edge/policy", policy),
            Route("/taken", bodies),
        ]
    )
