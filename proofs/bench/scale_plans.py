"""Which tables and indexes the statements of `scripts/bench scale` read, at each size.

`scale_plans.json` is what it wrote last; docs/performance.md says how to write it again.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from leads.adapters.database import SESSION_OPTIONS
from ops.clients.db_session import QUERIES
from proofs.bench.scale_data import claim_event, new_rows
from sandbox.postgres.plans import LARGE_TABLES, Plan, chosen_plan, custom_plan

FOLDERS = (
    "ingest_record", "process_record", "outbox", "poll_records", "pancake_lists", "retry_failed",
    "check_sla", "kpi", "metrics",
)  # fmt: skip
STATEMENTS = sorted(name for name in QUERIES if name.split("/")[0] in FOLDERS)
FENCE = "process_record/fence_claim"
BEFORE_THE_FENCE = {
    "process_record/claim_event", "process_record/fail_event", "process_record/list_without_table",
    "process_record/load_turn", "process_record/load_unclaimed", "process_record/lock_turns",
    "process_record/set_table", FENCE,
}  # fmt: skip
FENCED = {name for name in STATEMENTS if name.split("/")[0] == "process_record"} - BEFORE_THE_FENCE
"""The statements of the transaction that the fence begins: it chooses how they are planned."""
WHOLE = " whole"


class Reading(NamedTuple):
    """The kind of a plan, and what it reads: indexes, and tables with WHOLE that it reads whole."""

    kind: str
    reads: tuple[str, ...]


Readings = dict[str, dict[int, list[Reading]]]
"""By the name of the statement and the number of stored events."""
Snapshot = dict[str, list[dict[str, Any]]]
"""By the name of the statement its plans, each with the sizes at which it was chosen."""


def read_plans(database_url: str, until: datetime) -> dict[str, list[Reading]]:
    """Return what each statement reads for a customer who writes again after a history that ends at `until`.

    It is read from the plan that a handler's session keeps. The sessions of metrics prepare no statement; the
    key figures are read as both, since a scrape and check_sla ask for them.
    """
    return {name: _read(database_url, name, until) for name in STATEMENTS}


def summarize(readings: Readings) -> Snapshot:
    """Return each plan once, with the sizes at which it was chosen."""
    snapshot: Snapshot = {}
    for name, by_size in readings.items():
        sizes: dict[Reading, list[int]] = {}
        for size, found in by_size.items():
            for reading in found:
                sizes.setdefault(reading, []).append(size)
        snapshot[name] = [
            {"events": events, "plan": kind, "reads": list(reads)} for (kind, reads), events in sizes.items()
        ]
    return snapshot


def reads_at_the_end(snapshot: Snapshot) -> dict[str, set[str]]:
    """Return what each statement reads at the largest size of the snapshot."""
    last = max(max(plan["events"]) for plans in snapshot.values() for plan in plans)
    return {
        name: {each for plan in plans if last in plan["events"] for each in plan["reads"]}
        for name, plans in snapshot.items()
    }


def scanned_whole(snapshot: Snapshot) -> list[str]:
    """Return `statement: table` for each large table that a statement reads whole at the largest size."""
    return [
        f"{name}: {table}"
        for name, reads in reads_at_the_end(snapshot).items()
        for table in sorted(LARGE_TABLES)
        if table + WHOLE in reads
    ]


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    path.write_text(json.dumps(snapshot, indent=1) + "\n")


def _read(database_url: str, name: str, until: datetime) -> list[Reading]:
    """All that the statement changes is undone."""
    folder = name.partition("/")[0]
    with psycopg.connect(database_url, options=SESSION_OPTIONS) as db, db.transaction(force_rollback=True):
        params = claim_event(db, until) | new_rows(name)
        begin = partial(_fence, db, params) if name in FENCED else lambda: None
        found = []
        if folder in ("kpi", "metrics"):
            found.append(_reading("custom", custom_plan(db, name, params)))
        if folder != "metrics":
            found.append(_reading(*chosen_plan(db, name, params, begin)))
        return list(dict.fromkeys(found))


def _fence(db: psycopg.Connection[Any], params: Mapping[str, Any]) -> None:
    """Begin the transaction of the work on an event."""
    if not db.execute(QUERIES[FENCE], params).fetchall():
        raise RuntimeError("the event is not claimed")


def _reading(kind: str, plan: Plan) -> Reading:
    found = {node["Index Name"] for node in plan if "Index Name" in node}
    found |= {node["Relation Name"] + WHOLE for node in plan if node["Node Type"] == "Seq Scan"}
    return Reading(kind, tuple(sorted(found)))
