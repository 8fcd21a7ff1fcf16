"""The databases of the tests: a shared one, emptied after each test, and clones for some.

A clone took 70 ms in memory and 400 to 690 ms on disk, emptying 15 to 19 ms on a busy machine
(docs/decisions/0030): files are copied, and every session in a clone starts with cold catalogues. So the
emptied database keeps its sessions too: one of the test, and pools of the handlers, whose statements stay
prepared.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row, tuple_row

from leads.adapters.database import Database, load_queries
from sandbox.postgres.database import owner_url
from sandbox.postgres.server import RUN_ID, Cluster
from tests.support.waiting import eventually_async

Session = psycopg.Connection[dict[str, Any]]

STATEMENTS = {name: text.decode() for name, text in load_queries(Path(__file__).with_name("sql")).items()}
SESSION_NAME = "test"
"""application_name of a test's session, to distinguish it from those of the handlers."""
LARGE_TABLE_BYTES = 200_000
"""A larger table is truncated: deleting its rows takes longer, and leaves them in its files."""
_numbers = count(1)
_FIRST_OWN_OID = 16_384
"""PostgreSQL's own objects have lower ones."""
_CATALOGS = {
    "oid": (
        "pg_class", "pg_attrdef", "pg_proc", "pg_trigger", "pg_constraint", "pg_policy", "pg_rewrite",
        "pg_type", "pg_event_trigger", "pg_namespace",
    ),
    "attrelid": ("pg_attribute",),
    "indexrelid": ("pg_index",),
    "seqrelid": ("pg_sequence",),
}  # fmt: skip
"""The catalogues that make up the schema, by the column that tells our objects."""
_OF_THIS_DATABASE = "t.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
"""The settings of databases are in one catalogue for all of them."""
_VOLATILE = (
    "relfilenode", "relpages", "reltuples", "relallvisible", "relfrozenxid", "relminmxid", "relhastriggers",
)  # fmt: skip
"""Columns that change with the rows of a table; the last stays true after the last trigger is dropped."""


def _of_catalogs(selected: str) -> str:
    conditions = {
        catalog: f"t.{key} >= {_FIRST_OWN_OID}" for key, catalogs in _CATALOGS.items() for catalog in catalogs
    } | {"pg_db_role_setting": _OF_THIS_DATABASE}
    return " UNION ALL ".join(
        f"SELECT '{catalog}', {selected} FROM {catalog} AS t WHERE {condition}"
        for catalog, condition in conditions.items()
    )


_STAMP = _of_catalogs("count(*), sum(t.xmin::text::bigint)")
"""Changes with each row of the catalogues that is written, also if in the end nothing is different."""
_SCHEMA = f"""
SELECT catalog, row - '{{{", ".join(_VOLATILE)}}}'::text[]
FROM ({_of_catalogs("to_jsonb(t)")}) AS found (catalog, row)
WHERE row ->> 'nspname' IS NULL OR row ->> 'nspname' !~ '^pg_(toast_)?temp_'
"""
"""Schemas for temporary tables stay after the first one."""
_TABLES = """
SELECT oid::regclass::text
FROM pg_class
WHERE relkind = 'r' AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
ORDER BY 1
"""
_SIZES = """
SELECT oid::regclass::text, pg_relation_size(oid), reltuples FROM pg_class WHERE oid = ANY(%s::regclass[])
"""
_UNKNOWN = -1
"""The number of rows of a table that was never analyzed."""
END_SESSIONS = """
SELECT pg_terminate_backend(pid, 5000)
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> ALL(%s::int[])
    AND pid <> pg_backend_pid()
"""


class SchemaChanged(Exception):
    """A test changed tables, functions, triggers or rights of a database that others use after it."""


class KeptPools:
    """Open pools of one process of the handlers, lent to one process after another in the same event loop."""

    def __init__(self, of: Database) -> None:
        self._ingest, self._work, self._idle_readers = of._ingest, of._work, of._idle_readers
        self._timeouts = self._ingest.timeout, self._work.timeout
        self.sizes = of._ingest.max_size, of._work.max_size
        self.is_lent = self.is_ending = self.is_closed = False

    @property
    def pids(self) -> list[int]:
        """The backends of the sessions that are not in use."""
        sessions = (*self._ingest._pool, *self._work._pool, *self._idle_readers)
        return [each.info.backend_pid for each in sessions]

    def lend(self, to: Database) -> None:
        to._ingest, to._work, to._idle_readers = self._ingest, self._work, self._idle_readers
        to.close = self._close_of_borrower  # type: ignore[method-assign]
        self.is_lent, self.is_ending = True, False

    async def take_back(self, session: Session) -> None:
        """Close the pools unless they are as they were lent, with sessions that are idle."""
        self._ingest.timeout, self._work.timeout = self._timeouts
        if not self.is_closed and not await self._is_unharmed(session):
            await self.close()

    async def close(self) -> None:
        self.is_closed = True
        await self._ingest.close()
        await self._work.close()
        while self._idle_readers:
            await self._idle_readers.pop().close()

    async def _close_of_borrower(self) -> None:
        """Close the pools when a test asks for it, but not at the regular end of the process."""
        if not self.is_ending and not self.is_closed:
            await self.close()

    async def _is_unharmed(self, session: Session) -> bool:
        def is_complete() -> bool:
            states = (self._ingest.get_stats(), self._work.get_stats())
            return all(state["pool_available"] == state["pool_size"] for state in states)

        try:
            await eventually_async(is_complete, seconds=2)
        except AssertionError:
            return False
        pids = self.pids
        query = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = ANY(%s) AND state = 'idle'"
        return session.execute(query, [pids]).fetchall() == [{"n": len(pids)}]


