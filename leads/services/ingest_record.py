"""Store deliveries: concurrent ones share one statement, one transaction, one commit (group commit).

The answer is sent only after the commit. If a batch fails, each of its deliveries is stored alone, so that a
delivery that PostgreSQL refuses does not affect the others.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

from leads.adapters.batcher import Batcher
from leads.adapters.clock import Clock
from leads.adapters.database import Database, Statement, StatementError, UnstorableData, retry_contended
from leads.adapters.logs import LOGGER, describe
from leads.domain.body import Body, Delivery
from leads.domain.digest import Digester, erasure_digests
from leads.domain.errors import Contended, IntegrationError
from leads.domain.lead import first_phone

MAX_DELIVERIES_PER_BATCH = 100
BATCHES_AT_A_TIME = 1
MAX_NEW_SOURCES_PER_HOUR = 20
"""How many sources without a name deliveries may create for a connection (docs/decisions/0002)."""
Origin = Literal["webhook", "poll", "reconcile"]


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A row of ingest_record/store_deliveries: status is that of the event, or `duplicate`."""

    ordinal: int
    status: str
    event_id: int | None
    error_code: str | None


class IngestQueue:
    """Stores the webhook's deliveries in batches."""

    def __init__(self, db: Database, clock: Clock, digester: Digester) -> None:
        self._db = db
        self._clock = clock
        self._digester = digester
        self._batcher: Batcher[Delivery, StoredDelivery | None] = Batcher(
            self._send, max_batch_size=MAX_DELIVERIES_PER_BATCH, batches_at_a_time=BATCHES_AT_A_TIME
        )

    async def store(self, delivery: Delivery) -> StoredDelivery | None:
        """Store one delivery; None if no connection has its token.

        Raises DatabaseUnavailable, Contended or Overloaded: then nothing was stored.
        """
        return await self._batcher.submit(delivery)

    async def drain(self) -> None:
        """Wait until every submitted delivery is stored."""
        await self._batcher.drain()

    async def _send(self, deliveries: Sequence[Delivery]) -> list[StoredDelivery | Exception | None]:
        try:
            return list(await self._store(deliveries))
        except (StatementError, Contended):
            return [await self._store_alone(delivery) for delivery in deliveries]

    async def _store_alone(self, delivery: Delivery) -> StoredDelivery | Exception | None:
        try:
            (stored,) = await retry_contended(partial(self._store, [delivery]))
        except UnstorableData as error:
            return error if delivery.body.raw is not None else await self._store_alone(delivery.as_raw())
        except (StatementError, IntegrationError) as error:
            return error
        return stored

    async def _store(self, deliveries: Sequence[Delivery]) -> list[StoredDelivery | None]:
        now = self._clock.now()
        name, params = store_deliveries_statement(deliveries, "webhook", now, self._digester)
        rows = await self._db.ingest(name, params, StoredDelivery)
        by_ordinal = {row.ordinal: row for row in rows}
        return [by_ordinal.get(ordinal) for ordinal in range(len(deliveries))]


def store_deliveries_statement(
    deliveries: Sequence[Delivery], origin: Origin, now: datetime, digester: Digester
) -> Statement:
    """Return the statement that stores deliveries of one origin; its rows are `StoredDelivery`.

    The deliveries are one JSON array with `ordinal` counting from 0: sixteen PostgreSQL arrays cost psycopg
    twenty times as much to write (docs/decisions/0015).
    """
    items = [_item(ordinal, delivery, origin, digester) for ordinal, delivery in enumerate(deliveries)]
    params = {
        "origin": origin,
        "now": now,
        "max_new_sources": MAX_NEW_SOURCES_PER_HOUR,
        "deliveries": json.dumps(items, ensure_ascii=False),
    }
    return "ingest_record/store_deliveries", params


def _item(ordinal: int, delivery: Delivery, origin: Origin, digester: Digester) -> dict[str, object]:
    body = delivery.body
    time = body.modified_on
    phone, arrived_at = _first_phone(body), delivery.arrived_at.isoformat()
    return {
        "ordinal": ordinal,
        "connection_id": delivery.connection_id,
        "token_sha256": delivery.token_sha256.hex() if delivery.token_sha256 else None,
        "arrived_at": arrived_at,
        "source_ip": delivery.source_ip,
        "record_id": body.record_id,
        "table_id": body.table_name,
        "modified_at": time.isoformat() if time and time.tzinfo else None,
        "modified_local": time.isoformat() if time and not time.tzinfo else None,
        "payload_hash": digester.identify(body.payload_hash).hex(),
        "payload": body.payload,
        "raw": body.raw.hex() if body.raw is not None else None,
        "phone": phone,
        "source_ids": body.source_ids,
        "error_code": body.error_code,
        "error_detail": body.error_detail,
        "notes": body.notes or None,
        "erasure_digests": erasure_digests(digester, [phone] if phone else [], body.record_id),
        "undated": arrived_at if origin == "webhook" else "-infinity",
    }


def _first_phone(body: Body) -> str | None:
    try:
        return first_phone(body.record) if body.record else None
    except Exception as error:  # noqa: BLE001 - logged; a body is stored though its phones cannot be read
        LOGGER.error("phone not read", extra={"fields": describe(error)})
        return None
