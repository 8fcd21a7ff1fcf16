"""Leads that the kill switch holds back."""

from typing import Any

from tests.support.handlers import HandlerHarness


async def hold_leads(harness: HandlerHarness, count: int = 3, **fields: Any) -> list[int]:
    """Deliver leads while the kill switch is on, then turn it off."""
    harness.change_settings(kill_switch=True)
    answers = [await harness.deliver(held_lead(n, **fields)) for n in range(count)]
    harness.change_settings(kill_switch=False)
    assert {answer["status"] for answer in answers} == {"skipped_kill_switch"}
    return [answer["event_id"] for answer in answers]


def held_lead(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"held-{number}",
        "name": f"Khách {number}",
        "phone_number": f"09050000{number:02}",
        "source": ["-1"],
        "modified_on": "2026-05-14T02:35:56",
    } | fields
