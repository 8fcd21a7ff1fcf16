"""Redeliver and Invoke in the Hasura console: what each does to a row, says of it, and how often."""

from datetime import UTC, datetime

import pytest

from tests.support.console import ADMIN, Console
from tests.support.handlers import HandlerHarness
from tests.support.held_leads import hold_leads
from tests.support.leads import LEAD


@pytest.fixture
def console(harness: HandlerHarness, engine_tables: None) -> Console:
    return Console.open(harness)


async def dead_letter(console: Console) -> int:
    """Deliver and process a lead without a usable phone, whose account may be corrected later."""
    event_id = (await console.harness.deliver(LEAD | {"phone_number": "none"}))["event_id"]
    assert [answer["result"] for answer in await console.deliver_all()] == ["dead_letter"]
    return int(event_id)


@pytest.mark.test_case("TC-015")
async def test_redeliver_processes_a_dead_letter_again(console: Console) -> None:
    event_id = await dead_letter(console)
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


async def test_redeliver_tries_a_failed_row_at_once(console: Console) -> None:
    console.harness.refuse_tickets("RAISE EXCEPTION 'no'", 1)
    event_id = (await console.harness.deliver(LEAD))["event_id"]
    (failed,) = await console.deliver_all()
    assert (failed["result"], failed["error_code"]) == ("failed", "internal")
    assert (await console.redeliver(event_id))["result"] == "replayed"
    assert [answer["result"] for answer in await console.deliver_all()] == ["ticket_created"]


async def test_redeliver_of_a_processed_row_names_its_ticket_and_changes_nothing(console: Console) -> None:
    event_id = (await console.harness.deliver(LEAD))["event_id"]
    await console.deliver_all()
    before = console.harness.event(event_id)
    answer = await console.redeliver(event_id)
    code = console.harness.one("SELECT code FROM ticket WHERE id = %s", before["ticket_id"])["code"]
    assert (answer["result"], answer["ticket_code"], answer["outcome"]) == (
        "already_processed", code, "ticket_created",
    )  # fmt: skip
    assert f"ticket {code}. Nothing was done." in answer["message"]
    assert console.harness.event(event_id) == before
    assert console.pending() == []


async def test_redeliver_of_a_held_row_waits_for_the_switch(console: Console) -> None:
    (event_id,) = await hold_leads(console.harness, 1)
    await console.deliver_all()
    console.harness.change_settings(kill_switch=True)
    assert (await console.redeliver(event_id))["result"] == "kill_switch_on"
    assert console.harness.event(event_id)["status"] == "skipped_kill_switch"
    console.harness.change_settings(kill_switch=False)
    assert (await console.redeliver(event_id))["result"] == "replayed"
    assert [answer["result"] for answer in await console.deliver_all()] == ["ticket_created"]


async def test_a_row_held_by_its_source_stays_held_until_the_source_is_active(console: Console) -> None:
    event_id = (await console.harness.deliver(LEAD | {"source": [-3]}))["event_id"]
    await console.deliver_all()
    for ask in (console.redeliver, console.invoke):
        assert (await ask(event_id))["result"] == "source_disabled"
    console.harness.sql("UPDATE pancake_source SET is_active = true")
    assert (await console.redeliver(event_id))["result"] == "replayed"


async def test_hasuras_own_second_try_replays_nothing(console: Console) -> None:
    """Its first answer was lost: the handler took longer than Hasura waits."""
    console.harness.refuse_tickets("RAISE EXCEPTION 'no'", 1)
    event_id = (await console.harness.deliver(LEAD))["event_id"]
    hasura_event_id = console.event_of(event_id)
    await console.harness.fire(event_id)
    console.log(hasura_event_id, 500)
    before = console.harness.event(event_id)
    answer = (await console.deliver(hasura_event_id)).json()
    assert (before["status"], answer["result"], answer["error_code"]) == (
        "failed",
        "already_failed",
        "internal",
    )
    assert datetime.fromisoformat(answer["next_attempt_at"]) > datetime.now(UTC)
    assert "Nothing was done: Hasura repeated a delivery." in answer["message"]
    assert console.harness.event(event_id) == before


async def test_a_second_event_of_the_row_replays_nothing(console: Console) -> None:
    """retry_failed fires a row again whose event a dead engine locked; later the engine delivers both."""
    event_id = (await console.harness.deliver(LEAD | {"phone_number": "none"}))["event_id"]
    console.harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    results = [answer["result"] for answer in await console.deliver_all()]
    assert results == ["dead_letter", "already_dead_letter"]
    assert console.harness.event(event_id)["replay_count"] == 0


async def test_a_lost_answer_of_a_redelivery_replays_the_row_once(console: Console) -> None:
    event_id = await dead_letter(console)
    hasura_event_id = console.event_of(event_id)
    console.start_again(hasura_event_id)
    await console.harness.fire(event_id, hasura_event_id=hasura_event_id)
    console.log(hasura_event_id, 500)
    await console.deliver(console.pending()[-1])
    results = []
    for _ in range(5):
        results.append((await console.deliver(hasura_event_id)).json()["result"])
        console.log(hasura_event_id, 500)
    assert results == ["already_dead_letter"] * 5
    assert console.harness.event(event_id)["replay_count"] == 1


async def test_a_redelivery_during_a_pause_is_made_after_it(console: Console) -> None:
    event_id = await dead_letter(console)
    hasura_event_id = console.event_of(event_id)
    console.harness.change_settings(processing_paused=True)
    console.start_again(hasura_event_id)
    tries = [(await console.deliver(hasura_event_id)).status_code for _ in range(3)]
    assert (tries, console.harness.event(event_id)["status"]) == ([503] * 3, "dead_letter")
    console.harness.change_settings(processing_paused=False)
    assert (await console.deliver(hasura_event_id)).json()["result"] == "replayed"


async def test_two_people_who_ask_at_once_replay_the_row_once(console: Console) -> None:
    event_id = await dead_letter(console)
    first = await console.redeliver(event_id)
    second = await console.invoke(event_id)
    assert (first["result"], second["result"]) == ("replayed", "dead_letter")
    assert console.harness.event(event_id)["replay_count"] == 1


async def test_the_person_is_named_on_every_route(console: Console) -> None:
    """By X-Hasura-User-Id if the session has one, else the way."""
    staff = {"x-hasura-role": "crm_admin", "x-hasura-user-id": "staff-7"}
    event_id = await dead_letter(console)
    named = []
    for session in (None, staff):
        await console.invoke(event_id, session)
        named.append(console.harness.event(event_id)["replayed_by"])
        await console.deliver_all()
        console.edit_status(event_id, session)
        named.append(console.harness.event(event_id)["replayed_by"])
        await console.deliver_all()
        action = {"ids": [event_id], "wait": False}
        await console.harness.call_action(action, name="replay_events", session=session or ADMIN)
        named.append(console.harness.event(event_id)["replayed_by"])
        await console.deliver_all()
    assert named == ["console:invoke", "role admin", "role admin", "staff-7", "staff-7", "staff-7"]
    assert console.harness.event(event_id)["replay_count"] == 6


async def test_a_database_without_hasuras_catalogue_is_answered(harness: HandlerHarness) -> None:
    event_id, _ = await harness.process_lead(phone_number="none")
    assert await harness.process(event_id) == "already_dead_letter"
    assert await harness.process(event_id, "MANUAL") == "replayed"
