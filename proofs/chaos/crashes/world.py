"""The world of the crash points: a database for each run, proxies, handlers, an edge and what they call."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg

from proofs.bench.environment import ENCRYPTION_KEYS, SECRET, install_engine
from proofs.chaos.accelerated_handlers import CLOCK_FILE
from proofs.chaos.crashes.parts import API_KEY, Callers, CrashEdge, Handlers, Outside
from proofs.chaos.crashes.points import Tripwire
from proofs.chaos.crashes.proxies import HttpProxy, PgProxy
from proofs.chaos.crashes.scenarios import TOKEN, Scenario
from sandbox.accelerated_clock import AcceleratedClock
from sandbox.postgres.database import grant_rights, handlers_url, install_diva
from sandbox.postgres.server import Cluster
from sandbox.processes import Processes
from sandbox.stack.connection import Access, connect_pancake

BASE = "crash_base"


@dataclass(frozen=True)
class Prepared:
    """A template database, when it was made, and the notifications sent until then."""

    template: str
    real: datetime
    shown: datetime
    sent: Sequence[Mapping[str, Any]]


@dataclass
class Run:
    """A run: its callers on a database of its own, and the wire of its faults."""

    callers: Callers
    handlers: Handlers
    wire: Tripwire
    database_url: str


class World:
    """Async context manager. Commits are not flushed to disk: processes die, PostgreSQL does not.

    With several `processes` of the handlers another one takes the calls after each fault.
    """

    def __init__(self, processes: int = 1) -> None:
        self._handlers_count = processes
        self._cluster = Cluster(durable=False)
        self._processes = Processes()
        self.home = self._processes.directory("crash-points-")
        self._prepared: dict[str, Prepared] = {}

    async def __aenter__(self) -> Self:
        self._cluster.start()
        parts = urlsplit(self._cluster.url("postgres"))
        assert parts.hostname is not None
        assert parts.port is not None
        self._handlers = Handlers({}, self.home / "handlers.log")
        self._sql = PgProxy(parts.hostname, parts.port, Tripwire())
        self._answers = HttpProxy("answer", lambda: self._handlers.port, Tripwire())
        self._answers_port = await self._answers.start()
        self.outside = Outside(self._answers_port)
        outside_port = self.outside.start()
        self._calls = HttpProxy("call", lambda: outside_port, Tripwire())
        self._edge = CrashEdge(self._processes, lambda: outside_port, lambda: self._answers_port)
        self._sql_port, self._calls_port = await self._sql.start(), await self._calls.start()
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self._answers_port}",
            headers={"X-Handler-Secret": SECRET}, timeout=30,
            limits=httpx.Limits(max_keepalive_connections=0), trust_env=False,
        )  # fmt: skip
        self._create_base()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._handlers.kill_all()
        await self._http.aclose()
        for part in (self._sql, self._calls, self._answers, self._edge):
            part.close()
        await self.outside.close()
        self._processes.close()
        self._cluster.close()

    async def prepare(self, scenario: Scenario) -> None:
        """Create the template of a scenario, once."""
        if scenario.name in self._prepared:
            return
        name = f"crash_{scenario.name}"
        await asyncio.to_thread(self._cluster.create_database, name, BASE)
        run = await self._begin(name, datetime.now(UTC), [], Tripwire())
        await scenario.prepare(run.callers, self.outside)
        await self._stop(run)
        clock = run.callers.clock
        sent = list(self.outside.notifications.sent)
        self._prepared[scenario.name] = Prepared(name, datetime.now(UTC), clock.now(), sent)

    async def begin(self, scenario: Scenario, wire: Tripwire) -> Run:
        """Begin a run on a copy of the scenario's template, at the time that the template shows."""
        prepared = self._prepared[scenario.name]
        name = f"run_{token_hex(4)}"
        await asyncio.to_thread(self._cluster.create_database, name, prepared.template)
        run = await self._begin(name, prepared.shown, prepared.sent, wire, strikes_edge=scenario.strikes_edge)
        await run.callers.pass_time(prepared.real - datetime.now(UTC))
        run.callers.clock.advance(datetime.now(UTC) - prepared.real)
        run.callers.passed = timedelta()
        return run

    async def end(self, run: Run) -> None:
        """Kill the handlers of a run and drop its database."""
        await self._stop(run)
        await asyncio.to_thread(self._cluster.drop_database, urlsplit(run.database_url).path.strip("/"))

    async def _stop(self, run: Run) -> None:
        await self._edge.kill()
        await run.handlers.kill_all()
        await run.callers.close()
        await self._sql.wait_closed()

    async def _begin(
        self, database: str, shown: datetime, sent: Sequence[Mapping[str, Any]], wire: Tripwire, *,
        strikes_edge: bool = False,
    ) -> Run:  # fmt: skip
        clock_file = self.home / "clock.json"
        clock = AcceleratedClock.begin(clock_file, shown, 1.0)
        url = self._cluster.url(database)
        environment = self._environment(url, clock_file)
        self._handlers = Handlers(environment, self.home / "handlers.log", self._handlers_count)
        wire.kill = self._handlers.kill
        self._sql.wire = self._calls.wire = self._answers.wire = Tripwire() if strikes_edge else wire
        self.outside.reset(clock.now, shown, sent)
        session = await psycopg.AsyncConnection.connect(url, autocommit=True)
        await session.execute("SET session_replication_role = replica")
        callers = Callers(self._http, session, clock, self._handlers, self._edge, wire)
        if strikes_edge:
            await callers.start_handlers()
            await self._edge.begin(wire)
        return Run(callers, self._handlers, wire, url)

    def _create_base(self) -> None:
        url = self._cluster.create_database(BASE)
        install_diva(url)
        install_engine(self._processes, url)
        grant_rights(url)
        access = Access(
            webhook_token=TOKEN, header_secret=SECRET, api_key=API_KEY,
            api_base_url=f"http://127.0.0.1:{self._calls_port}/api", encryption_keys=ENCRYPTION_KEYS,
        )  # fmt: skip
        connect_pancake(url, access)

    def _environment(self, database_url: str, clock_file: Path) -> dict[str, str]:
        parts = urlsplit(handlers_url(database_url))
        through_proxy = f"{parts.netloc.rpartition(':')[0]}:{self._sql_port}"
        url = urlunsplit(parts._replace(netloc=through_proxy))
        calls_url = f"http://127.0.0.1:{self._calls_port}"
        return {
            "DATABASE_URL": url, "METADATA_DATABASE_URL": url, "HASURA_URL": calls_url,
            "HASURA_SERVICE_TOKEN": "unused", "HANDLER_SECRET": SECRET, "EDGE_SECRET": SECRET,
            "ENCRYPTION_KEYS": ENCRYPTION_KEYS, "PANCAKE_API_HOSTS": calls_url, CLOCK_FILE: str(clock_file),
        }  # fmt: skip
