"""Run statements in one round trip and one packet; each session prepares a statement once.

psycopg's pipeline sends each statement in a separate packet, and its cursors take twice the CPU. So this
module speaks to libpq through `psycopg.pq`; psycopg converts parameters and rows (docs/decisions/0015).
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from typing import Any, NamedTuple, TypeVar

from psycopg import AsyncConnection, Error, OperationalError, abc
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import ReadOnlySqlTransaction, error_from_result
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import DictRow
from psycopg.waiting import wait_async

CANCEL_SECONDS = 1.0
"""How long the server may take to hear that a statement is cancelled."""
MAX_PREPARED = 200
"""How many statements a session prepares; further ones are parsed at each execution."""
UNUSABLE_PLAN = frozenset({"0A000", "26000"})
"""SQLSTATEs of a prepared statement whose result has other columns now, or that the server does not know."""
Result = TypeVar("Result")
_PLACEHOLDER = re.compile(rb"%(?:\((\w+)\)s|(%)|)")

Text = tuple[bytes, Mapping[str, object]]
"""A statement with the placeholders `%(name)s`, and its parameters."""
Rows = list[dict[str, Any]]
Key = tuple[bytes, tuple[int, ...]]
"""What a prepared statement is found by: its text, and the types (OIDs) of its parameters."""


class _Parsed(NamedTuple):
    """A statement as PostgreSQL reads it, with `$1`, and the names of its parameters."""

    text: bytes
    names: tuple[str, ...]
    formats: tuple[PyFormat, ...]


class _Bound(NamedTuple):
    """A statement, found by `key` if it is prepared, with its parameters as PostgreSQL receives them."""

    key: Key
    values: Sequence[Buffer | None]
    formats: Sequence[int] | None


class PreparingConnection(AsyncConnection[DictRow]):
    """A session that keeps the names of the statements that it prepared."""

    def __init__(self, pgconn: PGconn) -> None:
        super().__init__(pgconn)
        self.prepared: dict[Key, bytes] = {}
        self.numbers = count()
        """For the names of prepared statements."""
        self.transformer: abc.Transformer = Transformer(self)
        """Kept, because it remembers how to convert each type."""

    async def wait(self, gen: PQGen[Result], interval: float = 0.1, *limit: Any, **limits: Any) -> Result:
        """As psycopg's, but a cancelled statement ends the session: psycopg waits ten seconds for it."""
        try:
            return await wait_async(gen, self.pgconn.socket, interval, *limit, **limits)
        except asyncio.CancelledError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                try:
                    with suppress(Error):
                        await self.cancel_safe(timeout=CANCEL_SECONDS)
                finally:
                    self.pgconn.finish()
            raise


async def run_together(db_connection: PreparingConnection, statements: Sequence[Text]) -> list[Rows]:
    """Run the statements in order; return the rows of each, [] of one that returns none.

    Raises the first error. The connection is closed if it is lost or may not write, or if the answers are not
    read to their end.
    """
    async with db_connection.lock:
        return await db_connection.wait(_run_together(db_connection, statements))


def _run_together(db_connection: PreparingConnection, statements: Sequence[Text]) -> PQGen[list[Rows]]:
    transformer = db_connection.transformer
    bound = [_bind(transformer, *statement) for statement in statements]
    try:
        results = yield from _exchange(db_connection, bound)
    except BaseException:
        db_connection.pgconn.finish()
        raise
    for statement, result in zip(bound, results, strict=True):
        if result.status == ExecStatus.FATAL_ERROR:
            error = error_from_result(result)
            if error.sqlstate in UNUSABLE_PLAN:
                db_connection.prepared.pop(statement.key, None)
            if isinstance(error, ReadOnlySqlTransaction):
                db_connection.pgconn.finish()  # it would stay so; a new session may be allowed to write
            raise error
    rows = [_rows(transformer, result) for result in results]
    transformer.set_pgresult(None)  # else it keeps the last one, which may be large
    return rows


def _exchange(db_connection: PreparingConnection, statements: Sequence[_Bound]) -> PQGen[list[PGresult]]:
    """Send the statements, and return the result of each; of one that cannot be prepared, that error."""
    pgconn = db_connection.pgconn
    pgconn.enter_pipeline_mode()
    is_new = [_enqueue(db_connection, statement) for statement in statements]
    pgconn.pipeline_sync()
    yield from send(pgconn)
    results = []
    for statement, prepares in zip(statements, is_new, strict=True):
        preparation = (yield from _fetch(pgconn)) if prepares else None
        result = yield from _fetch(pgconn)
        if preparation and preparation.status != ExecStatus.COMMAND_OK:
            db_connection.prepared.pop(statement.key, None)
            result = preparation
        results.append(result)
    yield from _fetch(pgconn)  # the end of the pipeline
    pgconn.exit_pipeline_mode()
    return results


def _enqueue(db_connection: PreparingConnection, statement: _Bound) -> bool:
    """Write a statement into libpq's buffer; return whether it is prepared before."""
    pgconn, prepared = db_connection.pgconn, db_connection.prepared
    (text, types), values, formats = statement
    name = prepared.get(statement.key)
    is_new = name is None and len(prepared) < MAX_PREPARED
    if is_new:
        name = prepared[statement.key] = b"leads_%d" % next(db_connection.numbers)
        pgconn.send_prepare(name, text, types)
    if name is None:
        pgconn.send_query_params(text, values, types, formats)
    else:
        pgconn.send_query_prepared(name, values, formats)
    return is_new


def _fetch(pgconn: PGconn) -> PQGen[PGresult]:
    """Read the one result of a command."""
    results: list[PGresult] = yield from fetch_many(pgconn)
    if len(results) != 1:
        raise OperationalError("the connection is lost")
    return results[0]


def _bind(transformer: abc.Transformer, text: bytes, params: Mapping[str, object]) -> _Bound:
    """Convert the parameters of a statement. Raises psycopg.DataError or ProgrammingError."""
    parsed = _parse(text)
    values = transformer.dump_sequence([params[name] for name in parsed.names], parsed.formats)
    return _Bound((parsed.text, transformer.types or ()), values, transformer.formats)


@cache
def _parse(text: bytes) -> _Parsed:
    """Number the placeholders. Raises ValueError for any other use of `%` than `%(name)s` and `%%`."""
    names: dict[bytes, int] = {}

    def number(found: re.Match[bytes]) -> bytes:
        name, percent = found.groups()
        if not name and not percent:
            raise ValueError(f"a % that is neither %(name)s nor %%: {text!r}")
        return b"$%d" % names.setdefault(name, len(names) + 1) if name else b"%"

    numbered = _PLACEHOLDER.sub(number, text)
    return _Parsed(numbered, tuple(name.decode() for name in names), (PyFormat.AUTO,) * len(names))


def _rows(transformer: abc.Transformer, result: PGresult) -> Rows:
    if result.status != ExecStatus.TUPLES_OK:
        return []
    transformer.set_pgresult(result)
    columns = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
    return transformer.load_rows(0, result.ntuples, lambda values: dict(zip(columns, values, strict=True)))
