"""What the counters of a process counted is within the bounds that the database gives for them."""

import pytest

from tests.support.crons import CronHarness
from tests.support.leads import LATER

PROCESSED = ("ticket_created", "ticket_updated", "contact_updated", "record_deleted", "stale", "no_change")
COUNTED = {
    "deliveries": [
        ("pancake_webhook_requests_total", {"status": status})
        for status in ("received", "skipped_kill_switch", "skipped_source_disabled", "dead_letter")
    ],
    "missed": [("pancake_webhook_missed_total", {"origin": origin}) for origin in ("poll", "reconcile")],
    "processed": [("pancake_events_total", {"result": result}) for result in PROCESSED],
    "failed": [
        ("pancake_events_total", {"result": result}) for result in ("failed", "dead_letter", "invalid")
    ],
    "notifications": [
        ("pancake_notifications_total", {"result": result}) for result in ("accepted", "duplicates")
    ],
}


@pytest.fixture
def harness(cron_harness: CronHarness) -> CronHarness:
    return cron_harness


async def drift(harness: CronHarness) -> dict[str, tuple[float, float, float]]:
    """The least, what was counted, and the most, by counter."""
    await harness.scrape("pancake_unassigned_tickets")
    value = harness.runtime.metrics.registry.get_sample_value
    counted = {
        counter: sum(value(name, labels) or 0 for name, labels in series)
        for counter, series in COUNTED.items()
    }
    counted["cron_runs"] = sum(
        sample.value
        for family in harness.runtime.metrics.cron_runs.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["result"] == "succeeded"
    )
    found = {}
    for counter, number in counted.items():
        least, most = (
            value("pancake_counted_rows", {"counter": counter, "bound": bound}) for bound in ("least", "most")
        )
        assert least is not None
        assert most is not None
        found[counter] = (least, number, most)
    return found


async def test_without_events_every_bound_is_0(harness: CronHarness) -> None:
    assert set((await drift(harness)).values()) == {(0.0, 0.0, 0.0)}


async def test_what_was_counted_has_rows(harness: CronHarness) -> None:
    await harness.process_lead()
    await harness.process_lead(modified_on=LATER, name="Another name")
    await harness.process_lead(id="no-phone", phone_number="x")
    await harness.deliver({"no": "id"})
    harness.refuse_tickets("RAISE EXCEPTION 'broken'", 1)
    await harness.process_lead(id="broken", phone_number="0905111223")
    await harness.process_lead(id="later", phone_number="0905111224")
    await harness.deliver({"id": "later"})
    for cron in ("sync_sources", "check_sla", "retry_failed"):
        await harness.run(cron)
    found = await drift(harness)
    assert found == {
        "deliveries": (7, 7, 7),
        "missed": (0, 0, 0),
        "processed": (3, 3, 3),
        "failed": (2, 2, 2),
        "notifications": found["notifications"],
        "cron_runs": (3, 3, 3),
    }
    least, counted, most = found["notifications"]
    assert 0 < least == counted == most


async def test_a_replay_may_have_been_counted_twice(harness: CronHarness) -> None:
    event_id, _ = await harness.process_lead()
    await harness.replay(ids=[event_id])
    await harness.process(event_id, "UPDATE")
    assert (await drift(harness))["processed"] == (1, 2, 2)


async def test_a_counter_that_lost_its_process_is_below_the_least(harness: CronHarness) -> None:
    await harness.process_lead()
    harness.runtime.metrics.events.clear()
    least, counted, _ = (await drift(harness))["processed"]
    assert counted < least


async def test_events_of_a_former_hour_do_not_count(harness: CronHarness) -> None:
    await harness.process_lead()
    harness.move_clock(hours=2)
    found = await drift(harness)
    assert {counter: least for counter, (least, _, _) in found.items() if least} == {}


async def test_a_claim_that_expired_is_not_expected_to_be_counted(harness: CronHarness) -> None:
    event_id = (await harness.deliver({"id": "x", "phone_number": "0905111222"}))["event_id"]
    harness.sql(
        "UPDATE pancake_webhook_event SET status = 'dead_letter', attempts = 5, error_code = 'claim_expired'"
        " WHERE id = %s",
        event_id,
    )
    least, _, most = (await drift(harness))["failed"]
    assert (least, most) == (0, 5)
