"""A cursor for psycopg's pipelines whose statements leave together, when the pipeline ends."""

from psycopg import AsyncCursor
from psycopg.abc import Params, PQGen, Query
from psycopg.rows import DictRow


class QueuedCursor(AsyncCursor[DictRow]):
    """Writes its statement into libpq's buffer only.

    psycopg's cursor also sends it: a system call for each statement, and the server wakes up for each. An
    error of a statement is raised when the pipeline ends.
    """

    def _execute_gen(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> PQGen[None]:
        """As psycopg's own, but for the communication with the server."""
        yield from self._start_query(query)
        statement = self._convert_query(query, params)
        yield from self._maybe_prepare_gen(statement, prepare=prepare, binary=binary)
        yield from self._conn._prepared.maintain_gen(self._conn)
