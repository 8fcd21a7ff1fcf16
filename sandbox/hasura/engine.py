"""The engine as one object: pools, metadata, what is derived from them, and the background loops."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx
from psycopg import AsyncConnection, Error
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from sandbox.hasura import actions, operations
from sandbox.hasura.auth import Session
from sandbox.hasura.authenticate import Authenticator
from sandbox.hasura.chaos import Chaos
from sandbox.hasura.errors import JsonValue
from sandbox.hasura.events import install
from sandbox.hasura.events.deliver import Deliverer
from sandbox.hasura.metadata.environment import environment_problems
from sandbox.hasura.migrations import apply_migrations
from sandbox.hasura.settings import Settings, StartError
from sandbox.hasura.sql import statement

log = logging.getLogger("sandbox.hasura")
POOL_SIZE = 20


class Engine:
    """Everything a request may need.

    pool: connections to the source database, in autocommit; metadata: the exported JSON (version 3), a dict;
    catalog: what the GraphQL compiler learnt of the database; event_triggers: by name, with their table.
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
        self.catalog: Any = None
        self.authenticator = Authenticator(settings)
        self.chaos = Chaos()
        self.event_triggers: dict[str, dict[str, Any]] = {}
        self.inconsistent: list[dict[str, Any]] = []
        self.stop = anyio.Event()
        self._finished = anyio.Event()
        self.pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            database_url, min_size=1, max_size=POOL_SIZE, open=False, kwargs={"autocommit": True}
        )
        self.http = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=200), trust_env=False
        )
        self.deliverer = Deliverer(self)

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
        if not self.metadata["sources"]:
            self.metadata["sources"].append(default_source())
        await self.rebuild()
        if self.inconsistent:
            first = self.inconsistent[0]
            raise StartError(f"metadata: {first['name']}: {first['reason']}")

    async def rebuild(self) -> None:
        """Derive everything again after a change of the metadata or of the database's structure."""
        self.inconsistent = []
        async with self.pool.connection() as connection:
            self.catalog = await operations.load_catalog(connection)
            await self._install_event_triggers(connection)

    async def run(self) -> None:
        """Background work until `stop` is set and what is in flight has ended."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.deliverer.run)
        self._finished.set()

    async def drain(self) -> None:
        """Take no new work and wait for what is in flight, as long as the graceful shutdown may take."""
        self.stop.set()
        with anyio.move_on_after(self.settings.graceful_shutdown):
            await self._finished.wait()

    async def close(self) -> None:
        """Give back what is locked and close every connection."""
        try:
            unlocked = await self.deliverer.unlock()
            if unlocked:
                log.info("%d locked events were unlocked", unlocked)
        except Error as error:
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

    async def _install_event_triggers(self, connection: AsyncConnection) -> None:
        wanted: dict[str, dict[str, Any]] = {}
        for source in self.metadata["sources"]:
            for table in source["tables"]:
                for trigger in table.get("event_triggers", []):
                    wanted[trigger["name"]] = {**trigger, "table": table["table"]}
        for name in await install.installed_triggers(connection) - set(wanted):
            await install.drop_trigger(connection, name)
            await install.archive_events(connection, name)
        for name, trigger in wanted.items():
            if self.event_triggers.get(name) == trigger:
                continue
            async with connection.transaction():
                await install.install_trigger(
                    connection, qualified(trigger["table"]), trigger, stringify=self.stringify_numeric
                )
        self.event_triggers = wanted


def qualified(name: str | Mapping[str, str]) -> tuple[str, str]:
    """(schema, name) of a table or function in any of the spellings of the metadata."""
    if isinstance(name, str):
        return "public", name
    return name.get("schema", "public"), name["name"]


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
