"""The round trips of process_record: each costs latency and CPU for every lead."""

from typing import Any

import pytest

from leads.adapters.database import Database, Params, Row, Statement, Transaction
from leads.adapters.pancake_api import Access, PancakeApi
from tests.support.handlers import HandlerHarness
from tests.support.leads import LATER, RECORD_ID

CLAIM = ["claim_event"]
LOAD = ["fence_claim", "lock_records", "lock_phones", "load_applied"]
FACTS = ["load_facts"]
RECORD_FACTS = ["load_facts", "load_record_facts"]
ROSTER = ["lock_roster", "load_roster"]
MARK = ["mark_notified"]


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statements of each round trip so far, without their folder."""
    seen: list[list[str]] = []
    run, run_work = Transaction.run, Database._run_work

    async def note_run(self: Transaction, *statements: Statement, commit: bool = False) -> list[list[Row]]:
        seen.append([name.partition("/")[2] for name, _ in statements])
        return await run(self, *statements, commit=commit)

    async def note_run_work(self: Database, name: str, params: Params, row_type: Any) -> list[Any]:
        seen.append([name.partition("/")[2]])
        return await run_work(self, name, params, row_type)

    monkeypatch.setattr(Transaction, "run", note_run)
    monkeypatch.setattr(Database, "_run_work", note_run_work)
    return seen


async def test_a_new_ticket_takes_six_round_trips(
    harness: HandlerHarness, round_trips: list[list[str]]
) -> None:
    harness.fill_roster(2)
    assert (await harness.process_lead())[1] == "ticket_created"
    write = ["insert_account", "upsert_contact", "insert_ticket", "store_roster", "finish_event"]
    assert round_trips == [CLAIM, LOAD, FACTS, ROSTER, write, MARK]


async def test_an_updated_ticket_needs_no_roster(
    harness: HandlerHarness, round_trips: list[list[str]]
) -> None:
    harness.fill_roster(2)
    await harness.process_lead()
    round_trips.clear()
    assert (await harness.process_lead(name="Other", modified_on=LATER))[1] == "ticket_updated"
    write = ["touch_account", "upsert_contact", "update_ticket", "finish_event"]
    assert round_trips == [CLAIM, LOAD, RECORD_FACTS, write, MARK]


async def test_a_body_without_a_table_takes_two_more_on_a_connection_with_several(
    harness: HandlerHarness, round_trips: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def record(self: PancakeApi, access: Access, table: str, record_id: str) -> None:
        seen.append((table, record_id))

    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(PancakeApi, "record", record)
    harness.sql("UPDATE pancake_connection SET table_names = '{lead,contact}'")
    assert (await harness.process_lead(table_id="lead"))[1] == "ticket_created"
    assert seen == []
    round_trips.clear()
    assert (await harness.process_lead(modified_on=LATER))[1] == "no_change"
    assert seen == [("lead", RECORD_ID), ("contact", RECORD_ID)]
    look_up = [["load_connections"], ["set_table"]]
    assert round_trips == [CLAIM, *look_up, LOAD, RECORD_FACTS, ["finish_event"]]


async def test_an_unchanged_lead_takes_four(harness: HandlerHarness, round_trips: list[list[str]]) -> None:
    await harness.process_lead()
    round_trips.clear()
    assert (await harness.process_lead(modified_on=LATER))[1] == "no_change"
    assert round_trips == [CLAIM, LOAD, RECORD_FACTS, ["finish_event"]]
