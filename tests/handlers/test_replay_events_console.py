"""Redelivering and invoking in the Hasura console, on a row in every state."""

import pytest

from tests.support.handlers import HandlerHarness
from tests.support.held_leads import held_lead, hold_leads


class TestConsole:
    """Redelivering and invoking in the Hasura console, on a row in every state."""

    @pytest.mark.parametrize("op", ["INSERT", "UPDATE"])
    async def test_redelivery_processes_received_rows_only(self, harness: HandlerHarness, op: str) -> None:
        for status, event_id in (await _one_in_each_state(harness)).items():
            result = await harness.process(event_id, op)
            expected = "ticket_created" if status == "received" else "not_received"
            assert (status, result) == (status, expected)
            assert harness.event(event_id)["status"] == ("processed" if status == "received" else status)

    async def test_invoking_replays_held_and_failed_rows(self, harness: HandlerHarness) -> None:
        expected = dict.fromkeys(("failed", "dead_letter", "skipped_kill_switch"), "replayed")
        expected |= {"received": "ticket_created", "processed": "not_received", "ingested": "not_received"}
        for status, event_id in (await _one_in_each_state(harness)).items():
            result = await harness.process(event_id, "MANUAL")
            assert (status, result) == (status, expected[status])
            if result == "replayed":
                event = harness.event(event_id)
                assert (event["status"], event["replayed_by"]) == ("received", "console")
                assert (event["replay_count"], event["attempts"]) == (1, 0)

    async def test_invoking_is_refused_while_the_kill_switch_is_on(self, harness: HandlerHarness) -> None:
        (event_id,) = await hold_leads(harness, 1)
        harness.change_settings(kill_switch=True)
        assert await harness.process(event_id, "MANUAL") == "kill_switch_on"
        assert harness.event(event_id)["status"] == "skipped_kill_switch"

    async def test_a_body_without_a_record_becomes_a_dead_letter_again(self, harness: HandlerHarness) -> None:
        event_id = (await harness.deliver(b"not json"))["event_id"]
        assert await harness.process(event_id, "MANUAL") == "not_received"
        harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
        user = harness.one("SELECT session_user::text AS name")["name"]
        assert harness.event(event_id)["replayed_by"] == user
        harness.sql("UPDATE pancake_source SET is_active = true")
        harness.sql("UPDATE pancake_webhook_event SET source_ids = '{-1}' WHERE id = %s", event_id)
        await harness.process(event_id, "UPDATE")
        event = harness.event(event_id)
        assert (event["status"], event["error_code"]) == ("dead_letter", "invalid_payload")


async def _one_in_each_state(harness: HandlerHarness) -> dict[str, int]:
    """Create one row in each state, each of a different lead; return the ids by status."""
    ids = {"skipped_kill_switch": (await hold_leads(harness, 1))[0]}
    for number, status in enumerate(("received", "ingested", "processed", "failed", "dead_letter"), 10):
        ids[status] = (await harness.deliver(held_lead(number)))["event_id"]
        if status != "received":
            harness.sql(
                "UPDATE pancake_webhook_event SET status = 'ingested', claim_id = gen_random_uuid(),"
                " ingested_at = clock_timestamp() WHERE id = %s",
                ids[status],
            )
        if status not in ("received", "ingested"):
            harness.sql(
                "UPDATE pancake_webhook_event SET status = %s, error_code = 'x', next_attempt_at = now(),"
                " processed_at = now(), outcome = 'ticket_created' WHERE id = %s",
                status,
                ids[status],
            )
    return ids
