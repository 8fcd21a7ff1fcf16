"""A dry run changes nothing and reports exactly what the replay then does."""

import json
import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from tests.support.handlers import HandlerHarness
from tests.support.suites import IS_FULL

CASES = 200 if IS_FULL else 60
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
            stored = harness.one("SELECT id FROM contact_book WHERE primary_phone = %s", phone)
            text = text.replace(row["id"], str(stored["id"]))
    changed: list[dict[str, Any]] = json.loads(text)
    return changed


class RandomCases:
    """Random rows and replay requests over few phones and records, so that they often collide."""

    def __init__(self, harness: HandlerHarness, seed: int) -> None:
        self.harness = harness
        self.random = random.Random(seed)
        self.minute = 0

    def disturb(self) -> None:
        """Change what other users change: tickets, the roster, settings, an account."""
        pick = self.random.random()
        if pick < 0.2:
            self.harness.sql("UPDATE ticket SET status = 'done' WHERE random() < 0.3")
        elif pick < 0.4:
            self.harness.sql("UPDATE pancake_assignee SET is_active = random() < 0.7")
        elif pick < 0.5:
            self.harness.sql("UPDATE staff SET on_duty = random() < 0.8 WHERE role = 'telesale'")
        elif pick < 0.6:
            self.harness.change_settings(consent_mode=self.random.choice(["off", "record"]))
        elif pick < 0.7:
            self.harness.sql("UPDATE account SET normalized_phone = NULL WHERE random() < 0.3")
        elif pick < 0.8:
            self.harness.sql("UPDATE account SET phone_enabled = random() < 0.7")

    def lead(self) -> dict[str, Any]:
        """Return a lead with one of twelve record ids and nine phones, some known to Diva, some unusable."""
        self.minute += self.random.choice([-3, 1, 2])
        phones = [f"09051112{n}0" for n in range(5)] + ["0912345678", "01689001002", "x", ""]
        lead: dict[str, Any] = {
            "id": f"record-{self.random.randrange(12)}",
            "name": self.random.choice(["An", "Bình", None]),
            "phone_number": self.random.choice(phones),
            "source": self.random.choice([["-1"], ["-2"], ["-1", "-2"], ["-3"]]),
            "modified_on": (START + timedelta(minutes=self.minute)).isoformat(),
        }
        if self.random.random() < 0.3:
            lead["secondary_phone_number"] = self.random.choice(phones)
        if self.random.random() < 0.3:
            lead["email"] = f"{self.random.randrange(3)}@example.com"
        if self.random.random() < 0.2:
            lead["table_id"] = self.random.choice(["contact", "account"])
        return lead

    async def create_events(self) -> list[int]:
        """Create one to three events, held, processed or dead letters; return their ids."""
        self.harness.change_settings(kill_switch=self.random.random() < 0.6)
        ids = []
        for _ in range(self.random.choice([1, 1, 2, 3])):
            answer = await self.harness.deliver(self.lead())
            if answer["event_id"] is not None:
                ids.append(answer["event_id"])
        self.harness.change_settings(kill_switch=False)
        await self.harness.process_received()
        return ids

    def request(self, ids: list[int]) -> dict[str, Any]:
        request: dict[str, Any] = {"ids": ids}
        if self.random.random() < 0.4:
            request["force"] = True
        invalid = self.harness.event(ids[0])["error_code"] == "invalid_phone"
        if invalid and self.random.random() < 0.7:
            request |= {"ids": ids[:1], "corrected_phone": f"09051112{self.random.randrange(9)}0"}
        return request


def _prepare(harness: HandlerHarness) -> None:
    """Seed a source with its own roster, one with the default roster and an inactive one."""
    source = harness.one(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " VALUES (%s, '-2', 'Zalo', true) RETURNING id",
        harness.connection_id,
    )
    harness.sql(
        "INSERT INTO pancake_assignee (source_id, staff_id)"
        " SELECT s.id, t.id FROM unnest(ARRAY[NULL, %s]::uuid[]) AS s (id), staff AS t"
        " WHERE t.role = 'telesale'",
        source["id"],
    )


