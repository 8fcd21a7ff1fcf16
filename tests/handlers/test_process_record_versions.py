"""process_record and the versions of a record: order, what they name, replays, deletions, far times.

One example of each rule, what the rows say of it, and versions at the same time; the random histories of
tests/model try the rules together.
"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.support.handlers import HandlerHarness
from tests.support.leads import EARLIER, LATER, PHONE, RECORD_ID
from tests.support.postgres import PHONE_LOCK, wait_for_lock_waiter
from tests.support.processing import (
    Lock,
    Processed,
    another_session,
    process,
    process_at_once,
    process_named,
    replay,
    stored,
    the_ticket,
)

FAR = "2099-01-01T00:00:00"


def title(harness: HandlerHarness) -> str:
    return str(the_ticket(harness)["title"])


@pytest.mark.test_case("TC-009")
async def test_an_older_version_changes_nothing(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await process(harness, name="New")
    ticket = the_ticket(harness)
    old = await process(harness, name="Old", modified_on=EARLIER)
    assert (old.result, old.event["ticket_id"]) == ("stale", ticket["id"])
    assert the_ticket(harness) == ticket
    assert len(harness.hasura.sent) == 1


@pytest.mark.test_case("TC-007")
async def test_a_later_version_updates_the_ticket_and_notifies_its_owner(harness: HandlerHarness) -> None:
    (owner,) = harness.fill_roster(1)
    first = await process(harness)
    harness.fill_roster(1, source="-1")
    second = await process(harness, modified_on=LATER, name="Nguyễn Văn B", email="b@example.com")
    assert second.result == "ticket_updated"
    assert first.event["ticket_id"] == second.event["ticket_id"]
    assert second.ticket["title"] == "Lead Pancake: Nguyễn Văn B"
    assert str(second.ticket["assignee_id"]) == owner
    sent = second.sent("lead_updated")
    assert (sent["template_code"], sent["recipient_ids"]) == ("noti_pancake_lead_updated", [owner])


async def test_the_same_values_in_another_order_or_notation_are_no_change(
    harness: HandlerHarness, subtests: pytest.Subtests
) -> None:
    harness.fill_roster(1)
    await process(
        harness, source=["-1", "-3"], pancake_tags=["a", "b"], interested_product=["Gói A", "Gói B"]
    )
    changed = {
        "source": ["-3", "-1"], "phone_number": "+84 905 111 222", "pancake_tags": ["b", "a", "b"],
        "interested_product": ["Gói B", "Gói A"], "owner": ["another-user"],
    }  # fmt: skip
    for number, (key, value) in enumerate(changed.items()):
        with subtests.test(number=number, key=key):
            version = {"source": ["-1", "-3"], "modified_on": f"2026-05-15T0{number}:00:00", key: value}
            again = await process_named(harness, **version)
            assert (again.result, again.event["notifications"]) == ("no_change", [])
    assert len(harness.hasura.sent) == 1


async def test_a_version_without_a_phone_holds_the_locks_of_the_customer_that_its_phone_leads_to(
    harness: HandlerHarness,
) -> None:
    """Without them it is contended: the account of the phone's contact has a phone that is not locked."""
    await process(harness, id="other", phone_number="0912000111", secondary_phone_number="0905111222")
    await process(harness, event_type="delete", modified_on=None)
    version = await process_named(harness, name="A", modified_on=LATER)
    assert (version.result, version.event["error_code"]) == ("ticket_updated", None)
    assert (version.event["normalized_phone"], version.evidence["phone"]["applied_before"]) == (PHONE, PHONE)


