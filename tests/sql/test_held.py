"""The figures of held events are those of their rows, and are read from an index alone."""

from datetime import datetime, timedelta
from itertools import product

import psycopg
import pytest

from leads.adapters.queries import QUERIES
from sandbox.postgres.plans import custom_plan
from tests.support.figures import FROM, NOON, TO, Figures

HELD = ("dead_letter", "skipped_kill_switch", "skipped_source_disabled")
INVALID = ("invalid_json", "invalid_phone", "test_ping", "erased")
CODES = (*INVALID, "internal", "invalidated", "lock_timeout", None)
CREATED = (FROM - timedelta(days=3), FROM - timedelta(hours=1), NOON)
REPLAYED = (None, FROM - timedelta(days=2), NOON + timedelta(minutes=1))
Figure = dict[str, tuple[int, datetime | None]]


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
    expected = fill(figures)
    assert counted(figures) == expected


def test_without_held_events_each_status_has_0(figures: Figures) -> None:
    figures.event()
    assert counted(figures) == dict.fromkeys((*HELD, "invalid"), (0, None))


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
