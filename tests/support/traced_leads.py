"""Leads that end in many ways, each with what a person would type to ask for it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from sandbox.payloads import load_samples
from tests.support.handlers import HandlerHarness

SOURCES = {"24895": "Cộng tác viên", "-5": "TikTok", "-9": "Zalo"}
"""Active sources of the samples, besides those of the harness."""


Lead = dict[str, Any]
Case = Callable[[HandlerHarness, Lead], Awaitable[str]]
"""Makes one broken lead of a lead of its own; returns what a person would type to ask for it."""


class Traced(NamedTuple):
    """A sample, and what is asked for."""

    name: str
    title: str
    text: str


async def trace_samples(harness: HandlerHarness) -> AsyncIterator[Traced]:
    """Deliver and process the eleven samples; yield each when all are done."""
    for source, name in SOURCES.items():
        harness.sql(
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
            " VALUES (%s, %s, %s, true)",
            harness.connection_id, source, name,
        )  # fmt: skip
    fill_roster(harness)
    asked: list[Traced] = []
    for sample in load_samples():
        answer = await harness.deliver(sample.body)
        if answer["status"] == "received":
            await harness.process(answer["event_id"])
        try:
            record_id = _record_id(json.loads(sample.body))
        except ValueError:
            record_id = None
        asked.append(Traced(sample.name, sample.title, record_id or str(answer["event_id"])))
    for traced in asked:
        yield traced


def _record_id(body: dict[str, Any]) -> str | None:
    return (body.get("data") or body).get("id")


def fill_roster(harness: HandlerHarness) -> None:
    """Add all telesale staff to the default roster, in the order of their ids."""
    harness.sql(
        "INSERT INTO pancake_assignee (id, staff_id) SELECT id, id FROM staff WHERE role = 'telesale'"
    )


async def send(harness: HandlerHarness, lead: Lead, process: bool = True) -> int:
    """Deliver the lead, process it unless it is held, and return the id of its event."""
    event_id = int((await harness.deliver(lead))["event_id"])
    if process:
        await harness.fire(event_id)
    return event_id


async def again(harness: HandlerHarness, lead: Lead, **fields: Any) -> int:
    """Send a later version of the lead, and process it."""
    later = {"event_type": "update", "modified_on": "2026-11-20T05:00:00"}
    return await send(harness, lead | later | fields)


def restore(harness: HandlerHarness) -> None:
    """Undo what a case changed of switches, staff, roster, triggers and notifications."""
    harness.change_settings(
        kill_switch=False, processing_paused=False, former_owner="off", recall_after_minutes=0,
        business_hours="always", holidays="none",
    )  # fmt: skip
    harness.sql("UPDATE pancake_connection SET status = 'active' WHERE status <> 'active'")
    harness.sql("UPDATE staff SET is_active = true, on_duty = full_name <> 'Dương Thị Quế'")
    harness.sql("DROP TRIGGER IF EXISTS refuse_ticket ON ticket")
    harness.sql("DROP SEQUENCE IF EXISTS refused")
    harness.sql("UPDATE pancake_assignee SET daily_cap = NULL")
    if not harness.count("pancake_assignee"):
        fill_roster(harness)
    harness.hasura.failing = False
