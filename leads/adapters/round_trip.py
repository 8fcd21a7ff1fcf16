"""Run several statements in one round trip and one packet.

psycopg's pipeline sends each statement when it is executed, then its end, then a request to flush: a system
call each, and the server wakes up for most. This is the only module that uses what psycopg does not document
(docs/decisions/0067).
"""

import sys
from collections.abc import Mapping, Sequence

from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline
from psycopg.abc import PQGen
from psycopg.generators import send
from psycopg.rows import DictRow

Cursor = AsyncCursor[DictRow]


async def run_together(
    db_connection: AsyncConnection[DictRow], statements: Sequence[tuple[bytes, Mapping[str, object] | None]]
) -> list[Cursor]:
    """Run the statements in order; return a cursor with the result of each. Raises the first error."""
    async with db_connection.lock:
        return await db_connection.wait(_run_together(db_connection, statements))


def _run_together(
    db_connection: AsyncConnection[DictRow], statements: Sequence[tuple[bytes, Mapping[str, object] | None]]
) -> PQGen[list[Cursor]]:
    cursors = [db_connection.cursor() for _ in statements]
    pipeline = db_connection._pipeline = AsyncPipeline(db_connection)
    try:
        yield from pipeline._enter_gen()
        try:
            for cursor, (text, params) in zip(cursors, statements, strict=True):
                # As AsyncCursor.execute does, but the statement waits in the queue of commands.
                yield from cursor._start_query(text)
                yield from cursor._maybe_prepare_gen(cursor._convert_query(text, params))
        finally:
            pipeline._enqueue_sync()
            while pipeline.command_queue:
                pipeline.command_queue.popleft()()  # into libpq's buffer, which the last one sends
            yield from send(db_connection.pgconn)  # what did not fit into the socket
            yield from pipeline._fetch_gen(flush=False)
    finally:
        try:
            pipeline._exit(sys.exception())  # with an error it logs a second one instead of raising it
        finally:
            db_connection._pipeline = None
    yield from db_connection._prepared.maintain_gen(db_connection)
    return cursors
