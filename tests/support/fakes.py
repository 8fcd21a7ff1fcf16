"""Fakes of Hasura, the clock and Pancake, and processes that die at a chosen round trip."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Params, Row, RowType, Statement, Transaction
from leads.adapters.graphql import GraphqlClient
from leads.domain.errors import HasuraRefused, HasuraUnavailable, HasuraUncertain
from leads.domain.notifications import NEEDS_ATTENTION, TEXTS
from leads.runtime import Runtime
from leads.services.outbox import EventOutbox, UnsentRow
from tests.support.waiting import Answer


class SteadyClock(Clock):
    """Real time without jitter."""

    def jitter(self) -> float:
        return 0.0


class MovableClock(SteadyClock):
    """Real time plus `ahead`. A sleep adds to `ahead` and returns at once."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)
        await super().sleep(0)


class FakeDatabase(Database):
    """Records the statements in `ran` and returns `rows`; raises `error` if it is set."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[Row] = []
        self.error: Exception | None = None

    async def _run_work(self, name: str, params: Params, row_type: type[RowType] | None) -> list[Any]:
        if self.error is not None:
            raise self.error
        self.ran.append((name, dict(params)))
        return [row_type(**row) for row in self.rows] if row_type else self.rows


class FakeHasura(GraphqlClient):
    """Accepts notifications as sendNotifications does, each idempotency key once.

    `failing`: every call raises HasuraUnavailable. `refused`: a call with one of these keys raises
    HasuraRefused. `slow`: a call takes the notifications, then raises HasuraUncertain. `accepted_per_call`:
    the notifications beyond this number are ignored.
    `gate`: while it is not set, calls wait.
    A notice whose reason has no text fails the test.
    `taken` holds the key of each notification that arrived, repeats too: what people get if keys are ignored.
    """

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.sent: dict[str, Mapping[str, Any]] = {}
        self.failing = False
        self.refused: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.slow = False
        self.taken: list[str] = []
        self.accepted_per_call: int | None = None

    async def send_notifications(self, notifications: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        keys = [notification["idempotency_key"] for notification in notifications]
        self.calls.append(keys)
        await self.gate.wait()
        if self.failing:
            raise HasuraUnavailable("Hasura is unavailable")
        if self.refused.intersection(keys):
            raise HasuraRefused("a notification was refused")
        accepted = notifications[: self.accepted_per_call]
        for data in (each["data"] for each in accepted if each["template_code"] == NEEDS_ATTENTION):
            assert data["reason"] in TEXTS
            assert len(data["title"]) * len(data["text"]) > 0
        new = {n["idempotency_key"]: n for n in accepted if n["idempotency_key"] not in self.sent}
        self.sent |= new
        self.taken += [notification["idempotency_key"] for notification in accepted]
        if self.slow:
            raise HasuraUncertain("no answer in time")
        return {"accepted": len(new), "duplicates": len(accepted) - len(new)}

    async def probe(self) -> dict[str, bool | None]:
        state: dict[str, bool | None] = dict.fromkeys(("consistent", "allow_list", "notifications"))
        return {"hasura": not self.failing, **({} if self.failing else dict.fromkeys(state, True))}

    async def close(self) -> None:
        return None


class Crash(BaseException):
    """The process is dead: production code must not catch this."""


class Fuse:
    """Raises Crash at the `step`-th moment before or after a round trip, counted from 0."""

    def __init__(self, step: int) -> None:
        self._steps_left = step

    async def around(self, round_trip: Callable[[], Awaitable[Answer]]) -> Answer:
        self._burn()
        answer = await round_trip()
        self._burn()
        return answer

    def _burn(self) -> None:
        self._steps_left -= 1
        if self._steps_left < 0:
            raise Crash


class CrashingDatabase(Database):
    """A database whose caller dies before or after one of its round trips."""

    def __init__(self, real: Database, fuse: Fuse) -> None:
        self._real, self._fuse = real, fuse

    async def _run_work(self, name: str, params: Params, row_type: type[RowType] | None) -> list[Any]:
        return await self._fuse.around(lambda: self._real._run_work(name, params, row_type))

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
        self._real, self._fuse = real, fuse

    async def run(self, *statements: Statement, commit: bool = False) -> list[list[Row]]:
        return await self._fuse.around(lambda: self._real.run(*statements, commit=commit))


class CrashingHasura(GraphqlClient):
    def __init__(self, real: GraphqlClient, fuse: Fuse) -> None:
        self._real, self._fuse = real, fuse

    async def send_notifications(self, notifications: Sequence[Mapping[str, object]]) -> dict[str, int]:
        return await self._fuse.around(lambda: self._real.send_notifications(notifications))


class DirectOutbox(EventOutbox):
    """Sends in the caller's own task, so that a crash there reaches the caller."""

    async def send(self, events: Iterable[UnsentRow]) -> int:
        return sum([len((await self._send_claimed([event]))[0]) for event in events if event.notifications])


def crashing(runtime: Runtime, step: int) -> Runtime:
    """The same process, which dies at that step of its work with the database and Hasura."""
    fuse = Fuse(step)
    db, graphql = CrashingDatabase(runtime.db, fuse), CrashingHasura(runtime.graphql, fuse)
    outbox = DirectOutbox(db, graphql, runtime.metrics, runtime.clock)
    return replace(runtime, db=db, graphql=graphql, outbox=outbox)


API_KEY = "0123456789abcdef0123456789abcdef"
T0 = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


class SimulatorClock(Clock):
    def __init__(self) -> None:
        self.time = T0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
