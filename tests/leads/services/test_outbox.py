"""Notifications of several events are sent in one call and marked, or left to the retry cron."""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest

from leads.adapters.metrics import Metrics
from leads.domain.errors import DatabaseUnavailable
from leads.domain.notifications import Notification
from leads.services import outbox
from leads.services.outbox import (
    BATCHES_AT_A_TIME,
    MAX_SECONDS_TO_START,
    SEND_LEASE,
    DueRow,
    EventOutbox,
    UnsentRow,
)
from tests.support.fakes import FakeDatabase, FakeHasura, MovableClock
from tests.support.handlers import value_of
from tests.support.stored_rows import NOTIFICATIONS
from tests.support.waiting import eventually_async

CLAIMED_AT = datetime(2026, 5, 14, tzinfo=UTC)


def event(number: int, *names: str) -> UnsentRow:
    notifications = [
        Notification(name=name, template_code="t", recipient_ids=["s"], data={}) for name in names
    ]
    return UnsentRow(number, notifications, CLAIMED_AT + timedelta(seconds=number))


class OutboxHarness:
    """An outbox between a fake database and a fake Hasura."""

    def __init__(self) -> None:
        self.db, self.hasura, self.metrics = FakeDatabase(), FakeHasura(), Metrics()
        self.clock = MovableClock()
        self.outbox = EventOutbox(self.db, self.hasura, self.metrics, self.clock)

    def marked(self) -> list[int]:
        """The ids of the events that were marked as notified."""
        return sorted(
            id_ for name, params in self.db.ran if name == "outbox/mark_notified" for id_ in params["ids"]
        )

    def unsent(self) -> dict[int, dict[str, Any]]:
        """What was stored of the events that were not notified, by id."""
        stored = [params["results"] for name, params in self.db.ran if name == "outbox/mark_unsent"]
        return {result["id"]: result for results in stored for result in json.loads(results)}


async def test_sent_notifications_are_marked_under_their_claim() -> None:
    """An event without notifications sends nothing."""
    harness = OutboxHarness()
    assert await harness.outbox.send([event(7)]) == 0
    assert (harness.hasura.calls, harness.db.ran) == ([], [])
    assert await harness.outbox.send([event(7, "new_lead", "phone_changed")]) == 1
    assert harness.hasura.calls == [["7:new_lead", "7:phone_changed"]]
    ((name, params),) = harness.db.ran
    assert (name, params["ids"]) == ("outbox/mark_notified", [7])
    assert params["claimed_ats"] == [CLAIMED_AT + timedelta(seconds=7)]
    assert value_of(harness.metrics, NOTIFICATIONS, result="accepted") == 2
    assert harness.hasura.sent["7:new_lead"] == {
        "template_code": "t", "recipient_ids": ["s"], "data": {}, "idempotency_key": "7:new_lead",
    }  # fmt: skip


async def test_concurrent_events_share_calls() -> None:
    harness = OutboxHarness()
    sent = await asyncio.gather(*(harness.outbox.send([event(n, "new_lead")]) for n in range(40)))
    assert sent == [1] * 40
    assert len(harness.hasura.calls) < 10
    assert sorted(key for call in harness.hasura.calls for key in call) == sorted(
        f"{n}:new_lead" for n in range(40)
    )


async def test_notifications_that_hasura_fails_are_neither_marked_nor_retried_one_by_one() -> None:
    harness = OutboxHarness()
    harness.hasura.failing = True
    assert await harness.outbox.send([event(number, "a") for number in range(10)]) == 0
    assert harness.marked() == []
    errors = {id_: result["error"] for id_, result in harness.unsent().items()}
    assert errors == dict.fromkeys(range(10), "unreached")
    assert (
        value_of(harness.metrics, NOTIFICATIONS, result="failed")
        == sum(len(call) for call in harness.hasura.calls)
        == 10
    )


