"""Read the plans that PostgreSQL chooses for our statements."""

from typing import Any

import psycopg

from sandbox.postgres.plans import Plan, explain_prepared


def executed_plan(connection: psycopg.Connection, name: str, params: dict[str, Any], kind: str) -> Plan:
    """Execute a prepared statement with a `generic` or `custom` plan, undo it, and return the plan."""
    with connection.transaction(force_rollback=True):
        options = "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON"
        return explain_prepared(connection, name, params, options, kind)


def index_scans(plan: Plan, table: str) -> set[str]:
    """Return the indexes through which a table is read; bitmap scans count too."""
    names = {
        node["Index Name"] for node in plan if node.get("Relation Name") == table and "Index Name" in node
    }
    return names | {node["Index Name"] for node in plan if node["Node Type"] == "Bitmap Index Scan"}


def shared_buffers(plan: Plan) -> int:
    """Return the shared buffers that the execution read, its most expensive node with all below it."""
    return max(int(node["Shared Hit Blocks"]) + int(node["Shared Read Blocks"]) for node in plan)
