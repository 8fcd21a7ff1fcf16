"""A body that names no table, on a connection with several: Pancake is asked before it makes a ticket."""

import time
from typing import Any
from unittest.mock import AsyncMock

import pytest

from leads.adapters.breaker import Breakers
from leads.adapters.database import POOL_TIMEOUT_SECONDS
from leads.domain.event_states import CLAIM_LEASE
from leads.services import find_table
from leads.services.process_record import WORK_TIMEOUT_SECONDS
from tests.support.crons import CronHarness
from tests.support.leads import LEAD
from tests.support.processing import process, replay, stored


@pytest.fixture
def harness(cron_harness: CronHarness) -> CronHarness:
    """The handlers with the simulator of Pancake behind them; the connection has two tables."""
    cron_harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    return cron_harness


def write(harness: CronHarness, *tables: str, **fields: Any) -> None:
    """Write LEAD's record into tables of Pancake, without a webhook."""
    for name in tables:
        harness.pancake.tables[name].write(LEAD | fields)


def requests(harness: CronHarness) -> int:
    return harness.pancake.counts["rest_requests"]


def named(harness: CronHarness, event_id: int) -> tuple[str | None, list[str] | None]:
    """Return the table of the event, and the notes of its evidence."""
    event = harness.event(event_id)
    return event["table_name"], event["evidence"].get("notes")


UNKNOWN = (None, ["table_unknown"])


async def test_the_table_that_holds_the_record_is_stored_and_decides(
    harness: CronHarness, subtests: pytest.Subtests
) -> None:
    """A found table does not make a repeat new."""
    cases: list[tuple[list[str], str, object]] = [
        (["lead"], "ticket_created", ("lead", None)),
        (["contact"], "contact_updated", ("contact", None)),
        ([], "ticket_created", UNKNOWN),
        (["lead", "contact"], "ticket_created", UNKNOWN),
    ]
    for number, (tables, outcome, found) in enumerate(cases):
        with subtests.test(number=number, tables=tables):
            record = {"id": str(tables), "phone_number": f"090511122{number}"}
            write(harness, *tables, **record)
            before, tickets = requests(harness), harness.count_tickets()
            lead = await process(harness, **record)
            assert (lead.result, lead.event["status"]) == (outcome, "processed")
            assert named(harness, lead.id) == found
            assert requests(harness) - before == 2, "each table is asked, since several may hold the id"
            assert harness.count_tickets() - tickets == (outcome == "ticket_created")
            assert (await harness.deliver(LEAD | record))["status"] == "duplicate"


async def test_while_pancake_cannot_tell_a_record_is_taken_for_a_lead(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    write(harness, "contact")
    faults = ("rate_limited", "unauthorized", "success_false", "truncate_body", "down")
    for number, fault in enumerate(faults):
        with subtests.test(number=number, fault=fault):
            for breakers in ("breakers", "look_ups"):
                monkeypatch.setattr(harness.runtime.pancake, breakers, Breakers(harness.clock))
            harness.pancake.faults.change({fault: True})
            lead = await process(harness, modified_on=f"2026-05-14T0{number}:00:00")
            assert lead.result in ("ticket_created", "no_change")
            assert named(harness, lead.id) == UNKNOWN
            harness.pancake.faults.reset()


async def test_without_a_key_that_may_be_sent_a_record_is_taken_for_a_lead(
    harness: CronHarness, subtests: pytest.Subtests
) -> None:
    """The API key was sealed for another base URL, or the host is not an allowed one."""
    for url in ("http://pancake/other/api", "https://pancake/api"):
        with subtests.test(url=url):
            harness.sql("UPDATE pancake_connection SET api_base_url = %s", url)
            lead = await process(harness, id=url)
            assert lead.result in ("ticket_created", "ticket_updated")
            assert (named(harness, lead.id), requests(harness)) == (UNKNOWN, 0)


async def test_a_slow_pancake_is_not_waited_for_and_soon_not_asked(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_table, "LOOK_UP_SECONDS", 0.05)
    write(harness, "contact")
    harness.pancake.faults.slow_seconds = 30
    started = time.monotonic()
    asked = []
    for number in range(7):
        before = requests(harness)
        assert (await process(harness, modified_on=f"2026-05-14T02:35:{number:02}")).result != "failed"
        asked.append(requests(harness) - before)
    assert time.monotonic() - started < 10
    assert asked == [1] * 5 + [0] * 2
    harness.pancake.faults.reset()
    assert harness.runtime.pancake.breakers["http://pancake"].level == 0, "polling goes on"
    labels = {"name": "pancake_rest", "host": "http://pancake"}
    opened = await harness.scrape("pancake_circuit_breaker_open_since_timestamp_seconds", **labels)
    assert opened == 0, "it must not look like an outage of the API"


def test_the_wait_leaves_the_work_its_time() -> None:
    assert find_table.LOOK_UP_SECONDS < find_table.NAME_TIMEOUT_SECONDS
    longest = POOL_TIMEOUT_SECONDS + find_table.NAME_TIMEOUT_SECONDS + WORK_TIMEOUT_SECONDS
    assert longest < 30, "Hasura waits 30 s"
    assert CLAIM_LEASE.total_seconds() > find_table.NAME_TIMEOUT_SECONDS + WORK_TIMEOUT_SECONDS


async def test_a_body_with_a_table_and_a_connection_with_one_cost_no_request(harness: CronHarness) -> None:
    write(harness, "contact")
    assert (await process(harness, table_id="contact")).result == "contact_updated"
    without = await stored(harness, id="without")
    harness.sql("UPDATE pancake_connection SET table_names = '{contact}'")
    assert await harness.process(without) == "contact_updated"
    assert (named(harness, without), requests(harness)) == (("contact", None), 0)
    harness.sql("UPDATE pancake_connection SET table_names = '{lead}'")
    assert (await process(harness, id="other")).result == "ticket_created"
    assert requests(harness) == 0


async def test_a_replay_asks_again_and_takes_the_note_away(harness: CronHarness) -> None:
    lead = await process(harness, name="Lan\0")
    assert named(harness, lead.id) == (None, ["nul_removed", "table_unknown"])
    assert (await replay(harness, lead.id)).result == "no_change"
    assert named(harness, lead.id) == (None, ["nul_removed", "table_unknown"]), "noted once"
    write(harness, "contact")
    assert (await replay(harness, lead.id, force=True)).result == "contact_updated"
    assert named(harness, lead.id) == ("contact", ["nul_removed"])


async def test_a_dry_run_asks_too_and_says_what_the_replay_does(
    harness: CronHarness, subtests: pytest.Subtests
) -> None:
    for tables in (["lead"], ["contact"], ["lead", "contact"], []):
        with subtests.test(tables=tables):
            record = {"id": str(tables)}
            write(harness, *tables, **record)
            harness.change_settings(kill_switch=True)
            event_id = await stored(harness, **record)
            harness.change_settings(kill_switch=False)
            before = harness.event(event_id)
            (change,) = (await harness.replay(ids=[event_id], dry_run=True))["changes"]
            assert harness.event(event_id) == before
            assert (await replay(harness, event_id)).result == change["result"]
            assert (change["result"] == "contact_updated") == (tables == ["contact"])


async def test_an_error_before_the_work_is_an_attempt_that_failed(
    harness: CronHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = await stored(harness)
    monkeypatch.setattr(find_table, "load_connections", AsyncMock(side_effect=ZeroDivisionError))
    assert await harness.process(event_id) == "failed"
    assert harness.event(event_id)["error_code"] == "internal"
