"""Answer `GET /metrics`: wait shortly for what is read elsewhere, and show what is there by then."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from leads.adapters.clock import Clock
from leads.adapters.database import Database
from leads.adapters.logs import LOGGER
from leads.adapters.metrics import BREAKER, Metrics
from leads.adapters.pancake_api import PancakeApi
from leads.services.engine_watch import EngineWatch
from leads.services.metrics.collector import SqlMetrics

ANSWER_WITHIN_SECONDS = 1.0
"""A reading that takes longer goes on, and is shown by the next scrape."""


class Scrape:
    """Answers scrapes; each source is read by one task at a time, however many scrapes there are."""

    def __init__(
        self,
        db: Database,
        metadata_db: Database,
        engine_watch: EngineWatch,
        pancake: PancakeApi,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._metrics = metrics
        self._pancake = pancake
        self.sql = [SqlMetrics(pace, db, metadata_db, metrics, clock) for pace in ("fast", "slow")]
        self._sources: tuple[Callable[[], Awaitable[object]], ...] = (
            engine_watch.state,
            *(sql.refresh for sql in self.sql),
        )
        self._reading: dict[int, asyncio.Task[None]] = {}
        self.answer_within_seconds = ANSWER_WITHIN_SECONDS

    async def exposition(self) -> bytes:
        """Return the text for Prometheus within a second, whatever the state of database and Hasura."""
        for number, read in enumerate(self._sources):
            if number not in self._reading:
                task = asyncio.create_task(_read(read))
                self._reading[number] = task
                task.add_done_callback(partial(self._forget, number))
        await asyncio.wait(self._reading.values(), timeout=self.answer_within_seconds)
        for sql in self.sql:
            sql.withdraw_old()
        for connection, opened, answered in self._pancake.breaker_times():
            self._metrics.breaker_open_since.labels(BREAKER, connection).set(opened)
            self._metrics.breaker_last_success.labels(BREAKER, connection).set(answered)
        return self._metrics.exposition()

    async def close(self) -> None:
        """End what is being read."""
        reading = list(self._reading.values())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    def _forget(self, number: int, task: asyncio.Task[None]) -> None:
        self._reading.pop(number, None)


async def _read(read: Callable[[], Awaitable[object]]) -> None:
    try:
        await read()
    except Exception as error:  # noqa: BLE001 - a scrape shows the rest; the trace is logged
        LOGGER.error("metrics not read", exc_info=error)
