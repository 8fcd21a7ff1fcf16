"""ingest_record stores the first usable phone of every body that has one."""

import json
from typing import Any

import pytest

from leads.services import ingest_record
from tests.support.handlers import HandlerHarness
from tests.support.leads import LEAD, PHONE

CUSTOMER = {"phone_numbers": ["0905 111 222"]}


def phone_of(harness: HandlerHarness) -> str | None:
    row = harness.one("SELECT normalized_phone FROM pancake_webhook_event")
    phone: str | None = row["normalized_phone"]
    return phone


@pytest.mark.test_case("TC-010")
@pytest.mark.parametrize(
    ("fields", "phone"),
    [
        ({}, PHONE),
        ({"phone_number": "+84 905.111-222"}, PHONE),
        ({"phone_number": 905111222}, PHONE),
        ({"phone_number": ["0123", "Zalo 0905111222 / 0912345678"]}, PHONE),
        ({"phone_number": None, "secondary_phone_number": "84905111222"}, PHONE),
        ({"phone_number": "0123", "pancake_customer_obj": CUSTOMER}, PHONE),
        ({"phone_number": "0123"}, None),
        ({"phone_number": None}, None),
        ({"phone_number": {"a": [PHONE]}}, None),
    ],
)
async def test_the_first_usable_phone_is_stored_before_processing(
    harness: HandlerHarness, fields: dict[str, Any], phone: str | None
) -> None:
    assert (await harness.deliver(LEAD | fields))["status"] == "received"
    assert phone_of(harness) == phone


@pytest.mark.parametrize("switch", ["kill switch", "source"])
async def test_a_held_body_has_its_phone(harness: HandlerHarness, switch: str) -> None:
    harness.change_settings(kill_switch=switch == "kill switch")
    source = {} if switch == "kill switch" else {"source": ["-3"]}
    assert (await harness.deliver(LEAD | source))["status"].startswith("skipped_")
    assert phone_of(harness) == PHONE


async def test_a_body_in_an_envelope_has_its_phone(harness: HandlerHarness) -> None:
    await harness.deliver({"event": "record", "action": "created", "data": LEAD})
    assert phone_of(harness) == PHONE


@pytest.mark.parametrize("fields", [{"id": None}, {"size": "HUGE"}], ids=["no record id", "unstorable"])
async def test_a_dead_letter_with_a_record_has_its_phone(
    harness: HandlerHarness, fields: dict[str, Any]
) -> None:
    body = json.dumps(LEAD | fields).replace('"HUGE"', "9" * 140_000)
    assert (await harness.deliver(body))["status"] == "dead_letter"
    assert phone_of(harness) == PHONE


async def test_a_body_is_stored_though_its_phone_cannot_be_read(
    harness: HandlerHarness, monkeypatch: pytest.MonkeyPatch, capture_logs: list[str]
) -> None:
    def fail(record: object) -> None:
        raise ZeroDivisionError(f"{record} cannot be read")

    monkeypatch.setattr(ingest_record, "first_phone", fail)
    assert (await harness.deliver(LEAD))["status"] == "received"
    assert phone_of(harness) is None
    (line,) = [line for line in capture_logs if "phone not read" in line]
    assert "ZeroDivisionError" in line
    assert "0905111222" not in line


async def test_a_stored_phone_of_a_lead_that_was_not_processed_decides_nothing(
    harness: HandlerHarness,
) -> None:
    """A held lead names two phones; only a processed one makes the second a phone of the customer."""
    harness.change_settings(kill_switch=True)
    await harness.deliver(LEAD | {"id": "held", "secondary_phone_number": "0912345678"})
    harness.change_settings(kill_switch=False)
    first, _ = await harness.process_lead(id="a")
    second, _ = await harness.process_lead(id="b", phone_number="0912345678")
    accounts = {harness.event(event_id)["account_id"] for event_id in (first, second)}
    assert len(accounts) == 2
