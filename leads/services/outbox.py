"""Send the notifications that events hold, and mark them as sent (transactional outbox).

Each is claimed first, by the transaction that wrote it or by outbox/claim_notifications. After a crash the
claim ends with its lease, and retry_failed sends the notifications again, with the same idempotency keys.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from leads.adapters.batcher import Batcher
from leads.adapters.clock import Clock
from leads.adapters.database import Database
from leads.adapters.graphql import GraphqlClient
from leads.adapters.logs import LOGGER
from leads.adapters.metrics import Metrics
from leads.domain.errors import HasuraRefused, Retryable
from leads.domain.notifications import Notification

SEND_LEASE = timedelta(seconds=60)
"""How long claimed notifications are left to their sender."""
MAX_EVENTS_PER_CALL = 50
CALLS_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class UnsentEvent:
    """An event with unsent notifications; `notify_claimed_at` identifies the sender's claim."""

    id: int
    notifications: list[Notification]
    notify_claimed_at: datetime


class Outbox:
    """Sends through Hasura; events that are processed at the same time share one call."""

    def __init__(self, db: Database, graphql: GraphqlClient, metrics: Metrics, clock: Clock) -> None:
        self._db = db
        self._graphql = graphql
        self._metrics = metrics
        self._clock = clock
        self._batcher: Batcher[UnsentEvent, bool] = Batcher(
            self._send_batch, max_batch_size=MAX_EVENTS_PER_CALL, batches_at_a_time=CALLS_AT_A_TIME
        )

    async def send(self, events: Iterable[UnsentEvent]) -> int:
        """Send the notifications of claimed events; return how many events are done.

        What cannot be sent now is left to retry_failed.
        """
        pending = [event for event in events if event.notifications]
        return sum(await asyncio.gather(*(self._send_one(event) for event in pending)))

    async def claim_and_send(self, event_ids: Sequence[int]) -> int:
        """Claim the unsent notifications of these events and send them; return how many events are done."""
        params = {"ids": list(event_ids), "lease": SEND_LEASE}
        return await self.send(await self._db.fetch_all("outbox/claim_notifications", params, UnsentEvent))

    def note_dropped(self, event_id: int, names: Sequence[str]) -> None:
        """Log and count notifications of an event that have no recipient, not even an administrator."""
        for name in names:
            fields = {"event_id": event_id, "name": name, "reason": "no active staff"}
            LOGGER.warning("notification dropped", extra={"fields": fields})
            self._metrics.notifications.labels("dropped").inc()

    async def drain(self) -> None:
        """Wait until everything submitted is sent."""
        await self._batcher.drain()

    async def _send_one(self, event: UnsentEvent) -> bool:
        try:
            return await self._batcher.submit(event)
        except Retryable as error:
            fields = {"event_id": event.id, "reason": str(error)}
            LOGGER.warning("notifications deferred to the retry cron", extra={"fields": fields})
            self._metrics.notifications.labels("failed").inc()
            return False

    async def _send_batch(self, events: Sequence[UnsentEvent]) -> list[bool | Exception]:
        """Send in one call; if it is refused, in one call for each event, so that only refused ones stay."""
        try:
            await self._send_and_mark(events)
        except HasuraRefused:
            if len(events) == 1:
                raise
            return [await self._send_alone(event) for event in events]
        return [True] * len(events)

    async def _send_alone(self, event: UnsentEvent) -> bool | Exception:
        try:
            await self._send_and_mark([event])
        except Retryable as error:
            return error
        return True

    async def _send_and_mark(self, events: Sequence[UnsentEvent]) -> None:
        inputs = [each for event in events for each in notification_inputs(event)]
        await send_notifications(self._graphql, self._metrics, inputs)
        params = {
            "ids": [event.id for event in events],
            "claimed_ats": [event.notify_claimed_at for event in events],
            "now": self._clock.now(),
        }
        await self._db.fetch_all("outbox/mark_notified", params)


async def send_notifications(
    graphql: GraphqlClient, metrics: Metrics, inputs: Sequence[Mapping[str, object]]
) -> None:
    """Send inputs of the action sendNotifications and count them.

    Raises HasuraUnavailable, or HasuraRefused also if the service took fewer than it was sent.
    """
    result = await graphql.send_notifications(inputs)
    if sum(result.values()) < len(inputs):
        raise HasuraRefused("sendNotifications took fewer notifications than it was sent.")
    for name, count in result.items():
        metrics.notifications.labels(name).inc(count)


def notification_inputs(event: UnsentEvent) -> list[Mapping[str, object]]:
    """Return the inputs of sendNotifications. The key makes a repeat harmless if the service uses it."""
    return [
        {
            "template_code": notification["template_code"],
            "recipient_ids": notification["recipient_ids"],
            "data": notification["data"],
            "idempotency_key": f"{event.id}:{notification['name']}",
        }
        for notification in event.notifications
    ]
