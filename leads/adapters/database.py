"""PostgreSQL through psycopg: two pools, named statements, one round trip for what belongs together.

Ingest has its own connections, so that it does not wait behind processing, which waits for locks.
Statements stand by name in the files of sql/. None is retried, but by retry_contended the whole work.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, overload

import psycopg
from psycopg import abc, adapt, errors, pq
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from leads.adapters.round_trip import PreparingConnection, run_together
from leads.domain.errors import Busy, Contended, DatabaseUnavailable, Overloaded

Row = dict[str, Any]
Params = Mapping[str, object]
Statement = tuple[str, Params]
"""The name of a statement of sql/ and its parameters."""

RowType = TypeVar("RowType")
Result = TypeVar("Result")

StatementError = psycopg.Error
"""What psycopg raises for a fault in a statement; services catch it without importing psycopg."""
UnstorableData = psycopg.DataError
"""The kind of StatementError that says: PostgreSQL cannot hold this value."""

Pool = AsyncConnectionPool[PreparingConnection]

MAX_TRIES = 3
"""Of work that loses against concurrent transactions; after that the caller gets Contended."""
POOL_TIMEOUT_SECONDS = 5.0
POOL_CLOSE_SECONDS = 1.0
CHECK_SECONDS = 2.0
"""How long an idle session may take to answer, before another is opened."""
MAX_WAITING_FOR_CONNECTION = 500
SESSION_OPTIONS = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "timezone": "UTC",
        "jit": "off",  # the planner overrates store_deliveries, and compiling it costs more than running it
        "enable_seqscan": "off",  # a plan that was made while a table was small is kept for long
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
# Else store_deliveries is planned at each execution, which takes twice as long as the execution.
INGEST_OPTIONS = f"{SESSION_OPTIONS} -c plan_cache_mode=force_generic_plan"
READER_SETTINGS = CONNECTION_SETTINGS | {
    # The last value of an option counts.
    "options": f"{SESSION_OPTIONS} -c statement_timeout=2s -c default_transaction_read_only=on"
    " -c enable_seqscan=on",
    # Each statement is planned for its times: a generic plan does not know how short a window is.
    "prepare_threshold": None,
}

CONTENDED = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.IdleInTransactionSessionTimeout,
)
UNUSABLE_CONNECTION = (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction)


class _TimeLoader(adapt.Loader):
    """Loads a time that Python does not have, such as infinity, as a far one: the other rows are read too."""

    _type = psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, pq.Format.TEXT)

    def __init__(self, oid: int, context: abc.AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        assert self._type is not None
        self._loader = self._type(oid, context)

    def load(self, data: abc.Buffer) -> object:
        try:
            return self._loader.load(data)
        except psycopg.DataError as error:
            if (found := re.match("timestamp too (small|large)", str(error))) is None:
                raise
            # A year from the first or last time of Python, so that sums and other zones have it too.
            return datetime(2 if found[1] == "small" else 9999, 1, 1, tzinfo=UTC)


psycopg.adapters.register_loader("timestamptz", _TimeLoader)

SQL_FOLDER = Path(__file__).resolve().parents[2] / "sql"
_NAME = re.compile(r"^-- name: (.+)\n", re.MULTILINE)


def load_queries(*folders: Path) -> dict[str, bytes]:
    """Load the statements of the files in folders, by name, without comment lines and indentation.

    Bytes, because psycopg takes text only from literals. Raises ValueError if a name stands twice.
    """
    queries: dict[str, bytes] = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.sql")):
        for name, text in split(path.read_text("utf-8")):
            if name in queries:
                raise ValueError(f"{path}: {name} stands twice")
            lines = (line.strip() for line in text.splitlines())
            queries[name] = " ".join(line for line in lines if line and not line.startswith("--")).encode()
    return queries


def split(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each statement of a file. Raises ValueError for one without a name."""
    before, *parts = _NAME.split(text)
    if before.strip():
        raise ValueError(f"no name stands above {before.strip().splitlines()[0]!r}")
    yield from zip(parts[::2], parts[1::2], strict=True)


QUERIES = load_queries(SQL_FOLDER, SQL_FOLDER / "kpi")
"""The statements of the server. Those of the operators' command are in ops/clients/db_session.py."""


