"""Writing in transactions that hold row locks only briefly: what takes too long is undone and halved."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from psycopg import errors
from psycopg.rows import DictRow

from leads.adapters.queries import QUERIES
from scripts.backfill.accounts import Account, Db
from scripts.backfill.limits import Limits, Stopped


class Writer:
    """Runs one statement per transaction with as many rows as fit into the time allowed.

    `check` is asked before each transaction and after one that was cancelled; it raises Stopped.
    """

    def __init__(self, connection: Db, limits: Limits, check: Callable[[], None]) -> None:
        self._connection = connection
        self._limits = limits
        self._check = check
        self._size = limits.batch
        self._rests_until = 0.0
        self.longest_ms = 0.0
        milliseconds = int(limits.statement_seconds * 1000)
        connection.execute("SELECT set_config('statement_timeout', %s, false)", [str(milliseconds)])

    def fill(self, accounts: Sequence[Account], phones: Sequence[str]) -> int:
        """Write the phones; returns how many rows were free and unchanged."""
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
        """Empty the next accounts from that id on; returns how many, and the last id or None at the end."""
        while True:
            size = self._size
            params = {"from_id": from_id, "limit": size}
            row = self._run("backfill_phones/clear_accounts", params, size)
            if row is not None:
                return row["written"], row["last_id"]

    def _run(self, statement: str, params: dict[str, Any], rows: int) -> DictRow | None:
        """The statement's row, or None if it took too long and the next try is to be smaller."""
        time.sleep(max(0.0, self._rests_until - time.monotonic()))  # reading and parsing went on meanwhile
        self._check()
        started = time.monotonic()
        try:
            with self._connection.transaction():
                row = self._connection.execute(QUERIES[statement], params, prepare=False).fetchone()
        except errors.QueryCanceled:
            self._check()
            self._shrink(rows)
            return None
        finally:
            held = time.monotonic() - started
            self.longest_ms = max(self.longest_ms, held * 1000)
        self._adapt(held, rows)
        pause = self._limits.pause_seconds * min(1.0, rows / self._limits.batch)
        self._rests_until = time.monotonic() + pause
        return row

    def _shrink(self, rows: int) -> None:
        if rows <= self._limits.smallest_batch:
            raise Stopped(f"{rows} rows take longer than {self._limits.statement_seconds} s to write")
        self._size = max(self._limits.smallest_batch, rows // 2)

    def _adapt(self, held: float, rows: int) -> None:
        if held > self._limits.statement_seconds / 2:
            self._size = max(self._limits.smallest_batch, rows // 2)
        elif held < self._limits.statement_seconds / 5 and rows >= self._size:
            self._size = min(self._limits.batch, self._size * 2)
