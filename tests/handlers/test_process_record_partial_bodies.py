"""process_record and bodies that name fewer fields: what a version does not name keeps its value."""

from typing import Any

from tests.support.handlers import HandlerHarness
from tests.support.leads import EARLIER, LATER, PHONE

LATEST = "2026-05-16T02:35:56"
EVEN_LATER = "2026-05-17T02:35:56"
FULL: dict[str, Any] = {
    "email": "a@example.com",
    "full_address": "Hà Nội",
    "interested_product": ["Gói A"],
    "pancake_tags": ["vip"],
}


def ticket(harness: HandlerHarness) -> dict[str, Any]:
    return harness.one("SELECT * FROM ticket WHERE source_id = 'ticket_source_pancake'")


async def send(harness: HandlerHarness, modified_on: str | None, **fields: Any) -> tuple[int, str]:
    """Deliver a version of the record that names these fields only, and process it."""
    record = {"id": "r", "source": ["-1"], "modified_on": modified_on} | fields
    event_id = (await harness.deliver(record))["event_id"]
    return event_id, await harness.process(event_id)


async def test_a_version_without_email_and_address_leaves_them_in_the_ticket(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    await send(harness, EARLIER, name="A", phone_number="0905111222", **FULL)
    _, result = await send(harness, LATER, name="B", phone_number="0905111222")
    assert result == "ticket_updated"
    found = ticket(harness)
    assert found["title"] == "Lead Pancake: B"
    assert found["description"].splitlines() == [
        f"Điện thoại: {PHONE}",
        "Email: a@example.com",
        "Địa chỉ: Hà Nội",
        "Quan tâm: Gói A",
    ]
    data = found["data"]["pancake"]
    assert (data["email"], data["address"], data["name"]) == ("a@example.com", "Hà Nội", "B")
    assert (data["tags"], data["interested_products"]) == (["vip"], ["Gói A"])


async def test_full_partial_full_without_a_change_tells_no_one(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    full = {"name": "A", "phone_number": "0905111222", **FULL}
    await send(harness, EARLIER, **full)
    results = [
        (await send(harness, LATER, name="A", phone_number="0905111222"))[1],
        (await send(harness, LATEST, **full))[1],
        (await send(harness, EVEN_LATER, name="A"))[1],
    ]
    assert results == ["no_change"] * 3
    assert len(harness.hasura.sent) == 1


async def test_a_field_named_newly_by_the_same_version_is_applied(harness: HandlerHarness) -> None:
    await send(harness, LATER, name="A", phone_number="0905111222")
    _, result = await send(harness, LATER, name="A", phone_number="0905111222", email="a@example.com")
    assert result == "ticket_updated"
    assert ticket(harness)["data"]["pancake"]["email"] == "a@example.com"
    contact = harness.one("SELECT email FROM contact_book WHERE primary_phone = %s", PHONE)
    assert contact == {"email": "a@example.com"}


async def test_a_version_without_a_phone_uses_the_phone_applied_before(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    first, _ = await send(harness, EARLIER, name="A", phone_number="0905111222")
    for modified_on, fields in (
        (LATER, {"name": "B"}),
        (LATEST, {"name": "C", "phone_number": None}),
        (EVEN_LATER, {"name": "D", "phone_number": "không có"}),
    ):
        event_id, result = await send(harness, modified_on, **fields)
        event = harness.event(event_id)
        assert (result, event["normalized_phone"]) == ("ticket_updated", PHONE)
        assert event["evidence"]["phone"]["applied_before"] == PHONE
        assert event["ticket_id"] == harness.event(first)["ticket_id"]
        assert ticket(harness)["title"] == f"Lead Pancake: {fields['name']}"
        assert "phone_changed" not in event["evidence"]


async def test_a_corrected_phone_stays_corrected(harness: HandlerHarness) -> None:
    dead, _ = await send(harness, EARLIER, name="A", phone_number="0905")
    await harness.replay(ids=[dead], corrected_phone="0905111222")
    assert await harness.process(dead, "UPDATE") == "ticket_created"
    event_id, result = await send(harness, LATER, name="B", phone_number="0905")
    assert (result, harness.event(event_id)["normalized_phone"]) == ("ticket_updated", PHONE)
    event_id, _ = await send(harness, LATEST, name="C", phone_number="0912000111")
    assert harness.event(event_id)["normalized_phone"] == "+84912000111"


async def test_a_record_never_applied_still_needs_a_phone(harness: HandlerHarness) -> None:
    event_id, _ = await send(harness, LATER, name="A")
    assert harness.event(event_id)["error_code"] == "invalid_phone"


async def test_a_version_without_a_phone_leaves_the_phones_that_a_shared_ticket_shows(
    harness: HandlerHarness,
) -> None:
    await harness.process_lead(id="r-2", secondary_phone_number="0912000111")
    await harness.process_lead(id="r-1", name="A")
    await harness.process_lead(id="r-2", phone_number=None, name="B", modified_on=LATER)
    assert ticket(harness)["data"]["pancake"]["phones"] == ["0905111222"]
    assert ticket(harness)["description"] == f"Điện thoại: {PHONE}"


async def test_a_version_without_a_phone_holds_the_locks_of_the_customer_that_its_phone_leads_to(
    harness: HandlerHarness,
) -> None:
    """Else it lost against itself: the account of the phone's contact has a phone that was not locked."""
    await harness.process_lead(id="other", phone_number="0912000111", secondary_phone_number="0905111222")
    deletion = {"id": "r", "event_type": "delete", "phone_number": "0905111222", "source": ["-1"]}
    await harness.process((await harness.deliver(deletion))["event_id"])
    event_id, result = await send(harness, LATER, name="A")
    assert (result, harness.event(event_id)["error_code"]) == ("ticket_updated", None)