async def test_the_changes_of_a_dry_run_equal_those_of_the_replay(harness: HandlerHarness) -> None:
    """In random cases; a dry run does not change the checksum of any table."""
    _prepare(harness)
    random_cases = RandomCases(harness, seed=607)
    seen: Counter[str] = Counter()
    cases = 0
    while cases < CASES:
        random_cases.disturb()
        ids = await random_cases.create_events()
        if not ids:
            continue
        cases += 1
        request = random_cases.request(ids)
        before = _checksum(harness)
        sent = dict(harness.hasura.sent)
        changes = (await harness.replay(**request, dry_run=True))["changes"]
        assert _checksum(harness) == before
        assert harness.hasura.sent == sent
        state = _state(harness)
        report = await harness.replay(**request)
        assert [item["event_id"] for item in changes] == [*(await harness.process_received())]
        assert report["replayed"] == len(changes)
        changes = _with_real_ids(harness, changes)
        assert _applied(state, changes) == _state(harness)
        for item in changes:
            _same_row(harness.event(item["event_id"]), item)
            seen[item["result"]] += 1
    outcomes = {"ticket_created", "ticket_updated", "contact_updated", "stale", "no_change", "dead_letter"}
    assert set(seen) >= outcomes, seen


def _same_row(event: dict[str, Any], item: dict[str, Any]) -> None:
    """Assert that the event has the status and the notifications that the dry run reported."""
    if item["result"] in ("dead_letter", "failed"):
        assert (event["status"], event["error_code"], event["error_detail"]) == (
            item["result"],
            item["error_code"],
            item["error_detail"],
        )
        return
    assert event["status"] == (item["result"] if "skipped" in item["result"] else "processed")
    if "skipped" in item["result"]:
        return
    if item["result"] not in ("stale", "no_change"):
        is_creating = event["outcome"] == "ticket_created" and item["result"] == "ticket_updated"
        assert is_creating or event["outcome"] == item["result"]
    assert (
        event["notifications"][len(event["notifications"]) - len(item["notifications"]) :]
        == (item["notifications"])
    )


async def test_rows_of_one_new_customer_build_on_each_other(harness: HandlerHarness) -> None:
    """The second row of a dry run sees the changes of the first."""
    harness.change_settings(kill_switch=True)
    first, second = [
        (await harness.deliver({"id": f"r{n}", "phone_number": "0905999888", "source": ["-1"]}))["event_id"]
        for n in range(2)
    ]
    harness.change_settings(kill_switch=False)
    changes = (await harness.replay(ids=[first, second], dry_run=True))["changes"]
    assert [item["result"] for item in changes] == ["ticket_created", "ticket_updated"]
    assert changes[1]["ticket"]["before"] == changes[0]["ticket"]["after"]
    assert harness.sql("SELECT id FROM account WHERE normalized_phone = '+84905999888'") == []


async def test_the_changes_of_a_dry_run_are_never_logged(
    harness: HandlerHarness, capture_logs: list[str]
) -> None:
    harness.change_settings(kill_switch=True)
    lead = {
        "id": "r",
        "name": "Trần B",
        "phone_number": "0905999888",
        "email": "b@example.com",
        "source": ["-1"],
    }
    event_id = (await harness.deliver(lead))["event_id"]
    harness.change_settings(kill_switch=False)
    (change,) = (await harness.replay(ids=[event_id], dry_run=True))["changes"]
    assert change["contact"]["after"]["email"] == "b@example.com"
    (line,) = [line for line in capture_logs if "/actions/replay_events" in line]
    assert json.loads(line)["answer"]["matched"] == 1
    assert not [word for word in ("Trần B", "905999888", "b@example.com") if word in "".join(capture_logs)]
