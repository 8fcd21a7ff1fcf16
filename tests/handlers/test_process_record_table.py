"""A body that names no table, on a connection with several: Pancake is asked before it makes a ticket."""

import time
from typing import Any

import pytest

from handlers.process_record import Processed, process_claim
from leads.adapters.pools import POOL_TIMEOUT_SECONDS
from leads.services.process_record import table
from leads.services.process_record.attempts import WORK_TIMEOUT_SECONDS
from leads.services.process_record.claim import claim_event
from tests.support.crons import CronHarness
from tests.support.leads import LEAD

Evidence = dict[str, Any]


@pytest.fixture
def harness(cron_harness: CronHarness) -> CronHarness:
    """The handlers with the simulator of Pancake behind them; the connection has two tables."""
    cron_harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    return cron_harness


def write(harness: CronHarness, *tables: str) -> None:
    """Write LEAD's record into tables of Pancake, without a webhook."""
    for name in tables:
        harness.pancake.tables[name].write(LEAD)


def requests(harness: CronHarness) -> int:
    return harness.pancake.counts["rest_requests"]


def notes(harness: CronHarness, event_id: int) -> list[str] | None:
    found: list[str] | None = harness.event(event_id)["evidence"].get("notes")
    return found


@pytest.mark.parametrize(("name", "outcome"), [("lead", "ticket_created"), ("contact", "contact_updated")])
async def test_the_table_that_holds_the_record_is_stored_and_decides(
    harness: CronHarness, name: str, outcome: str
) -> None:
    write(harness, name)
    event_id, result = await harness.process_lead()
    event = harness.event(event_id)
    assert (result, event["table_name"], event["status"]) == (outcome, name, "processed")
    assert requests(harness) == 2, "each table is asked, since several may hold the id"
    assert notes(harness, event_id) is None
    assert harness.count_tickets() == (outcome == "ticket_created")


@pytest.mark.parametrize("tables", [(), ("lead", "contact")], ids=["no table", "two tables"])
async def test_a_record_in_no_table_or_in_several_is_taken_for_a_lead(
    harness: CronHarness, tables: tuple[str, ...]
) -> None:
    write(harness, *tables)
    event_id, result = await harness.process_lead()
    assert (result, harness.event(event_id)["table_name"]) == ("ticket_created", None)
    assert notes(harness, event_id) == ["table_unknown"]


@pytest.mark.parametrize(
    "fault", ["down", "rate_limited", "unauthorized", "success_false", "truncate_body", "breaker"]
)
async def test_while_pancake_cannot_tell_a_record_is_taken_for_a_lead(
    harness: CronHarness, fault: str
) -> None:
    write(harness, "contact")
    if fault == "breaker":
        harness.pancake.faults.down = True
        for number in range(5):
            await harness.process_lead(id=f"other-{number}", phone_number="0912345678")
        harness.pancake.faults.down = False
        before = requests(harness)
    else:
        harness.pancake.faults.change({fault: True})
    event_id, result = await harness.process_lead()
    assert (result, harness.event(event_id)["table_name"]) == ("ticket_created", None)
    assert notes(harness, event_id) == ["table_unknown"]
    if fault == "breaker":
        assert requests(harness) == before


@pytest.mark.parametrize("url", ["http://pancake/other/api", "https://pancake/api"])
async def test_without_a_key_that_may_be_sent_a_record_is_taken_for_a_lead(
    harness: CronHarness, url: str
) -> None:
    """The API key was sealed for another base URL, or the host is not an allowed one."""
    harness.sql("UPDATE pancake_connection SET api_base_url = %s", url)
    event_id, result = await harness.process_lead()
    assert (result, notes(harness, event_id), requests(harness)) == ("ticket_created", ["table_unknown"], 0)


