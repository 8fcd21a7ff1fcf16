"""In-memory replacements for the clock, the database and Hasura."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Params, Row, RowType
from leads.adapters.graphql import SEND_TIMEOUT_SECONDS, GraphqlClient
from leads.domain.errors import HasuraRefused, HasuraUnavailable, HasuraUncertain
from leads.domain.notice_text import TEXTS
from leads.domain.notifications import NEEDS_ATTENTION


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

    async def send_notifications(
        self, notifications: Sequence[Mapping[str, Any]], *, timeout_seconds: float = SEND_TIMEOUT_SECONDS
    ) -> dict[str, int]:
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

    async def examine(self) -> dict[str, bool | None]:
        state: dict[str, bool | None] = dict.fromkeys(("consistent", "allow_list", "notifications"))
        return {"hasura": not self.failing, **({} if self.failing else dict.fromkeys(state, True))}

    async def close(self) -> None:
        return None
