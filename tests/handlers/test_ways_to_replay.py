"""Each way to replay an event, over each state of its row: makes the table in docs/runbook/replay.md.

After a change of behaviour, run it with WRITE_DOCS=1 and read the difference.
"""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.failures import CommandFailed
from leads.cli.replay.action import ReplayAction, session_headers
from leads.services.process_record.claim import claim_event
from tests.support.console import ADMIN, Console
from tests.support.handlers import HandlerHarness
from tests.support.held_leads import held_lead

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook" / "replay.md"
TABLE = re.compile(r"(?<=<!-- made by tests/handlers/test_ways_to_replay.py -->\n\n)(?:\|.*\n)*")
NUMBERS = count(10)

Make = Callable[[Console], Awaitable[int]]
Way = Callable[[Console, int], Awaitable[str]]


async def _deliver(console: Console, **fields: Any) -> int:
    """Store a lead of its own."""
    answer = await console.harness.deliver(held_lead(next(NUMBERS), **fields))
    return int(answer["event_id"])


async def _process(console: Console, **fields: Any) -> int:
    event_id = await _deliver(console, **fields)
    await console.deliver_all()
    return event_id


async def claimed(console: Console) -> int:
    event_id = await _deliver(console)
    assert await claim_event(console.harness.runtime.db, event_id) is not None
    await console.deliver_all()
    return event_id


async def failed(console: Console) -> int:
    console.harness.sql("DROP SEQUENCE IF EXISTS refused")
    console.harness.refuse_tickets("RAISE EXCEPTION 'no'", 1)
    return await _process(console)


async def without_record(console: Console) -> int:
    event_id = (await console.harness.deliver(json.dumps({"name": f"no id {next(NUMBERS)}"})))["event_id"]
    await console.deliver_all()
    return int(event_id)


async def emptied(console: Console) -> int:
    event_id = await _process(console, phone_number="none")
    console.harness.sql("UPDATE pancake_webhook_event SET payload = NULL WHERE id = %s", event_id)
    return event_id


async def held_by_switch(console: Console) -> int:
    console.harness.change_settings(kill_switch=True)
    event_id = await _process(console)
    console.harness.change_settings(kill_switch=False)
    return event_id


async def switch_still_on(console: Console) -> int:
    event_id = await _process(console, phone_number="none")
    console.harness.change_settings(kill_switch=True)
    return event_id


async def held_by_source(console: Console) -> int:
    console.harness.sql("UPDATE pancake_source SET is_active = false WHERE pancake_source_id = '-3'")
    event_id = await _process(console, source=[-3])
    console.harness.sql("UPDATE pancake_source SET is_active = true WHERE pancake_source_id = '-3'")
    return event_id


async def source_still_inactive(console: Console) -> int:
    event_id = await held_by_source(console)
    console.harness.sql("UPDATE pancake_source SET is_active = false WHERE pancake_source_id = '-3'")
    return event_id


STATES: dict[str, Make] = {
    "`received`, waits": _deliver,
    "`ingested`, is being processed": claimed,
    "`processed`": _process,
    "`failed`, the cause is gone": failed,
    "`dead_letter` `invalid_phone`": lambda console: _process(console, phone_number="none"),
    "`dead_letter` `missing_record_id`": without_record,
    "`dead_letter`, body emptied": emptied,
    "`dead_letter`, the kill switch is on": switch_still_on,
    "`skipped_kill_switch`, the switch is off": held_by_switch,
    "`skipped_source_disabled`, the source is active now": held_by_source,
    "`skipped_source_disabled`, it is still inactive": source_still_inactive,
}


async def invoke(console: Console, event_id: int) -> str:
    return str((await console.invoke(event_id))["result"])


async def redeliver(console: Console, event_id: int) -> str:
    return str((await console.redeliver(event_id))["result"])


