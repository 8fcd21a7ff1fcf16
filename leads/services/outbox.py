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
"""Events that are processed during a call share the next one. A second call at a time would halve both."""
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
        self._batcher: Batcher[_Submitted, bool] = Batcher(
            self._send_batch, max_batch_size=MAX_ROWS_PER_CALL, batches_at_a_time=BATCHES_AT_A_TIME
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

    async def _send_one(self, event: UnsentEvent) -> bool:
        start_before = self._clock.monotonic() + MAX_SECONDS_TO_START
        try:
            return await self._batcher.submit(_Submitted(event, start_before))
        except Retryable as error:
            fields = {"event_id": event.id, "reason": str(error)}
            LOGGER.warning("notifications deferred to the retry cron", extra={"fields": fields})
            self._metrics.notifications.labels("failed").inc(len(event.notifications))
            return False

    async def _send_batch(self, submitted: Sequence[_Submitted]) -> list[bool]:
        """Send in one call; if it is refused, in one call for each event, so that only refused ones stay."""
        start_before = {each.event.id: each.start_before for each in submitted}
        late: list[UnsentRow[Notification]] = []
        in_time: list[UnsentEvent] = []
        for each in submitted:
            (in_time if self._clock.monotonic() < each.start_before else late).append(each.event)
        done, alone = await self.attempt(in_time)
        for event in alone:
            if self._clock.monotonic() < start_before[event.id]:
                done |= (await self.attempt([event]))[0]
            else:
                late.append(event)
        await self.release(late)
        return [each.event.id in done for each in submitted]

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