class Transaction:
    """A transaction, begun with its first statements, in which several statements can share a round trip.

    `is_undone`: it has begun, and the caller rolls it back: no commit is sent.
    """

    def __init__(self, db_connection: PreparingConnection, *, is_undone: bool = False) -> None:
        self._db_connection = db_connection
        self._is_open = self._is_undone = is_undone

    async def run(self, *statements: Statement, commit: bool = False) -> list[list[Row]]:
        """Run the statements in order in one round trip; with `commit`, end the transaction in it too.

        Returns the rows of each. Raises Contended, or StatementError.
        """
        commit = commit and not self._is_undone
        parts = [(QUERIES[name], params) for name, params in statements]
        first = 0 if self._is_open else 1
        if not self._is_open:
            parts.insert(0, (b"BEGIN", {}))
        if commit:
            parts.append((b"COMMIT", {}))
        self._is_open = True
        with translated(Contended):
            rows = await run_together(self._db_connection, parts)
        self._is_open = not commit
        return rows[first : first + len(statements)]

    async def commit(self) -> None:
        """Commit if the last statements did not. Raises Contended if the connection is lost."""
        if self._is_open:
            await self.run(commit=True)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part of the open transaction that is undone alone if it fails."""
        async with self._db_connection.transaction():
            yield


class Reader:
    """A session outside the pools in which each statement is a transaction that only reads."""

    def __init__(self, db_connection: PreparingConnection) -> None:
        self._db_connection = db_connection

    async def fetch_all(self, name: str, params: Params) -> list[Row]:
        """Run one statement. Raises DatabaseUnavailable, Contended (it takes too long) or StatementError."""
        with translated(DatabaseUnavailable):
            cursor = await self._db_connection.execute(QUERIES[name], params)
            return await cursor.fetchall()


class Database:
    """The pools of one process. `open` does not wait: a database that does not answer shows in /readyz."""

    def __init__(
        self,
        url: str,
        *,
        ingest_connections: int = 2,
        work_connections: int = 8,
        wait_seconds: float = POOL_TIMEOUT_SECONDS,
    ) -> None:
        """`wait_seconds`: the longest wait for a connection or a work slot."""
        self._url = url
        self._ingest = _new_pool(url, INGEST_OPTIONS, "ingest", ingest_connections, wait_seconds)
        self._work = _new_pool(url, SESSION_OPTIONS, "work", work_connections, wait_seconds)
        self._idle_readers: list[PreparingConnection] = []
        self._work_slots = asyncio.Semaphore(work_connections)
        self._list_slots = asyncio.Semaphore(max(work_connections // 4, 1))

    async def open(self) -> None:
        await self._ingest.open()
        await self._work.open()

    async def close(self) -> None:
        await asyncio.gather(*(pool.close(POOL_CLOSE_SECONDS) for pool in (self._ingest, self._work)))
        while self._idle_readers:
            await self._idle_readers.pop().close()

    async def ingest(self, name: str, params: Params, row_type: type[RowType]) -> list[RowType]:
        """Run one statement in its own transaction, on the connections kept for ingest."""
        return await self._run_alone(self._ingest, name, params, row_type)

    @overload
    async def fetch_all(self, name: str, params: Params) -> list[Row]: ...
    @overload
    async def fetch_all(self, name: str, params: Params, row_type: type[RowType]) -> list[RowType]: ...
    async def fetch_all(
        self, name: str, params: Params, row_type: type[RowType] | None = None
    ) -> list[RowType] | list[Row]:
        """Run one statement in its own transaction; rows are dictionaries, or built by `row_type`.

        Raises DatabaseUnavailable, Contended or StatementError.
        """
        return await self._run_work(name, params, row_type)

    async def fetch_one(self, name: str, params: Params) -> Row | None:
        """Return the first row of `fetch_all`, or None."""
        rows = await self._run_work(name, params, None)
        return rows[0] if rows else None

    @asynccontextmanager
    async def work_slot(self, *, of_list: bool = False) -> AsyncIterator[None]:
        """Reserve a slot. Events have as many as connections, lists that people ask for share a few of these.

        Raises Overloaded when none becomes free in time; nothing was claimed then.
        """
        slots = self._list_slots if of_list else self._work_slots
        try:
            async with asyncio.timeout(self._work.timeout):
                await slots.acquire()
        except TimeoutError as error:
            raise Overloaded from error
        try:
            yield
        finally:
            slots.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction; committed at the end if its last `run` did not, undone on an error."""
        async with _pooled_connection(self._work) as db_connection:
            transaction = Transaction(db_connection)
            yield transaction
            await transaction.commit()

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[tuple[bool, Transaction]]:
        """Hold the session lock of that name, on a database session outside the pools.

        Yields whether the lock was free, and the session. Raises DatabaseUnavailable.
        """
        db_connection = await _connect(self._url, CONNECTION_SETTINGS)
        try:
            session = Transaction(db_connection)
            ((row,),) = await session.run(("database/try_lock", {"name": name}), commit=True)
            try:
                yield row["locked"], session
            finally:
                # The lock ends with the session. Released first, the next holder need not wait until the
                # server notices that the session is gone.
                if row["locked"]:
                    with suppress(psycopg.Error):
                        await db_connection.rollback()
                        await db_connection.execute(QUERIES["database/unlock"], {"name": name})
        finally:
            await db_connection.close()

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """A session for figures, outside the pools: they take no connection from leads.

        It is kept for the next caller, unless the block raises: in a new session, planning a statement takes
        longer than running it. A statement may take two seconds. Raises DatabaseUnavailable.
        """
        db_connection = await self._take_idle_reader() or await _connect(self._url, READER_SETTINGS)
        try:
            yield Reader(db_connection)
        except BaseException:
            await db_connection.close()
            raise
        self._idle_readers.append(db_connection)

    @asynccontextmanager
    async def dry_run(self) -> AsyncIterator[Transaction]:
        """A transaction that is always rolled back. Raises Busy instead of Contended."""
        try:
            async with (
                _pooled_connection(self._work) as db_connection,
                db_connection.transaction(force_rollback=True),
            ):
                yield Transaction(db_connection, is_undone=True)
        except Contended as error:
            raise Busy from error

    async def _take_idle_reader(self) -> PreparingConnection | None:
        while self._idle_readers:
            db_connection = self._idle_readers.pop()
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await Pool.check_connection(db_connection)
                return db_connection
            except (psycopg.OperationalError, TimeoutError):
                await db_connection.close()
        return None

    async def _run_work(self, name: str, params: Params, row_type: type[RowType] | None) -> list[Any]:
        return await self._run_alone(self._work, name, params, row_type)

    async def _run_alone(
        self, pool: Pool, name: str, params: Params, row_type: type[RowType] | None
    ) -> list[Any]:
        async with _pooled_connection(pool) as db_connection:
            with translated(DatabaseUnavailable):
                (rows,) = await run_together(db_connection, [(QUERIES[name], params)])
        return [row_type(**row) for row in rows] if row_type else rows


