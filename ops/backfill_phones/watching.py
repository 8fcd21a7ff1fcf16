"""Watch for sessions that wait for the locks of the backfill, and cancel its statement."""

import threading
from types import TracebackType
from typing import Self

from leads.domain.errors import IntegrationError
from ops.backfill_phones.limits import Stopped
from ops.clients.db_session import QUERIES, DatabaseError, DbSession, open_session
from ops.failures import connection_reason

CHECK_INTERVAL_SECONDS = 0.05
JOIN_TIMEOUT_SECONDS = 5


class LockWatch:
    """Context manager: a thread with a second connection watches `writer`, which takes the locks."""

    def __init__(self, database_url: str, writer: DbSession, max_wait_seconds: float) -> None:
        self._url = database_url
        self._writer = writer
        self._limit_ms = max_wait_seconds * 1000
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.longest_ms = 0.0

    def check(self) -> None:
        """Raise Stopped if another session waited too long, or if the watch failed."""
        if self._failure is not None:
            raise Stopped(f"Lock waits can no longer be watched: {connection_reason(self._failure)}")
        if self.longest_ms > self._limit_ms:
            raise Stopped(
                f"Another session waited {self.longest_ms:.0f} ms for a row that this run held "
                f"(limit {self._limit_ms:.0f} ms): run it again when the database is quieter"
            )

    def _watch(self) -> None:
        try:
            with open_session(self._url, "backfill-phones") as db_connection:
                while not self._stop.wait(CHECK_INTERVAL_SECONDS):
                    self._check_waits(db_connection)
        except (DatabaseError, IntegrationError) as error:
            self._failure = error

    def _check_waits(self, db_connection: DbSession) -> None:
        row = db_connection.execute(
            QUERIES["backfill_phones/find_longest_wait"], {"pid": self._writer.info.backend_pid}
        ).fetchone()
        if row is not None:
            self.longest_ms = max(self.longest_ms, row["waited_ms"])
            if row["waited_ms"] > self._limit_ms:
                self._writer.cancel()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(JOIN_TIMEOUT_SECONDS)
