"""ingest_record stores each delivery once."""

import asyncio
import json
from collections import Counter

import pytest

from tests.support.handlers import HandlerHarness, ingest_answer
from tests.support.leads import LEAD
from tests.support.locks import count_deadlocks


@pytest.mark.test_case("TC-003")
async def test_a_repeat_with_other_key_order_or_white_space_adds_no_row(harness: HandlerHarness) -> None:
    first = await harness.deliver(LEAD)
    for body in (LEAD, dict(reversed(LEAD.items())), json.dumps(LEAD, indent=3), "\ufeff" + json.dumps(LEAD)):
        assert await harness.deliver(body) == ingest_answer("duplicate")
    assert first["status"] == "received"
    assert harness.count("pancake_webhook_event") == 1


async def test_another_version_or_another_body_is_another_row(harness: HandlerHarness) -> None:
    for body in (
        LEAD,
        LEAD | {"name": "B"},
        LEAD | {"modified_on": "2026-05-15T00:00:00"},
        LEAD | {"id": "b"},
    ):
        assert (await harness.deliver(body))["status"] == "received"
    assert harness.count("pancake_webhook_event") == 4


async def test_the_same_bytes_without_a_record_id_are_one_row(harness: HandlerHarness) -> None:
    assert (await harness.deliver(b"not json"))["status"] == "dead_letter"
    assert (await harness.deliver(b"not json"))["status"] == "duplicate"
    assert harness.count("pancake_webhook_event") == 1


async def test_duplicates_within_one_batch_are_one_row(harness: HandlerHarness) -> None:
    answers = await asyncio.gather(*(harness.deliver(LEAD) for _ in range(60)))
    assert Counter(a["status"] for a in answers) == {"received": 1, "duplicate": 59}
    assert [a["event_id"] for a in answers if a["status"] == "duplicate"] == [None] * 59
    assert harness.count("pancake_webhook_event") == 1


@pytest.mark.parametrize("sources", [0, 7], ids=["known sources", "new sources"])
async def test_two_processes_with_every_delivery_in_opposite_order_store_each_once(
    harness: HandlerHarness, second_harness: HandlerHarness, sources: int
) -> None:
    harness.enforce_header()
    harness.slow_down("pancake_webhook_event", 0.001)
    harness.slow_down("pancake_source", 0.01)
    new = [[f"new-{n % sources}"] if sources else [] for n in range(150)]
    bodies = [LEAD | {"id": f"r-{n}", "source": [*new[n], "-1"]} for n in range(150)]
    async with asyncio.timeout(30):
        there = [harness.deliver(body) for body in bodies]
        back = [second_harness.deliver(body) for body in reversed(bodies)]
        answers = await asyncio.gather(*there, *back)
    assert Counter(a["status"] for a in answers) == {"received": 150, "duplicate": 150}
    assert harness.count("pancake_webhook_event") == 150
    assert harness.count("pancake_source", "name IS NULL") == sources
    assert await count_deadlocks(harness, second_harness) == 0
