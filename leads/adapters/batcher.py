"""Let concurrent callers share one call: who arrives while a batch is under way goes with the next one.

Nothing waits for company: an idle batcher sends a single item at once. No timer, no background loop.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from leads.domain.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects items and hands them to `send`, which returns one result or exception for each, in order.

    `limit` items at most per batch, `lanes` batches at a time, `max_waiting` items in the queue.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        limit: int,
        lanes: int,
        max_waiting: int = 2000,
    ) -> None:
        self._send = send
        self._limit = limit
        self._lanes = lanes
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._busy = 0
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Result:
        """The result for this item. Raises Overloaded when too many wait, or what `send` gave for it.

        A caller that is cancelled leaves its item in the batch: what was handed over is still done.
        """
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._busy < self._lanes:
            self._busy += 1
            task = asyncio.create_task(self._work())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await future

    async def drain(self) -> None:
        """Wait until everything handed over is done."""
        while self._running:
            await asyncio.gather(*self._running)

    async def _work(self) -> None:
        try:
            await self._empty_queue()
        finally:
            self._busy -= (
                1  # here, not when the task is seen to be done: who comes between would wait for ever
            )

    async def _empty_queue(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
            try:
                results = await self._send([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 - every caller of the batch gets it
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
