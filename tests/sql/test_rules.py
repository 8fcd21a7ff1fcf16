"""The rules that several statements share: each is defined once, in the migrations, and inlined."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from leads.adapters.queries import QUERIES
from sandbox.postgres.plans import prepare
from tests.support.statements import CALLED_FUNCTION, CHECKING, SWITCHING

CONNECTION = "00000000-0000-4000-8000-000000000001"
SWITCHES = b"SELECT kill_switch, processing_paused FROM pancake_switch()"
SHOWN = b"SELECT kill_switch, processing_paused FROM view_pancake_setting"
RULES = (
    "pancake_setting",
    "pancake_switch",
    "pancake_active_source",
    "pancake_roster_source",
    "pancake_applied_version",
    "pancake_applied_event",
    "pancake_event_is_unassigned",
    "pancake_payload_hash",
)
COMMENT = re.compile(r"--.*")
SOURCES = re.compile(r"\bpancake_source(?:\s+AS)?\s+(?!WHERE|SET|ON|ORDER|JOIN)(\w+)")


@pytest.fixture
def db(migrated: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """The migrated database with a connection; what a test changes is undone."""
    with migrated.transaction(force_rollback=True):
        migrated.execute("SET LOCAL session_replication_role = replica")
        migrated.execute(
            "INSERT INTO pancake_connection (id, name, workspace_id, token_sha256)"
            " VALUES (%s, 'x', 1, sha256('t'))",
            [CONNECTION],
        )
        yield migrated


def store(db: psycopg.Connection, **settings: Any) -> None:
    """Replace the settings of the integration."""
    db.execute(
        "UPDATE app_setting SET app_settings = jsonb_build_object('pancake_integration', %s::jsonb)"
        " WHERE id = 1",
        [json.dumps(settings)],
    )


@pytest.mark.parametrize(
    ("stored", "kill_switch", "processing_paused"),
    [
        (True, True, True),
        (False, False, False),
        ("true", True, True),
        ("false", False, False),
        ("no", True, False),
        ("", True, False),
        (0, True, False),
        (1, True, False),
        (None, True, False),
        ([False], True, False),
        ({"on": False}, True, False),
    ],
)
def test_an_unreadable_switch_has_its_safe_value(
    db: psycopg.Connection, stored: Any, kill_switch: bool, processing_paused: bool
) -> None:
    store(db, kill_switch=stored, processing_paused=stored)
    assert db.execute(SWITCHES).fetchall() == [(kill_switch, processing_paused)]
    assert db.execute(SHOWN).fetchall() == [(kill_switch, processing_paused)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE app_setting SET app_settings = '{\"pancake_integration\": {}}'",
        'UPDATE app_setting SET app_settings = \'{"pancake_integration": "off"}\'',
        "UPDATE app_setting SET app_settings = '{\"pancake_integration\": null}'",
        "UPDATE app_setting SET app_settings = '{}'",
        "UPDATE app_setting SET app_settings = '[]'",
        "DELETE FROM app_setting",
    ],
)
def test_without_settings_the_kill_switch_is_on(db: psycopg.Connection, change: str) -> None:
    """The function always returns one row: a statement that found none would read null."""
    db.execute(change.encode())
    assert db.execute(SWITCHES).fetchall() == [(True, False)]


def test_active_sources_are_those_that_a_lead_names_on_its_connection(db: psycopg.Connection) -> None:
    other = "00000000-0000-4000-8000-000000000002"
    db.execute(
        "INSERT INTO pancake_connection (id, name, workspace_id, token_sha256)"
        " VALUES (%s, 'y', 2, sha256('u'))",
        [other],
    )
    db.execute(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " VALUES (%(own)s, '1', 'a', true), (%(own)s, '2', 'b', false), (%(own)s, '3', 'c', true),"
        " (%(other)s, '2', 'd', true)",
        {"own": CONNECTION, "other": other},
    )
    look = "SELECT pancake_source_id FROM pancake_active_source(%s, %s) ORDER BY 1"
    assert db.execute(look, [CONNECTION, ["1", "2"]]).fetchall() == [("1",)]
    assert db.execute(look, [CONNECTION, ["3", "1"]]).fetchall() == [("1",), ("3",)]
    assert db.execute(look, [other, ["1", "2"]]).fetchall() == [("2",)]
    assert db.execute(look, [CONNECTION, []]).fetchall() == []
    assert db.execute(look, [CONNECTION, None]).fetchall() == []
    db.execute("UPDATE pancake_connection SET status = 'disabled' WHERE id = %s", [CONNECTION])
    assert db.execute(look, [CONNECTION, ["1", "3"]]).fetchall() == []
    assert db.execute(look, [other, ["2"]]).fetchall() == [("2",)]


def test_the_roster_is_that_of_the_first_active_source_that_has_an_active_member(
    db: psycopg.Connection,
) -> None:
    db.execute(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " VALUES (%(id)s, 'off', 'a', false), (%(id)s, 'none', 'b', true), (%(id)s, 'away', 'c', true),"
        " (%(id)s, 'x', 'd', true), (%(id)s, 'y', 'e', true)",
        {"id": CONNECTION},
    )
    db.execute(
        "INSERT INTO pancake_assignee (source_id, staff_id, is_active) SELECT s.id, f.id,"
        " s.pancake_source_id <> 'away' FROM pancake_source AS s, (SELECT id FROM staff LIMIT 2) AS f"
        " WHERE s.pancake_source_id <> 'none'"
    )
    look = (
        "SELECT s.pancake_source_id FROM pancake_roster_source(%s, %s) AS r JOIN pancake_source AS s"
        " ON s.id = r.id"
    )
    assert db.execute(look, [CONNECTION, ["off", "none", "away", "y", "x"]]).fetchall() == [("y",)]
    assert db.execute(look, [CONNECTION, ["x", "y"]]).fetchall() == [("x",)]
    assert db.execute(look, [CONNECTION, ["off", "none", "away"]]).fetchall() == []
    assert db.execute(look, [CONNECTION, None]).fetchall() == []


def event(
    db: psycopg.Connection, name: str, applied_at: str | None, record: str = "r", **columns: Any
) -> None:
    """Insert a processed event, applied at a time or never; `name` is in normalized_phone."""
    values = {
        "connection_id": CONNECTION,
        "origin": "webhook",
        "record_id": record,
        "payload_hash": uuid4().bytes * 2,
        "status": "processed",
        "outcome": "ticket_updated" if applied_at else "stale",
        "processed_at": "2026-01-01",
        "applied_at": applied_at,
        "normalized_phone": name,
        "arrived_at": "2026-01-01",
        "created_at": "2026-01-01",
    } | columns
    insert = sql.SQL("INSERT INTO pancake_webhook_event ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join([sql.Placeholder()] * len(values))
    )
    db.execute(insert, [*values.values()])


def test_the_applied_event_is_the_one_that_was_applied_last(db: psycopg.Connection) -> None:
    def applied(table: str | None = "lead") -> list[Any]:
        look = "SELECT normalized_phone FROM pancake_applied_event(%s, %s, 'r')"
        return [phone for (phone,) in db.execute(look, [CONNECTION, table])]

    assert applied() == []
    event(db, "first", "2026-01-09", modified_on="2026-01-08")
    event(db, "forced later", "2026-01-10", modified_on="2026-01-01")
    event(db, "stale", None, modified_on="2026-01-12")
    event(db, "another record", "2026-01-11", record="other")
    assert applied() == ["forced later"]
    assert applied("contact") == []
    event(db, "a contact", "2026-01-12", table_name="contact")
    event(db, "without a table", "2026-01-11", table_name=None)
    assert (applied(), applied(None), applied("leads")) == (["without a table"],) * 3
    assert applied("contact") == ["a contact"]


def test_a_version_that_claims_the_far_future_has_the_time_of_its_arrival(db: psycopg.Connection) -> None:
    event(db, "far", "2026-01-09", modified_on="2099-01-01", evidence='{"future_time": true}')
    event(db, "near", "2026-01-09", modified_on="2025-12-31")
    look = "SELECT modified_on::date::text FROM pancake_applied_version(%s, 'lead', 'r') ORDER BY 1"
    assert db.execute(look, [CONNECTION]).fetchall() == [("2025-12-31",), ("2026-01-01",)]


def test_a_body_has_another_hash_on_each_connection_and_in_each_table(db: psycopg.Connection) -> None:
    other = "00000000-0000-4000-8000-000000000002"
    tables = ["lead", None, "not documented", "account", "contact"]
    look = "SELECT encode(pancake_payload_hash(sha256('x'), %s, %s), 'hex')"
    hashes = {
        (connection, table): db.execute(look, [connection, table]).fetchall()[0][0]
        for connection in (CONNECTION, other)
        for table in tables
    }
    assert {len(found) for found in hashes.values()} == {64}
    assert len(set(hashes.values())) == 6, "what is no account and no contact is a lead"
    assert len({hashes[CONNECTION, table] for table in tables[:3]}) == 1


def test_the_rules_need_no_privileges_beyond_those_on_the_tables(db: psycopg.Connection) -> None:
    """On the tables, and on the view of the settings that belong to the integration."""
    db.execute("CREATE ROLE handlers_of_the_test")
    db.execute(
        "GRANT SELECT ON view_pancake_stored_setting, pancake_connection, pancake_source, pancake_assignee,"
        " pancake_webhook_event TO handlers_of_the_test"
    )
    db.execute("SET LOCAL ROLE handlers_of_the_test")
    assert db.execute(SWITCHES).fetchall() == [(True, False)]
    assert db.execute("SELECT payload_retention_days FROM pancake_setting()").fetchall() == [(90,)]
    assert db.execute("SELECT id FROM pancake_active_source(%s, '{1}')", [CONNECTION]).fetchall() == []
    look = "SELECT outcome FROM pancake_applied_version(%s, NULL, 'r')"
    assert db.execute(look, [CONNECTION]).fetchall() == []
    assert db.execute("SELECT id FROM pancake_roster_source(%s, '{1}')", [CONNECTION]).fetchall() == []


def copied_rules(statement: str) -> set[str]:
    """The rules that a statement spells out instead of using their function."""
    text = COMMENT.sub("", statement)
    found = set()
    if "app_setting" in text:
        found.add("pancake_setting")
    if "pancake_source" in text:
        aliases = "|".join({"pancake_source", *SOURCES.findall(text)})
        if re.search(rf"\b(?:{aliases})\.is_active\b|(?<!\.)\bis_active\b", text):
            found.add("pancake_active_source")
    if "sha256(" in text:
        found.add("pancake_payload_hash")
    if "'stale'" in text or re.search(r"\bapplied_at IS NOT NULL\b", text):
        found.add("pancake_applied_version")
    if re.search(r"\barray_position\(\s*(?:\w+\.)?source_ids\b", text):
        found.add("pancake_roster_source")
    if re.search(r"\b(?:\w+\.)?evidence\s*(?:#>|#>>)\s*'{assignment,settled}'|'settled'.*\bIS NULL", text):
        found.add("pancake_event_is_unassigned")
    if re.search(r"\bapplied_at DESC\b", text) and "pancake_applied_version" not in text:
        found.add("pancake_applied_event")
    return found


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_defined_in_the_migrations_alone(rule: str) -> None:
    users = [name for name, text in QUERIES.items() if f"public.{rule}".encode() in text]
    copies = {name for name, text in QUERIES.items() if rule in copied_rules(text.decode())}
    assert users
    assert copies <= SWITCHING | CHECKING


@pytest.mark.parametrize(
    ("rule", "copy"),
    [
        ("pancake_setting", "SELECT app_settings -> 'x' ->> 'kill_switch' FROM app_setting"),
        ("pancake_setting", "FROM jsonb_to_record(a.app_settings) AS s (kill_switch boolean)"),
        ("pancake_active_source", "FROM public.pancake_source AS p WHERE p.id = %(id)s AND p.is_active"),
        ("pancake_active_source", "FROM public.pancake_source AS p WHERE p.is_active = true"),
        ("pancake_active_source", "FROM pancake_source p WHERE NOT p.is_active IS FALSE"),
        ("pancake_active_source", "SELECT id FROM public.pancake_source WHERE is_active"),
        ("pancake_applied_version", "WHERE e.outcome <> 'stale'"),
        ("pancake_applied_version", "WHERE e.outcome NOT IN ('stale')"),
        ("pancake_applied_version", "WHERE e.applied_at IS NOT NULL"),
        ("pancake_applied_event", "ORDER BY e.applied_at DESC LIMIT 1"),
        ("pancake_roster_source", "ORDER BY array_position(e.source_ids, s.pancake_source_id) LIMIT 1"),
        ("pancake_roster_source", "SELECT array_position(source_ids, '5')"),
        ("pancake_event_is_unassigned", "WHERE evidence #> '{assignment,settled}' IS NULL"),
        ("pancake_event_is_unassigned", "WHERE e.evidence -> 'assignment' ->> 'settled' IS NULL"),
        ("pancake_payload_hash", "WHERE e.payload_hash = sha256(decode(d.payload_hash, 'hex'))"),
    ],
)  # fmt: skip
def test_a_copy_of_a_rule_is_found_in_any_spelling(rule: str, copy: str) -> None:
    assert copied_rules(copy) == {rule}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, text in QUERIES.items()
        if any(f"public.{rule}".encode() in text for rule in RULES) and name not in SWITCHING
    ],
)
def test_a_rule_is_inlined_into_the_statement_that_uses_it(db: psycopg.Connection, name: str) -> None:
    """A call that is not inlined is a separate node `Function Scan on public.pancake_…`."""
    nulls = ", ".join(["NULL"] * prepare(db, name))
    arguments = sql.SQL(f"({nulls})" if nulls else "")
    explain = sql.SQL("EXPLAIN (VERBOSE) EXECUTE {}{}").format(sql.Identifier(name), arguments)
    db.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    try:
        plan = "\n".join(line for (line,) in db.execute(explain).fetchall())
    finally:
        db.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(name)))
    plan = CALLED_FUNCTION.sub("", plan)
    assert re.findall(r"Function Scan on public\.\w+|\bpancake_\w+\(", plan) == []
    assert re.search(r"on public\.(app_setting|pancake_source|pancake_webhook_event)", plan)
