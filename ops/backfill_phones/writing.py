"""Write in short transactions. A batch that takes too long is rolled back and halved."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from ops.backfill_phones.accounts import Account
from ops.backfill_phones.limits import Limits, Stopped
from ops.clients.db_session import QUERIES, DbSession, DictRow, QueryCanceled


class Writer:
    """Runs one statement per transaction, with as many rows as fit into the time limit.

    `check` is called before each transaction and after a cancelled one; it raises Stopped.
    """

    def __init__(self, db_connection: DbSession, limits: Limits, check: Callable[[], None]) -> None:
        self._db_connection = db_connection
        self._limits = limits
        self._check = check
        self._size = limits.rows_per_batch
        self._paused_until = 0.0
        self.longest_ms = 0.0
        milliseconds = int(limits.max_batch_seconds * 1000)
        db_connection.execute(
            QUERIES["backfill_phones/set_statement_timeout"], {"statement_timeout": str(milliseconds)}
        )

    def fill(self, accounts: Sequence[Account], phones: Sequence[str]) -> int:
        """Write the phones; return the number of rows written, without those locked or changed meanwhile."""
        written = done = 0
        while done < len(accounts):
            part = accounts[done : done + self._size]
            row = self._run(
                "backfill_phones/fill_accounts",
                {
                    "ids": [account.id for account in part],
                    "phone_codes": [account.phone_code for account in part],
                    "phone_numbers": [account.phone_number for account in part],
                    "phones": list(phones[done : done + len(part)]),
                },
                len(part),
            )
            if row is not None:
                written += row["written"]
                done += len(part)
        return written

    def clear(self, from_id: object) -> tuple[int, str | None]:
        """Empty the next accounts from that id on; return how many, and the last id (None at the end)."""
        while True:
            size = self._size
            params = {"from_id": from_id, "limit": size}
            row = self._run("backfill_phones/clear_accounts", params, size)
            if row is not None:
                return row["written"], row["last_id"]

    def _run(self, statement: str, params: dict[str, Any], rows: int) -> DictRow | None:
        """Run a statement; return its row, or None if it took too long: the next batch must be smaller."""
        time.sleep(max(0.0, self._paused_until - time.monotonic()))  # reading and parsing continue meanwhile
        self._check()
        started = time.monotonic()
        try:
            with self._db_connection.transaction():
                row = self._db_connection.execute(QUERIES[statement], params, prepare=False).fetchone()
        except QueryCanceled:
            self._check()
            self._shrink(rows)
            return None
        finally:
            held = time.monotonic() - started
            self.longest_ms = max(self.longest_ms, held * 1000)
        self._adapt(held, rows)
        pause = self._limits.pause_seconds * min(1.0, rows / self._limits.rows_per_batch)
        self._paused_until = time.monotonic() + pause
        return row

    def _shrink(self, rows: int) -> None:
        if rows <= self._limits.min_rows_per_batch:
            raise Stopped(f"{rows} rows take longer than {self._limits.max_batch_seconds} s to write")
        self._size = max(self._limits.min_rows_per_batch, rows // 2)

    def _adapt(self, held: float, rows: int) -> None:
        if held > self._limits.max_batch_seconds / 2:
            self._size = max(self._limits.min_rows_per_batch, rows // 2)
        elif held < self._limits.max_batch_seconds / 5 and rows >= self._size:
            self._size = min(self._limits.rows_per_batch, self._size * 2)
