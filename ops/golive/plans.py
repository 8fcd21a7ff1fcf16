"""Whether the lookups of a lead use their indexes, by the plans of the real database."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ops.clients.db_session import QUERIES, DbSession
from ops.golive.criterion import Criterion
from ops.golive.judgement import Measurement
from ops.golive.measuring import Sources

SMALL_TABLE_ROWS = 10_000
"""Below it the planner may rightly read a whole table."""
EXAMPLES: Mapping[str, Mapping[str, object]] = {
    "golive/find_account": {"phone": "+84900000000"},
    "golive/find_events_of_phone": {"phone": "+84900000000"},
    "golive/find_event": {
        "record_id": "golive", "modified_on": datetime(2026, 1, 1, tzinfo=UTC), "payload_hash": b"\0" * 32,
    },
}  # fmt: skip


def explain_lookups(sources: Sources, criterion: Criterion) -> Measurement:
    """Count the lookups of a lead whose plan reads a whole table.

    A small table may be read whole; there it is enough that the index can be used.
    """
    session = sources.database()
    scanned = []
    for name, params in EXAMPLES.items():
        with session.transaction(force_rollback=True):
            relation = _scanned(_plan(session, name, params))
            if relation and _rows(session, relation) < SMALL_TABLE_ROWS:
                session.execute("SET LOCAL enable_seqscan = off")
                relation = _scanned(_plan(session, name, params))
            if relation:
                scanned.append(f"{name.partition('/')[2]} reads all of {relation}")
    return Measurement(value=float(len(scanned)), details=", ".join(scanned))


def _plan(session: DbSession, name: str, params: Mapping[str, object]) -> dict[str, Any]:
    row = session.execute(b"EXPLAIN (FORMAT JSON) " + QUERIES[name], params).fetchone()
    assert row is not None
    plan: dict[str, Any] = row["QUERY PLAN"][0]["Plan"]
    return plan


def _rows(session: DbSession, relation: str) -> float:
    row = session.execute(
        "SELECT reltuples FROM pg_catalog.pg_class WHERE oid = to_regclass(%s)", [f"public.{relation}"]
    ).fetchone()
    return float(row["reltuples"]) if row else 0.0


def _scanned(plan: Mapping[str, Any]) -> str | None:
    """Return a table that the plan reads whole."""
    if plan["Node Type"] in ("Seq Scan", "Parallel Seq Scan"):
        return str(plan["Relation Name"])
    return next((found for each in plan.get("Plans", []) if (found := _scanned(each))), None)
