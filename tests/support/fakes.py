"""Fakes of Hasura, the clock and Pancake, and processes that die at a chosen round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Params, Row, RowType, Transaction
from leads.adapters.graphql import GraphqlClient
from leads.domain.errors import HasuraRefused, HasuraUnavailable, HasuraUncertain
from leads.domain.notifications import NEEDS_ATTENTION, TEXTS
from leads.runtime import Runtime
from leads.services.outbox import EventOutbox, UnsentRow


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


class DirectOutbox(EventOutbox):
    """Sends in the caller's own task, so that a crash there reaches the caller."""

    async def send(self, events: Iterable[UnsentRow]) -> int:
        return sum([len((await self._send_claimed([event]))[0]) for event in events if event.notifications])


RoundTrip = Callable[[], Awaitable[Any]]


def around_round_trips(
    patch: pytest.MonkeyPatch, wrap: Callable[[RoundTrip], Awaitable[Any]], *more: tuple[type, str]
) -> None:
    """Wrap each round trip to PostgreSQL, and each call of `more` methods."""

    def change(owner: type, method: str) -> None:
        real = getattr(owner, method)

        async def wrapped(*args: Any, **named: Any) -> Any:
            return await wrap(lambda: real(*args, **named))

        patch.setattr(owner, method, wrapped)

    for owner, method in ((Database, "_run_work"), (Transaction, "run"), *more):
        change(owner, method)


@contextmanager
def crashing(runtime: Runtime, step: int) -> Iterator[Runtime]:
    """The process, which dies at that step of its work with the database and Hasura within the block.

    A step is the moment before or after a round trip, counted from 0.
    """
    moments = count()

    async def around(round_trip: RoundTrip) -> Any:
        if next(moments) >= step:
            raise Crash
        answer = await round_trip()
        if next(moments) >= step:
            raise Crash
        return answer

    outbox = DirectOutbox(runtime.db, runtime.graphql, runtime.metrics, runtime.clock)
    with pytest.MonkeyPatch.context() as patch:
        around_round_trips(patch, around, (FakeHasura, "send_notifications"))
        yield replace(runtime, outbox=outbox)


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