async def test_a_call_without_an_answer_is_counted_apart_and_fewer_accepted_mark_nothing() -> None:
    harness = OutboxHarness()
    harness.hasura.slow = True
    assert await harness.outbox.send([event(1, "a", "b"), event(2, "c")]) == 0
    assert {id_: result["unknowns"] for id_, result in harness.unsent().items()} == {1: 1, 2: 1}
    assert (
        value_of(harness.metrics, NOTIFICATIONS, result="failed"),
        value_of(harness.metrics, NOTIFICATIONS, result="unknown"),
    ) == (0, 3)
    harness = OutboxHarness()
    harness.hasura.accepted_per_call = 1
    assert (await harness.outbox.send([event(1, "a", "b")]), harness.marked()) == (0, [])


async def test_an_event_that_waited_too_long_for_its_call_is_left_as_it_was() -> None:
    """Its lease could run out, and another sender would send it at the same time."""
    harness = OutboxHarness()
    harness.hasura.gate.clear()
    sending: list[asyncio.Task[int]] = []
    for number in range(BATCHES_AT_A_TIME + 1):
        sending.append(asyncio.create_task(harness.outbox.send([event(number, "a")])))
        await eventually_async(lambda: len(harness.hasura.calls) == min(len(sending), BATCHES_AT_A_TIME))
    await eventually_async(lambda: len(harness.outbox._batcher._waiting) == 1)
    harness.clock.ahead += timedelta(seconds=MAX_SECONDS_TO_START)
    harness.hasura.gate.set()
    assert [await each for each in sending] == [1] * BATCHES_AT_A_TIME + [0]
    assert harness.unsent()[BATCHES_AT_A_TIME]["attempts"] == 0


async def test_a_refused_notification_does_not_delay_the_others() -> None:
    harness = OutboxHarness()
    harness.hasura.refused = {"7:a"}
    sent = await harness.outbox.send([event(number, "a") for number in range(10)])
    assert (sent, harness.marked()) == (9, [0, 1, 2, 3, 4, 5, 6, 8, 9])
    assert harness.unsent()[7]["refusals"] == 1
    assert value_of(harness.metrics, NOTIFICATIONS, result="failed") == 1


async def test_events_sent_one_by_one_do_not_delay_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "GATHER_SECONDS", 0.0)
    harness = OutboxHarness()
    harness.hasura.refused = {"0:a"}
    harness.hasura.gate.clear()
    refused = asyncio.create_task(harness.outbox.send([event(number, "a") for number in range(10)]))
    await eventually_async(lambda: len(harness.hasura.calls) == 1)
    next_one = asyncio.create_task(harness.outbox.send([event(99, "a")]))
    await eventually_async(lambda: len(harness.outbox._batcher._waiting) == 1)
    harness.hasura.gate.set()
    assert (await next_one, await refused) == (1, 9)
    assert harness.hasura.calls[1:4].count(["99:a"]) == 1, harness.hasura.calls


async def test_after_a_failed_mark_the_next_sender_repeats_with_the_same_key() -> None:
    harness = OutboxHarness()
    harness.db.error = DatabaseUnavailable()
    assert await harness.outbox.send([event(1, "a")]) == 0
    harness.db.error = None
    assert await harness.outbox.send([event(1, "a")]) == 1
    assert harness.hasura.calls == [["1:a"], ["1:a"]]


async def test_each_error_of_several_calls_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness = OutboxHarness()
    errors: list[Exception] = [KeyError("a"), DatabaseUnavailable(), ValueError("c")]
    monkeypatch.setattr(harness.outbox, "_claim", AsyncMock(side_effect=errors))
    with pytest.raises(KeyError):
        await harness.outbox.send_due([DueRow(number, 1, 1) for number in range(3)], lambda: True)
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == errors[1:]


async def test_only_claimed_notifications_are_sent() -> None:
    harness = OutboxHarness()
    harness.db.rows = [asdict(event(3, "a"))]
    assert await harness.outbox.claim_and_send([3, 4]) == 1
    name, params = harness.db.ran[0]
    assert (name, params["ids"], params["lease"]) == ("outbox/claim_notifications", [3, 4], SEND_LEASE)
