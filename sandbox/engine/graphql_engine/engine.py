"""The state that requests and background loops share: pools, metadata, clock, and what is derived from it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from graphql_engine.auth import Authenticator
from graphql_engine.catalog import Catalog
from graphql_engine.settings import Settings
from graphql_engine.sql import statement
from graphql_engine.webhooks import Client


class Clock:
    """The real time plus an offset. Moving the clock wakes the loops that sleep on it."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._wake = anyio.Event()
        self.nudges = 0

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += timedelta(seconds=seconds)
        self.nudge()

    def set(self, moment: datetime) -> None:
        self._offset = moment - datetime.now(UTC)
        self.nudge()

    def reset(self) -> None:
        self._offset = timedelta()
        self.nudge()

    def nudge(self) -> None:
        """Wake the sleeping loops: an event may be due."""
        self.nudges += 1
        self._wake.set()
        self._wake = anyio.Event()

    async def sleep(self, seconds: float, nudges: int) -> bool:
        """Sleep in real time until the timeout or a nudge; return whether it was a nudge.

        nudges: the caller's last known count of nudges, so that a nudge in between is not lost.
        """
        with anyio.move_on_after(seconds):
            while self.nudges == nudges:
                await self._wake.wait()
        return self.nudges != nudges


MAX_DB_CONNECTIONS = 20
CONNECT_SECONDS = 15.0


def _pool(database_url: str) -> AsyncConnectionPool[AsyncConnection]:
    return AsyncConnectionPool(
        database_url, min_size=1, max_size=MAX_DB_CONNECTIONS, open=False, kwargs={"autocommit": True}
    )


class Engine:
    """The state of one engine. `lifecycle` opens and closes it, `changes` replaces its metadata.

    pool: connections to the source database, in autocommit; metadata: the exported JSON (version 3);
    catalog: the structure of the database, for the GraphQL compiler; event_triggers, cron_triggers: by name;
    inconsistent: objects of the metadata that do not fit the database.
    """

    def __init__(self, settings: Settings, database_url: str, metadata: dict[str, Any]) -> None:
        self.settings = settings
        self.database_url = database_url
        self.metadata = metadata
        self.resource_version = 1
        self.catalog = Catalog()
        self.catalog_stale = True
        self.authenticator = Authenticator(settings)
        self.clock = Clock()
        self.event_triggers: dict[str, dict[str, Any]] = {}
        self.cron_triggers: dict[str, dict[str, Any]] = {}
        self.inconsistent: list[dict[str, Any]] = []
        self.metadata_lock = anyio.Lock()
        self.stop = anyio.Event()
        self.pool = _pool(database_url)
        self.http = Client()

    async def connect(self, database_url: str) -> None:
        """Use the source at another URL from now on; nothing of the metadata is installed there yet.

        The engine's own tables come along: a genuine engine keeps them where its metadata are.
        Raises PoolTimeout and psycopg.Error; then the former source stays.
        """
        pool = _pool(database_url)
        await pool.open(wait=True, timeout=CONNECT_SECONDS)
        try:
            async with pool.connection() as connection:
                await connection.execute(statement("init_metadata"))
        except BaseException:
            await pool.close()
            raise
        former, self.pool, self.database_url = self.pool, pool, database_url
        self.event_triggers, self.cron_triggers = {}, {}
        await former.close()

    @property
    def is_traced(self) -> bool:
        """Whether headers of a trace are read and sent: only while OpenTelemetry is on."""
        return (self.metadata.get("opentelemetry") or {}).get("status") == "enabled"
