"""A dry run changes nothing and reports exactly what the replay then does."""

import asyncio
import json
import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.handlers import HandlerHarness
from tests.support.postgres import count_deadlocks
from tests.support.processing import close_tickets, hold, process
from tests.support.suites import IS_FULL

CASES = 200 if IS_FULL else 20
START = datetime(2026, 5, 14)  # noqa: DTZ001 - Pancake's times name no zone
PARTS = {
    "account": (
        "account",
        "id, display_name, phone_code, phone_number, phone_enabled, normalized_phone, pancake_metadata",
    ),
    "contact": ("contact_book", "id, account_id, primary_phone, name, email, address"),
    "ticket": (
        "ticket",
        "id, title, description, source_id, account_id, contact_book_id, assignee_id, status, data",
    ),
    "consent": ("customer_consent", "account_id, consent_data, consent_version"),
    "roster": (
        "pancake_assignee",
        "id, source_id, staff_id, assigned_count, total_assigned, last_assigned_seq, was_available,"
        " assigned_on, assigned_today",
    ),
}
"""The tables and columns that a dry run reports."""

State = dict[str, dict[str, dict[str, Any]]]


def _state(harness: HandlerHarness) -> State:
    """Return every row of every part by its key, as JSON values."""
    state: State = {}
    for part, (table, columns) in PARTS.items():
        rows = harness.sql(f"SELECT to_jsonb(t) AS row FROM (SELECT {columns} FROM {table}) AS t")
        state[part] = {str(row["row"].get("id") or row["row"]["account_id"]): row["row"] for row in rows}
    return state


def _checksum(harness: HandlerHarness) -> dict[str, Any]:
    """Return a checksum of each table."""
    tables = harness.sql(
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r' AND oid >= 16384"
    )
    total = "SELECT '{0}' AS name, md5(string_agg(t::text, '|' ORDER BY t::text)) AS sum FROM {0} AS t"
    sums = " UNION ALL ".join(total.format(table["name"]) for table in tables)
    return {row["name"]: row["sum"] for row in harness.sql(sums)}


def _applied(state: State, changes: list[dict[str, Any]]) -> State:
    """Return the state after these changes; each must start from the current row."""
    after = {part: dict(rows) for part, rows in state.items()}
    for item in changes:
        differences = [(part, item.get(part)) for part in PARTS if part != "roster"]
        differences += [("roster", member) for member in item.get("roster", [])]
        differences += [("contact", contact) for contact in item.get("other_contacts", [])]
        for part, difference in differences:
            if difference:
                key = str(difference["after"].get("id") or difference["after"]["account_id"])
                assert after[part].get(key) == difference["before"]
                after[part][key] = difference["after"]
    return after