async def test_a_time_in_the_far_future_is_announced_once_and_always_noted(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await process(harness, modified_on=EARLIER)
    unchanged = await process(harness, modified_on=FAR)
    assert (unchanged.result, unchanged.evidence["future_time"]) == ("no_change", True)
    assert unchanged.is_sent("future_time")
    harness.clock.ahead += timedelta(hours=1)
    again = await process(harness, name="v2", modified_on=FAR)
    assert (again.result, again.is_sent("future_time")) == ("ticket_updated", False), "sent once"
    late = await stored(harness, id="late", modified_on=FAR)
    harness.clock.ahead += timedelta(hours=1)
    await process(harness, id="late", name="v2", modified_on=None)
    stale = Processed(harness, late, await harness.process(late))
    assert (stale.result, stale.evidence["future_time"]) == ("stale", True)
    assert not stale.is_sent("future_time")


async def test_a_deleted_record_makes_no_ticket_and_tells_the_owner_once(harness: HandlerHarness) -> None:
    (owner,) = harness.fill_roster(1)
    first = await process(harness)
    before = the_ticket(harness)
    harness.clock.ahead += timedelta(minutes=1)
    deletion = {"action": "deleted", "data": {"id": RECORD_ID, "source": ["-1"]}}
    event_id = (await harness.deliver({"event": "record"} | deletion))["event_id"]
    assert await harness.process(event_id) == "record_deleted"
    assert harness.event(event_id)["outcome"] == "record_deleted"
    assert harness.event(event_id)["ticket_id"] == first.event["ticket_id"]
    assert the_ticket(harness) == before
    assert owner in harness.hasura.sent[f"{event_id}:record_deleted"]["recipient_ids"]
    assert (await replay(harness, event_id)).result == "record_deleted"
    assert len([key for key in harness.hasura.sent if "record_deleted" in key]) == 1


async def test_texts_that_are_cut_are_noted_even_if_nothing_changed(harness: HandlerHarness) -> None:
    cut: dict[str, Any] = {"name": "N" * 501, "email": "e" * 321, "pancake_tags": ["t" * 201]}
    cut |= {"interested_product": ["p"] * 51}
    first, again = await process(harness, **cut), await process(harness, **cut, modified_on=LATER)
    assert (first.result, again.result) == ("ticket_created", "no_change")
    for version in (first, again):
        assert version.evidence["cut_fields"] == ["email", "interested_products", "name", "tags"]


# At the same time


async def test_versions_in_any_order_end_in_the_newest(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    ids = [
        await stored(harness, name=f"v{day}", modified_on=f"2026-05-0{day}T00:00") for day in (3, 1, 5, 2, 4)
    ]
    await process_at_once(ids, harness)
    assert title(harness) == "Lead Pancake: v5"


async def test_versions_with_different_phones_at_once_are_one_ticket(harness: HandlerHarness) -> None:
    harness.slow_down("ticket", 0.05)
    ids = [
        await stored(harness, phone_number=f"090511122{day}", modified_on=f"2026-05-0{day}T00:00")
        for day in (2, 1, 4, 3)
    ]
    results = await process_at_once(ids, harness)
    assert results["ticket_created"] == 1
    account = harness.one("SELECT * FROM account WHERE id = %s", the_ticket(harness)["account_id"])
    assert account["normalized_phone"] == "+84905111224"


async def test_a_changed_phone_waits_for_the_lock_of_the_old_one(harness: HandlerHarness) -> None:
    await process(harness)
    event_id = await stored(harness, phone_number="0905999888", modified_on=LATER)
    with another_session(harness, Lock.PHONE, PHONE):
        work = asyncio.create_task(harness.process(event_id))
        await wait_for_lock_waiter(harness, work, PHONE_LOCK)
    assert await work == "ticket_updated"


async def test_a_forced_old_version_beside_a_new_one_leaves_what_was_applied_last(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    old = await process(harness, name="old", modified_on=EARLIER)
    for number in range(5):
        day = f"2026-06-0{number + 1}"
        new = await stored(harness, name=f"new {number}", modified_on=day)
        await harness.replay(ids=[old.id], force=True, wait=False)
        await asyncio.gather(harness.process(old.id, "UPDATE"), second_harness.process(new))
        last = harness.one("SELECT id FROM pancake_webhook_event ORDER BY applied_at DESC NULLS LAST LIMIT 1")
        names = ["old", f"new {number}"] if last["id"] == old.id else [f"new {number}", "old"]
        assert title(harness) == f"Lead Pancake: {names[0]}"
        later = await process(harness, name=names[1], modified_on=f"{day}T12:00")
        assert (later.result, title(harness)) == ("ticket_updated", f"Lead Pancake: {names[1]}")
        assert later.event["ticket_id"] == old.event["ticket_id"]
