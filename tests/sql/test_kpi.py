"""The six figures, each on a few rows whose figure is known."""

from datetime import timedelta

import pytest
from psycopg.types.json import Jsonb

from leads.adapters.queries import QUERIES
from tests.support.figures import FROM, HANH, KHOA, NOON, TO, Figures


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


@pytest.mark.parametrize(
    ("minutes", "stuck"), [(1, 0), (4, 0), (6, 1), (600, 1)], ids=lambda value: str(value)
)
def test_a_drained_event_is_stuck_five_minutes_after_its_replay(
    figures: Figures, minutes: int, stuck: int
) -> None:
    """Its creation says nothing: it was held, or failed, until a person replayed it."""
    replayed_at = TO - timedelta(minutes=minutes)
    latest_refire = TO - timedelta(seconds=30)
    figures.event(
        "received", held_at=NOON, replay_count=1, replayed_at=replayed_at, received_at=latest_refire
    )
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


def test_the_settings_are_checked_once_and_not_for_each_ticket(figures: Figures) -> None:
    """For the 30,000 tickets of a day it took nine tenths of the time of this figure."""
    statement = b"EXPLAIN (VERBOSE, COSTS OFF) " + QUERIES["kpi/load_response"]
    rows = figures.connection.execute(statement, {"from": FROM, "to": TO}).fetchall()
    plan = [row["QUERY PLAN"] for row in rows]
    checks = [number for number, line in enumerate(plan) if "^(always|" in line]
    (cte,) = [number for number, line in enumerate(plan) if line.strip() == "CTE s"]
    (scan,) = [number for number, line in enumerate(plan) if "CTE Scan on s" in line]
    assert checks
    assert all(cte < number < scan for number in checks)


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
