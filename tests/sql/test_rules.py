"""Every statement fits the schema; the rules that several share are defined in migrations, and inlined.

The six figures, each on a few rows whose figure is known, and those of held events.
"""

import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from leads.adapters.database import load_queries
from leads.domain.body import ICT
from leads.domain.event_states import CLAIM_LEASE, REPLAYED_BY_MANUAL_INVOCATION
from leads.domain.notifications import NEEDS_ATTENTION
from leads.domain.trace_event import TEXTS
from ops.clients.db_session import QUERIES
from sandbox.postgres.plans import custom_plan, prepare
from tests.support.handlers import DatabaseHarness
from tests.support.stored_rows import FROM, HANH, KHOA, NOON, TO, Figures

CONNECTION = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"
Db = psycopg.Connection[Any]
RULES = (
    "view_pancake_setting", "pancake_active_source", "pancake_roster_source",
    "pancake_applied_version", "pancake_applied_event", "pancake_event_is_unassigned",
    "pancake_payload_hash", "pancake_hold_reason", "pancake_record_table", "pancake_ticket_is_open",
    "pancake_event_is_waiting", "pancake_event_is_held", "pancake_event_is_invalid",
    "pancake_event_was_held_or_replayed", "pancake_event_is_being_sent",
)  # fmt: skip
OFFICE = "mon-fri 08:00-12:00, mon-fri 13:30-17:30, sat 08:00-12:00"
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TET = "2027-02-05..2027-02-11, 2027-04-30"
CALLED_FUNCTION = re.compile(
    r"\bpancake_(?:pending_event_ids|member_limit|recall_is_due|business_minutes|open_minutes"
    r"|business_period|hours_begin|valid_hours|delivery_history|fired_event_id|count_event_logs"
    r"|unlock_events)\b"
)
"""Functions that are called, not inlined: once, for few rows, or with the rights of their owner."""
SWITCHING = {
    "switches/list_switches", "switches/set_setting", "switches/set_source", "status/list_connections",
    "status/list_rosters", "metrics/count_source_events", "golive/load_sources",
}  # fmt: skip
"""Statements that show and turn the switches; they decide nothing by them."""

HELD_STATES = "skipped_kill_switch skipped_source_disabled"
NEXT_STATES: dict[str | None, str] = {
    None: f"received dead_letter {HELD_STATES}",
    "received": f"received ingested dead_letter {HELD_STATES}",
    "ingested": f"ingested received processed failed dead_letter {HELD_STATES}",
    "processed": "processed received",
    "failed": f"failed received dead_letter {HELD_STATES}",
    "dead_letter": "dead_letter received",
    # A held event of a customer who was erased becomes a dead letter.
    "skipped_kill_switch": "skipped_kill_switch received dead_letter",
    "skipped_source_disabled": "skipped_source_disabled received dead_letter",
}
"""The states of an event, and those that may follow each; None is a new row."""


@pytest.fixture
def db(migrated: Db) -> Iterator[Db]:
    """The migrated database with a connection; what a test changes is undone."""
    with migrated.transaction(force_rollback=True):
        migrated.execute("SET LOCAL session_replication_role = replica")
        add_connection(migrated, CONNECTION, 1)
        yield migrated


def add_connection(db: Db, connection_id: str, workspace: int) -> None:
    of = {"id": connection_id, "name": str(workspace), "workspace_id": workspace}
    DatabaseHarness(db).insert("pancake_connection", **of, token_sha256=bytes([workspace]) * 32)


def test_the_roster_is_that_of_the_first_active_source_that_has_an_active_member(db: Db) -> None:
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
    named: list[tuple[list[str] | None, list[tuple[str]]]] = [
        (["off", "none", "away", "y", "x"], [("y",)]),
        (["x", "y"], [("x",)]),
        (["off", "none", "away"], []),
        (None, []),
    ]
    for sources, expected in named:
        assert db.execute(look, [CONNECTION, sources]).fetchall() == expected


def event(db: Db, name: str, applied_at: str | None, record: str = "r", **columns: Any) -> None:
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
    DatabaseHarness(db).insert("pancake_webhook_event", **values)


def test_the_applied_event_is_the_last_that_was_applied(db: Db) -> None:
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