async def test_a_slow_pancake_is_not_waited_for_and_soon_not_asked(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "LOOK_UP_SECONDS", 0.05)
    write(harness, "contact")
    harness.pancake.faults.slow_seconds = 30
    started = time.monotonic()
    asked = []
    for number in range(7):
        before = requests(harness)
        assert (await harness.process_lead(modified_on=f"2026-05-14T02:35:{number:02}"))[1] != "failed"
        asked.append(requests(harness) - before)
    assert time.monotonic() - started < 10
    assert asked == [1] * 5 + [0] * 2
    harness.pancake.faults.reset()
    assert harness.runtime.pancake.breakers[harness.connection_id].level == 0, "polling goes on"


def test_the_wait_leaves_the_work_its_time() -> None:
    assert table.LOOK_UP_SECONDS < table.NAME_TIMEOUT_SECONDS
    longest = POOL_TIMEOUT_SECONDS + table.NAME_TIMEOUT_SECONDS + WORK_TIMEOUT_SECONDS
    assert longest < 30, "Hasura waits 30 s"


async def test_a_body_with_a_table_and_a_connection_with_one_cost_no_request(harness: CronHarness) -> None:
    write(harness, "contact")
    assert (await harness.process_lead(table_id="contact"))[1] == "contact_updated"
    harness.sql("UPDATE pancake_connection SET table_names = '{lead}'")
    assert (await harness.process_lead(id="other"))[1] == "ticket_created"
    assert requests(harness) == 0


async def test_a_connection_that_has_one_table_by_now_needs_no_request(harness: CronHarness) -> None:
    event_id = (await harness.deliver(LEAD))["event_id"]
    harness.sql("UPDATE pancake_connection SET table_names = '{contact}'")
    assert await harness.process(event_id) == "contact_updated"
    assert (harness.event(event_id)["table_name"], requests(harness)) == ("contact", 0)


async def test_a_replay_asks_again_and_takes_the_note_away(harness: CronHarness) -> None:
    event_id, _ = await harness.process_lead(name="Lan\0")
    assert notes(harness, event_id) == ["nul_removed", "table_unknown"]
    await harness.replay(ids=[event_id])
    assert await harness.process(event_id) == "no_change"
    assert notes(harness, event_id) == ["nul_removed", "table_unknown"], "noted once"
    write(harness, "contact")
    await harness.replay(ids=[event_id], force=True)
    assert await harness.process(event_id) == "contact_updated"
    assert (harness.event(event_id)["table_name"], notes(harness, event_id)) == ("contact", ["nul_removed"])


async def test_a_found_table_does_not_make_a_repeat_new(harness: CronHarness) -> None:
    write(harness, "contact")
    await harness.process_lead()
    assert (await harness.deliver(LEAD))["status"] == "duplicate"


@pytest.mark.parametrize("tables", [("lead",), ("contact",), ("lead", "contact"), ()])
async def test_a_dry_run_asks_too_and_says_what_the_replay_does(
    harness: CronHarness, tables: tuple[str, ...]
) -> None:
    write(harness, *tables)
    harness.change_settings(kill_switch=True)
    event_id = (await harness.deliver(LEAD))["event_id"]
    harness.change_settings(kill_switch=False)
    before = harness.event(event_id)
    report = await harness.replay(ids=[event_id], dry_run=True)
    assert harness.event(event_id) == before
    await harness.replay(ids=[event_id])
    assert [change["result"] for change in report["changes"]] == [await harness.process(event_id)]


async def test_a_claim_lost_while_pancake_was_asked_writes_nothing(harness: CronHarness) -> None:
    event_id = (await harness.deliver(LEAD))["event_id"]
    late = await claim_event(harness.runtime.db, event_id)
    assert late is not None
    harness.expire_leases()
    harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
    write(harness, "contact")
    named = await table.name_table(harness.runtime, late)
    assert harness.event(event_id)["table_name"] is None
    assert await process_claim(harness.runtime, named) == Processed("claim_lost")


async def test_an_error_before_the_work_is_an_attempt_that_failed(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    event_id = (await harness.deliver(LEAD))["event_id"]
    monkeypatch.setattr(table, "load_connections", fail)
    assert await harness.process(event_id) == "failed"
    assert harness.event(event_id)["error_code"] == "internal"