class EmptiedDatabase:
    """A database that one test after another uses; `empty` makes its rows again those of its template."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pools: list[KeptPools] = []
        self.is_session_lent = False
        self._session = _connect(url)
        self._tables = [name for (name,) in self._rows(_TABLES)]
        self._inserts = {table: self._insert(table) for table in self._tables}
        self._sequences = self._read_sequences()
        self._row_stamps = self._read_row_stamps()
        self._stamp, self._schema = self._rows(_STAMP), self._read_schema()
        self._row_numbers = {name: number for name, _, number in self._rows(_SIZES, self._tables)}

    def empty(self) -> None:
        """End the sessions that a test left, and undo what it wrote. Raises SchemaChanged."""
        self._renew_session()
        kept = [pid for pools in self.pools if not pools.is_closed for pid in pools.pids]
        self._session.execute(END_SESSIONS, [kept])
        self._check_schema()
        truncated = self._tables_to_truncate()
        stamps = {} if truncated else self._read_row_stamps()  # TRUNCATE empties more tables than these
        changed = [table for table in self._tables if stamps.get(table) != self._row_stamps[table]]
        sequences = self._sequences - self._read_sequences()
        statements = [
            "BEGIN; SET LOCAL session_replication_role = 'replica'; SET LOCAL allow_system_table_mods = on",
            *([f"TRUNCATE {', '.join(truncated)} CASCADE"] if truncated else []),
            *(f"DELETE FROM pg_statistic WHERE starelid = '{table}'::regclass" for table in truncated),
            *(f"DELETE FROM {table}" for table in changed),
            *(self._inserts[table] for table in changed if self._inserts[table]),
            *(f"SELECT setval('{name}', {value}, {is_called})" for name, value, is_called in sequences),
            "COMMIT; SELECT pg_stat_reset()",
        ]
        self._session.execute(";".join(statements).encode())
        self._row_stamps = self._read_row_stamps() if changed else self._row_stamps
        self._stamp = self._rows(_STAMP) if truncated else self._stamp

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Lend the kept session. It is replaced if it was closed, or its backend ended."""
        self.is_session_lent = True
        try:
            self._session.execute("")
        except psycopg.OperationalError:
            self._session = _connect(self.url)
        try:
            yield self._session
        finally:
            self.is_session_lent = False

    async def check_pools(self, session: Session) -> None:
        """Close the pools with sessions that a test ended or left at work: their own, or those of another."""
        for pools in self.pools:
            if not pools.is_lent:
                await pools.take_back(session)

    def free_pools(self, for_: Database) -> KeptPools:
        """Return pools of the same sizes that no other process has now, if need be the database's own."""
        self.pools = [pools for pools in self.pools if not pools.is_closed]
        for pools in self.pools:
            if not pools.is_lent and pools.sizes == (for_._ingest.max_size, for_._work.max_size):
                return pools
        self.pools.append(KeptPools(for_))
        return self.pools[-1]

    def close(self) -> None:
        self._session.close()

    def _renew_session(self) -> None:
        """Undo what a test did to the kept session."""
        try:
            self._session.rollback()
            self._session.autocommit, self._session.row_factory = True, dict_row
            self._session.execute("DISCARD ALL")
        except psycopg.OperationalError:
            self._session.close()
            self._session = _connect(self.url)

    def _tables_to_truncate(self) -> list[str]:
        """Return large tables, and those with statistics, which would steer the plans of the next test."""
        return [
            name
            for name, size, number in self._rows(_SIZES, self._tables)
            if size > LARGE_TABLE_BYTES or number not in (_UNKNOWN, self._row_numbers[name])
        ]

    def _check_schema(self) -> None:
        stamp = self._rows(_STAMP)
        if stamp == self._stamp:
            return
        schema = self._read_schema()
        if schema != self._schema:
            changes = sorted(f"{catalog} {row[:300]}" for catalog, row in schema ^ self._schema)
            raise SchemaChanged("\n".join(["mark the test with own_database, or undo its change:", *changes]))
        self._stamp = stamp

    def _read_schema(self) -> set[tuple[str, str]]:
        return {(catalog, json.dumps(row)) for catalog, row in self._rows(_SCHEMA)}

    def _read_row_stamps(self) -> dict[str, object]:
        """Return what changes with each row that is written, by table."""
        stamps = "SELECT '{0}', count(*), sum(xmin::text::bigint) FROM {0}"
        parts = " UNION ALL ".join(stamps.format(table) for table in self._tables)
        return {table: stamp for table, *stamp in self._rows(parts)}

    def _read_sequences(self) -> set[tuple[str, int, bool]]:
        names = [name for (name,) in self._rows("SELECT seqrelid::regclass::text FROM pg_sequence")]
        parts = (f"SELECT '{name}', last_value, is_called FROM {name}" for name in names)
        return set(self._rows(" UNION ALL ".join(parts)))

    def _insert(self, table: str) -> str:
        (columns,) = self._rows(
            "SELECT array_agg(quote_ident(attname) ORDER BY attnum) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
            table,
        )[0]
        values = ", ".join(f"quote_nullable({name}::text)" for name in columns)
        rows = [text for (text,) in self._rows(f"SELECT concat_ws(', ', {values}) FROM {table}")]
        if not rows:
            return ""
        tuples = ", ".join(f"({row})" for row in rows)
        return f"INSERT INTO {table} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE VALUES {tuples}"

    def _rows(self, statement: str, *params: Any) -> list[Any]:
        cursor = self._session.cursor(row_factory=tuple_row)
        return cursor.execute(statement.encode(), params or None).fetchall()


