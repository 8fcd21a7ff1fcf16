"""The edge behind proxies, forked handlers, one server of all that both call, and those who call them."""

import asyncio
import base64
import hashlib
import json
import multiprocessing
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proofs.bench.environment import API_KEY, SECRET, action_call
from proofs.chaos.accelerated_handlers import create_app
from proofs.chaos.crashes.proxies import HttpProxy, Moment, Tripwire
from proofs.chaos.effects import QUERIES
from sandbox.accelerated_clock import AcceleratedClock
from sandbox.diva.notifications import Service
from sandbox.edge import EdgeSettings, NginxEdge
from sandbox.pancake import api
from sandbox.pancake.workspace import Workspace
from sandbox.processes import Processes
from sandbox.serving import LoopbackServer
from sandbox.stack.connection import WORKSPACE_ID

MAX_DRAIN_SECONDS = 30.0
POLL_SECONDS = 0.05
POLICY_PATH = "/edge/policy"
"""Fetched by a timer, whenever it runs out: not a round trip of a delivery."""
_ENVIRONMENT = {"EDGE_PATH_TIMEOUT_MS": "1600", "EDGE_SKIP_SECONDS": "0.5", "EDGE_POLICY_SECONDS": "3600"}


class NotDrained(Exception):
    """The spool was not empty in time; the message holds the error log of the edge."""


class CrashEdge:
    """A new edge for each run, behind the same proxies."""

    def __init__(
        self, processes: Processes, outside_port: Callable[[], int], handlers_port: Callable[[], int]
    ) -> None:
        self._processes = processes
        self._front = HttpProxy("answer", lambda: self._edge.port, Tripwire())
        self._to_hasura = HttpProxy("forward", outside_port, Tripwire())
        self._to_handlers = HttpProxy("forward", handlers_port, Tripwire(), ignored=POLICY_PATH)
        self._ports: list[int] = []
        self._is_running = False
        self._changing = asyncio.Lock()

    async def begin(self, wire: Tripwire) -> None:
        """Start an edge with an empty spool, whose round trips go over the wire."""
        proxies = (self._front, self._to_hasura, self._to_handlers)
        if not self._ports:
            self._ports = [await proxy.start() for proxy in proxies]
        _, hasura_port, handlers_port = self._ports
        for proxy in proxies:
            proxy.wire = wire
        settings = EdgeSettings(
            f"http://127.0.0.1:{hasura_port}", f"http://127.0.0.1:{handlers_port}", "unused", SECRET,
            workers=1, environment=_ENVIRONMENT,
        )  # fmt: skip
        self.cut(False)
        self._edge = NginxEdge(self._processes, settings)
        wire.kill = self.kill
        await asyncio.to_thread(self._edge.bring_up)
        self._is_running = True

    async def kill(self) -> None:
        """Send SIGKILL to the master and the worker."""
        async with self._changing:
            if self._is_running:
                self._is_running = False
                await asyncio.to_thread(self._edge.kill)

    def close(self) -> None:
        if self._ports:
            for proxy in (self._front, self._to_hasura, self._to_handlers):
                proxy.close()

    async def post(self, http: httpx.AsyncClient, record: Mapping[str, Any], token: str) -> bool:
        """Post a record as Pancake does; return whether the answer was 200."""
        await self._ensure_running()
        url = f"http://127.0.0.1:{self._ports[0]}/api/pancake/record/{token}"
        try:
            answer = await http.post(url, content=json.dumps(record, ensure_ascii=False).encode())
        except httpx.TransportError:
            return False
        return answer.is_success

    def cut(self, is_cut: bool) -> None:
        """Let no request of the edge arrive, or all again."""
        self._to_hasura.cut(is_cut)
        self._to_handlers.cut(is_cut)

    async def wait_drained(self) -> None:
        """Wait until the spool is empty; start the edge again if it was killed. Raises NotDrained."""
        deadline = time.monotonic() + MAX_DRAIN_SECONDS
        while True:
            await self._ensure_running()
            if not any(self._edge.held(folder) for folder in ("spool", "unknown")):
                return
            if time.monotonic() > deadline:
                raise NotDrained(self._edge.errors()[-2000:])
            await asyncio.sleep(POLL_SECONDS)

    async def _ensure_running(self) -> None:
        async with self._changing:
            if not self._is_running:
                await asyncio.to_thread(self._edge.bring_up)
                self._is_running = True


