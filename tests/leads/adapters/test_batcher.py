"""Concurrent callers share one call; each gets its own result."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from leads.adapters.batcher import Batcher
from leads.domain.errors import Overloaded

TIMEOUT_SECONDS = 5.0
GATHER_SECONDS = 0.4


class Sink:
    """Records each batch, waits for `gate` before it answers, and fails for chosen items."""

    def __init__(self, *bad: int, is_open: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()
        self.bad = bad
        self.broken = False
        self.at_once = self.most_at_once = 0

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.called.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        await self.gate.wait()
        self.at_once -= 1
        if self.broken:
            raise OSError("the sink is broken")
        return [ValueError(item) if item in self.bad else item * 10 for item in items]


@pytest.mark.parametrize("lanes", [1, 2])
async def test_sequential_callers_never_wait_for_a_finished_lane(lanes: int) -> None:
    batcher = Batcher(Sink(), max_batch_size=10, batches_at_a_time=lanes)

    async def caller(start: int) -> list[int]:
        return [await batcher.submit(item) for item in range(start, start + 50)]

    async with asyncio.timeout(TIMEOUT_SECONDS):
        results = await asyncio.gather(*(caller(start) for start in range(0, 400, 100)))
    assert results == [[item * 10 for item in range(s, s + 50)] for s in range(0, 400, 100)]


async def test_items_that_arrive_during_a_batch_go_into_the_next_one() -> None:
    sink = Sink(is_open=False)
    batcher = Batcher(sink, max_batch_size=3, batches_at_a_time=1)
    calls = [asyncio.create_task(batcher.submit(item)) for item in range(8)]
    await sink.called.wait()
    sink.gate.set()
    assert await asyncio.gather(*calls) == [item * 10 for item in range(8)]
    assert [item for batch in sink.batches for item in batch] == list(range(8))
    assert all(len(batch) <= 3 for batch in sink.batches)


async def test_after_a_batch_of_several_the_next_one_waits_for_more() -> None:
    sink = Sink()
    batcher = Batcher(sink, max_batch_size=10, batches_at_a_time=1, gather_seconds=GATHER_SECONDS)
    await asyncio.gather(batcher.submit(0), batcher.submit(1))
    started = time.monotonic()
    calls = [asyncio.create_task(batcher.submit(item)) for item in (2, 3)]
    for _ in range(10):  # long enough for a batch that does not wait
        await asyncio.sleep(0)
    await asyncio.gather(*calls, batcher.submit(4))
    assert sink.batches == [[0, 1], [2, 3, 4]]
    assert time.monotonic() - started >= GATHER_SECONDS / 2


async def test_after_a_batch_of_one_the_next_one_does_not_wait() -> None:
    batcher = Batcher(Sink(), max_batch_size=10, batches_at_a_time=1, gather_seconds=3600)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert [await batcher.submit(item) for item in (0, 1)] == [0, 10]


async def test_a_bad_item_fails_its_caller_alone_and_a_failed_call_every_caller_of_its_batch() -> None:
    """But not the next batch."""
    sink = Sink(2)
    batcher = Batcher(sink, max_batch_size=10, batches_at_a_time=1)
    results = await asyncio.gather(*(batcher.submit(item) for item in range(4)), return_exceptions=True)
    assert [result if isinstance(result, int) else "bad" for result in results] == [0, 10, "bad", 30]
    sink.broken = True
    results = await asyncio.gather(*(batcher.submit(item) for item in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [OSError] * 3
    sink.broken = False
    assert await batcher.submit(5) == 50


async def test_items_beyond_the_queue_limit_are_refused_at_once() -> None:
    sink = Sink(is_open=False)
    batcher = Batcher(sink, max_batch_size=1, batches_at_a_time=1, max_waiting=2)
    taken = [asyncio.create_task(batcher.submit(item)) for item in range(2)]
    await sink.called.wait()
    taken.append(asyncio.create_task(batcher.submit(2)))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await batcher.submit(99)
    sink.gate.set()
    assert await asyncio.gather(*taken) == [0, 10, 20]


async def test_a_cancelled_caller_does_not_affect_its_batch() -> None:
    sink = Sink(is_open=False)
    batcher = Batcher(sink, max_batch_size=10, batches_at_a_time=1)
    first = asyncio.create_task(batcher.submit(1))
    await sink.called.wait()
    gone = asyncio.create_task(batcher.submit(2))
    stays = asyncio.create_task(batcher.submit(3))
    await asyncio.sleep(0)
    gone.cancel()
    sink.gate.set()
    assert (await first, await stays) == (10, 30)
    assert sink.batches == [[1], [2, 3]]  # the items of the cancelled caller are still sent


async def test_draining_ends_right_after_the_last_answer() -> None:
    """The task of that batch is done, and not yet forgotten."""
    batcher = Batcher(Sink(), max_batch_size=1, batches_at_a_time=1)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await batcher.submit(1) == 10
        await batcher.drain()


async def test_draining_waits_for_all_items_and_never_more_batches_run_than_lanes() -> None:
    sink = Sink()
    batcher = Batcher(sink, max_batch_size=1, batches_at_a_time=2)
    calls = [asyncio.create_task(batcher.submit(item)) for item in range(20)]
    await asyncio.sleep(0)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await batcher.drain()
    assert (len(sink.batches), sink.most_at_once) == (20, 2)
    await asyncio.gather(*calls)
