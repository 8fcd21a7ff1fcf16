"""process_record sends the notifications of an event once, now or later."""

import json

from leads.services.outbox import SEND_LEASE, UnsentEvent
from tests.support.handlers import HandlerHarness
from tests.support.leads import LATER
from tests.support.settings import ADMIN_ID


async def test_a_notification_that_hasura_fails_is_sent_after_its_lease(
    harness: HandlerHarness,
) -> None:
    harness.fill_roster(1)
    harness.hasura.failing = True
    event_id, result = await harness.process_lead()
    event = harness.event(event_id)
    assert (result, event["status"], event["notified_at"]) == ("ticket_created", "processed", None)
    harness.hasura.failing = False
    await harness.process(event_id)
    assert harness.hasura.sent == {}  # the sender that claimed it may still be sending
    harness.expire_leases()
    assert await harness.process(event_id) == "already_processed"
    assert list(harness.hasura.sent) == [f"{event_id}:new_lead"]
    assert harness.event(event_id)["notified_at"] is not None


async def test_notifications_that_the_service_did_not_accept_are_sent_again(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await harness.process_lead()
    harness.hasura.accepted_per_call = 1
    event_id, _ = await harness.process_lead(modified_on=LATER, phone_number="0905999888")
    assert len(harness.event(event_id)["notifications"]) == 2
    assert harness.event(event_id)["notified_at"] is None
    harness.hasura.accepted_per_call = None
    harness.expire_leases()
    await harness.process(event_id)
    assert {f"{event_id}:lead_updated", f"{event_id}:phone_changed"} <= set(harness.hasura.sent)


async def test_a_sender_with_an_older_claim_does_not_mark_newer_notifications_as_sent(
    harness: HandlerHarness,
) -> None:
    answer = await harness.deliver({"id": "r", "phone_number": "0905111222", "source": ["-1"]})
    earlier = {"name": "earlier", "template_code": "noti_pancake_new_lead", "recipient_ids": [ADMIN_ID]}
    harness.sql("UPDATE pancake_webhook_event SET notifications = %s", json.dumps([earlier | {"data": {}}]))
    claim = {"ids": [answer["event_id"]], "lease": SEND_LEASE, "now": harness.clock.now()}
    (held,) = await harness.runtime.db.fetch_all("outbox/claim_notifications", claim, UnsentEvent)
    harness.hasura.failing = True
    await harness.process(answer["event_id"])
    harness.hasura.failing = False
    await harness.runtime.outbox.send([held])
    event = harness.event(answer["event_id"])
    assert len(event["notifications"]) == 2
    assert event["notified_at"] is None
    harness.expire_leases()
    await harness.process(answer["event_id"])
    assert len(harness.hasura.sent) == 2


async def test_a_replay_of_a_given_up_event_sends_its_notifications(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    harness.hasura.refused = {"1:new_lead"}
    event_id, _ = await harness.process_lead()
    harness.sql("UPDATE pancake_webhook_event SET notify_given_up_at = now()")
    harness.hasura.refused = set()
    await harness.replay(ids=[event_id])
    await harness.process_received()
    assert list(harness.hasura.sent) == [f"{event_id}:new_lead"]
    assert harness.event(event_id)["notify_given_up_at"] is None


async def test_a_replay_sends_only_what_was_not_accepted(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await harness.process_lead()
    harness.hasura.failing = True
    event_id, _ = await harness.process_lead(modified_on=LATER, phone_number="0905999888")
    harness.sql(
        "UPDATE pancake_webhook_event SET notify_sent = ARRAY['lead_updated'] WHERE id = %s", event_id
    )
    harness.hasura.failing = False
    harness.hasura.calls.clear()
    await harness.replay(ids=[event_id])
    await harness.process_received()
    assert [f"{event_id}:phone_changed"] in harness.hasura.calls
    assert not [call for call in harness.hasura.calls if f"{event_id}:lead_updated" in call]
