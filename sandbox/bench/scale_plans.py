"""Which tables and indexes the statements of `scripts/bench scale` read, at each size."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from leads.adapters.queries import QUERIES
from sandbox.postgres.plans import LARGE_TABLES, Plan, custom_plan, generic_plan

FOLDERS = (
    "ingest_record", "process_record", "outbox", "poll_records", "pancake_lists", "retry_failed",
    "check_sla", "kpi", "metrics",
)  # fmt: skip
STATEMENTS = [name for name in QUERIES if name.split("/")[0] in FOLDERS]
WHOLE = " whole"

Reads = dict[str, dict[str, list[str]]]
"""What each statement reads, by its name and the number of stored events."""


def read_plans(database_url: str, window: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the indexes that each statement reads, and each table that it reads whole.

    Of a key figure the plan for the window, since PostgreSQL estimates the rows in it; of the others the
    generic plan, which the handlers' sessions keep.
    """
    with psycopg.connect(database_url, autocommit=True) as db:
        return {
            name: _reads(
                custom_plan(db, name, window) if name.partition("/")[0] == "kpi" else generic_plan(db, name)
            )
            for name in STATEMENTS
        }


def scanned_whole(reads: Mapping[str, list[str]]) -> list[str]:
    """Return `statement: table` for each large table that a statement reads whole."""
    large = {table + WHOLE for table in LARGE_TABLES}
    return [
        f"{name}: {each.removesuffix(WHOLE)}"
        for name, found in reads.items()
        for each in found
        if each in large
    ]


def write_snapshot(path: Path, plans: Reads) -> None:
    """Write the plans, each with the sizes at which it was chosen."""
    snapshot: dict[str, list[dict[str, Any]]] = {}
    for name, by_size in plans.items():
        for size, reads in by_size.items():
            kinds = snapshot.setdefault(name, [])
            same = next((kind for kind in kinds if kind["reads"] == reads), None)
            if same is None:
                kinds.append({"events": [int(size)], "reads": reads})
            else:
                same["events"].append(int(size))
    path.write_text(json.dumps(snapshot, indent=1) + "\n")


def _reads(plan: Plan) -> list[str]:
    found = {node["Index Name"] for node in plan if "Index Name" in node}
    found |= {node["Relation Name"] + WHOLE for node in plan if node["Node Type"] == "Seq Scan"}
    return sorted(found)
