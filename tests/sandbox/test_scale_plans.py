"""What `scripts/bench scale` says of the plans at each size."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from leads.adapters.queries import QUERIES
from sandbox.bench.environment import ROOT
from sandbox.bench.scale_data import HISTORY_AGE, add_history, add_rosters
from sandbox.bench.scale_plans import (
    FENCED,
    STATEMENTS,
    WHOLE,
    Reading,
    read_plans,
    reads_at_the_end,
    scanned_whole,
    summarize,
)
from sandbox.postgres.plans import chosen_plan, generic_plan, scanned
from sandbox.postgres.server import Cluster
from sandbox.processes import Processes
from sandbox.stack.hasura import start_engine
from tests.support.seeding import seed_connection

SNAPSHOT = json.loads((ROOT / "sandbox/bench/scale_plans.json").read_text())
MAKE_AGAIN = "make the snapshot again: docs/performance.md, Scale"
UNTIL = datetime.now(UTC) - HISTORY_AGE


@pytest.fixture(scope="module")
def history(cluster: Cluster, template: str) -> Iterator[str]:
    """URL of a database with the engine's tables, and a history of 10,000 events."""
    name = f"{template}_history"
    url = cluster.create_database(name, template)
    with Processes() as processes:
        processes.stop(start_engine(processes, url, environment={}).process)
    seed_connection(url)
    add_rosters(url)
    add_history(url, 0, 10_000, UNTIL)
    yield url
    cluster.drop_database(name)


def test_a_large_table_that_is_read_whole_at_the_largest_size_is_found() -> None:
    small = {"events": [1000], "plan": "custom", "reads": ["account whole"]}
    large = {"events": [2000], "plan": "generic", "reads": ["app_setting whole", "ticket whole"]}
    other = {"events": [1000, 2000], "plan": "custom", "reads": ["ticket_pkey"]}
    assert scanned_whole({"kpi/load_response": [small, large, other], "outbox/x": [other]}) == [
        "kpi/load_response: ticket"
    ]


def test_a_plan_stands_once_with_the_sizes_at_which_it_was_chosen() -> None:
    scan, look_up = Reading("custom", ("ticket whole",)), Reading("custom", ("ticket_pkey",))
    kept = Reading("generic", ("ticket_pkey",))
    by_size = {1000: [scan, kept], 2000: [look_up, kept], 4000: [look_up, kept]}
    assert summarize({"kpi/load_response": by_size}) == {
        "kpi/load_response": [
            {"events": [1000], "plan": "custom", "reads": ["ticket whole"]},
            {"events": [1000, 2000, 4000], "plan": "generic", "reads": ["ticket_pkey"]},
            {"events": [2000, 4000], "plan": "custom", "reads": ["ticket_pkey"]},
        ]
    }


def test_the_snapshot_has_a_plan_of_each_statement_and_of_no_other() -> None:
    assert list(SNAPSHOT) == STATEMENTS, MAKE_AGAIN
    (largest,) = {max(max(plan["events"]) for plan in plans) for plans in SNAPSHOT.values()}
    assert largest >= 1_000_000


def test_no_statement_of_the_snapshot_reads_a_large_table_whole() -> None:
    assert scanned_whole(SNAPSHOT) == []


def test_the_snapshot_names_indexes_and_tables_that_exist(history: str) -> None:
    with psycopg.connect(history) as db:
        existing = {name for (name,) in db.execute("SELECT relname FROM pg_class").fetchall()}
    named = {each.removesuffix(WHOLE) for reads in reads_at_the_end(SNAPSHOT).values() for each in reads}
    assert named - existing == set(), MAKE_AGAIN


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [("status", "received", "custom"), ("status", "processed", "generic"), ("id", 1, "generic")],
)
def test_the_plan_of_a_prepared_statement_is_the_one_that_postgresql_keeps(
    history: str, monkeypatch: pytest.MonkeyPatch, column: str, value: object, kind: str
) -> None:
    """The generic plan for a status reads the table: PostgreSQL plans anew for a status that is rare."""
    statement = f"SELECT FROM pancake_webhook_event WHERE {column} = %(value)s"
    monkeypatch.setitem(QUERIES, "test/find", statement.encode())
    with psycopg.connect(history, autocommit=True) as db:
        chosen = chosen_plan(db, "test/find", {"value": value})
        whole = scanned(generic_plan(db, "test/find"))
    assert chosen.kind == kind
    assert whole == ({"pancake_webhook_event"} if column == "status" else set())
    assert scanned(chosen.plan) == (whole if kind == "generic" else set())


def test_the_plans_of_a_small_history_are_read_as_the_handlers_execute_the_statements(history: str) -> None:
    kinds = {name: [each.kind for each in found] for name, found in read_plans(history, UNTIL).items()}
    assert list(kinds) == STATEMENTS
    assert [kinds[name] for name in FENCED] == [["generic"]] * len(FENCED)
    assert kinds["process_record/list_without_table"] == ["custom"]
    assert kinds["metrics/count_recent"] == ["custom"]
    assert kinds["kpi/load_latency"] == ["custom", "generic"]


def test_reading_the_plans_leaves_nothing_behind(history: str) -> None:
    counted = "SELECT status, count(*) FROM pancake_webhook_event GROUP BY status"
    with psycopg.connect(history, autocommit=True) as db:
        before = db.execute(counted).fetchall()
        read_plans(history, UNTIL)
        assert db.execute(counted).fetchall() == before == [("processed", 10_000)]
