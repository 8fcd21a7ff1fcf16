"""The action pancake_replay_events beside other changes of the rows that it found."""

from leads.domain.replay import ReplayRequest
from leads.services.replay_events import find_events, replay
from tests.support.handlers import HandlerHarness
from tests.support.held_leads import hold_leads


async def test_a_row_that_changed_after_it_was_found_is_left_alone(harness: HandlerHarness) -> None:
    (event_id,) = await hold_leads(harness, 1)
    request = ReplayRequest("t", frozenset({"skipped_kill_switch"}), ids=(event_id,))
    found = await find_events(harness.runtime.db, request)
    harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    assert await replay(harness.runtime.db, harness.clock, request, found.ids, 10) == []