class Databases:
    """The databases of one worker: made from templates, emptied or cloned."""

    def __init__(self, cluster: Cluster, templates: dict[str, str]) -> None:
        self._cluster = cluster
        self._templates = templates
        self._emptied: dict[str, EmptiedDatabase] = {}
        self._all: list[EmptiedDatabase] = []

    @contextmanager
    def lend(self, kind: str, *, is_own: bool) -> Iterator[str]:
        """Give the URL of a database like the template of that kind; with `is_own` a clone, dropped later."""
        # Emptying passes the triggers that refuse it, which only a superuser may.
        if is_own or not self._cluster.is_embedded:
            name = f"pancake_test_{RUN_ID}_{next(_numbers)}"
            yield self._cluster.create_database(name, self._templates[kind])
            self._cluster.drop_database(name)
            return
        emptied = self._emptied.get(kind) or self._new(kind)
        yield emptied.url
        try:
            emptied.empty()
        except Exception:
            del self._emptied[kind], _KEPT[emptied.url]
            raise

    def _new(self, kind: str) -> EmptiedDatabase:
        name = f"pancake_emptied_{RUN_ID}_{next(_numbers)}"
        emptied = EmptiedDatabase(self._cluster.create_database(name, self._templates[kind]))
        self._emptied[kind] = _KEPT[emptied.url] = emptied
        self._all.append(emptied)
        return emptied

    @asynccontextmanager
    async def keeping_pools(self) -> AsyncIterator[None]:
        """While this lasts, and in the same event loop, the pools of the handlers stay open between tests."""
        _LOOPS.append(asyncio.get_running_loop())
        yield
        _LOOPS.pop()
        for pools in (pools for emptied in self._all for pools in emptied.pools):
            await pools.close()

    def close(self) -> None:
        for emptied in self._all:
            emptied.close()


_LOOPS: list[asyncio.AbstractEventLoop] = []
_KEPT: dict[str, EmptiedDatabase] = {}
"""The emptied databases of this process, by the URL of their owner."""


def _connect(url: str) -> Session:
    return psycopg.connect(
        url, autocommit=True, row_factory=dict_row, application_name=SESSION_NAME, prepare_threshold=None
    )


@contextmanager
def owner_session(url: str) -> Iterator[Session]:
    """A session on a test's database: the kept one if it is free, else a new one."""
    kept = _KEPT.get(owner_url(url))
    if kept is not None and not kept.is_session_lent:
        with kept.session() as session:
            yield session
    else:
        with _connect(owner_url(url)) as session:
            yield session


@asynccontextmanager
async def borrowed_pools(db: Database) -> AsyncIterator[Callable[[], None]]:
    """Let a process use pools that stay open after it; gives what to call before it ends regularly."""
    kept = _KEPT.get(owner_url(db._url))
    if kept is None or asyncio.get_running_loop() not in _LOOPS:
        yield lambda: None
        return
    with owner_session(db._url) as session:  # a test of the pools themselves may have ended kept sessions
        await kept.check_pools(session)
    pools = kept.free_pools(db)
    pools.lend(db)

    def ends() -> None:
        pools.is_ending = True

    yield ends
    pools.is_lent = False
    with owner_session(db._url) as session:
        await kept.check_pools(session)
