"""What process_record counts and measures of an event."""

from datetime import timedelta
from typing import Any

from handlers.process_record import DELIVERED_COLUMNS
from leads.cli.metadata.directory import DIRECTORY, read_directory
from tests.support.handlers import HandlerHarness
from tests.support.held_leads import held_lead, hold_leads
from tests.support.leads import LEAD

DURATION = "pancake_event_process_duration_seconds_count"


def _counted(harness: HandlerHarness, result: str) -> float:
    value = harness.runtime.metrics.registry.get_sample_value("pancake_events_total", {"result": result})
    return value or 0.0


def _measured(harness: HandlerHarness) -> float | None:
    """Return how many durations were observed."""
    return harness.runtime.metrics.registry.get_sample_value(DURATION)


async def test_a_dead_letter_is_answered_and_counted_apart_from_a_failed_event(
    harness: HandlerHarness,
) -> None:
    """One because of what it holds is counted as `invalid`: it is no failure of the integration."""
    _, result = await harness.process_lead(id="no-phone", phone_number="không có số")
    assert (result, _counted(harness, "invalid"), _counted(harness, "failed")) == ("dead_letter", 1, 0)
    assert _counted(harness, "dead_letter") == 0
    harness.refuse_tickets("RAISE EXCEPTION 'broken'", 99)
    _, result = await harness.process_lead(id="broken")
    assert (result, _counted(harness, "dead_letter"), _counted(harness, "failed")) == ("failed", 0, 1)


async def test_the_last_attempt_that_fails_is_counted_as_a_dead_letter(harness: HandlerHarness) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'broken'", 99)
    event_id, _ = await harness.process_lead()
    for _ in range(3):
        harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
        assert await harness.process(event_id) == "failed"
    harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    assert await harness.process(event_id) == "dead_letter"
    assert (_counted(harness, "dead_letter"), _counted(harness, "failed")) == (1, 4)


async def test_the_duration_is_measured_of_events_that_were_never_held_nor_replayed(
    harness: HandlerHarness,
) -> None:
    """The wait of a held lead, or of a dead letter until it is replayed, says nothing about the handlers."""
    await hold_leads(harness, 2)
    await harness.replay(filter={"status": "skipped_kill_switch"})
    assert set((await harness.process_received()).values()) == {"ticket_created"}
    dead, _ = await harness.process_lead(id="no-phone", phone_number="không có số")
    await harness.replay(ids=[dead], corrected_phone="0912 345 670")
    assert await harness.process_received() == {dead: "ticket_created"}
    assert _measured(harness) == 0
    await harness.process((await harness.deliver(held_lead(50)))["event_id"])
    assert _measured(harness) == 1


async def test_the_duration_is_not_measured_of_events_that_waited_through_a_pause(
    harness: HandlerHarness,
) -> None:
    """The first is from before the pause, the second from within it, the third from the drain."""
    before = (await harness.deliver(held_lead(1)))["event_id"]
    harness.clock.ahead += timedelta(minutes=1)
    harness.change_settings(processing_paused=True)
    within = (await harness.deliver(held_lead(2)))["event_id"]
    assert (await harness.fire(within)).status_code == 503
    harness.clock.ahead += timedelta(hours=1)
    assert (await harness.fire(within, current_retry=1)).status_code == 503
    harness.change_settings(processing_paused=False)
    for event_id in (before, within):
        answer = await harness.fire(event_id, current_retry=2)
        assert answer.json()["result"] == "ticket_created"
    assert _measured(harness) == 0
    harness.clock.ahead += timedelta(minutes=1)
    await harness.process((await harness.deliver(held_lead(3)))["event_id"])
    assert _measured(harness) == 1


async def test_the_duration_is_measured_of_an_event_that_failed_and_was_retried(
    harness: HandlerHarness,
) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'broken'", 1)
    event_id, result = await harness.process_lead()
    assert (result, _measured(harness)) == ("failed", 0)
    harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    assert await harness.process(event_id) == "ticket_created"
    assert _measured(harness) == 1


WHOLE_ROWS = "pancake_whole_row_deliveries_total"


def _event_trigger() -> dict[str, Any]:
    """Return the definition of our event trigger in the metadata."""
    tables = read_directory(DIRECTORY)["sources"][0]["tables"]
    (triggers,) = [table["event_triggers"] for table in tables if "event_triggers" in table]
    (trigger,) = triggers
    definition: dict[str, Any] = trigger["definition"]
    return definition


def test_the_columns_that_are_delivered_are_those_of_the_metadata() -> None:
    definition = _event_trigger()
    assert {*definition["insert"]["payload"]} == {*definition["update"]["payload"]} == DELIVERED_COLUMNS


async def test_a_delivered_row_with_more_columns_than_our_trigger_sends_is_counted(
    harness: HandlerHarness,
) -> None:
    """A trigger that was saved in the console sends whole rows; "Invoke" sends them on purpose."""
    event_id = (await harness.deliver(LEAD))["event_id"]
    for op, columns, counted in (
        ("INSERT", {}, 0),
        ("MANUAL", {"payload": LEAD}, 0),
        ("INSERT", {"payload": LEAD}, 1),
        ("UPDATE", {"normalized_phone": "+84905111222"}, 2),
    ):
        assert (await harness.fire(event_id, op, **columns)).status_code == 200
        assert await harness.scrape(WHOLE_ROWS) == counted
