"""Time limits of a call of a cron: they limit what we do, not how long an answer of Pancake or Hasura takes.

None ends while an answer is awaited that was asked for before `stop_at`. Each then ends as much later as the
answer came after `stop_at`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar


class CallLimits:
    """The open limits of a call, and how many answers are awaited; times are those of the event loop."""

    def __init__(self, stop_at: float) -> None:
        self.stop_at = stop_at
        self.limits: dict[asyncio.Timeout, float] = {}
        self._awaited = 0

    def count_awaited(self, answers: int) -> None:
        self._awaited += answers
        late_seconds = max(0.0, asyncio.get_running_loop().time() - self.stop_at)
        for limit, when in self.limits.items():
            if answers and not limit.expired():
                limit.reschedule(None if self._awaited else when + late_seconds)


CURRENT_CALL: ContextVar[CallLimits] = ContextVar("CURRENT_CALL", default=CallLimits(float("-inf")))  # noqa: B039 - no limits


@asynccontextmanager
async def limited(when: float) -> AsyncIterator[asyncio.Timeout]:
    """Raise TimeoutError at that time, or later if an answer was waited for."""
    limits = CURRENT_CALL.get().limits
    async with asyncio.timeout_at(when) as limit:
        limits[limit] = when
        try:
            yield limit
        finally:
            del limits[limit]


@contextmanager
def waiting_for_answer() -> Iterator[None]:
    call = CURRENT_CALL.get()
    answers = int(asyncio.get_running_loop().time() <= call.stop_at)
    call.count_awaited(answers)
    try:
        yield
    finally:
        call.count_awaited(-answers)
