"""A database all of whose work is in one transaction that is rolled back, for dry runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from leads.adapters.database import Database, Params, Row, RowType, Statement, Transaction


class _Part(Transaction):
    """What is a transaction in the real work: here a part of the one that is undone."""

    def __init__(self, whole: Transaction) -> None:
        self._whole = whole

    async def run(self, *statements: Statement, commit: bool = False) -> list[list[Row]]:
        """Run the statements; a commit is left out."""
        return await self._whole.run(*statements)

    async def commit(self) -> None:
        return None


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
            yield _Part(self._whole)

    async def _run_work(self, name: str, params: Params, row_type: type[RowType] | None) -> list[Any]:
        async with self.transaction() as part:
            (rows,) = await part.run((name, params))
        return [row_type(**row) for row in rows] if row_type else rows