def test_an_undo_counts_leads_and_not_their_versions(db: Db) -> None:
    for phone in ("first", "second", "third"):
        event(db, phone, "2026-01-09", record="one" if phone != "third" else "other")
    for phone in ("fourth", "fifth"):
        event(db, phone, "2026-01-09", record=phone)
    db.execute("UPDATE pancake_webhook_event SET status = 'skipped_kill_switch'")
    db.execute("UPDATE pancake_webhook_event SET record_id = NULL WHERE record_id IN ('fourth', 'fifth')")
    assert db.execute(QUERIES["setup/count_waiting"]).fetchall() == [(4,)]


def test_what_holds_an_event_is_the_kill_switch_then_its_sources(db: Db) -> None:
    add_connection(db, OTHER, 2)
    db.execute("UPDATE pancake_connection SET status = 'disabled' WHERE id = %s", [OTHER])
    db.execute(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " VALUES (%(own)s, 'on', 'a', true), (%(own)s, 'off', 'b', false), (%(other)s, 'on', 'c', true)",
        {"own": CONNECTION, "other": OTHER},
    )

    def held_as(kill_switch: object, connection_id: str, *named: str) -> list[tuple[str | None]]:
        settings = json.dumps({"pancake_integration": {"kill_switch": kill_switch}})
        db.execute("UPDATE app_setting SET app_settings = %s WHERE id = 1", [settings])
        look = "SELECT status FROM pancake_hold_reason(%s, %s)"
        return db.execute(look, [connection_id, [*named]]).fetchall()

    by_switch, by_source = [("skipped_kill_switch",)], [("skipped_source_disabled",)]
    assert held_as(False, CONNECTION, "off", "on") == [(None,)]
    assert held_as(False, CONNECTION, "off") == held_as(False, CONNECTION, "unknown") == by_source
    assert held_as(False, OTHER, "on") == by_source
    # A body without a source is not a record: it is not held for one, and processing reports its error.
    assert held_as(False, CONNECTION) == held_as(False, OTHER) == [(None,)]
    for on in (True, "unreadable"):
        assert held_as(on, CONNECTION, "on") == held_as(on, CONNECTION, "off") == by_switch
        assert held_as(on, CONNECTION) == by_switch


def test_each_function_and_view_of_the_migrations_is_on_the_page_of_the_architecture(migrated: Db) -> None:
    made = migrated.execute(
        "SELECT p.proname FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace"
        " AND p.proname ~ 'pancake|integration_change|clear_normalized_phone'"
        " UNION SELECT c.relname FROM pg_class AS c WHERE c.relkind = 'v' AND c.relname LIKE 'view_pancake%'"
    ).fetchall()
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page.partition("## Functions and views")[2], re.MULTILINE)
    assert sorted(listed) == sorted(name for (name,) in made)


def test_a_rule_is_inlined_into_the_statement_that_uses_it(db: Db, subtests: pytest.Subtests) -> None:
    """A call that is not inlined is a separate node `Function Scan on public.pancake_…`."""
    db.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    for name, text in QUERIES.items():
        if name in SWITCHING or not any(f"public.{rule}".encode() in text for rule in RULES):
            continue
        with subtests.test(name), db.transaction():
            nulls = ", ".join(["NULL"] * prepare(db, name))
            arguments = sql.SQL(f"({nulls})" if nulls else "")
            explain = sql.SQL("EXPLAIN (VERBOSE) EXECUTE {}{}").format(sql.Identifier(name), arguments)
            plan = "\n".join(line for (line,) in db.execute(explain).fetchall())
            db.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(name)))
            plan = CALLED_FUNCTION.sub("", plan)
            assert re.findall(r"Function Scan on public\.\w+|\bpancake_\w+\(", plan) == []
            assert re.search(r"on public\.(app_setting|pancake_source|pancake_webhook_event)", plan)


def test_a_statement_can_be_prepared_on_the_migrated_schema(db: Db, subtests: pytest.Subtests) -> None:
    for name in QUERIES:
        with subtests.test(name), db.transaction():
            prepare(db, name)