class UndoneDatabase(Database):
    """Runs statements and transactions as savepoints of one transaction, one at a time.

    Later work sees what earlier work wrote, as in the real run; a part that fails is undone alone.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._whole = transaction
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._turn, self._whole.savepoint():
            yield self._whole

    async def _run_work(self, name: str, params: Params, row_type: type[RowType] | None) -> list[Any]:
        async with self.transaction() as transaction:
            (rows,) = await transaction.run((name, params))
        return [row_type(**row) for row in rows] if row_type else rows


def _new_pool(url: str, options: str, name: str, size: int, wait_seconds: float) -> Pool:
    return AsyncConnectionPool(
        url,
        connection_class=PreparingConnection,
        kwargs=CONNECTION_SETTINGS | {"options": options},
        min_size=1,
        max_size=size,
        timeout=wait_seconds,
        max_waiting=MAX_WAITING_FOR_CONNECTION,
        name=name,
        open=False,
    )


@asynccontextmanager
async def _pooled_connection(pool: Pool) -> AsyncIterator[PreparingConnection]:
    try:
        db_connection = await pool.getconn()
    except (PoolTimeout, PoolClosed, TooManyRequests) as error:
        raise DatabaseUnavailable from error
    try:
        yield db_connection
    finally:
        # The pool rolls back what an error left open, and replaces a broken connection.
        await pool.putconn(db_connection)


async def _connect(url: str, settings: dict[str, Any]) -> PreparingConnection:
    with translated(DatabaseUnavailable):
        return await PreparingConnection.connect(url, connect_timeout=int(POOL_TIMEOUT_SECONDS), **settings)


@contextmanager
def translated(lost: type[Contended] | type[DatabaseUnavailable]) -> Iterator[None]:
    """Raise Contended for a conflict, `lost` for a connection that is lost or may not write."""
    try:
        yield
    except CONTENDED as error:
        raise Contended(type(error).__name__) from error
    except UNUSABLE_CONNECTION as error:
        raise lost from error


async def retry_contended(work: Callable[[], Awaitable[Result]]) -> Result:
    """Do the work, and repeat it at once while it raises Contended: MAX_TRIES times in all."""
    for _ in range(MAX_TRIES - 1):
        try:
            return await work()
        except Contended:
            continue
    return await work()
