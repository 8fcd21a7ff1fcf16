"""Sees, from a connection of its own, whether others wait for our locks, and cancels us if too long."""

import threading
from types import TracebackType
from typing import Self

import psycopg

from leads.adapters.queries import QUERIES
from scripts.backfill.accounts import Db
from scripts.backfill.limits import Stopped

INTERVAL_SECONDS = 0.05


class LockWatch:
    """Context manager: while it is open, a thread watches `writer` (the connection that takes locks)."""

    def __init__(self, database_url: str, writer: Db, wait_seconds: float) -> None:
        self._url = database_url
        self._writer = writer
        self._limit_ms = wait_seconds * 1000
        self._stop = threading.Event()
        self._failure: psycopg.Error | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.longest_ms = 0.0

    def check(self) -> None:
        """Raise Stopped if another session waited too long, or if nobody watches any more."""
        if self._failure is not None:
            raise Stopped(f"lock waits can no longer be watched ({type(self._failure).__name__})")
        if self.longest_ms > self._limit_ms:
            raise Stopped(
                f"another session waited {self.longest_ms:.0f} ms for a row that this run held "
                f"(limit {self._limit_ms:.0f} ms): run it again when the database is quieter"
            )

    def _watch(self) -> None:
        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                while not self._stop.wait(INTERVAL_SECONDS):
                    self._look(connection)
        except psycopg.Error as error:
            self._failure = error

    def _look(self, connection: psycopg.Connection) -> None:
        row = connection.execute(
            QUERIES["backfill_phones/find_longest_wait"], {"pid": self._writer.info.backend_pid}
        ).fetchone()
        if row is not None:
            self.longest_ms = max(self.longest_ms, row[1])
            if row[1] > self._limit_ms:
                self._writer.cancel()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5)
