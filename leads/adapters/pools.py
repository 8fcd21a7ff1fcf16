"""Connections to PostgreSQL: the pools of a process, and sessions outside them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import OperationalError
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from leads.adapters.pg_errors import translated
from leads.adapters.round_trip import PreparingConnection
from leads.domain.errors import DatabaseUnavailable

Pool = AsyncConnectionPool[PreparingConnection]

POOL_TIMEOUT_SECONDS = 5.0
CHECK_SECONDS = 2.0
"""How long an idle session may take to answer, before another is opened."""
MAX_WAITING_FOR_CONNECTION = 500
SESSION_OPTIONS = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "timezone": "UTC",
        "jit": "off",  # the planner overrates store_deliveries, and compiling it costs more than running it
        "lock_timeout": "5s",
        "statement_timeout": "10s",
        "idle_in_transaction_session_timeout": "20s",
    }.items()
)
CONNECTION_SETTINGS: dict[str, Any] = {
    "autocommit": True,
    "row_factory": dict_row,
    "options": SESSION_OPTIONS,
    "fallback_application_name": "pancake handlers",
}
READER_SETTINGS = CONNECTION_SETTINGS | {
    # The last value of an option counts.
    "options": f"{SESSION_OPTIONS} -c statement_timeout=2s -c default_transaction_read_only=on",
    # Each statement is planned for its times: a generic plan does not know how short a window is.
    "prepare_threshold": None,
}


def new_pool(url: str, name: str, size: int, wait_seconds: float) -> Pool:
    """Return a pool of `size` connections, not yet open; `wait_seconds` is the longest wait for one."""
    return AsyncConnectionPool(
        url,
        connection_class=PreparingConnection,
        kwargs=CONNECTION_SETTINGS,
        min_size=1,
        max_size=size,
        timeout=wait_seconds,
        max_waiting=MAX_WAITING_FOR_CONNECTION,
        name=name,
        open=False,
    )


@asynccontextmanager
async def pooled_connection(pool: Pool) -> AsyncIterator[PreparingConnection]:
    """Take a connection of the pool. Raises DatabaseUnavailable."""
    try:
        db_connection = await pool.getconn()
    except (PoolTimeout, PoolClosed, TooManyRequests) as error:
        raise DatabaseUnavailable from error
    try:
        yield db_connection
    finally:
        # The pool rolls back what an error left open, and replaces a broken connection.
        await pool.putconn(db_connection)


@asynccontextmanager
async def unpooled_connection(url: str) -> AsyncIterator[PreparingConnection]:
    """Open a session outside the pools. Raises DatabaseUnavailable."""
    db_connection = await _connect(url, CONNECTION_SETTINGS)
    try:
        yield db_connection
    finally:
        await db_connection.close()


class ReaderSessions:
    """Sessions that only read figures, outside the pools.

    They are kept: in a new one each statement is planned with empty caches, longer than it runs.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[PreparingConnection] = []

    @asynccontextmanager
    async def session(self) -> AsyncIterator[PreparingConnection]:
        """Take a session, or open one. Raises DatabaseUnavailable. An error in the block closes it."""
        db_connection = await self._take_idle() or await _connect(self._url, READER_SETTINGS)
        try:
            yield db_connection
        except BaseException:
            await db_connection.close()
            raise
        self._idle.append(db_connection)

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def _take_idle(self) -> PreparingConnection | None:
        """Return a session that still answers."""
        while self._idle:
            db_connection = self._idle.pop()
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await AsyncConnectionPool.check_connection(db_connection)
            except (OperationalError, TimeoutError):
                await db_connection.close()
            except BaseException:
                await db_connection.close()
                raise
            else:
                return db_connection
        return None


async def _connect(url: str, settings: dict[str, Any]) -> PreparingConnection:
    with translated(DatabaseUnavailable):
        return await PreparingConnection.connect(url, connect_timeout=int(POOL_TIMEOUT_SECONDS), **settings)
