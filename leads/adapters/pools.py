"""Connections to PostgreSQL: the pools of a process, and sessions outside them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from leads.adapters.pg_errors import translated
from leads.domain.errors import DatabaseUnavailable

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]

POOL_TIMEOUT_SECONDS = 5.0
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
READER_OPTIONS = f"{SESSION_OPTIONS} -c statement_timeout=2s -c default_transaction_read_only=on"
"""Of a session that reads figures. The last value of an option counts."""
CONNECTION_SETTINGS: dict[str, Any] = {
    "autocommit": True,
    "row_factory": dict_row,
    "options": SESSION_OPTIONS,
    "fallback_application_name": "pancake handlers",
}


def new_pool(url: str, name: str, size: int, wait_seconds: float) -> Pool:
    """Return a pool of `size` connections, not yet open; `wait_seconds` is the longest wait for one."""
    return AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[DictRow],
        kwargs=CONNECTION_SETTINGS,
        min_size=1,
        max_size=size,
        timeout=wait_seconds,
        max_waiting=MAX_WAITING_FOR_CONNECTION,
        name=name,
        open=False,
    )


@asynccontextmanager
async def pooled_connection(pool: Pool) -> AsyncIterator[AsyncConnection[DictRow]]:
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
async def unpooled_connection(
    url: str, options: str = SESSION_OPTIONS
) -> AsyncIterator[AsyncConnection[DictRow]]:
    """Open a session outside the pools. Raises DatabaseUnavailable."""
    with translated(DatabaseUnavailable):
        db_connection = await AsyncConnection[DictRow].connect(
            url, connect_timeout=int(POOL_TIMEOUT_SECONDS), **CONNECTION_SETTINGS | {"options": options}
        )
    try:
        yield db_connection
    finally:
        await db_connection.close()
