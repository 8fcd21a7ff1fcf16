"""The parts of a process, which every handler and cron gets: built at the start, closed at the end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any

from leads.adapters.batcher import DRAIN_SECONDS
from leads.adapters.clock import Clock
from leads.adapters.database import Database, UndoneDatabase
from leads.adapters.graphql import GraphqlClient, read_end
from leads.adapters.hasura_calls import Answer, CronCall
from leads.adapters.logs import counting_log_messages
from leads.adapters.metrics import BREAKER, Metrics
from leads.adapters.pancake_api import PancakeApi
from leads.adapters.settings import Settings
from leads.domain.digest import Digester
from leads.domain.errors import BadRequest
from leads.services.cron_runs import CronRuns, DryRuns, NotSent
from leads.services.cron_work import CRON_PERIOD_SECONDS, DRY_RUN, CronReport, CronRun
from leads.services.ingest_record import IngestQueue
from leads.services.metrics import SERIES, Scrape
from leads.services.outbox import EventOutbox
from leads.services.readiness import Readiness
from leads.services.redelivery import RepeatLimit


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything that a handler may use. `metadata_db` has the engine's metadata; often it is `db`."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    db: Database
    metadata_db: Database
    graphql: GraphqlClient
    pancake: PancakeApi
    cron_runs: CronRuns
    outbox: EventOutbox
    ingest: IngestQueue
    repeat_limit: RepeatLimit
    readiness: Readiness
    scrape: Scrape
    digester: Digester

    @classmethod
    def assemble(
        cls,
        settings: Settings,
        *,
        clock: Clock | None = None,
        graphql: GraphqlClient | None = None,
        pancake: PancakeApi | None = None,
    ) -> "Runtime":
        """Build the parts; `running` connects them. Tests replace some parts."""
        metrics = Metrics(SERIES)
        clock = clock or Clock()
        db = Database(
            settings.database_url,
            ingest_connections=settings.ingest_connections,
            work_connections=settings.work_connections,
        )
        metadata_db = db
        if settings.metadata_database_url != settings.database_url:
            metadata_db = Database(settings.metadata_database_url, ingest_connections=1, work_connections=1)
        pancake = pancake or PancakeApi(clock, settings.pancake_api_hosts)
        metrics.circuit_breaker.labels(BREAKER).set_function(pancake.breakers.level)
        graphql = graphql or GraphqlClient(settings.hasura_url, settings.hasura_service_token)
        digester = settings.key_ring.digester()
        for name, seconds in CRON_PERIOD_SECONDS.items():
            metrics.add_cron(name, seconds)
        metrics.build_info.labels(settings.version, settings.commit).set(1)
        metrics.token_ends.set(read_end(settings.hasura_service_token))
        readiness = Readiness(db, graphql, metrics)
        return cls(
            settings=settings,
            clock=clock,
            metrics=metrics,
            db=db,
            metadata_db=metadata_db,
            graphql=graphql,
            pancake=pancake,
            cron_runs=CronRuns(db, graphql, metrics, clock),
            outbox=EventOutbox(db, graphql, metrics, clock),
            ingest=IngestQueue(db, clock, digester),
            repeat_limit=RepeatLimit(db, clock),
            readiness=readiness,
            scrape=Scrape(db, metadata_db, readiness, pancake, metrics, clock),
            digester=digester,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the connections, and close them at the end: the application's lifespan."""
        with counting_log_messages(self.metrics.log_messages):
            await self.db.open()
            if self.metadata_db is not self.db:
                await self.metadata_db.open()
            try:
                yield
            finally:
                await self._close()

    async def _close(self) -> None:
        """Finish what callers submitted, then close the connections."""
        # The server ends the process without the answers of the requests that it cancelled.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if cancelled := [task for task in others if task.cancelling()]:
            await asyncio.wait(cancelled, timeout=DRAIN_SECONDS)
        await self.scrape.close()
        await asyncio.gather(self.ingest.drain(), self.outbox.drain())
        await self.pancake.aclose()
        await self.graphql.close()
        if self.metadata_db is not self.db:
            await self.metadata_db.close()
        await self.db.close()

    @asynccontextmanager
    async def undone(self) -> AsyncIterator["Runtime"]:
        """The parts for a dry run of a cron: the databases undo its work, nothing is sent or counted.

        The parts that no cron uses are those of the process: ingest, repeat_limit, readiness, scrape.
        """
        not_sent, metrics = NotSent(), Metrics()
        async with AsyncExitStack() as stack:
            db = metadata_db = UndoneDatabase(await stack.enter_async_context(self.db.dry_run()))
            if self.metadata_db is not self.db:
                metadata_db = UndoneDatabase(await stack.enter_async_context(self.metadata_db.dry_run()))
            seconds = self.cron_runs.answer_within_seconds
            yield replace(
                self,
                metrics=metrics,
                db=db,
                metadata_db=metadata_db,
                graphql=not_sent,
                cron_runs=DryRuns(db, not_sent, metrics, self.clock, seconds),
                outbox=EventOutbox(db, not_sent, metrics, self.clock),
            )


Work = Callable[[Runtime, CronRun], Awaitable[CronReport]]
Cron = Callable[[Runtime, CronCall], Coroutine[Any, Any, Answer]]


def run_cron(work: Work) -> Cron:
    """Return what answers the calls of a cron: `{result, report}` of its work for a tick."""

    async def handle(runtime: Runtime, call: CronCall) -> Answer:
        return await runtime.cron_runs.run(call, partial(work, runtime))

    return handle


def with_dry_run(work: Work) -> Cron:
    """Return what run_cron returns, but for a call whose payload is `{"dry_run": true}` make a dry run.

    That is the real work in a transaction that is rolled back, and nothing leaves the database. Its answer
    has the report of the work, and which notifications would be sent; nothing is stored of it.
    """

    @wraps(work)
    async def handle(runtime: Runtime, call: CronCall) -> Answer:
        if DRY_RUN not in call.payload:
            return await run_cron(work)(runtime, call)
        if call.payload[DRY_RUN] is not True:
            raise BadRequest("payload.dry_run is not true.")
        async with runtime.undone() as undone:
            return await run_cron(work)(undone, call)

    return handle
