"""Two dry runs at the same time."""

import asyncio

from tests.support.handlers import HandlerHarness
from tests.support.held_leads import hold_leads
from tests.support.locks import count_deadlocks

SOURCES = ("-1", "-3")


async def hold_one_of_each(harness: HandlerHarness, number: int, sources: tuple[str, ...]) -> list[int]:
    """Hold a lead of each source, of customers of their own; return the ids of the events."""
    ids = []
    for digit, source in enumerate(sources):
        phone = f"09050001{number}{digit}"
        ids += await hold_leads(harness, 1, id=phone, phone_number=phone, source=[source])
    return ids


async def test_two_dry_runs_that_need_the_same_rosters_in_opposite_order_both_answer(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    """A dry run keeps the lock of each roster that it needed until it ends."""
    harness.sql("UPDATE pancake_source SET is_active = true")
    for source in SOURCES:
        harness.fill_roster(1, source)
    there = await hold_one_of_each(harness, 1, SOURCES)
    back = await hold_one_of_each(harness, 2, SOURCES[::-1])
    harness.slow_down("ticket", 0.3)
    reports = await asyncio.gather(
        harness.replay(ids=there, dry_run=True), second_harness.replay(ids=back, dry_run=True)
    )
    for report in reports:
        assert [change["result"] for change in report["changes"]] == ["ticket_created"] * 2
    assert await count_deadlocks(harness, second_harness) == 0
