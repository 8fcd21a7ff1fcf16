"""The snapshot of the plans with few and very many events, which `scripts/bench scale --plans` writes."""

import json
from typing import Any

import pytest

from sandbox.bench.scale_plans import SNAPSHOT, STATEMENTS, scanned_whole

SIZES = [10_000, 1_000_000, 10_000_000]
Snapshot = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    found: Snapshot = json.loads(SNAPSHOT.read_text())
    return found


def test_each_statement_of_the_measured_work_is_in_the_snapshot_at_each_size(snapshot: Snapshot) -> None:
    assert list(snapshot) == STATEMENTS
    for name, plans in snapshot.items():
        assert sorted(size for plan in plans for size in plan["events"]) == SIZES, name


def test_no_statement_reads_a_large_table_whole_from_a_million_events(snapshot: Snapshot) -> None:
    for size in SIZES[1:]:
        reads = {
            name: plan["reads"]
            for name, plans in snapshot.items()
            for plan in plans
            if size in plan["events"]
        }
        assert scanned_whole(reads) == []


def test_a_table_that_is_read_whole_is_found() -> None:
    reads = {"kpi/load_response": ["app_setting whole", "ticket whole"], "outbox/x": ["ticket_pkey"]}
    assert scanned_whole(reads) == ["kpi/load_response: ticket"]
