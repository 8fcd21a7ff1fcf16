"""Send the notifications that rows hold, and note that they were sent.

Each was claimed before (by the transaction that wrote it, or by outbox/claim_notifications); a crash lets
the claim run out and retry_failed sends them again, under the same idempotency keys.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from leads.adapters.batcher import Batcher
from leads.adapters.clock import Clock
from leads.adapters.database import Database
from leads.adapters.graphql import Graphql
from leads.adapters.logs import LOGGER
from leads.adapters.metrics import Metrics
from leads.domain.errors import HasuraRefused, Retryable

SEND_LEASE = timedelta(seconds=60)
"""How long unsent notifications are left to whoever claimed them."""

Unsent = Mapping[str, Any]
"""An event's `id`, its `notifications`, and `notify_claimed_at`: the claim that they are sent under."""


class Outbox:
    """Sends through Hasura; events that are done at the same moment share one call."""

    def __init__(self, db: Database, graphql: Graphql, metrics: Metrics, clock: Clock) -> None:
        self._db = db
        self._graphql = graphql
        self._metrics = metrics
        self._clock = clock
        self._batch: Batcher[Unsent, bool] = Batcher(self._send, limit=50, lanes=2)

    async def send(self, events: Iterable[Unsent]) -> int:
        """Send what these events hold; returns how many are done. What fails is left to the retry cron."""
        pending = [event for event in events if event["notifications"]]
        return sum(await asyncio.gather(*(self._send_one(event) for event in pending)))

    async def send_claimed(self, ids: Sequence[int]) -> int:
        """Claim the unsent notifications of these events and send them."""
        claim = {"ids": list(ids), "lease": SEND_LEASE}
        return await self.send(await self._db.fetch_all("outbox/claim_notifications", claim))

    async def drain(self) -> None:
        await self._batch.drain()

    async def _send_one(self, event: Unsent) -> bool:
        try:
            return await self._batch.submit(event)
        except Retryable as error:
            LOGGER.warning("notifications left for the retry cron", extra={"fields": _fields(event, error)})
            self._metrics.notifications.labels("failed").inc()
            return False

    async def _send(self, events: Sequence[Unsent]) -> list[bool | Exception]:
        """One call for all; if it is refused, one for each, so that what is refused holds up nobody else."""
        try:
            await self._hand_over(events)
        except HasuraRefused:
            if len(events) == 1:
                raise
            return [await self._alone(event) for event in events]
        return [True] * len(events)

    async def _alone(self, event: Unsent) -> bool | Exception:
        try:
            await self._hand_over([event])
        except Retryable as error:
            return error
        return True

    async def _hand_over(self, events: Sequence[Unsent]) -> None:
        await hand_over(
            self._graphql, self._metrics, [message for event in events for message in messages(event)]
        )
        claims = {
            "ids": [event["id"] for event in events],
            "claimed_ats": [event["notify_claimed_at"] for event in events],
        }
        await self._db.fetch_all("outbox/mark_notified", claims | {"now": self._clock.now()})


async def hand_over(graphql: Graphql, metrics: Metrics, notifications: Sequence[dict[str, Any]]) -> None:
    """Send notifications and count them; done only if the service took each, now or before.

    Raises HasuraUnavailable, or HasuraRefused also for an answer that counts fewer than were given.
    """
    result = await graphql.send_notifications(notifications)
    if sum(result.values()) < len(notifications):
        raise HasuraRefused("sendNotifications took fewer notifications than it was given.")
    for name, count in result.items():
        metrics.notifications.labels(name).inc(count)


def messages(event: Unsent) -> list[dict[str, Any]]:
    """The inputs of sendNotifications; the key makes a repeat harmless where the service honours it."""
    return [
        {
            "template_code": intent["template_code"],
            "recipient_ids": intent["recipient_ids"],
            "data": intent["data"],
            "idempotency_key": f"{event['id']}:{intent['name']}",
        }
        for intent in event["notifications"]
    ]


def _fields(event: Unsent, error: Exception) -> dict[str, object]:
    return {"event_id": event["id"], "reason": str(error)}
