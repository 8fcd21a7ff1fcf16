"""Each way to replay an event: Redeliver and Invoke in the console, the action, an edited row.

Over each state of a row they make the table in docs/runbook/replay.md: after a change of behaviour run it
with WRITE_DOCS=1 and read the difference.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from leads.services.process_record import claim_event
from tests.support.handlers import HandlerHarness
from tests.support.leads import numbered_lead
from tests.support.processing import ADMIN, Console, receive

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook" / "replay.md"
TABLE = re.compile(r"(?<=<!-- made by tests/handlers/test_ways_to_replay.py -->\n\n)(?:\|.*\n)*")
NUMBERS = count(10)

Make = Callable[[Console], Awaitable[int]]
Way = Callable[[Console, int], Awaitable[str]]


async def _deliver(console: Console, **fields: Any) -> int:
    """Store a lead of its own."""
    answer = await console.harness.deliver(numbered_lead(next(NUMBERS), **fields))
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


async def without_phone(console: Console) -> int:
    return await _process(console, phone_number="none")


async def without_record(console: Console) -> int:
    event_id = (await console.harness.deliver(json.dumps({"name": f"no id {next(NUMBERS)}"})))["event_id"]
    await console.deliver_all()
    return int(event_id)


async def emptied(console: Console) -> int:
    event_id = await without_phone(console)
    console.harness.sql("UPDATE pancake_webhook_event SET payload = NULL WHERE id = %s", event_id)
    return event_id


async def switch_still_on(console: Console) -> int:
    event_id = await without_phone(console)
    console.harness.change_settings(kill_switch=True)
    return event_id


async def held_by_switch(console: Console) -> int:
    console.harness.change_settings(kill_switch=True)
    event_id = await _process(console)
    console.harness.change_settings(kill_switch=False)
    return event_id


async def held_by_source(console: Console) -> int:
    event_id = await source_still_inactive(console)
    console.harness.sql("UPDATE pancake_source SET is_active = true")
    return event_id


async def source_still_inactive(console: Console) -> int:
    console.harness.sql("UPDATE pancake_source SET is_active = false WHERE pancake_source_id = '-3'")
    return await _process(console, source=[-3])


STATES: dict[str, Make] = {
    "`received`, waits": _deliver,
    "`ingested`, is being processed": claimed,
    "`processed`": _process,
    "`failed`, the cause is gone": failed,
    "`dead_letter` `invalid_phone`": without_phone,
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
    """Run the action, which `leads replay` calls."""
    answer = await console.harness.call_action(
        {"ids": [event_id], "wait": False}, name="replay_events", session=ADMIN
    )
    body = answer.json()
    if answer.status_code != 200:
        return str(body["extensions"]["code"])
    return "replayed" if body["replayed"] == 1 else f"refused: {body['refused'][0]['reason']}"


async def edit_row(console: Console, event_id: int) -> str:
    try:
        console.edit_status(event_id)
    except psycopg.errors.CheckViolation as error:
        return f"refused: {error.diag.constraint_name}"
    return "set"


WAYS: dict[str, Way] = {
    "Redeliver": redeliver,
    "Invoke": invoke,
    "action `pancake_replay_events`, `leads replay`": run_action,
    "row edited: `status` = `received`": edit_row,
}


def _state(harness: HandlerHarness, event_id: int) -> str:
    """What a row is, with why."""
    event = harness.event(event_id)
    if event["status"] == "processed":
        return str(event["evidence"].get("result") or event["outcome"])
    return str(event["status"]) + (f" `{event['error_code']}`" if event["status"] == "dead_letter" else "")


async def _cell(console: Console, make: Make, way: Way) -> str:
    """Make a row, replay it in this way, and deliver all events; return answer and result."""
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


@pytest.fixture
def console(harness: HandlerHarness, engine_tables: None) -> Console:
    return Console(harness)


async def test_the_table_of_ways_and_states_is_what_happens(console: Console) -> None:
    console.harness.fill_roster(1)
    console.harness.sql("UPDATE pancake_source SET name = 'Zalo' WHERE pancake_source_id = '-3'")
    rows = [["row", *WAYS], ["---"] * (len(WAYS) + 1)]
    for name, make in STATES.items():
        rows.append([name, *[await _cell(console, make, way) for way in WAYS.values()]])
    made = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if os.environ.get("WRITE_DOCS"):
        RUNBOOK.write_text(TABLE.sub(lambda _: made, RUNBOOK.read_text("utf-8")), "utf-8")
    (written,) = TABLE.findall(RUNBOOK.read_text("utf-8"))
    assert written == made


# What the console shows, and how often it replays


async def results(console: Console) -> list[str]:
    """Deliver all events; return the results."""
    return [answer["result"] for answer in await console.deliver_all()]


@pytest.mark.test_case("TC-015")
async def test_redeliver_processes_a_dead_letter_again(console: Console) -> None:
    event_id = await without_phone(console)
    answer = await console.redeliver(event_id)
    (fired,) = console.pending()
    assert (answer["result"], answer["hasura_event_id"]) == ("replayed", fired)
    assert answer["message"] == (
        f"Event {event_id} was dead_letter and is processed again."
        f" Hasura's event {fired} shows what becomes of it, and so does its row."
    )
    event = console.harness.event(event_id)
    assert (event["status"], event["replayed_by"], event["replay_count"], event["attempts"]) == (
        "received", "console:redeliver", 1, 0,
    )  # fmt: skip
    (outcome,) = await console.deliver_all()
    assert (outcome["result"], outcome["error_code"]) == ("dead_letter", "invalid_phone")


async def test_redeliver_of_a_processed_row_names_its_ticket_and_changes_nothing(console: Console) -> None:
    event_id = await _process(console)
    before = console.harness.event(event_id)
    answer = await console.redeliver(event_id)
    code = console.harness.one("SELECT code FROM ticket WHERE id = %s", before["ticket_id"])["code"]
    assert (answer["result"], answer["ticket_code"], answer["outcome"]) == (
        "already_processed", code, "ticket_created",
    )  # fmt: skip
    assert f"ticket {code}. Nothing was done." in answer["message"]
    assert console.harness.event(event_id) == before
    assert console.pending() == []


async def test_hasuras_own_second_try_replays_nothing_and_redeliver_tries_at_once(console: Console) -> None:
    """Its first answer was lost: the handler took longer than Hasura waits."""
    console.harness.refuse_tickets("RAISE EXCEPTION 'no'", 1)
    event_id = await _deliver(console)
    hasura_event_id = console.event_of(event_id)
    first = (await console.harness.fire(event_id)).json()
    console.log(hasura_event_id, 500)
    before = console.harness.event(event_id)
    answer = (await console.deliver(hasura_event_id)).json()
    assert (first["result"], answer["result"], before["status"]) == ("failed", "already_failed", "failed")
    assert first["error_code"] == answer["error_code"] == "internal"
    assert datetime.fromisoformat(answer["next_attempt_at"]) > datetime.now(UTC)
    assert "Nothing was done: Hasura repeated a delivery." in answer["message"]
    assert console.harness.event(event_id) == before
    assert await redeliver(console, event_id) == "replayed"
    assert await results(console) == ["ticket_created"]


async def test_a_second_event_of_the_row_replays_nothing(console: Console) -> None:
    """retry_failed fires a row again whose event a dead engine locked; later the engine delivers both.

    Two people who ask at once replay it once.
    """
    event_id = await _deliver(console, phone_number="none")
    receive(console.harness, event_id)
    assert await results(console) == ["dead_letter", "already_dead_letter"]
    assert console.harness.event(event_id)["replay_count"] == 0
    assert await redeliver(console, event_id) == "replayed"
    assert await invoke(console, event_id) == "dead_letter"
    assert console.harness.event(event_id)["replay_count"] == 1


async def test_an_event_that_is_on_its_way_twice_replays_nothing(console: Console) -> None:
    """retry_failed unlocks it while the handlers are slow: Hasura delivers it again, as a first try too."""
    event_id = await _deliver(console, phone_number="none")
    hasura_event_id = console.event_of(event_id)
    answers = []
    for _ in range(2):
        answer = await console.harness.fire(event_id, hasura_event_id=hasura_event_id)
        console.log(hasura_event_id, answer.status_code)
        answers.append(answer.json()["result"])
    assert answers == ["dead_letter", "already_dead_letter"]
    assert console.harness.event(event_id)["replay_count"] == 0
    assert await redeliver(console, event_id) == "replayed"


async def test_a_lost_answer_of_a_redelivery_replays_the_row_once(console: Console) -> None:
    event_id = await without_phone(console)
    hasura_event_id = console.event_of(event_id)
    console.start_again(hasura_event_id)
    await console.harness.fire(event_id, hasura_event_id=hasura_event_id)
    console.log(hasura_event_id, 500)
    await console.deliver(console.pending()[-1])
    for _ in range(5):
        assert (await console.deliver(hasura_event_id)).json()["result"] == "already_dead_letter"
        console.log(hasura_event_id, 500)
    assert console.harness.event(event_id)["replay_count"] == 1


async def test_a_redelivery_during_a_pause_is_made_after_it(console: Console) -> None:
    event_id = await without_phone(console)
    hasura_event_id = console.event_of(event_id)
    console.harness.change_settings(processing_paused=True)
    console.start_again(hasura_event_id)
    tries = [(await console.deliver(hasura_event_id)).status_code for _ in range(3)]
    assert (tries, console.harness.event(event_id)["status"]) == ([503] * 3, "dead_letter")
    console.harness.change_settings(processing_paused=False)
    assert (await console.deliver(hasura_event_id)).json()["result"] == "replayed"


async def test_the_person_is_named_on_every_route(console: Console) -> None:
    """By X-Hasura-User-Id if the session has one, else the way."""
    staff = {"x-hasura-role": "crm_admin", "x-hasura-user-id": "staff-7"}
    event_id = await without_phone(console)
    action = {"ids": [event_id], "wait": False}
    named = []

    async def note() -> None:
        named.append(console.harness.event(event_id)["replayed_by"])
        await console.deliver_all()

    for session in (None, staff):
        await console.invoke(event_id, session)
        await note()
        console.edit_status(event_id, session)
        await note()
        await console.harness.call_action(action, name="replay_events", session=session or ADMIN)
        await note()
    assert named == ["console:invoke", "role admin", "role admin", "staff-7", "staff-7", "staff-7"]
    assert console.harness.event(event_id)["replay_count"] == 6


async def test_a_database_without_hasuras_catalogue_is_answered(harness: HandlerHarness) -> None:
    event_id, _ = await harness.process_lead(phone_number="none")
    assert await harness.process(event_id) == "already_dead_letter"
    assert await harness.process(event_id, "MANUAL") == "replayed"