def _with_real_ids(harness: HandlerHarness, changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Replace the ids of new rows by those that the replay gave them."""
    text = json.dumps(changes)
    for item in changes:
        event = harness.event(item["event_id"])
        for part, real in (("account", event["account_id"]), ("ticket", event["ticket_id"])):
            if item.get(part):
                text = text.replace(item[part]["after"]["id"], str(real))
        for contact in [item.get("contact"), *item.get("other_contacts", [])]:
            if contact is None:
                continue
            row = contact["after"]
            phone = row["primary_phone"]
            found = harness.one("SELECT id FROM contact_book WHERE primary_phone = %s", phone)
            text = text.replace(row["id"], str(found["id"]))
    changed: list[dict[str, Any]] = json.loads(text)
    return changed


def _random_lead(choose: random.Random, minute: int) -> dict[str, Any]:
    """Return a lead with one of twelve record ids and nine phones, some known to Diva, some unusable."""
    phones = [f"09051112{n}0" for n in range(5)] + ["0912345678", "01689001002", "x", ""]
    lead: dict[str, Any] = {
        "id": f"record-{choose.randrange(12)}",
        "name": choose.choice(["An", "Bình", None]),
        "phone_number": choose.choice(phones),
        "source": choose.choice([["-1"], ["-3"]]),
        "modified_on": (START + timedelta(minutes=minute)).isoformat(),
    }
    if choose.random() < 0.3:
        lead["secondary_phone_number"] = choose.choice(phones)
    if choose.random() < 0.3:
        lead["email"] = f"{choose.randrange(3)}@example.com"
    if choose.random() < 0.2:
        lead["table_id"] = choose.choice(["contact", "account"])
    return lead


async def test_the_changes_of_a_dry_run_equal_those_of_the_replay(harness: HandlerHarness) -> None:
    """Of several rows that build on each other; a dry run does not change the checksum of any table.

    The random histories of tests/model try one row at a time in more states.
    """
    choose, minute = random.Random(607), 0
    harness.sql("UPDATE pancake_source SET is_active = true")
    for source in (None, "-1"):
        harness.fill_roster(3, source)
    seen: Counter[str] = Counter()
    done: list[int] = []
    for number in range(CASES):
        if number % 4 == 0:
            close_tickets(harness)
        harness.change_settings(consent_mode=("off", "record")[number % 2])
        if number % 3 == 0:
            dead = await process(harness, id=f"dead {number}", phone_number="x")
            request: dict[str, Any] = {"ids": [dead.id], "corrected_phone": f"09051112{number % 9}0"}
        else:
            leads = []
            for _ in range(choose.choice([1, 2, 3])):
                minute += choose.choice([-3, 1, 2])
                leads.append(_random_lead(choose, minute))
            ids = await hold(harness, *leads)
            request = {"ids": [*done, *ids], "force": number % 3 == 2}
            done = ids
        before, sent = _checksum(harness), dict(harness.hasura.sent)
        changes = (await harness.replay(**request, dry_run=True))["changes"]
        assert (_checksum(harness), harness.hasura.sent) == (before, sent)
        state = _state(harness)
        assert (await harness.replay(**request, wait=False))["replayed"] == len(changes)
        assert {item["event_id"]: item["result"] for item in changes} == await harness.process_received()
        changes = _with_real_ids(harness, changes)
        assert _applied(state, changes) == _state(harness)
        for item in changes:
            event, announced = harness.event(item["event_id"]), item.get("notifications", [])
            assert event["notifications"][len(event["notifications"]) - len(announced) :] == announced
            if item["result"] == "dead_letter":
                found = event["error_code"], event["error_detail"]
                assert found == (item["error_code"], item["error_detail"])
            seen[item["result"]] += 1
    outcomes = {"ticket_created", "ticket_updated", "contact_updated", "stale", "no_change", "dead_letter"}
    assert set(seen) >= outcomes, seen


async def test_rows_of_one_new_customer_build_on_each_other(harness: HandlerHarness) -> None:
    """The second row of a dry run sees the changes of the first."""
    ids = await hold(harness, *({"id": f"r{n}", "phone_number": "0905999888"} for n in range(2)))
    changes = (await harness.replay(ids=ids, dry_run=True))["changes"]
    assert [item["result"] for item in changes] == ["ticket_created", "ticket_updated"]
    assert changes[1]["ticket"]["before"] == changes[0]["ticket"]["after"]
    assert harness.count("account", "normalized_phone = '+84905999888'") == 0


async def test_the_changes_of_a_dry_run_are_never_logged(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    lead = {"name": "Trần B", "phone_number": "0905999888", "email": "b@example.com"}
    ids = await hold(harness, lead)
    (change,) = (await harness.replay(ids=ids, dry_run=True))["changes"]
    assert change["contact"]["after"]["email"] == "b@example.com"
    (line,) = [line for line in capture_logs if "/actions/replay_events" in line]
    assert json.loads(line)["answer"]["matched"] == 1
    assert not [word for word in ("Trần B", "905999888", "b@example.com") if word in "".join(capture_logs)]


@pytest.mark.own_database
async def test_two_dry_runs_that_need_the_same_rosters_in_opposite_order_both_answer(
    harness: HandlerHarness, second_harness: HandlerHarness
) -> None:
    """A dry run keeps the lock of each roster that it needed until it ends."""
    harness.sql("UPDATE pancake_source SET is_active = true")
    sources = ("-1", "-3")
    for source in sources:
        harness.fill_roster(1, source)
    ids = []
    for number, order in enumerate((sources, sources[::-1])):
        phones = [f"09050001{number}{digit}" for digit in range(2)]
        leads = [
            {"id": phone, "phone_number": phone, "source": [source]}
            for phone, source in zip(phones, order, strict=True)
        ]
        ids.append(await hold(harness, *leads))
    harness.slow_down("ticket", 0.3)
    reports = await asyncio.gather(
        harness.replay(ids=ids[0], dry_run=True), second_harness.replay(ids=ids[1], dry_run=True)
    )
    for report in reports:
        assert [change["result"] for change in report["changes"]] == ["ticket_created"] * 2
    assert await count_deadlocks(harness, second_harness) == 0