async def run_action(console: Console, event_id: int) -> str:
    answer = await console.harness.call_action(
        {"ids": [event_id], "wait": False}, name="replay_events", session=ADMIN
    )
    body = answer.json()
    return _of_report(body) if answer.status_code == 200 else str(body["extensions"]["code"])


async def edit_row(console: Console, event_id: int) -> str:
    try:
        console.edit_status(event_id)
    except psycopg.errors.CheckViolation as error:
        return f"refused: {error.diag.constraint_name}"
    return "set"


async def run_command(console: Console, event_id: int) -> str:
    """Run the part of `leads replay` that calls Hasura, which here is the handler of the action."""
    loop = asyncio.get_running_loop()

    def forward(request: httpx.Request) -> httpx.Response:
        session = {name: value for name, value in request.headers.items() if name.startswith("x-hasura-")}
        call = console.harness.call_action(
            json.loads(request.content)["variables"], name="replay_events", session=session
        )
        answer = asyncio.run_coroutine_threadsafe(call, loop).result(timeout=30)
        if answer.status_code == 200:
            return httpx.Response(200, json={"data": {"pancake_replay_events": answer.json()}})
        return httpx.Response(200, json={"errors": [answer.json()]})

    hasura = HasuraAdmin("http://hasura/", "x", session_headers(), transport=httpx.MockTransport(forward))
    try:
        return _of_report(await asyncio.to_thread(ReplayAction(hasura).call, {"ids": [event_id]}))
    except CommandFailed as error:
        return "kill_switch_on" if "kill switch" in str(error) else str(error)


def _of_report(report: dict[str, Any]) -> str:
    refused = [refusal["reason"] for refusal in report["refused"]]
    return "replayed" if report["replayed"] == 1 else f"refused: {refused[0]}"


WAYS: dict[str, Way] = {
    "Redeliver": redeliver,
    "Invoke": invoke,
    "action `pancake_replay_events`": run_action,
    "`leads replay`": run_command,
    "row edited: `status` = `received`": edit_row,
}


def _state(harness: HandlerHarness, event_id: int) -> str:
    """What a row is, with why."""
    event = harness.event(event_id)
    if event["status"] == "processed":
        return str(event["evidence"].get("result") or event["outcome"])
    return str(event["status"]) + (f" `{event['error_code']}`" if event["status"] == "dead_letter" else "")


async def _cell(console: Console, make: Make, way: Way) -> str:
    """Make a row, replay it in this way, and deliver all events; return the answer and what became of it."""
    event_id = await make(console)
    before = console.harness.event(event_id)
    answer = await way(console, event_id)
    await console.deliver_all()
    after = console.harness.event(event_id)
    console.harness.change_settings(kill_switch=False)
    unchanged = {**before, "notified_at": None} == {**after, "notified_at": None}
    status, _, code = _state(console.harness, event_id).partition(" ")
    became = "unchanged" if unchanged else f"`{status}`" + (f" {code}" if code else "")
    reason, _, name = answer.partition(": ")
    said = f"{reason}: `{name}`" if name else f"`{answer}`"
    return f"{said}; {became}"


@pytest.mark.usefixtures("engine_tables")
async def test_the_table_of_ways_and_states_is_what_happens(harness: HandlerHarness) -> None:
    harness.fill_roster(1)
    console = Console.open(harness)
    harness.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " VALUES (%s, '-3', 'Zalo', true) ON CONFLICT (connection_id, pancake_source_id)"
        " DO UPDATE SET name = 'Zalo'",
        harness.connection_id,
    )
    rows = [["row", *WAYS], ["---"] * (len(WAYS) + 1)]
    for name, make in STATES.items():
        rows.append([name, *[await _cell(console, make, way) for way in WAYS.values()]])
    made = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if os.environ.get("WRITE_DOCS"):
        RUNBOOK.write_text(TABLE.sub(lambda _: made, RUNBOOK.read_text("utf-8")), "utf-8")
    (written,) = TABLE.findall(RUNBOOK.read_text("utf-8"))
    assert written == made
