"""A process that dies before or after a chosen round trip to its database or to Hasura."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from leads.adapters.database import Database, Params, Row, RowType, Statement, Transaction
from leads.adapters.graphql import SEND_TIMEOUT_SECONDS, GraphqlClient
from leads.services.outbox import Outbox, UnsentEvent
from leads.services.runtime import Runtime


class Crash(BaseException):
    """The process is dead: production code must not catch this."""


class Fuse:
    """Raises Crash at the `step`-th call of `burn`, counted from 0."""

    def __init__(self, step: int) -> None:
        self.steps_left = step

    def burn(self) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise Crash


class CrashingDatabase(Database):
    """A database whose caller dies before or after one of its round trips."""

    def __init__(self, real: Database, fuse: Fuse) -> None:
        self._real = real
        self._fuse = fuse

    async def _run_work(self, name: str, params: Params, row_type: type[RowType] | None) -> list[Any]:
        self._fuse.burn()
        rows = await self._real._run_work(name, params, row_type)
        self._fuse.burn()
        return rows

    @asynccontextmanager
    async def work_slot(self) -> AsyncIterator[None]:
        async with self._real.work_slot():
            yield

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._real.transaction() as transaction:
            yield CrashingTransaction(transaction, self._fuse)


class CrashingTransaction(Transaction):
    def __init__(self, real: Transaction, fuse: Fuse) -> None:
        self._real = real
        self._fuse = fuse

    async def run(self, *statements: Statement, commit: bool = False) -> list[list[Row]]:
        self._fuse.burn()
        rows = await self._real.run(*statements, commit=commit)
        self._fuse.burn()
        return rows


class CrashingHasura(GraphqlClient):
    def __init__(self, real: GraphqlClient, fuse: Fuse) -> None:
        self._real = real
        self._fuse = fuse

    async def send_notifications(
        self, notifications: Sequence[Mapping[str, object]], *, timeout_seconds: float = SEND_TIMEOUT_SECONDS
    ) -> dict[str, int]:
        self._fuse.burn()
        result = await self._real.send_notifications(notifications, timeout_seconds=timeout_seconds)
        self._fuse.burn()
        return result


class DirectOutbox(Outbox):
    """Sends in the caller's own task, so that a crash there reaches the caller."""

    async def send(self, events: Iterable[UnsentEvent]) -> int:
        return sum([len((await self.attempt([event]))[0]) for event in events if event.notifications])


def crashing(runtime: Runtime, step: int) -> Runtime:
    """The same process, which dies at that step of its work with the database and Hasura."""
    fuse = Fuse(step)
    db, graphql = CrashingDatabase(runtime.db, fuse), CrashingHasura(runtime.graphql, fuse)
    outbox = DirectOutbox(db, graphql, runtime.metrics, runtime.clock)
    return replace(runtime, db=db, graphql=graphql, outbox=outbox)
