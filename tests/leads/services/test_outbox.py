"""Notifications of several events are sent in one call and marked, or left to the retry cron."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from leads.adapters.clock import Clock
from leads.adapters.metrics import Metrics
from leads.domain.errors import DatabaseUnavailable
from leads.domain.notifications import Notification
from leads.services.outbox import SEND_LEASE, Outbox, UnsentEvent, notification_inputs
from tests.support.fakes import FakeDatabase, FakeHasura

CLAIMED_AT = datetime(2026, 5, 14, tzinfo=UTC)


def event(number: int, *names: str) -> UnsentEvent:
    notifications = [
        Notification(name=name, template_code="t", recipient_ids=["s"], data={}) for name in names
    ]
    return UnsentEvent(number, notifications, CLAIMED_AT + timedelta(seconds=number))


class OutboxHarness:
    """An outbox between a fake database and a fake Hasura."""

    def __init__(self) -> None:
        self.db, self.hasura, self.metrics = FakeDatabase(), FakeHasura(), Metrics()
        self.outbox = Outbox(self.db, self.hasura, self.metrics, Clock())

    def counted(self, result: str) -> float:
        registry: CollectorRegistry = self.metrics.registry
        return registry.get_sample_value("pancake_notifications_total", {"result": result}) or 0


async def test_sent_notifications_are_marked_under_their_claim() -> None:
    harness = OutboxHarness()
    assert await harness.outbox.send([event(7, "new_lead", "phone_changed")]) == 1
    assert harness.hasura.calls == [["7:new_lead", "7:phone_changed"]]
    ((name, params),) = harness.db.ran
    assert (name, params["ids"]) == ("outbox/mark_notified", [7])
    assert params["claimed_ats"] == [CLAIMED_AT + timedelta(seconds=7)]
    assert harness.counted("accepted") == 2


async def test_an_event_without_notifications_sends_nothing() -> None:
    harness = OutboxHarness()
    assert await harness.outbox.send([event(7)]) == 0
    assert (harness.hasura.calls, harness.db.ran) == ([], [])


async def test_concurrent_events_share_calls() -> None:
    harness = OutboxHarness()
    sent = await asyncio.gather(*(harness.outbox.send([event(n, "new_lead")]) for n in range(40)))
    assert sent == [1] * 40
    assert len(harness.hasura.calls) < 10
    assert sorted(key for call in harness.hasura.calls for key in call) == sorted(
        f"{n}:new_lead" for n in range(40)
    )


async def test_notifications_that_hasura_fails_are_not_marked() -> None:
    harness = OutboxHarness()
    harness.hasura.failing = True
    assert await harness.outbox.send([event(1, "a"), event(2, "b")]) == 0
    assert harness.db.ran == []
    assert harness.counted("failed") == 2


async def test_a_refused_notification_does_not_delay_the_others() -> None:
    harness = OutboxHarness()
    harness.hasura.refused = {"7:a"}
    sent = await harness.outbox.send([event(number, "a") for number in range(10)])
    marked = [id_ for _, params in harness.db.ran for id_ in params["ids"]]
    assert (sent, sorted(marked)) == (9, [0, 1, 2, 3, 4, 5, 6, 8, 9])
    assert harness.counted("failed") == 1


async def test_events_are_not_retried_one_by_one_while_hasura_is_unavailable() -> None:
    harness = OutboxHarness()
    harness.hasura.failing = True
    assert await harness.outbox.send([event(number, "a") for number in range(10)]) == 0
    assert sum(len(call) for call in harness.hasura.calls) == 10


async def test_a_call_that_accepted_fewer_notifications_marks_nothing() -> None:
    harness = OutboxHarness()
    harness.hasura.accepted_per_call = 1
    assert await harness.outbox.send([event(1, "a", "b")]) == 0
    assert harness.db.ran == []


async def test_after_a_failed_mark_the_next_sender_repeats_with_the_same_key() -> None:
    harness = OutboxHarness()
    harness.db.error = DatabaseUnavailable()
    assert await harness.outbox.send([event(1, "a")]) == 0
    harness.db.error = None
    assert await harness.outbox.send([event(1, "a")]) == 1
    assert harness.hasura.calls == [["1:a"], ["1:a"]]


async def test_only_claimed_notifications_are_sent() -> None:
    harness = OutboxHarness()
    harness.db.rows = [asdict(event(3, "a"))]
    assert await harness.outbox.claim_and_send([3, 4]) == 1
    assert harness.db.ran[0] == ("outbox/claim_notifications", {"ids": [3, 4], "lease": SEND_LEASE})


def test_the_idempotency_key_names_event_and_notification() -> None:
    (sent,) = notification_inputs(event(5, "new_lead"))
    assert sent == {
        "template_code": "t",
        "recipient_ids": ["s"],
        "data": {},
        "idempotency_key": "5:new_lead",
    }
