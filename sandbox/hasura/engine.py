"""The engine as one object: pools, metadata, what is derived from them, and the background loops."""

import logging
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx
from psycopg import AsyncConnection, Error
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from sandbox.hasura import actions, changes
from sandbox.hasura.async_actions import AsyncActions
from sandbox.hasura.auth import Session
from sandbox.hasura.authenticate import Authenticator
from sandbox.hasura.catalog import Catalog, load_catalog
from sandbox.hasura.chaos import Chaos
from sandbox.hasura.clock import Clock
from sandbox.hasura.cron import store as cron_store
from sandbox.hasura.cron.deliver import Scheduler
from sandbox.hasura.errors import JsonValue
from sandbox.hasura.events.deliver import Deliverer
from sandbox.hasura.metadata.api.registry import Context
from sandbox.hasura.metadata.consistency import find_inconsistencies
from sandbox.hasura.metadata.environment import environment_problems
from sandbox.hasura.migrations import apply_migrations
from sandbox.hasura.settings import Settings, StartError
from sandbox.hasura.sql import statement

log = logging.getLogger("sandbox.hasura")
POOL_SIZE = 20


class Engine:
    """Everything a request may need.

    pool: connections to the source database, in autocommit; metadata: the exported JSON (version 3), a dict;
    catalog: what the GraphQL compiler learnt of the database; event_triggers, cron_triggers: by name;
    inconsistent: the objects of the metadata that do not fit the database.
    """

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        metadata: dict[str, Any],
        migrations: Path | None = None,
    ) -> None:
        self.settings = settings
        self.database_url = database_url
        self.metadata = metadata
        self.resource_version = 1
        self.migrations = migrations
        self.catalog = Catalog()
        self.catalog_stale = True
        self.authenticator = Authenticator(settings)
        self.chaos = Chaos()
        self.clock = Clock()
        self.event_triggers: dict[str, dict[str, Any]] = {}
        self.cron_triggers: dict[str, dict[str, Any]] = {}
        self.inconsistent: list[dict[str, Any]] = []
        self.instance_id = str(uuid.uuid4())
        self.console_state: dict[str, Any] = {}
        self.metadata_lock = anyio.Lock()
        self.stop = anyio.Event()
        self._finished = anyio.Event()
        self.pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            database_url, min_size=1, max_size=POOL_SIZE, open=False, kwargs={"autocommit": True}
        )
        kept = httpx.Limits(max_connections=None, max_keepalive_connections=200, keepalive_expiry=2.0)
        self.http = httpx.AsyncClient(limits=kept, trust_env=False)
        self.deliverer = Deliverer(self)
        self.scheduler = Scheduler(self)
        self.async_actions = AsyncActions(self)

    @property
    def stringify_numeric(self) -> bool:
        """Whether bigint, numeric and double precision leave as strings."""
        return self.settings.stringify_numeric

    async def open(self) -> None:
        """Connect, apply migrations, check the metadata and install what it asks for.

        Raises StartError saying what is wrong.
        """
        problems = environment_problems(self.metadata, self.settings.environment)
        if problems:
            raise StartError(f"{problems[0][0]}: {problems[0][1]}")
        try:
            await self.pool.open(wait=True, timeout=15)
        except PoolTimeout as error:
            raise StartError(f"the database cannot be reached: {error}") from error
        async with self.pool.connection() as connection:
            for name in ("init_source", "init_metadata"):
                await connection.execute(statement(name))
            if self.migrations is not None:
                await apply_migrations(connection, self.migrations)
            for kind in cron_store.EVENTS:
                await cron_store.unlock(connection, kind)
        if not self.metadata["sources"]:
            self.metadata["sources"].append(default_source())
        await self.rebuild()
        if self.inconsistent:
            first = self.inconsistent[0]
            raise StartError(f"metadata: {first['name']}: {first['reason']}")

    async def rebuild(self) -> None:
        """Derive everything again from the metadata and the database's structure."""
        async with self.pool.connection() as connection:
            self.catalog = await load_catalog(connection)
            self.catalog_stale = False
            found = find_inconsistencies(self.metadata, self.catalog, self.settings.environment)
            async with connection.transaction():
                await changes.adopt(self, connection, self.metadata, found, set())

    async def change(self, context: Context, *, removes: bool) -> None:
        """Take over the metadata that a command made; raises QErr and changes nothing if it does not fit."""
        await changes.change(self, context, removes=removes)

    async def restore(self, metadata: dict[str, Any], resource_version: int) -> None:
        """Go back to earlier metadata, as if nothing had happened since."""
        self.metadata = metadata
        await self.rebuild()
        self.resource_version = resource_version

    def has_column(self, table: Mapping[str, str], name: str) -> bool:
        """Whether the database's table has a column of that name."""
        key = (table.get("schema", "public"), table["name"])
        return key in self.catalog.tables and name in self.catalog.tables[key].columns

    async def run(self) -> None:
        """Background work until `stop` is set and what is in flight has ended."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.deliverer.run)
            group.start_soon(self.scheduler.run)
            group.start_soon(self.async_actions.run)
        self._finished.set()

    async def drain(self) -> None:
        """Take no new work and wait for what is in flight, as long as the graceful shutdown may take."""
        self.stop.set()
        self.clock.nudge()
        with anyio.move_on_after(self.settings.graceful_shutdown):
            await self._finished.wait()

    async def close(self) -> None:
        """Give back what is locked and close every connection."""
        try:
            unlocked = await self.deliverer.unlock()
            if unlocked:
                log.info("%d locked events were unlocked", unlocked)
            await self.scheduler.unlock()
            await self.async_actions.give_back()
        except (Error, PoolTimeout) as error:
            log.error("locked events could not be unlocked: %s", error)
        await self.http.aclose()
        await self.pool.close()

    async def call_action(
        self,
        session: Session,
        name: str,
        arguments: dict[str, JsonValue],
        request_query: str | None,
        client_headers: Mapping[str, str] | None = None,
    ) -> JsonValue:
        """The checked answer of an action's handler; raises QErr. Headers default to the session's."""
        headers = session.client_headers if client_headers is None else client_headers
        return await actions.call_action(self, session, name, arguments, request_query, headers)


def default_source() -> dict[str, Any]:
    """The source that an engine started with a database URL and no metadata has."""
    return {
        "name": "default",
        "kind": "postgres",
        "tables": [],
        "configuration": {
            "connection_info": {
                "database_url": {"from_env": "HASURA_GRAPHQL_DATABASE_URL"},
                "isolation_level": "read-committed",
                "use_prepared_statements": False,
            }
        },
    }
