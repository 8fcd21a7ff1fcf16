"""Group commit for ingest: concurrent deliveries share one statement, one transaction, one commit.

A caller has its answer only after the commit. If a batch fails, each of its deliveries is stored alone,
so that one that PostgreSQL refuses never takes its neighbours down.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import psycopg

from leads.adapters.batcher import Batcher
from leads.adapters.clock import Clock
from leads.adapters.database import Database, Row
from leads.domain.errors import Contended, IntegrationError

BATCH_LIMIT = 100
LANES = 1
TRIES = 3
Item = TypeVar("Item")
Columns = Callable[[Sequence[Item], str, datetime], dict[str, Any]]
"""Parameters of ingest_record/store_deliveries for deliveries of one origin, `ordinal` counting from 0."""


class IngestQueue(Generic[Item]):
    """Stores deliveries; `store` gives the row that the statement returned, or None for an unknown token."""

    def __init__(
        self, db: Database, clock: Clock, columns: Columns[Item], unstorable: Callable[[Item], Item]
    ) -> None:
        self._db = db
        self._clock = clock
        self._columns = columns
        self._unstorable = unstorable
        self._batch: Batcher[Item, Row | None] = Batcher(self._send, limit=BATCH_LIMIT, lanes=LANES)

    async def store(self, delivery: Item) -> Row | None:
        """Raises DatabaseUnavailable, Contended or Overloaded: then nothing was stored."""
        return await self._batch.submit(delivery)

    async def drain(self) -> None:
        await self._batch.drain()

    async def _send(self, deliveries: Sequence[Item]) -> list[Row | Exception | None]:
        try:
            return list(await self._store(deliveries))
        except (psycopg.Error, Contended):
            return [await self._alone(delivery) for delivery in deliveries]

    async def _alone(self, delivery: Item) -> Row | Exception | None:
        for attempt in range(1, TRIES + 1):
            try:
                (row,) = await self._store([delivery])
                return row
            except Contended as error:
                if attempt == TRIES:
                    return error
            except psycopg.DataError as error:
                if attempt == TRIES:
                    return error
                delivery = self._unstorable(delivery)
            except (psycopg.Error, IntegrationError) as error:
                return error
        return None

    async def _store(self, deliveries: Sequence[Item]) -> list[Row | None]:
        params = self._columns(deliveries, "webhook", self._clock.now())
        rows = await self._db.ingest("ingest_record/store_deliveries", params)
        by_ordinal = {row["ordinal"]: row for row in rows}
        return [by_ordinal.get(ordinal) for ordinal in range(len(deliveries))]
