"""The scenarios whose round trips are the crash points, and their world.

That is a database for each run, proxies, handlers, an edge and what they call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg

from leads.domain.body import ICT
from proofs.bench.environment import API_KEY, ENCRYPTION_KEYS, SECRET, install_engine
from proofs.chaos.accelerated_handlers import CLOCK_FILE
from proofs.chaos.crashes.parts import Callers, CrashEdge, Handlers, Outside
from proofs.chaos.crashes.proxies import HttpProxy, PgProxy, Tripwire
from proofs.chaos.effects import QUERIES
from sandbox.accelerated_clock import AcceleratedClock
from sandbox.postgres.database import grant_rights, handlers_url, install_diva
from sandbox.postgres.server import Cluster
from sandbox.processes import Processes
from sandbox.stack.connection import CONNECTION_ID, connect_pancake

TOKEN = SECRET
"""Of the webhook's URL."""
_RECONCILED_AT = time(2)
"""When the daily reconciliation runs, in ICT."""
_SINCE_EVENING = timedelta(hours=8)
"""From 18:00 of the day before, which is in the filter of that day alone."""


def lead(number: int, **fields: Any) -> dict[str, Any]:
    """Return a record as Pancake posts it; each number has a phone of its own."""
    return {
        "type": "records", "event_type": "update", "workspace_id": 607, "table_id": "lead",
        "id": f"crash-{number:03d}", "name": f"Khách {number}", "phone_number": f"0912000{number:03d}",
        "source": ["-1"], "created_on": "2026-11-20T02:00:00", "modified_on": "2026-11-20T02:00:00", **fields,
    }  # fmt: skip


