"""The edge of the crash points: the real one, behind a proxy, and with one before each upstream."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from proofs.bench.environment import SECRET
from proofs.chaos.crashes.http_proxy import HttpProxy
from proofs.chaos.crashes.tripwire import Tripwire
from sandbox.edge.nginx import EdgeSettings, NginxEdge
from sandbox.processes import Processes

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
        """Close the proxies; the edge is killed already."""
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
