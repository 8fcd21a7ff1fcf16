"""Wait for a condition, within a bounded time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_SECONDS = 0.01

Answer = TypeVar("Answer")


def eventually(question: Callable[[], Answer], seconds: float = 30) -> Answer:
    """Ask until the answer is truthy and return it; fail after `seconds`. Blocks the thread."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(POLL_SECONDS)
    return answer


async def eventually_async(
    question: Callable[[], object], seconds: float = 30, poll_seconds: float = POLL_SECONDS
) -> None:
    """Ask until the answer is truthy while other tasks run; the question may be a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        await asyncio.sleep(poll_seconds)