Step = Callable[[Callers, Outside], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """`prepare` runs once, without faults; its database is the template of each run of `act`.

    `counts`: how many ids of each of EFFECTS there are in the end. `cron`: it ticks again when the run is at
    rest, as it does in a later period. `strikes_edge`: the faults strike the edge and its calls, not the
    handlers and theirs.
    """

    name: str
    prepare: Step
    act: Step
    counts: tuple[int, int, int, int]
    cron: str = ""
    strikes_edge: bool = False


async def _nothing(callers: Callers, outside: Outside) -> None:
    pass


async def _deliver(callers: Callers, number: int, **fields: Any) -> None:
    await callers.deliver(lead(number, **fields), TOKEN)


def _delivering(number: int, **fields: Any) -> Step:
    async def deliver(callers: Callers, outside: Outside) -> None:
        await _deliver(callers, number, **fields)

    return deliver


async def _process(callers: Callers, outside: Outside) -> None:
    await callers.deliver_events()


def _ticking(name: str) -> Step:
    async def tick(callers: Callers, outside: Outside) -> None:
        await callers.tick(name)

    return tick


async def _store_a_later_version(callers: Callers, outside: Outside) -> None:
    await _deliver(callers, 1)
    await callers.deliver_events()
    later = {"name": "Khách 1 mới", "interested_product": ["Trị nám"], "modified_on": "2026-11-20T03:00:00"}
    await _deliver(callers, 1, **later)


async def _store_one_without_table(callers: Callers, outside: Outside) -> None:
    await callers.sql(b"UPDATE pancake_connection SET table_names = ARRAY['lead', 'contact']")
    await _deliver(callers, 1, table_id=None)


async def _process_a_listed_lead(callers: Callers, outside: Outside) -> None:
    outside.workspace.tables["lead"].write({"id": "crash-001"})
    await callers.deliver_events()


async def _hold_two(callers: Callers, outside: Outside) -> None:
    await callers.sql(QUERIES["crashes/set_kill_switch"], {"on": True})
    await _deliver(callers, 1)
    await _deliver(callers, 2)
    await callers.sql(QUERIES["crashes/set_kill_switch"], {"on": False})


async def _replay(callers: Callers, outside: Outside) -> None:
    await callers.replay(filter={"status": "skipped_kill_switch"})


async def _leave_work(callers: Callers, outside: Outside) -> None:
    """Leave one piece of work for each step of the cron."""
    await callers.sql(QUERIES["crashes/set_rosters"], {"on": False})
    await _deliver(callers, 1)
    await callers.deliver_events()
    await callers.sql(QUERIES["crashes/set_rosters"], {"on": True})
    outside.hasura_is_down = True
    await _deliver(callers, 2)
    await callers.deliver_events()
    await _sync_a_new_source(callers, outside)
    outside.hasura_is_down = False
    for number, leave in ((3, "fail_event"), (4, "abandon_event"), (5, "lock_for_a_dead_engine")):
        await _deliver(callers, number)
        await callers.sql(QUERIES[f"crashes/{leave}"], {"record": f"crash-{number:03d}"})
    await callers.pass_time(timedelta(minutes=3))


async def _sync_sources(callers: Callers, outside: Outside) -> None:
    await callers.tick("sync_sources")
    await callers.pass_time(timedelta(minutes=2))


async def _sync_a_new_source(callers: Callers, outside: Outside) -> None:
    outside.workspace.more_sources["77"] = "Hội chợ"
    await callers.tick("sync_sources")


async def _poll(callers: Callers, outside: Outside) -> None:
    for number in (1, 2):
        outside.workspace.tables["lead"].write(_listed(number), at=outside.begun)
    await callers.pass_time(timedelta(minutes=2))  # more than the settle time
    await callers.tick("poll_records")


async def _reconcile(callers: Callers, outside: Outside) -> None:
    outside.workspace.tables["lead"].write(_listed(1), at=outside.begun - _SINCE_EVENING)
    await callers.tick("reconcile_daily")


def _listed(number: int) -> dict[str, Any]:
    names = ("id", "name", "phone_number", "source")
    return {key: value for key, value in lead(number).items() if key in names}


async def _connect_days_ago(callers: Callers, outside: Outside) -> None:
    """Wait for the hour of the cron.

    The list of a day is asked for with a margin, so the hour of a record decides which days show it.
    """
    now = callers.clock.now().astimezone(ICT)
    due = datetime.combine(now.date() + timedelta(days=1), _RECONCILED_AT, ICT)
    await callers.pass_time(due - now)
    await callers.sql(
        b"UPDATE pancake_connection SET created_at = %(at)s WHERE id = %(id)s",
        {"at": due - timedelta(days=3), "id": CONNECTION_ID},
    )


async def _check_a_refused_key(callers: Callers, outside: Outside) -> None:
    outside.workspace.faults.unauthorized = True
    await callers.tick("check_connection")


async def _process_one(callers: Callers, outside: Outside) -> None:
    await _deliver(callers, 1)
    await callers.deliver_events()


async def _hours_ago(callers: Callers, outside: Outside) -> None:
    await _process_one(callers, outside)
    await callers.pass_time(timedelta(hours=3))


async def _years_ago(callers: Callers, outside: Outside) -> None:
    await _process_one(callers, outside)
    await callers.sql(QUERIES["crashes/age_events"], {"by": timedelta(days=800)})


async def _post(callers: Callers, outside: Outside) -> None:
    await callers.post(lead(1), TOKEN)


async def _post_around_hasura(callers: Callers, outside: Outside) -> None:
    outside.hasura_is_down = True
    await callers.post(lead(1), TOKEN)
    outside.hasura_is_down = False


async def _post_into_the_spool(callers: Callers, outside: Outside) -> None:
    callers.edge.cut(True)
    await callers.post(lead(1), TOKEN)
    callers.edge.cut(False)
    await callers.edge.wait_drained()


SCENARIOS = (
    Scenario("ingest", _nothing, _delivering(1), (1, 2, 2, 1)),
    Scenario("process", _delivering(1), _process, (1, 2, 2, 1)),
    Scenario("process_update", _store_a_later_version, _process, (2, 2, 2, 2)),
    Scenario("process_unusable", _delivering(1, phone_number="12"), _process, (1, 0, 0, 0)),
    Scenario("process_without_table", _store_one_without_table, _process_a_listed_lead, (1, 2, 2, 1)),
    Scenario("replay", _hold_two, _replay, (2, 4, 4, 2)),
    Scenario("retry_failed", _leave_work, _ticking("retry_failed"), (5, 10, 10, 7), cron="retry_failed"),
    Scenario("poll_records", _nothing, _poll, (2, 4, 4, 2), cron="poll_records"),
    Scenario("reconcile_daily", _connect_days_ago, _reconcile, (1, 2, 2, 1), cron="reconcile_daily"),
    Scenario("sync_sources", _sync_sources, _sync_a_new_source, (0, 0, 0, 2), cron="sync_sources"),
    Scenario("check_connection", _process_one, _check_a_refused_key, (1, 2, 2, 2), cron="check_connection"),
    Scenario("check_sla", _hours_ago, _ticking("check_sla"), (1, 2, 2, 2), cron="check_sla"),
    Scenario("purge_events", _years_ago, _ticking("purge_events"), (1, 1, 2, 1), cron="purge_events"),
    Scenario("edge_forward", _nothing, _post, (1, 2, 2, 1), strikes_edge=True),
    Scenario("edge_around_hasura", _nothing, _post_around_hasura, (1, 2, 2, 1), strikes_edge=True),
    Scenario("edge_spool", _nothing, _post_into_the_spool, (1, 2, 2, 1), strikes_edge=True),
)


BASE = "crash_base"


@dataclass(frozen=True)
class Prepared:
    """A template database, when it was made, and the notifications sent until then."""

    template: str
    real: datetime
    shown: datetime
    sent: Sequence[Mapping[str, Any]]


class Run(NamedTuple):
    """A run: its callers, on a database of its own."""

    callers: Callers
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
        await run.callers.handlers.kill_all()
        await run.callers.session.close()
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
        return Run(callers, url)

    def _create_base(self) -> None:
        url = self._cluster.create_database(BASE)
        install_diva(url)
        install_engine(self._processes, url)
        grant_rights(url)
        api_url = f"http://127.0.0.1:{self._calls_port}/api"
        connect_pancake(url, ENCRYPTION_KEYS, api_url, API_KEY, TOKEN, SECRET)

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
