"""PostgreSQL through psycopg: two pools, named statements, one round trip for what belongs together.

Ingest has connections of its own, so that it never waits behind processing that waits for locks.
Statements come from leads/adapters/queries.py, retries from leads/services/attempts.py.
"""

import asyncio
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar, cast

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from leads.adapters.pg_errors import translated
from leads.adapters.queries import QUERIES
from leads.domain.errors import Busy, Contended, DatabaseUnavailable, Overloaded

Row = dict[str, Any]
Params = Mapping[str, Any]
Statement = tuple[str, Params]
Result = TypeVar("Result")
Conversation = Generator[Sequence[Statement], list[list[Row]], Result]
"""Yields statements that share a round trip and is sent the rows of each."""

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]

POOL_TIMEOUT_SECONDS = 5.0
MAX_WAITING = 500
SESSION = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "timezone": "UTC",
        "jit": "off",  # the planner overrates store_deliveries, and compiling it costs more than running it
        "lock_timeout": "5s",
        "statement_timeout": "10s",
        "idle_in_transaction_session_timeout": "20s",
    }.items()
)
CONNECTION: dict[str, Any] = {"autocommit": True, "row_factory": dict_row, "options": SESSION}


class Transaction:
    """A transaction, begun with its first statements, in which several statements can share a round trip."""

    def __init__(self, connection: AsyncConnection[DictRow]) -> None:
        self._connection = connection
        self.open = False

    async def run(self, *statements: Statement, commit: bool = False) -> list[list[Row]]:
        """Run the statements in order in one round trip; with `commit`, end the transaction in it too.

        Returns the rows of each. Raises Contended, or what psycopg raises for a fault in the statement.
        """
        connection = self._connection
        with translated(Contended):
            async with connection.pipeline():
                if not self.open:
                    await connection.execute("BEGIN")
                    self.open = True
                cursors = [await connection.execute(QUERIES[name], params) for name, params in statements]
                if commit:
                    await connection.execute("COMMIT")
            self.open = not commit
            return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]

    async def commit(self) -> None:
        """Commit if the last statements did not. Raises Contended if the connection is lost."""
        if self.open:
            await self.run(commit=True)

    async def converse(self, steps: Conversation[Result]) -> Result:
        """Run what the steps ask for, one round trip for each request; their result. Raises as `run`."""
        try:
            request = next(steps)
            while True:
                request = steps.send(await self.run(*request))
        except StopIteration as end:
            return cast(Result, end.value)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part of the open transaction that is undone alone if it fails."""
        async with self._connection.transaction():
            yield


class Database:
    """The pools of one process. `open` waits for nothing: a database that is away shows in /readyz.

    `patience`: how many seconds anybody waits for a connection, or for a place.
    """

    def __init__(
        self,
        url: str,
        *,
        ingest_connections: int = 2,
        work_connections: int = 8,
        patience: float = POOL_TIMEOUT_SECONDS,
    ) -> None:
        self._url = url
        self._ingest = _pool(url, "ingest", ingest_connections, patience)
        self._work = _pool(url, "work", work_connections, patience)
        self._places = asyncio.Semaphore(work_connections)

    async def open(self) -> None:
        await self._ingest.open()
        await self._work.open()

    async def close(self) -> None:
        await self._ingest.close()
        await self._work.close()

    async def ingest(self, name: str, params: Params) -> list[Row]:
        """Run one statement in a transaction of its own, on the connections kept for ingest."""
        return await self._once(self._ingest, (name, params))

    async def fetch_all(self, name: str, params: Params) -> list[Row]:
        """Run one statement in a transaction of its own. Raises DatabaseUnavailable."""
        return await self._once(self._work, (name, params))

    async def fetch_one(self, name: str, params: Params) -> Row | None:
        """The first row of `fetch_all`, or None."""
        return next(iter(await self.fetch_all(name, params)), None)

    async def healthy(self) -> bool:
        """Whether the database answers, and a connection is to be had, within two seconds."""
        try:
            async with asyncio.timeout(2):
                await self.fetch_all("database/ping", {})
        except (DatabaseUnavailable, Contended, TimeoutError):
            return False
        return True

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place at work: there are as many as connections, so that who claims an event gets to work on it.

        Raises Overloaded when none becomes free in time; nothing was claimed then.
        """
        try:
            async with asyncio.timeout(self._work.timeout):
                await self._places.acquire()
        except TimeoutError as error:
            raise Overloaded from error
        try:
            yield
        finally:
            self._places.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction; committed at the end if its last `run` did not, undone on an error."""
        async with _connection(self._work) as connection:
            transaction = Transaction(connection)
            yield transaction
            await transaction.commit()

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[tuple[bool, Transaction]]:
        """Hold the session lock of that name, on a connection of its own beside the pools.

        Yields whether it was free, and the connection. Raises DatabaseUnavailable.
        """
        async with _session(self._url) as connection:
            session = Transaction(connection)
            ((row,),) = await session.run(("database/try_lock", {"name": name}), commit=True)
            try:
                yield row["locked"], session
            finally:
                # The lock goes with the session; given back first, nobody waits until the server notices.
                if row["locked"]:
                    with suppress(psycopg.Error):
                        await connection.rollback()
                        await connection.execute(QUERIES["database/unlock"], {"name": name})

    @asynccontextmanager
    async def rehearsal(self) -> AsyncIterator[Transaction]:
        """A transaction that is undone at its end, whatever happened in it. Raises Busy for Contended."""
        try:
            async with _connection(self._work) as connection, connection.transaction(force_rollback=True):
                transaction = Transaction(connection)
                transaction.open = True
                yield transaction
        except Contended as error:
            raise Busy from error

    async def _once(self, pool: Pool, statement: Statement) -> list[Row]:
        name, params = statement
        async with _connection(pool) as connection:
            with translated(DatabaseUnavailable):
                cursor = await connection.execute(QUERIES[name], params)
                return await cursor.fetchall() if cursor.description else []


def _pool(url: str, name: str, size: int, patience: float) -> Pool:
    return AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[DictRow],
        kwargs=CONNECTION,
        min_size=1,
        max_size=size,
        timeout=patience,
        max_waiting=MAX_WAITING,
        name=name,
        open=False,
    )


@asynccontextmanager
async def _connection(pool: Pool) -> AsyncIterator[AsyncConnection[DictRow]]:
    try:
        connection = await pool.getconn()
    except (PoolTimeout, PoolClosed, TooManyRequests) as error:
        raise DatabaseUnavailable from error
    try:
        yield connection
    finally:
        # The pool rolls back what an error left open, and replaces a connection that is broken.
        await pool.putconn(connection)


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[AsyncConnection[DictRow]]:
    with translated(DatabaseUnavailable):
        connection = await AsyncConnection[DictRow].connect(
            url, connect_timeout=int(POOL_TIMEOUT_SECONDS), **CONNECTION
        )
    try:
        yield connection
    finally:
        await connection.close()
