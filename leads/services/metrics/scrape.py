"""Answer `GET /metrics`: wait shortly for what is read elsewhere, and show what is there by then."""

import asyncio
from collections.abc import Awaitable, Callable

from leads.adapters.clock import Clock
from leads.adapters.database import Database
from leads.adapters.logs import LOGGER
from leads.adapters.metrics import BREAKER, Metrics
from leads.adapters.pancake_api import PancakeApi
from leads.services.engine_watch import EngineWatch
from leads.services.metrics.collector import SqlMetrics
from leads.services.metrics.figures import PACES

ANSWER_WITHIN_SECONDS = 1.0
"""A reading that takes longer goes on, and is shown by the next scrape. So are the slow figures always."""
Source = Callable[[], Awaitable[object]]


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
        fast, slow = (SqlMetrics(pace, db, metadata_db, metrics, clock) for pace in PACES)
        self.sql = (fast, slow)
        self._awaited: tuple[Source, ...] = (engine_watch.state, fast.refresh)
        self._not_awaited: tuple[Source, ...] = (slow.refresh,)
        self._reading: dict[Source, asyncio.Task[None]] = {}
        self.answer_within_seconds = ANSWER_WITHIN_SECONDS

    async def exposition(self) -> bytes:
        """Return the text for Prometheus within a second, in every state of database and Hasura."""
        for source in self._not_awaited:
            self._start(source)
        awaited = [self._start(source) for source in self._awaited]
        await asyncio.wait(awaited, timeout=self.answer_within_seconds)
        for sql in self.sql:
            sql.withdraw_old()
        for connection, opened, answered in self._pancake.breakers.times():
            self._metrics.breaker_open_since.labels(BREAKER, connection).set(opened)
            self._metrics.breaker_last_success.labels(BREAKER, connection).set(answered)
        return self._metrics.exposition()

    async def settle(self) -> None:
        """Wait for everything that is being read."""
        await asyncio.gather(*self._reading.values())

    async def close(self) -> None:
        """End what is being read."""
        reading = list(self._reading.values())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    def _start(self, source: Source) -> asyncio.Task[None]:
        """Read a source, if it is not being read already."""
        if source not in self._reading:
            self._reading[source] = asyncio.create_task(_read(source))
            self._reading[source].add_done_callback(lambda _: self._reading.pop(source, None))
        return self._reading[source]


async def _read(source: Source) -> None:
    try:
        await source()
    except Exception as error:  # noqa: BLE001 - a scrape shows the rest; the trace is logged
        LOGGER.error("metrics not read", exc_info=error)
