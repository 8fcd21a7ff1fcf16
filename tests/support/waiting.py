"""Wait for a condition, within a bounded time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_SECONDS, MAX_POLL_SECONDS = 0.01, 0.1

Answer = TypeVar("Answer")


def pause_after(waited_seconds: float, least_seconds: float = POLL_SECONDS) -> float:
    """Return how long to wait for the next question: questions of a long wait would take a whole core."""
    return max(least_seconds, min(waited_seconds / 20, MAX_POLL_SECONDS))


def eventually(question: Callable[[], Answer], seconds: float = 30) -> Answer:
    """Ask until the answer is truthy and return it; fail after `seconds`. Blocks the thread."""
    began = time.monotonic()
    while not (answer := question()):
        waited = time.monotonic() - began
        assert waited < seconds, f"still {answer!r} after {seconds} s"
        time.sleep(pause_after(waited))
    return answer


async def eventually_async(
    question: Callable[[], object], seconds: float = 30, poll_seconds: float = POLL_SECONDS
) -> None:
    """Ask until the answer is truthy while other tasks run; the question may be a coroutine function."""
    began = time.monotonic()
    while True:
        answer = question()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return
        waited = time.monotonic() - began
        assert waited < seconds, f"still {answer!r} after {seconds} s"
        await asyncio.sleep(pause_after(waited, poll_seconds))
