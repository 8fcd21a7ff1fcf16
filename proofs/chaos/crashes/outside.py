"""What handlers and edge call, in one server: Hasura's API, Diva's notifications, Pancake's API."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proofs.bench.environment import SECRET, action_call
from sandbox.diva.notifications import Service
from sandbox.pancake import api
from sandbox.pancake.workspace import Workspace
from sandbox.stack.connection import WORKSPACE_ID

API_KEY = "0123456789abcdef0123456789abcdef"


class Now(Protocol):
    def __call__(self) -> datetime: ...


class Outside:
    """The state of all of them; `reset` begins a run. Serves in a thread."""

    def __init__(self, handlers_port: int) -> None:
        """`handlers_port`: where Hasura finds the handlers."""
        self._handlers = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{handlers_port}", headers={"X-Handler-Secret": SECRET},
            limits=httpx.Limits(max_keepalive_connections=0), timeout=30,
        )  # fmt: skip
        self.hasura_is_down = False
        self.app = Starlette(
            routes=[
                Route("/v1/graphql", self._graphql, methods=["POST"]),
                Route("/api/rest/pancake/record", self._record, methods=["POST"]),
                *api.routes(),
            ]
        )

    def start(self) -> int:
        """Serve in a thread; return the port."""
        config = uvicorn.Config(self.app, host="127.0.0.1", port=0, log_level="error", access_log=False)
        self._listener = config.bind_socket()
        self._listener.listen()
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        return int(self._listener.getsockname()[1])

    async def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        await asyncio.to_thread(self._thread.join)
        self._listener.close()
        await self._handlers.aclose()

    def reset(self, now: Now, begun: datetime, sent: Iterable[Mapping[str, Any]]) -> None:
        """Begin a run: an empty workspace, and the notifications that were sent before.

        `begun` is the same for all runs of a scenario.
        """
        self.hasura_is_down = False
        self.begun = begun
        self.workspace = Workspace(seed=1, workspace_id=WORKSPACE_ID, api_key=API_KEY, now=now)
        self.app.state.workspace = self.workspace
        self.notifications = Service()
        self.calls: Counter[str] = Counter()
        self.notifications.accept([dict(each) for each in sent])

    def sent(self, repeats: int) -> list[dict[str, Any]]:
        """Return what the service accepted, and what it was sent again more often than `repeats`.

        A sender that dies between call and commit has to repeat, with the same key, once for each death.
        """
        sent = list(self.notifications.sent)
        more = [each for each in sent if self.calls[each["idempotency_key"]] > 1 + repeats]
        return sent + more

    async def _graphql(self, request: Request) -> Response:
        call = await request.json()
        if self.hasura_is_down or self.notifications.is_fault_due("fail"):
            return JSONResponse({"errors": [{"message": "requested by the scenario"}]})
        given = call["variables"]["notifications"]
        self.calls.update(each["idempotency_key"] for each in given)
        return JSONResponse({"data": {"sendNotifications": self.notifications.accept(given)}})

    async def _record(self, request: Request) -> Response:
        """The REST endpoint of Hasura: call the action, and wrap its answer."""
        if self.hasura_is_down:
            return JSONResponse({"error": "down"}, 503)
        body = action_call("pancake_ingest_record", await request.json())
        try:
            answer = await self._handlers.post("/actions/ingest_record", content=body)
        except httpx.TransportError:
            return JSONResponse({"error": "the handlers did not answer"}, 500)
        if not answer.is_success:
            return JSONResponse({"error": "the handlers refused"}, 500)
        return JSONResponse({"pancake_ingest_record": answer.json()})