def test_a_statement_without_a_name_and_a_name_that_stands_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "poll.sql").write_text("-- name: poll/load\n-- Load.\nSELECT 1\n")
    assert load_queries(tmp_path) == {"poll/load": b"SELECT 1"}
    for name, text, error in (
        ("again.sql", "-- name: poll/load\nSELECT 2\n", "poll/load stands twice"),
        ("none.sql", "-- Load.\nSELECT 1\n", "no name stands above '-- Load.'"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=error):
            load_queries(tmp_path)
        (tmp_path / name).unlink()


def test_the_lease_of_a_claim_equals_the_lease_checked_by_the_database(migrated: Db) -> None:
    guard = "SELECT pg_get_functiondef('public.pancake_webhook_event_guard_status'::regproc)"
    pattern = r"OLD\.ingested_at > clock_timestamp\(\) - interval '([^']+)'"
    leases = re.findall(pattern, str(migrated.execute(guard).fetchone()))
    assert leases == [f"{CLAIM_LEASE.total_seconds():g} seconds"]


def test_statements_name_the_templates_of_the_decision() -> None:
    named = {code for text in QUERIES.values() for code in re.findall(r"'(noti_\w+)'", text.decode())}
    assert named == {NEEDS_ATTENTION}


def minutes(db: Db, start: datetime, end: datetime, hours: str, holidays: str = "none") -> float:
    look = "SELECT pancake_business_minutes(%s, %s, %s, %s)"
    ((found,),) = db.execute(look, [start, end, hours, holidays]).fetchall()
    return float(found)


@pytest.mark.parametrize(
    ("start", "end", "hours", "holidays", "expected"),
    [
        ("2026-05-14T09:00", "2026-05-14T09:30", "always", "none", 30),
        ("2027-02-04T17:20", "2027-02-12T08:10", OFFICE, TET, 20),  # over Tết, a Thursday to a Friday
        ("2027-04-30T08:00", "2027-04-30T17:00", "always", TET, 0),
        ("2027-04-29T23:00", "2027-05-01T01:00", "always", TET, 120),
        ("2026-05-16T23:00", "2026-05-19T01:00", "sat-mon 00:00-24:00", "none", 60 + 2 * 1440),
        ("2026-05-14T10:00", "2026-05-14T09:00", OFFICE, "none", 0),  # ends before it begins
        ("2026-05-14T09:00", "2026-05-14T10:00", "thu 17:00-08:00", "none", 0),
        ("2026-05-14T09:00", "2026-05-14T10:00", "always", "2026-05-41", 60),  # no such day
    ],
)
def test_business_minutes(
    migrated: Db, start: str, end: str, hours: str, holidays: str, expected: float
) -> None:
    first, last = (datetime.fromisoformat(each).replace(tzinfo=ICT) for each in (start, end))
    assert minutes(migrated, first, last, hours, holidays) == pytest.approx(expected)


def test_random_periods_equal_a_count_of_their_minutes(migrated: Db) -> None:
    chance = random.Random(16)
    for _ in range(60):
        start = datetime(2027, 2, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(20 * 1440))
        end = start + timedelta(minutes=chance.randrange(6 * 1440))
        entries = []
        for _ in range(chance.randrange(1, 4)):
            first, last = chance.choice(WEEKDAYS), chance.choice(WEEKDAYS)
            opens, closes = sorted(chance.sample(range(24), 2))
            entries.append((first, last, time(opens), time(closes)))
        hours = ", ".join(
            f"{first}-{last} {opens:%H:%M}-{closes:%H:%M}" for first, last, opens, closes in entries
        )
        counted = sum(
            is_open(start + timedelta(minutes=minute), entries)
            for minute in range(int((end - start).total_seconds() // 60))
        )
        assert minutes(migrated, start, end, hours, TET) == pytest.approx(counted), (start, end, hours)


def is_open(moment: datetime, entries: list[tuple[str, str, time, time]]) -> bool:
    at = moment.astimezone(ICT)
    if date(2027, 2, 5) <= at.date() <= date(2027, 2, 11) or at.date() == date(2027, 4, 30):
        return False
    for first, last, opens, closes in entries:
        begin, length = WEEKDAYS.index(first), (WEEKDAYS.index(last) - WEEKDAYS.index(first)) % 7
        if (at.weekday() - begin) % 7 <= length and opens <= at.time() < closes:
            return True
    return False


# The figures

HELD = ("dead_letter", "skipped_kill_switch", "skipped_source_disabled")
FAULTS = {
    "lead": ("invalid_phone",),
    "sender": ("invalid_json", "missing_record_id", "too_deep", "too_large", "unstorable"),
    "none": ("erased", "invalid_payload", "test_ping"),
    "integration": ("claim_expired", "contended", "database_unavailable", "internal"),
}
INVALID = tuple(code for fault, codes in FAULTS.items() if fault != "integration" for code in codes)
CODES = (*INVALID, "internal", "invalidated", "lock_timeout", None)
CREATED = (FROM - timedelta(days=3), FROM - timedelta(hours=1), NOON)
REPLAYED = (None, FROM - timedelta(days=2), NOON + timedelta(minutes=1))
Figure = dict[str, tuple[int, datetime | None]]


@pytest.fixture
def figures(database: str) -> Iterator[Figures]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield Figures(connection)


def test_without_events_every_figure_is_null(figures: Figures) -> None:
    """Missing data must not look like a perfect result."""
    assert figures.of("kpi/load_latency")["p95_seconds"] is None
    assert figures.of("kpi/load_success")["ratio"] is None
    assert figures.of("kpi/load_auto_assign")["ratio"] is None
    assert figures.of("kpi/load_intervention")["ratio"] is None
    assert figures.of("kpi/load_response")["p95_minutes"] is None
    assert figures.of("kpi/load_zero_miss") == {"days": 0, "found_missing": None, "left_missing": None}


def test_latency_is_creation_to_processed_without_events_that_were_held(figures: Figures) -> None:
    for seconds in range(1, 101):
        figures.event(processed_at=NOON + timedelta(seconds=seconds))
    figures.event(processed_at=TO, held_at=NOON)
    figures.event("failed")
    figures.event(created_at=TO, processed_at=TO + timedelta(hours=9))
    found = figures.of("kpi/load_latency")
    assert (found["events"], found["held"]) == (100, 1)
    assert (found["p50_seconds"], found["p95_seconds"]) == (50.5, pytest.approx(95.05))


def test_a_replay_changes_no_latency(figures: Figures) -> None:
    """Cheat 7: the slow lead stays in it when replayed, into the kill switch too, or given other times."""
    execute = figures.connection.execute
    event = "UPDATE pancake_webhook_event SET {} WHERE record_id = %(record)s"
    processed = event.format("status = 'processed', outcome = 'no_change', processed_at = %(at)s")
    received = "status = 'received'"
    held = ("status = 'skipped_kill_switch'", received)
    again = (received, *held, "status = 'ingested', claim_id = gen_random_uuid(), ingested_at = now()")
    slow = {"record": "record-2", "at": NOON + timedelta(hours=1)}
    for _ in range(2):
        figures.event("ingested")
    execute("SET session_replication_role = origin")
    execute(processed, {"record": "record-1", "at": NOON + timedelta(seconds=10)})
    execute(processed, slow)
    before = figures.of("kpi/load_latency")
    for change in again:
        execute(event.format(change), slow)
        assert figures.of("kpi/load_latency") == before
    execute(processed, slow | {"at": datetime.now(UTC) + timedelta(hours=1)})
    execute(event.format("first_processed_at = created_at"), slow)
    assert figures.of("kpi/load_latency") == before
    assert (before["events"], before["held"]) == (2, 0)
    assert before["p95_seconds"] == pytest.approx(10 + 0.95 * 3590)


def test_failed_dead_and_stuck_events_lower_success_and_invalid_or_held_ones_do_not(figures: Figures) -> None:
    for _ in range(95):
        figures.event()
    for status in ("failed", "received", "ingested", "skipped_kill_switch", "skipped_source_disabled"):
        figures.event(status)
    for code in ("internal", "missing_record_id", "invalid_phone", "invalid_json", "test_ping"):
        figures.event("dead_letter", error_code=code)
    figures.event("received", created_at=TO - timedelta(minutes=4))
    found = figures.of("kpi/load_success")
    assert [found[name] for name in ("processed", "failed", "dead", "stuck")] == [95, 1, 1, 2]
    assert [found[name] for name in ("invalid", "held", "waiting")] == [4, 2, 1]
    assert found["ratio"] == 95 / 99


def test_one_table_says_whose_fault_a_dead_letter_is_for_figure_gate_and_metrics(figures: Figures) -> None:
    """And it lists the codes that the page of them and the trace have; each other code is ours."""
    page = Path("docs/flow.md").read_text("utf-8").partition("| error code |")[2].partition("\n\n")[0]
    shown = {
        code: fault
        for codes, fault in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (\w+) \|", page, re.M)
        for code in re.findall(r"\w+", codes)
    }
    assert shown == {code: fault for fault, codes in FAULTS.items() for code in codes}
    assert shown.keys() == TEXTS["error"].keys()
    for code, fault in {**shown, "invalidated": "integration"}.items():
        figures.event("dead_letter", error_code=code)
        ask = figures.connection.execute("SELECT pancake_error_fault(%s) AS fault", [code]).fetchone()
        assert ask == {"fault": fault}
    ours = len(FAULTS["integration"]) + 1
    gate = figures.connection.execute(
        QUERIES["golive/count_dead_letters"], {"from": FROM, "to": TO}
    ).fetchone()
    dead, none = len(shown) + 1, len(FAULTS["none"])
    shares = f"of the integration {ours}, of lead or sender {dead - ours - none}, without a fault {none}"
    counts = {"events": dead, "processed": 0, "dead": dead, "explained": ours}
    assert gate == {**counts, "ratio": 1, "details": shares}, "the checklist counts all"
    assert figures.of("kpi/load_success")["dead"] == ours
    held = figures.connection.execute(QUERIES["metrics/count_held"]).fetchall()
    assert next(row["events"] for row in held if row["status"] == "dead_letter") == ours


@pytest.mark.parametrize(
    ("status", "replayed_minutes", "stuck"),
    [("received", None, 1), ("ingested", None, 1), *(("received", *case) for case in ((4, 0), (6, 1)))],
)
def test_an_event_is_stuck_five_minutes_after_its_creation_or_replay_though_it_is_fired_again(
    figures: Figures, status: str, replayed_minutes: int | None, stuck: int
) -> None:
    """Each refire sets received_at. Until its replay by a person it was held, or failed."""
    replayed: dict[str, Any] = {}
    if replayed_minutes:
        replayed_at = TO - timedelta(minutes=replayed_minutes)
        replayed = {"held_at": NOON, "replay_count": 1, "replayed_at": replayed_at}
    figures.event(status, received_at=TO - timedelta(seconds=30), **replayed)
    found = figures.of("kpi/load_success")
    assert [found[name] for name in ("stuck", "waiting")] == [stuck, 1 - stuck]


def test_events_held_since_an_earlier_day_are_shown_too(figures: Figures) -> None:
    """A ratio of 1 must not hide that leads of last week are still held."""
    figures.event()
    figures.event("skipped_kill_switch")
    for status in ("skipped_kill_switch", "skipped_source_disabled", "dead_letter"):
        figures.event(status, created_at=FROM - timedelta(days=7), error_code="internal")
    figures.event("skipped_kill_switch", created_at=TO)
    found = figures.of("kpi/load_success")
    assert [found[name] for name in ("ratio", "held", "held_earlier")] == [1, 1, 2]


def test_an_unchanged_choice_is_correct_and_another_owner_an_intervention(figures: Figures) -> None:
    figures.ticket(HANH, HANH)
    figures.ticket(HANH, KHOA)
    figures.ticket(HANH, None)
    figures.ticket(None, None)
    figures.ticket(None, KHOA)
    figures.event()
    assert figures.of("kpi/load_auto_assign") == {"tickets": 5, "correct": 1, "unassigned": 2, "ratio": 0.2}
    assert figures.of("kpi/load_intervention") == {"tickets": 5, "changed": 3, "ratio": 0.6}


def test_unanswered_tickets_count_with_their_current_age(figures: Figures) -> None:
    for minutes in range(1, 20):
        figures.ticket(HANH, HANH, response=minutes)
    figures.ticket(HANH, HANH)
    found = figures.of("kpi/load_response")
    assert (found["tickets"], found["unanswered"]) == (20, 1)
    assert found["p95_minutes"] == pytest.approx(19 + 0.05 * (12 * 60 - 19))


def test_zero_miss_adds_up_the_ledgers_of_the_days(figures: Figures) -> None:
    days = [
        {"day": "2026-05-13", "found_missing": ["a", "b"], "left_missing": []},
        {"day": "2026-05-13", "found_missing": ["c"], "left_missing": ["d"]},
        {"connection_id": "x", "error": "key_invalid"},
    ]
    figures.connection.execute(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report) VALUES"
        " ('reconcile_daily', %(noon)s, %(noon)s, %(noon)s, 'failed', %(report)s),"
        " ('poll_records', %(noon)s, %(noon)s, %(noon)s, 'succeeded', %(report)s),"
        " ('reconcile_daily', %(to)s, %(to)s, %(to)s, 'succeeded', %(report)s)",
        {"noon": NOON, "to": TO, "report": Jsonb({"days": days})},
    )
    assert figures.of("kpi/load_zero_miss") == {"days": 2, "found_missing": 3, "left_missing": 1}


def fill(figures: Figures) -> Figure:
    """Insert held events of every kind, and others; return how many are held, and since when."""
    expected: Figure = dict.fromkeys((*HELD, "invalid"), (0, None))
    for number, (status, code, created, replayed) in enumerate(product(HELD, CODES, CREATED, REPLAYED)):
        if status == "dead_letter" and code is None:
            continue
        created_at = created + timedelta(seconds=number)
        figures.event(
            status,
            error_code=code,
            created_at=created_at,
            replayed_at=replayed,
            replay_count=int(replayed is not None),
        )
        name = "invalid" if code in INVALID else status
        count, oldest = expected[name]
        since = max(created_at, replayed or created_at)
        expected[name] = count + 1, min(oldest or since, since)
    for status in ("processed", "failed", "received"):
        figures.event(status)
    return expected


def counted(figures: Figures) -> Figure:
    rows = figures.connection.execute(QUERIES["metrics/count_held"]).fetchall()
    return {row["status"]: (row["events"], row["oldest_at"]) for row in rows}


def test_held_events_are_counted_by_status_since_their_creation_or_replay(figures: Figures) -> None:
    figures.event()
    assert counted(figures) == dict.fromkeys((*HELD, "invalid"), (0, None))
    assert counted(figures) != fill(figures) == counted(figures)


@pytest.mark.parametrize("name", ["metrics/count_held", "kpi/load_success"])
def test_held_events_are_read_from_the_index_alone(figures: Figures, database: str, name: str) -> None:
    """Their rows are 45 times as many blocks."""
    fill(figures)
    with psycopg.connect(database, autocommit=True) as db_connection:
        for statement in (
            "VACUUM ANALYZE pancake_webhook_event", "SET enable_seqscan = off", "SET enable_bitmapscan = off",
        ):  # fmt: skip
            db_connection.execute(statement)
        plan = custom_plan(db_connection, name, {"from": FROM, "to": TO})
    found = {node["Node Type"] for node in plan if node.get("Index Name") == "ix_pancake_webhook_event_held"}
    assert found == {"Index Only Scan"}


def test_an_event_has_the_known_states_and_changes_between_them_as_allowed(
    db: Db, subtests: pytest.Subtests
) -> None:
    """On a copy of the table without its checks, so that the trigger alone decides."""
    (check,) = db.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conname = 'ck_pancake_webhook_event_status'"
    ).fetchone() or ("",)
    states = [state for state in NEXT_STATES if state]
    assert sorted(re.findall(r"'(\w+)'::text", check)) == sorted(states)
    assert set(states) - {"received", "ingested", "processed"} == REPLAYED_BY_MANUAL_INVOCATION

    db.execute("CREATE TEMPORARY TABLE step AS SELECT * FROM public.pancake_webhook_event LIMIT 0")
    db.execute("INSERT INTO step (status, evidence) SELECT unnest(%s::text[]), '{}'", [states])
    db.execute(
        "CREATE TRIGGER guard BEFORE INSERT OR UPDATE OF status ON step"
        " FOR EACH ROW EXECUTE FUNCTION public.pancake_webhook_event_guard_status()"
    )
    db.execute("SET LOCAL session_replication_role = origin")
    insert, update = "INSERT INTO step (status) VALUES (%s)", "UPDATE step SET status = %s WHERE status = %s"
    for old, following in NEXT_STATES.items():
        with subtests.test(old or "new"):
            for new in states:
                with db.transaction(force_rollback=True):
                    try:
                        db.execute(update if old else insert, [new, old] if old else [new])
                        refused_by = None
                    except psycopg.errors.CheckViolation as error:
                        refused_by = error.diag.constraint_name
                rule = None if new in following.split() else "ck_pancake_webhook_event_transition"
                assert refused_by == rule, (old, new)
