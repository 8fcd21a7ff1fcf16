"""process_record invoked by hand at the console: what is replayed and what is refused."""

from leads.services.process_record.claim import claim_event
from tests.support.handlers import HandlerHarness


async def test_invoking_by_hand_replays_only_events_that_were_not_processed(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    done, _ = await harness.process_lead()
    waiting = (await harness.deliver({"id": "w", "phone_number": "0905111333", "source": [-1]}))["event_id"]
    claimed = (await harness.deliver({"id": "c", "phone_number": "0905111444", "source": [-1]}))["event_id"]
    assert await claim_event(harness.runtime.db, claimed) is not None
    held = (await harness.deliver({"id": "h", "phone_number": "0905111555", "source": [-3]}))["event_id"]
    dead = (await harness.deliver({"id": "d", "phone_number": "none", "source": [-1]}))["event_id"]
    assert await harness.process(dead) == "dead_letter"
    results = {i: await harness.process(i, "MANUAL") for i in (done, waiting, claimed, held, dead)}
    assert results == {
        done: "already_processed",
        waiting: "ticket_created",
        claimed: "under_way",
        held: "source_disabled",
        dead: "replayed",
    }
    harness.sql("UPDATE pancake_source SET is_active = true")
    assert await harness.process(held, "MANUAL") == "replayed"
    for event_id in (held, dead):
        event = harness.event(event_id)
        assert (event["status"], event["replayed_by"], event["attempts"]) == ("received", "console:invoke", 0)
        assert event["replay_count"] == 1
        assert event["replayed_at"] is not None
    assert await harness.process(held, "UPDATE") == "ticket_created"
    assert await harness.process(dead, "UPDATE") == "dead_letter"
    assert harness.event(claimed)["status"] == "ingested"


async def test_replay_by_hand_is_refused_while_the_kill_switch_is_on(harness: HandlerHarness) -> None:
    dead = (await harness.deliver({"id": "d", "phone_number": "none", "source": [-1]}))["event_id"]
    await harness.process(dead)
    harness.change_settings(kill_switch=True)
    assert await harness.process(dead, "MANUAL") == "kill_switch_on"
    assert harness.event(dead)["status"] == "dead_letter"


async def test_a_failed_row_is_replayed_at_once_by_hand(harness: HandlerHarness) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'no'", 1)
    event_id, result = await harness.process_lead()
    assert result == "failed"
    assert await harness.process(event_id, "MANUAL") == "replayed"
    assert harness.event(event_id)["next_attempt_at"] is None
    assert await harness.process(event_id, "UPDATE") == "ticket_created"


async def test_an_invalid_body_stays_a_dead_letter_after_every_replay(harness: HandlerHarness) -> None:
    invalid = ((b"not json", "invalid_payload"), (b'{"name": "no id"}', "missing_record_id"))
    for body_, code in invalid:
        event_id = (await harness.deliver(body_))["event_id"]
        assert await harness.process(event_id, "MANUAL") == "no_record_id"
        harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
        assert await harness.process(event_id, "UPDATE") == "dead_letter"
        event = harness.event(event_id)
        assert (event["status"], event["error_code"]) == ("dead_letter", code)