START_TIMEOUT_SECONDS = 20.0
CRON_SECONDS = 120.0
"""For a call of a cron, so that on a slow machine it makes the same round trips as on a fast one."""
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload([__name__, "proofs.chaos.__main__"])


class HandlerNotStarted(Exception):
    """The process ended or did not answer in time; the message holds the end of its log."""


class Handlers:
    """Processes of which one takes all calls; after a fault the next does, and the one before may live on.

    All log to `log`. One process alone takes the calls again: it is started again if it was killed.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, count: int = 1) -> None:
        self._environment, self._log = dict(environment), log
        self._running: deque[tuple[ForkServerProcess, int] | None] = deque([None] * count)
        """Each process with its port; None for one that does not run. The first takes the calls."""

    @property
    def port(self) -> int:
        return self._running[0][1] if self._running[0] else 0

    async def ensure_running(self) -> None:
        """Start the process that takes the calls, if it is not running. Raises HandlerNotStarted."""
        if self._running[0] is not None:
            return
        self._running[0] = await asyncio.to_thread(self._start)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: handlers\r\nconnection: close\r\n\r\n")
        if not (await reader.read()).startswith(b"HTTP/1.1 200"):
            raise HandlerNotStarted(self._log.read_text(errors="replace")[-2000:])
        writer.close()

    def pass_on(self) -> None:
        """Let the next process take the calls."""
        self._running.rotate(-1)

    async def kill(self) -> None:
        """Send SIGKILL to the process that takes the calls, and return when it is gone."""
        running, self._running[0] = self._running[0], None
        if running is not None:
            running[0].kill()
            await asyncio.to_thread(running[0].join)

    async def kill_all(self) -> None:
        """Send SIGKILL to all, and return when they are gone."""
        for _ in self._running.copy():
            await self.kill()
            self.pass_on()

    def _start(self) -> tuple[ForkServerProcess, int]:
        receiver, sender = _FORKING.Pipe(duplex=False)
        process = _FORKING.Process(
            target=_serve, args=(self._environment, str(self._log), sender), daemon=True
        )
        process.start()
        sender.close()
        try:
            if not receiver.poll(START_TIMEOUT_SECONDS):
                raise EOFError
            return process, receiver.recv()
        except EOFError as error:
            process.kill()
            raise HandlerNotStarted(self._log.read_text(errors="replace")[-2000:]) from error


def _serve(environment: Mapping[str, str], log: str, sender: Connection) -> None:
    """Serve the handlers until killed, or until the parent has ended."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(environment)
    app = create_app()
    app.state.runtime.cron_runs.answer_within_seconds = CRON_SECONDS
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", access_log=False)
    listener = config.bind_socket()
    listener.listen()
    sender.send(listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


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
        self._server = LoopbackServer(self.app)

    def start(self) -> int:
        """Serve in a thread; return the port."""
        return int(self._server.__enter__().url.rpartition(":")[2])

    async def close(self) -> None:
        await asyncio.to_thread(self._server.__exit__)
        await self._handlers.aclose()

    def reset(self, now: Callable[[], datetime], begun: datetime, sent: Iterable[Mapping[str, Any]]) -> None:
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
        sent = self.notifications.sent
        return sent + [each for each in sent if self.calls[each["idempotency_key"]] > 1 + repeats]

    async def _graphql(self, request: Request) -> Response:
        call = await request.json()
        if self.hasura_is_down:
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


ADMIN_SESSION = {"x-hasura-role": "crm_admin", "x-hasura-user-id": "c0000000-0000-4000-8000-000000000009"}
RETRY_AFTER = timedelta(seconds=10)
"""When Hasura, the edge or an operator repeats."""
MAX_REPEATS = 12
EVENT_LABEL = "lock and answer"


class NotAnswered(Exception):
    """A call was repeated MAX_REPEATS times without an answer of 2xx."""


@dataclass
class Callers:
    """Those who call edge and handlers of a run. `session` is a superuser's, with the triggers off."""

    http: httpx.AsyncClient
    session: psycopg.AsyncConnection[Any]
    clock: AcceleratedClock
    handlers: Handlers
    edge: CrashEdge
    wire: Tripwire
    passed: timedelta = timedelta()
    """The time that `pass_time` let pass."""
    _faults_seen: int = 0

    async def sql(self, statement: bytes, params: Mapping[str, object] | None = None) -> list[Any]:
        """Run statements as a superuser, without triggers."""
        cursor = await psycopg.AsyncClientCursor(self.session).execute(statement, params)
        return await cursor.fetchall() if cursor.description else []

    async def pass_time(self, by: timedelta) -> None:
        """Let time pass for the handlers' clock, and for leases and locks, which the database's clock ends.

        That clock cannot be changed, so what it wrote is moved into the past.
        """
        self.clock.advance(by)
        await self.sql(QUERIES["crashes/age_leases"], {"by": by})
        self.passed += by

    async def deliver(self, record: Mapping[str, Any], token: str) -> None:
        """Deliver a body as the edge does."""
        raw = json.dumps(record, ensure_ascii=False).encode()
        given: dict[str, object] = {
            "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
            "raw": base64.b64encode(raw).decode(),
            "arrived_at": self.clock.now().isoformat(),
        }
        await self._until_answered("/actions/ingest_record", action_call("pancake_ingest_record", given))

    async def post(self, record: Mapping[str, Any], token: str) -> None:
        """Post a body to the edge as Pancake does, until it is answered with 200. Raises NotAnswered."""
        for _ in range(MAX_REPEATS):
            if await self.edge.post(self.http, record, token):
                return
            await self.pass_time(RETRY_AFTER)
        raise NotAnswered(f"the edge, {MAX_REPEATS} times")

    async def start_handlers(self) -> None:
        """Let the next process take the calls if a fault has struck, and start it if it is not running."""
        if len(self.wire.struck) > self._faults_seen:
            self._faults_seen = len(self.wire.struck)
            self.handlers.pass_on()
        await self.handlers.ensure_running()

    async def tick(self, name: str) -> None:
        """Deliver a tick of a cron, due at this minute of the accelerated clock."""
        due = self.clock.now().replace(second=0, microsecond=0)
        call = {"id": "tick", "name": f"pancake_{name}", "scheduled_time": due.isoformat(), "payload": {}}
        await self._until_answered(f"/cron/{name}", json.dumps(call).encode())

    async def replay(self, **given: object) -> None:
        """Replay events, without waiting for their results."""
        envelope = {
            "action": {"name": "pancake_replay_events"}, "input": {**given, "wait": False},
            "session_variables": ADMIN_SESSION, "request_query": "mutation { … }",
        }  # fmt: skip
        await self._until_answered("/actions/replay_events", json.dumps(envelope).encode())

    async def deliver_events(self) -> None:
        """Deliver every due event of the event log, one by one; an event without 2xx is due again later."""
        while rows := await self.sql(QUERIES["crashes/lock_event"]):
            ((id_, trigger, payload, tries),) = rows
            moment = self.wire.reached("event", EVENT_LABEL)
            if moment == Moment.BEFORE:
                continue  # killed: the event stays locked, and the next instance goes on with others
            call = {
                "id": id_, "created_at": "2026-11-20T02:00:00", "event": payload,
                "table": {"schema": "public", "name": "pancake_webhook_event"}, "trigger": {"name": trigger},
                "delivery_info": {"current_retry": tries, "max_retries": 20},
            }  # fmt: skip
            answer = await self._post("/events/process_record", json.dumps(call).encode())
            if moment == Moment.AFTER:
                continue
            is_delivered = answer is not None and answer.is_success
            await self.sql(
                b"UPDATE hdb_catalog.event_log SET locked = NULL, tries = tries + 1, delivered = %(done)s,"
                b" next_retry_at = CASE WHEN NOT %(done)s THEN now() + %(wait)s END WHERE id = %(id)s",
                {"done": is_delivered, "wait": RETRY_AFTER, "id": id_},
            )

    async def _until_answered(self, path: str, body: bytes) -> None:
        """Repeat a call until it is answered with 2xx. Raises NotAnswered."""
        for _ in range(MAX_REPEATS):
            answer = await self._post(path, body)
            if answer is not None and answer.is_success:
                return
            await self.pass_time(RETRY_AFTER)
        described = f"{answer.status_code} {answer.text}" if answer is not None else "no answer"
        raise NotAnswered(f"{path}, {MAX_REPEATS} times: {described}")

    async def _post(self, path: str, body: bytes) -> httpx.Response | None:
        """Call the handlers, which are started again if they were killed; None without an answer."""
        await self.start_handlers()
        try:
            return await self.http.post(path, content=body)
        except httpx.TransportError:
            return None
