"""Start and stop of an engine: migrations, first metadata check, background loops, unlocking at the end."""

import logging
from pathlib import Path

import anyio
from psycopg import Error
from psycopg_pool import PoolTimeout

from graphql_engine import changes
from graphql_engine.cron import store as cron_store
from graphql_engine.cron.deliver import Scheduler
from graphql_engine.engine import Engine
from graphql_engine.events.deliver import Deliverer
from graphql_engine.metadata.access import default_source
from graphql_engine.migrations import apply_migrations
from graphql_engine.settings import StartError
from graphql_engine.sql import statement
from graphql_engine.webhooks.call import environment_problems

log = logging.getLogger("graphql_engine")
CONNECT_SECONDS = 15.0


class Lifecycle:
    """Open, run, drain and close one engine, in this order."""

    def __init__(self, engine: Engine, migrations: Path | None = None) -> None:
        self.engine = engine
        self._migrations = migrations
        self._finished = anyio.Event()
        self._deliverer = Deliverer(engine)
        self._scheduler = Scheduler(engine)

    async def open(self) -> None:
        """Connect, apply migrations, check the metadata, install its triggers.

        Raises StartError.
        """
        engine = self.engine
        problems = environment_problems(engine.metadata, engine.settings.environment)
        if problems:
            raise StartError(f"{problems[0][0]}: {problems[0][1]}")
        try:
            await engine.pool.open(wait=True, timeout=CONNECT_SECONDS)
        except PoolTimeout as error:
            raise StartError(f"the database cannot be reached: {error}") from error
        async with engine.pool.connection() as connection:
            for name in ("init_source", "init_metadata"):
                await connection.execute(statement(name))
            if self._migrations is not None:
                await apply_migrations(connection, self._migrations)
            await cron_store.unlock(connection)
        if not engine.metadata["sources"]:
            engine.metadata["sources"].append(default_source())
        await changes.rebuild(engine)
        if engine.inconsistent:
            first = engine.inconsistent[0]
            raise StartError(f"metadata: {first['name']}: {first['reason']}")

    async def run(self) -> None:
        """Run the background loops until `engine.stop` is set and the work in flight has ended."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._deliverer.run)
            group.start_soon(self._scheduler.run)
        self._finished.set()

    async def drain(self) -> None:
        """Take no new work and wait for the work in flight, at most `graceful_shutdown_seconds` seconds."""
        self.engine.stop.set()
        self.engine.clock.nudge()
        with anyio.move_on_after(self.engine.settings.graceful_shutdown_seconds):
            await self._finished.wait()

    async def close(self) -> None:
        """Unlock what is still locked and close every connection."""
        try:
            unlocked = await self._deliverer.unlock()
            if unlocked:
                log.info("%d locked events were unlocked", unlocked)
            await self._scheduler.unlock()
        except (Error, PoolTimeout) as error:
            log.error("locked events could not be unlocked: %s", error)
        await self.engine.http.aclose()
        await self.engine.pool.close()
