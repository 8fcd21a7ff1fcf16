"""The six figures, each on a few rows whose figure is known, and those of held events."""

from datetime import datetime, timedelta
from itertools import product

import psycopg
import pytest
from psycopg.types.json import Jsonb

from leads.adapters.queries import QUERIES
from sandbox.postgres.plans import custom_plan
from tests.support.stored_rows import FROM, HANH, KHOA, NOON, TO, Figures

HELD = ("dead_letter", "skipped_kill_switch", "skipped_source_disabled")
INVALID = ("invalid_json", "invalid_phone", "test_ping", "erased")
CODES = (*INVALID, "internal", "invalidated", "lock_timeout", None)
CREATED = (FROM - timedelta(days=3), FROM - timedelta(hours=1), NOON)
REPLAYED = (None, FROM - timedelta(days=2), NOON + timedelta(minutes=1))
Figure = dict[str, tuple[int, datetime | None]]


def test_without_events_every_figure_is_null(figures: Figures) -> None:
    """Missing data must not look like a perfect result."""
    assert figures.of("kpi/load_latency")["p95_seconds"] is None
    assert figures.of("kpi/load_success")["ratio"] is None
    assert figures.of("kpi/load_auto_assign")["ratio"] is None
    assert figures.of("kpi/load_intervention")["ratio"] is None
    assert figures.of("kpi/load_response")["p95_minutes"] is None
    assert figures.of("kpi/load_zero_miss") == {"days": 0, "found_missing": None, "left_missing": None}


def test_latency_is_creation_to_processed_without_held_or_replayed_events(figures: Figures) -> None:
    for seconds in range(1, 101):
        figures.event(processed_at=NOON + timedelta(seconds=seconds))
    figures.event(processed_at=TO, held_at=NOON)
    figures.event(processed_at=TO, replay_count=1)
    figures.event("failed")
    figures.event(created_at=TO, processed_at=TO + timedelta(hours=9))
    found = figures.of("kpi/load_latency")
    assert (found["events"], found["apart"]) == (100, 2)
    assert (found["p50_seconds"], found["p95_seconds"]) == (50.5, pytest.approx(95.05))


def test_failed_dead_and_stuck_events_count_against_success(figures: Figures) -> None:
    for _ in range(95):
        figures.event()
    figures.event("failed")
    figures.event("dead_letter", error_code="internal")
    figures.event("dead_letter", error_code="missing_record_id")
    figures.event("received")
    figures.event("ingested")
    found = figures.of("kpi/load_success")
    assert found["ratio"] == 0.95
    assert [found[name] for name in ("processed", "failed", "dead", "stuck")] == [95, 1, 2, 2]


def test_invalid_held_and_very_recent_events_do_not_count_for_success(figures: Figures) -> None:
    figures.event()
    for code in ("invalid_phone", "invalid_json", "test_ping"):
        figures.event("dead_letter", error_code=code)
    figures.event("skipped_kill_switch")
    figures.event("skipped_source_disabled")
    figures.event("received", created_at=TO - timedelta(minutes=4))
    found = figures.of("kpi/load_success")
    assert found["ratio"] == 1
    assert [found[name] for name in ("invalid", "held", "waiting")] == [3, 2, 1]


@pytest.mark.parametrize("status", ["received", "ingested"])
def test_a_stuck_event_that_is_fired_again_and_again_stays_stuck(figures: Figures, status: str) -> None:
    """Each refire sets received_at."""
    figures.event(status, received_at=TO - timedelta(seconds=30))
    found = figures.of("kpi/load_success")
    assert [found[name] for name in ("stuck", "waiting", "ratio")] == [1, 0, 0]


@pytest.mark.parametrize(("minutes", "stuck"), [(1, 0), (4, 0), (6, 1), (600, 1)])
def test_a_drained_event_is_stuck_five_minutes_after_its_replay(
    figures: Figures, minutes: int, stuck: int
) -> None:
    """Its creation says nothing: it was held, or failed, until a person replayed it."""
    replayed = {"held_at": NOON, "replay_count": 1, "replayed_at": TO - timedelta(minutes=minutes)}
    figures.event("received", received_at=TO - timedelta(seconds=30), **replayed)
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


def test_assigned_correctly_is_an_unchanged_choice_of_ours(figures: Figures) -> None:
    figures.ticket(HANH, HANH)
    figures.ticket(HANH, KHOA)
    figures.ticket(HANH, None)
    figures.ticket(None, None)
    figures.ticket(None, KHOA)
    figures.event()
    assert figures.of("kpi/load_auto_assign") == {"tickets": 5, "correct": 1, "unassigned": 2, "ratio": 0.2}


def test_intervention_is_an_owner_other_than_our_choice(figures: Figures) -> None:
    figures.ticket(HANH, HANH)
    figures.ticket(HANH, KHOA)
    figures.ticket(None, None)
    figures.ticket(None, KHOA)
    assert figures.of("kpi/load_intervention") == {"tickets": 4, "changed": 2, "ratio": 0.5}


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
