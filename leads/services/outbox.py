"""Send the notifications that events hold, and mark them as sent (transactional outbox).

Each is claimed first, by the transaction that wrote it or by outbox/claim_notifications. What was not sent,
also after a crash, is sent again by retry_failed, with the same idempotency keys.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from leads.adapters.batcher import Batcher
from leads.adapters.clock import Clock
from leads.adapters.database import Database, Params
from leads.adapters.graphql import GraphqlClient
from leads.adapters.logs import LOGGER
from leads.adapters.metrics import Metrics
from leads.domain.errors import Retryable
from leads.domain.notifications import Notification
from leads.domain.sending import MAX_ROWS_PER_CALL
from leads.services.sending.calls import NotificationInput
from leads.services.sending.rows import UnsentRow
from leads.services.sending.sender import MAX_SECONDS_TO_START, Sender

BATCHES_AT_A_TIME = 1
"""Events that are processed during a call share the next one; of two calls each would carry half as many."""
GATHER_SECONDS = 0.05
"""From a call for several events to the next: while many are processed, each call carries more of them."""
SEND_LEASE = timedelta(seconds=60)
"""How long claimed notifications are left to their sender."""


@dataclass(frozen=True, slots=True)
class UnsentEvent(UnsentRow[Notification]):
    """An event with unsent notifications."""


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A claimed event in the queue; its call must start before `start_before`, in monotonic seconds."""

    event: UnsentEvent
    start_before: float


class Outbox(Sender[Notification]):
    """Sends through Hasura; events that are processed at the same time share one call."""

    rows_name = "events"

    def __init__(self, db: Database, graphql: GraphqlClient, metrics: Metrics, clock: Clock) -> None:
        super().__init__(db, graphql, metrics, clock)
        self._batcher: Batcher[_Submitted, bool | None] = Batcher(
            self._send_batch,
            max_batch_size=MAX_ROWS_PER_CALL,
            batches_at_a_time=BATCHES_AT_A_TIME,
            gather_seconds=GATHER_SECONDS,
        )
        # Events whose call was refused, one in each call. The others do not wait for them.
        self._alone: Batcher[_Submitted, bool | None] = Batcher(
            self._send_batch, max_batch_size=1, batches_at_a_time=1
        )

    async def send(self, events: Iterable[UnsentEvent]) -> int:
        """Send the notifications of claimed events; return how many events are done.

        What cannot be sent now is left to retry_failed.
        """
        pending = [event for event in events if event.notifications]
        return sum(await asyncio.gather(*(self._send_one(event) for event in pending)))

    def note_dropped(self, event_id: int | None, names: Sequence[str]) -> None:
        """Log and count notifications of an event that have no recipient, not even an administrator."""
        for name in names:
            fields = {"event_id": event_id, "name": name, "reason": "no active staff"}
            LOGGER.warning("notification dropped", extra={"fields": fields})
            self._metrics.notifications.labels("dropped").inc()

    async def drain(self) -> None:
        """Wait until everything submitted is sent."""
        await self._batcher.drain()
        await self._alone.drain()

    async def _send_one(self, event: UnsentEvent) -> bool:
        submitted = _Submitted(event, self._clock.monotonic() + MAX_SECONDS_TO_START)
        try:
            is_done = await self._batcher.submit(submitted)
            if is_done is None:
                is_done = await self._alone.submit(submitted)
            return bool(is_done)
        except Retryable as error:
            fields = {"event_id": event.id, "reason": str(error)}
            LOGGER.warning("notifications deferred to the retry cron", extra={"fields": fields})
            self._metrics.notifications.labels("failed").inc(len(event.notifications))
            return False

    async def _send_batch(self, submitted: Sequence[_Submitted]) -> list[bool | None]:
        """Send in one call; return whether each event is done, or None: a call for several was refused."""
        late: list[UnsentRow[Notification]] = []
        in_time: list[UnsentEvent] = []
        for each in submitted:
            (in_time if self._clock.monotonic() < each.start_before else late).append(each.event)
        done, refused = await self.attempt(in_time)
        await self.release(late)
        again = {row.id for row in refused}
        return [None if each.event.id in again else each.event.id in done for each in submitted]

    def _inputs(self, row: UnsentRow[Notification]) -> dict[str, NotificationInput]:
        """The key makes a repeat harmless if the service uses it."""
        return {
            notification["name"]: {
                "template_code": notification["template_code"],
                "recipient_ids": notification["recipient_ids"],
                "data": notification["data"],
                "idempotency_key": f"{row.id}:{notification['name']}",
            }
            for notification in row.notifications
        }

    async def _claim(self, ids: Sequence[int]) -> list[UnsentEvent]:
        params = {"ids": list(ids), "lease": SEND_LEASE, "now": self._clock.now()}
        return await self._db.fetch_all("outbox/claim_notifications", params, UnsentEvent)

    async def _mark_notified(self, params: Params) -> None:
        await self._db.fetch_all("outbox/mark_notified", params)

    async def _mark_unsent(self, params: Params) -> None:
        await self._db.fetch_all("outbox/mark_unsent", params)
