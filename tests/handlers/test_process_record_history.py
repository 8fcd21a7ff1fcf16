"""process_record and the history of a record: order, replays, closed tickets, deletions, far times."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.support.handlers import HandlerHarness
from tests.support.leads import EARLIER, LATER, LEAD, RECORD_ID

LATEST = "2026-05-16T02:35:56"


def title(harness: HandlerHarness) -> str:
    row = harness.one(
        "SELECT title FROM ticket WHERE source_id = 'ticket_source_pancake' ORDER BY created_at DESC LIMIT 1"
    )
    return str(row["title"])


async def replay(harness: HandlerHarness, event_id: int, **input_: Any) -> str:
    report = await harness.replay(ids=[event_id], **input_)
    assert report["replayed"] == 1
    return await harness.process(event_id, "UPDATE")


async def test_a_replay_that_changes_nothing_keeps_what_was_sent(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    event_id, _ = await harness.process_lead()
    before = harness.event(event_id)
    assert await replay(harness, event_id) == "no_change"
    after = harness.event(event_id)
    assert after["notifications"] == before["notifications"] != []
    assert after["notified_at"] == before["notified_at"] is not None
    assert len(harness.hasura.sent) == 1


async def test_an_unchanged_version_is_compared_with_the_version_applied_last(
    harness: HandlerHarness,
) -> None:
    first, _ = await harness.process_lead(name="v1", modified_on=EARLIER)
    await harness.process_lead(name="v2")
    assert await replay(harness, first, force=True) == "ticket_updated"
    assert title(harness) == "Lead Pancake: v1"
    _, result = await harness.process_lead(name="v2", modified_on=LATER)
    assert (result, title(harness)) == ("ticket_updated", "Lead Pancake: v2")


async def test_a_replay_that_is_stale_is_not_the_version_applied_last(harness: HandlerHarness) -> None:
    first, _ = await harness.process_lead(name="v1", modified_on=EARLIER)
    await harness.process_lead(name="v2")
    assert await replay(harness, first) == "stale"
    _, result = await harness.process_lead(name="v1", modified_on=LATER)
    assert (result, title(harness)) == ("ticket_updated", "Lead Pancake: v1")


async def test_versions_without_a_time_are_ordered_by_their_arrival(harness: HandlerHarness) -> None:
    early = (await harness.deliver({"id": "r", "name": "v1", "phone_number": "0905111222", "source": [-1]}))[
        "event_id"
    ]
    harness.clock.ahead += timedelta(minutes=1)
    await harness.process_lead(id="r", name="v2")
    harness.sql(
        "UPDATE pancake_webhook_event SET arrived_at = arrived_at - interval '1 hour' WHERE id = %s", early
    )
    assert await harness.process(early) == "stale"
    assert title(harness) == "Lead Pancake: v2"


async def test_versions_of_one_time_are_ordered_by_their_arrival(harness: HandlerHarness) -> None:
    older = (await harness.deliver({"id": "r", "name": "v1", "phone_number": "0905111222", "source": [-1],
                                    "modified_on": LATER}))["event_id"]  # fmt: skip
    newer = (await harness.deliver({"id": "r", "name": "v2", "phone_number": "0905111222", "source": [-1],
                                    "modified_on": LATER}))["event_id"]  # fmt: skip
    harness.sql(
        "UPDATE pancake_webhook_event SET arrived_at = arrived_at - interval '1 hour' WHERE id = %s", older
    )
    assert await harness.process(newer) == "ticket_created"
    assert await harness.process(older) == "stale"


async def test_a_time_in_the_far_future_does_not_block_the_record(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    far, _ = await harness.process_lead(name="v1", modified_on="2099-01-01T00:00:00")
    assert harness.event(far)["evidence"]["future_time"] is True
    attention = harness.hasura.sent[f"{far}:future_time"]
    assert attention["data"]["reason"] == "future_time"
    harness.clock.ahead += timedelta(hours=1)
    arrived = harness.clock.now().strftime("%Y-%m-%dT%H:%M:%S")
    _, result = await harness.process_lead(name="v2", modified_on=arrived)
    assert (result, title(harness)) == ("ticket_updated", "Lead Pancake: v2")
    harness.clock.ahead += timedelta(hours=1)
    again, result = await harness.process_lead(name="v3", modified_on="2099-01-01T00:00:00")
    assert (result, title(harness)) == ("ticket_updated", "Lead Pancake: v3")
    assert f"{again}:future_time" not in harness.hasura.sent


async def test_a_forced_replay_of_the_creating_event_stays_ticket_created(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    event_id, _ = await harness.process_lead()
    assert await replay(harness, event_id, force=True) == "ticket_updated"
    event = harness.event(event_id)
    assert event["outcome"] == "ticket_created"
    assert event["evidence"]["assignment"]["chosen"] == str(event["assignee_id"])


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({"pancake_tags": ["vip"]}, "contact_updated"),
        ({"name": "B"}, "contact_updated"),
        ({"full_address": "Hà Nội"}, "contact_updated"),
        ({"interested_product": []}, "contact_updated"),
        ({"interested_product": ["Gói A", "Gói B"]}, "ticket_created"),
        ({"phone_number": "0912000111"}, "ticket_created"),
        ({"source": ["-1", "-3"]}, "ticket_created"),
    ],
    ids=str,
)
async def test_a_closed_ticket_is_replaced_only_for_news_that_matter(
    harness: HandlerHarness, change: dict[str, Any], result: str
) -> None:
    harness.fill_roster(1)
    first, _ = await harness.process_lead(interested_product=["Gói A"])
    harness.sql("UPDATE ticket SET status = 'done' WHERE source_id = 'ticket_source_pancake'")
    event_id, found = await harness.process_lead(
        **({"interested_product": ["Gói A"], "modified_on": LATER} | change)
    )
    assert found == result
    before = harness.one("SELECT status FROM ticket WHERE id = %s", harness.event(first)["ticket_id"])
    assert before == {"status": "done"}
    assert harness.count_tickets() == (2 if result == "ticket_created" else 1)
    if result == "contact_updated":
        assert harness.event(event_id)["notifications"] == []


@pytest.mark.parametrize(
    "deletion",
    [
        {"id": RECORD_ID, "event_type": "delete", "source": ["-1"], "modified_on": LATER},
        {"event": "record", "action": "deleted", "data": {"id": RECORD_ID, "source": ["-1"]}},
    ],
    ids=("flat", "enveloped"),
)
async def test_a_deleted_record_makes_no_ticket_and_tells_the_owner_once(
    harness: HandlerHarness, deletion: dict[str, Any]
) -> None:
    (owner,) = harness.fill_roster(1)
    first, _ = await harness.process_lead()
    before = harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'")
    harness.clock.ahead += timedelta(minutes=1)
    event_id = (await harness.deliver(deletion))["event_id"]
    assert await harness.process(event_id) == "record_deleted"
    event = harness.event(event_id)
    assert (event["outcome"], event["ticket_id"]) == ("record_deleted", harness.event(first)["ticket_id"])
    assert harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'") == before
    sent = harness.hasura.sent[f"{event_id}:record_deleted"]
    assert owner in sent["recipient_ids"]
    assert await replay(harness, event_id) == "record_deleted"
    assert len([key for key in harness.hasura.sent if "record_deleted" in key]) == 1


async def test_the_deletion_of_an_unknown_record_makes_nothing(harness: HandlerHarness) -> None:
    deletion = {"id": "unknown", "event_type": "delete", "phone_number": "0905111222", "source": ["-1"]}
    event_id = (await harness.deliver(deletion))["event_id"]
    assert await harness.process(event_id) == "record_deleted"
    assert harness.count_tickets() == 0
    assert harness.count("account", "normalized_phone = '+84905111222'") == 0


async def test_a_record_that_comes_back_after_its_deletion_is_applied(harness: HandlerHarness) -> None:
    await harness.process_lead()
    deletion = {"id": RECORD_ID, "event_type": "delete", "source": ["-1"], "modified_on": LATER}
    await harness.process((await harness.deliver(deletion))["event_id"])
    _, result = await harness.process_lead(modified_on=LATEST)
    assert result == "ticket_updated"


async def test_a_text_that_is_cut_is_noted(harness: HandlerHarness) -> None:
    event_id, _ = await harness.process_lead(name="N" * 501, email="e" * 321)
    assert harness.event(event_id)["evidence"]["cut_fields"] == ["email", "name"]


async def test_an_error_of_an_attempt_before_is_not_kept_after_success(harness: HandlerHarness) -> None:
    harness.refuse_tickets("RAISE EXCEPTION 'no'", 1)
    event_id, result = await harness.process_lead()
    assert result == "failed"
    assert "error" in harness.event(event_id)["evidence"]
    await harness.recover()
    assert "error" not in harness.event(event_id)["evidence"]


async def test_two_workspaces_with_the_same_record_id_have_a_history_each(harness: HandlerHarness) -> None:
    await harness.process_lead(id="r", modified_on=LATER)
    other = harness.one(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
        " VALUES ('other', 456, sha256('other token')) RETURNING id"
    )["id"]
    harness.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " VALUES (%s, '-1', 'Facebook', true)",
        other,
    )
    body = {"id": "r", "name": "B", "phone_number": "0912000111", "source": ["-1"], "modified_on": EARLIER}
    answer = await harness.deliver(body, token="other token")
    assert await harness.process(answer["event_id"]) == "ticket_created"
    assert harness.count_tickets() == 2


async def test_a_lead_and_a_contact_with_one_id_have_a_history_each(harness: HandlerHarness) -> None:
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    await harness.process_lead(id="r", table_id="contact", modified_on=LATER)
    _, result = await harness.process_lead(id="r", table_id="lead", name="B", modified_on=EARLIER)
    assert result == "ticket_created"


async def test_a_time_in_the_far_future_is_noted_whatever_becomes_of_the_version(
    harness: HandlerHarness,
) -> None:
    harness.fill_roster(1)
    await harness.process_lead(modified_on=EARLIER)
    far, result = await harness.process_lead(modified_on="2099-01-01T00:00:00")
    assert result == "no_change"
    assert harness.event(far)["evidence"]["future_time"] is True
    assert f"{far}:future_time" in harness.hasura.sent
    harness.clock.ahead += timedelta(hours=1)
    arrived = harness.clock.now().strftime("%Y-%m-%dT%H:%M:%S")
    _, result = await harness.process_lead(name="v2", modified_on=arrived)
    assert (result, title(harness)) == ("ticket_updated", "Lead Pancake: v2")


async def test_a_stale_version_with_a_time_in_the_future_is_noted_only(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    far = (await harness.deliver(LEAD | {"modified_on": "2099-01-01T00:00:00"}))["event_id"]
    harness.clock.ahead += timedelta(hours=1)
    await harness.process_lead(name="v2", modified_on=None)
    assert await harness.process(far) == "stale"
    assert harness.event(far)["evidence"]["future_time"] is True
    assert f"{far}:future_time" not in harness.hasura.sent


async def test_a_forced_deletion_is_applied_although_it_is_older(harness: HandlerHarness) -> None:
    (owner,) = harness.fill_roster(1)
    await harness.process_lead(modified_on=LATER)
    deletion = {"id": RECORD_ID, "event_type": "delete", "source": ["-1"], "modified_on": EARLIER}
    event_id = (await harness.deliver(deletion))["event_id"]
    assert await harness.process(event_id) == "stale"
    assert await replay(harness, event_id, force=True) == "record_deleted"
    assert owner in harness.hasura.sent[f"{event_id}:record_deleted.1"]["recipient_ids"]


@pytest.mark.parametrize(
    "second",
    [
        {"source": ["-3", "-1"]},
        {"phone_number": "+84 905 111 222"},
        {"pancake_tags": ["b", "a", "b"]},
        {"interested_product": ["Gói B", "Gói A"]},
    ],
    ids=str,
)
async def test_the_same_values_in_another_order_or_notation_are_no_change(
    harness: HandlerHarness, second: dict[str, Any]
) -> None:
    harness.fill_roster(1)
    first = {"source": ["-1", "-3"], "pancake_tags": ["a", "b"], "interested_product": ["Gói A", "Gói B"]}
    await harness.process_lead(**first)
    _, result = await harness.process_lead(**first | second, modified_on=LATER)
    assert result == "no_change"
    assert len(harness.hasura.sent) == 1


async def test_texts_of_lists_that_are_cut_are_noted_even_if_nothing_changed(harness: HandlerHarness) -> None:
    cut = {"pancake_tags": ["t" * 201], "interested_product": ["p"] * 51}
    first, _ = await harness.process_lead(**cut)
    second, result = await harness.process_lead(**cut, modified_on=LATER)
    assert result == "no_change"
    for event_id in (first, second):
        assert harness.event(event_id)["evidence"]["cut_fields"] == ["interested_products", "tags"]


async def test_a_forced_old_version_beside_a_new_one_leaves_what_was_applied_last(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    old, _ = await harness.process_lead(name="old", modified_on=EARLIER)
    for number in range(5):
        new = (
            await harness.deliver(LEAD | {"name": f"new {number}", "modified_on": f"2026-06-0{number + 1}"})
        )["event_id"]
        await harness.replay(ids=[old], force=True)
        await asyncio.gather(harness.process(old, "UPDATE"), second_harness.process(new))
        last = harness.one("SELECT id FROM pancake_webhook_event ORDER BY applied_at DESC NULLS LAST LIMIT 1")
        name = "old" if last["id"] == old else f"new {number}"
        assert title(harness) == f"Lead Pancake: {name}"
        other = f"new {number}" if last["id"] == old else "old"
        later, result = await harness.process_lead(name=other, modified_on=f"2026-06-0{number + 1}T12:00")
        assert (result, title(harness)) == ("ticket_updated", f"Lead Pancake: {other}")
        assert harness.event(later)["ticket_id"] == harness.event(old)["ticket_id"]
