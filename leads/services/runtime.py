"""The Runtime that every handler gets: made and closed by the application's lifespan."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from leads.adapters.clock import Clock
from leads.adapters.database import Database
from leads.adapters.graphql import Graphql
from leads.adapters.metrics import Metrics
from leads.adapters.pancake_api import Pancake
from leads.adapters.settings import Settings
from leads.services.cron_runs import Register
from leads.services.ingest_record import Columns, IngestQueue
from leads.services.outbox import Outbox

Answer = dict[str, Any]
"""What a handler answers with status 200: a JSON object."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a handler may touch."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    db: Database
    metadata_db: Database
    graphql: Graphql
    pancake: Pancake
    register: Register
    outbox: Outbox
    ingest: IngestQueue[Any]

    @classmethod
    def assemble(
        cls,
        settings: Settings,
        clock: Clock,
        columns: Columns[Any],
        unstorable: Callable[[Any], Any],
        read_answer: Callable[[bytes], Any],
        attention: str,
        graphql: Graphql | None = None,
        pancake: Pancake | None = None,
    ) -> "Runtime":
        """Wire the parts; nothing is connected before `open`. Tests bring some parts of their own.

        `columns`, `unstorable`, `read_answer` and `attention` are the domain's, which no part imports.
        """
        metrics = Metrics()
        db = Database(
            settings.database_url,
            ingest_connections=settings.ingest_connections,
            work_connections=settings.work_connections,
        )
        metadata_db = db
        if settings.metadata_database_url != settings.database_url:
            metadata_db = Database(settings.metadata_database_url, ingest_connections=1, work_connections=1)
        pancake = pancake or Pancake(clock, decode=read_answer)
        metrics.circuit_breaker.labels("pancake_rest").set_function(pancake.breaker_state)
        graphql = graphql or Graphql(settings.hasura_url, settings.hasura_service_token)
        return cls(
            settings=settings,
            clock=clock,
            metrics=metrics,
            db=db,
            metadata_db=metadata_db,
            graphql=graphql,
            pancake=pancake,
            register=Register(db, graphql, metrics, clock, attention),
            outbox=Outbox(db, graphql, metrics, clock),
            ingest=IngestQueue(db, clock, columns, unstorable),
        )

    async def open(self) -> None:
        await self.db.open()
        if self.metadata_db is not self.db:
            await self.metadata_db.open()

    async def close(self) -> None:
        """Finish what callers handed over, then let go of connections."""
        await self.ingest.drain()
        await self.outbox.drain()
        await self.pancake.aclose()
        await self.graphql.close()
        if self.metadata_db is not self.db:
            await self.metadata_db.close()
        await self.db.close()
