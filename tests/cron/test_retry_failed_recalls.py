"""Cron 3 recalls tickets whose owner does not respond in time, if the settings say so."""

from typing import Any

import pytest

from leads.adapters.queries import QUERIES
from tests.support.crons import CronHarness
from tests.support.unassigned import ticket_of


async def tick(harness: CronHarness, minutes: float) -> Any:
    harness.move_clock(minutes=minutes)
    return (await harness.run("retry_failed"))["recalled"]


def recalls(harness: CronHarness, event_id: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = harness.event(event_id)["evidence"]["assignment"].get("recalls", [])
    return found


async def new_ticket(harness: CronHarness, size: int = 3, **settings: Any) -> tuple[int, str]:
    """Process a lead with a roster of that size; return the event's id and the owner."""
    harness.fill_roster(size)
    harness.change_settings(**settings)
    event_id, result = await harness.process_lead()
    assert result == "ticket_created"
    return event_id, str(ticket_of(harness, event_id)["assignee_id"])


async def test_by_default_nothing_is_recalled(harness: CronHarness) -> None:
    event_id, owner = await new_ticket(harness)
    assert await tick(harness, 1400) == 0
    assert str(ticket_of(harness, event_id)["assignee_id"]) == owner


async def test_a_ticket_without_a_response_goes_to_the_next_member_and_both_are_told(
    harness: CronHarness,
) -> None:
    event_id, first = await new_ticket(harness, recall_after_minutes=10)
    assert await tick(harness, 9) == 0
    assert await tick(harness, 2) == 1
    event, second = harness.event(event_id), str(ticket_of(harness, event_id)["assignee_id"])
    assert second != first
    assert (str(event["assignee_id"]), event["evidence"]["assignment"]["chosen"]) == (second, second)
    (hop,) = recalls(harness, event_id)
    assert (hop["from"], hop["to"], hop["reason"]) == (first, second, "no_first_response")
    assert event["evidence"]["assignment"]["skipped"] == [{"staff_id": first, "reason": "had_the_ticket"}]
    gained = harness.hasura.sent[f"{event_id}:new_lead_after_recall_1"]
    assert (gained["template_code"], gained["recipient_ids"]) == ("noti_pancake_new_lead", [second])
    lost = harness.hasura.sent[f"{event_id}:ticket_recalled_1"]
    assert (lost["recipient_ids"], lost["data"]["reason"]) == ([first], "ticket_recalled")
    assert await tick(harness, 60) == 0, "once, by default"


async def test_a_recall_is_counted_for_the_new_owner_and_is_no_intervention(harness: CronHarness) -> None:
    event_id, _ = await new_ticket(harness, recall_after_minutes=10)
    assert await tick(harness, 11) == 1
    counts = [row["assigned_count"] for row in harness.sql("SELECT assigned_count FROM pancake_assignee")]
    assert sorted(counts) == [0, 1, 1]
    created = harness.event(event_id)["created_at"]
    window = {"from": created, "to": harness.runtime.clock.now()}
    for name, figure in (("kpi/load_intervention", "changed"), ("kpi/load_auto_assign", "correct")):
        row = harness.session.execute(QUERIES[name], window).fetchone()
        assert row is not None
        assert row[figure] == (0 if figure == "changed" else 1)


async def test_it_is_recalled_so_many_times_and_never_to_one_who_had_it(harness: CronHarness) -> None:
    event_id, first = await new_ticket(harness, recall_after_minutes=10, recall_max_times=5)
    owners = [first]
    for _ in range(2):
        assert await tick(harness, 11) == 1
        owners.append(str(ticket_of(harness, event_id)["assignee_id"]))
    assert len(set(owners)) == 3
    assert await tick(harness, 11) == 0, "all three had it"
    assert [hop["from"] for hop in recalls(harness, event_id)] == owners[:2]
    harness.change_settings(recall_max_times=2)
    harness.fill_roster(1, source="-1")
    assert await tick(harness, 11) == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ticket SET first_response_at = now()",
        "UPDATE ticket SET status = 'in_progress'",
        "UPDATE ticket SET status = 'done'",
        "UPDATE ticket SET assignee_id = 'b0000000-0000-4000-8000-000000000001'",
        "UPDATE ticket SET assignee_id = NULL",
        "DELETE FROM ticket",
    ],
)
async def test_a_ticket_that_somebody_touched_is_never_recalled(harness: CronHarness, change: str) -> None:
    event_id, _ = await new_ticket(harness, recall_after_minutes=10)
    harness.sql(change + " WHERE source_id = 'ticket_source_pancake'")
    before = harness.sql("SELECT * FROM ticket ORDER BY id")
    assert await tick(harness, 60) == 0
    assert harness.sql("SELECT * FROM ticket ORDER BY id") == before
    assert recalls(harness, event_id) == []


@pytest.mark.parametrize("switch", ["kill_switch", "processing_paused"])
async def test_a_switch_stops_recalls_until_it_is_off(harness: CronHarness, switch: str) -> None:
    await new_ticket(harness, recall_after_minutes=10)
    harness.change_settings(**{switch: True})
    assert await tick(harness, 11) == 0
    harness.change_settings(**{switch: False})
    assert await tick(harness, 1) == 1


async def test_the_minutes_are_business_hours(harness: CronHarness) -> None:
    await new_ticket(harness, recall_after_minutes=10, business_hours="mon 00:00-00:01", holidays="none")
    assert await tick(harness, 300) == 0
    harness.change_settings(business_hours="always")
    assert await tick(harness, 1) == 1


async def test_a_ticket_stays_with_its_owner_if_no_one_else_can_take_it(harness: CronHarness) -> None:
    event_id, owner = await new_ticket(harness, size=1, recall_after_minutes=10)
    before = harness.sql("SELECT * FROM pancake_assignee")
    assert await tick(harness, 11) == 0
    assert str(ticket_of(harness, event_id)["assignee_id"]) == owner
    assert harness.sql("SELECT * FROM pancake_assignee") == before
    harness.fill_roster(2, source="-1")
    assert (await tick(harness, 1), len(recalls(harness, event_id))) == (1, 1)
