"""Let concurrent callers share one call: items that arrive while a batch is being sent form the next batch.

An idle batcher sends a single item at once; after a batch of several, the next one may wait to become larger.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

from leads.adapters.tracing import TraceContext, current_trace, within
from leads.domain.errors import Overloaded

DRAIN_SECONDS = 2.0
"""At the end of the process: the caller of an item that takes longer has got its answer."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects items and hands them to `send`, which returns one result or exception for each, in order.

    At most `max_batch_size` items per batch, `batches_at_a_time`, and `max_waiting` items in the queue. A
    batch is within the trace of its first item: a call has one trace only.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_batch_size: int,
        batches_at_a_time: int,
        max_waiting: int = 2000,
        gather_seconds: float = 0.0,
    ) -> None:
        """`gather_seconds`: from the start of a batch of several items to that of the next one, at least."""
        self._send = send
        self._max_batch_size = max_batch_size
        self._batches_at_a_time = batches_at_a_time
        self._max_waiting = max_waiting
        self._gather_seconds = gather_seconds
        self._gathers_until = 0.0
        self._waiting: deque[tuple[Item, asyncio.Future[Result], TraceContext | None]] = deque()
        self._sending = 0
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Result:
        """Return the result for this item. Raises Overloaded when too many wait, or what `send` gave for it.

        If the caller is cancelled, its item stays in the batch and is still sent.
        """
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future, current_trace()))
        if self._sending < self._batches_at_a_time:
            self._sending += 1
            # An empty context: the task goes on with the items of other requests.
            task = asyncio.create_task(self._work(), context=Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await future

    async def drain(self) -> None:
        """Wait until every submitted item is sent, DRAIN_SECONDS at most: what takes longer is cancelled."""
        await end_tasks(self._running, DRAIN_SECONDS)

    async def _work(self) -> None:
        try:
            await self._empty_queue()
        finally:
            # Not in a done callback: an item submitted before it ran would start no task and wait for ever.
            self._sending -= 1

    async def _empty_queue(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if (seconds := self._gathers_until - loop.time()) > 0:
                await asyncio.sleep(seconds)
            batch = [self._waiting.popleft() for _ in range(min(self._max_batch_size, len(self._waiting)))]
            if len(batch) > 1:
                self._gathers_until = loop.time() + self._gather_seconds
            try:
                with within(batch[0][2]):
                    results = await self._send([item for item, _, _ in batch])
            except Exception as error:  # noqa: BLE001 - raised in every caller of the batch
                results = [error] * len(batch)
            for (_, future, _), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)


async def end_tasks(tasks: Collection[asyncio.Task[Any]], within_seconds: float) -> None:
    """Wait for the tasks; cancel what takes longer, and wait as long as DRAIN_SECONDS for that."""
    for seconds in (within_seconds, DRAIN_SECONDS):
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
