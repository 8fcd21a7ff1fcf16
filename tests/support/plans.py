"""Read the plans that PostgreSQL chooses for our statements."""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from leads.adapters.queries import QUERIES
from tests.support.statements import placeholders, prepare

BIG = {"account", "contact_book", "ticket", "pancake_webhook_event"}
Plan = list[dict[str, Any]]
"""The nodes of a plan, the outermost first."""


def generic_plan(connection: psycopg.Connection, name: str) -> Plan:
    """Return the generic plan of a prepared statement."""
    return _explain_prepared(connection, name, {}, "FORMAT JSON", "generic")


def custom_plan(connection: psycopg.Connection, name: str, params: dict[str, Any]) -> Plan:
    """Return the plan for these parameters."""
    ((found,),) = connection.execute(b"EXPLAIN (FORMAT JSON) " + QUERIES[name], params).fetchall()
    return list(nodes(found[0]["Plan"]))


def executed_plan(connection: psycopg.Connection, name: str, params: dict[str, Any], kind: str) -> Plan:
    """Execute a prepared statement with a `generic` or `custom` plan, undo it, and return the plan."""
    with connection.transaction(force_rollback=True):
        return _explain_prepared(connection, name, params, "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON", kind)


def scanned(plan: Plan) -> set[str]:
    """Return the large tables that are scanned sequentially."""
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"} & BIG


def indexes(plan: Plan) -> set[str]:
    return {node["Index Name"] for node in plan if "Index Name" in node}


def index_scans(plan: Plan, table: str) -> set[str]:
    """Return the indexes through which a table is read; bitmap scans count too."""
    names = {
        node["Index Name"] for node in plan if node.get("Relation Name") == table and "Index Name" in node
    }
    return names | {node["Index Name"] for node in plan if node["Node Type"] == "Bitmap Index Scan"}


def shared_buffers(plan: Plan) -> int:
    """Return the shared buffers that the execution read, its most expensive node with all below it."""
    return max(int(node["Shared Hit Blocks"]) + int(node["Shared Read Blocks"]) for node in plan)


def _explain_prepared(
    connection: psycopg.Connection, name: str, params: dict[str, Any], options: str, kind: str
) -> Plan:
    prepare(connection, name)
    arguments = sql.SQL(", ").join(sql.Literal(params.get(key)) for key in placeholders(name))
    call = sql.SQL("EXPLAIN ({}) EXECUTE {}{}").format(
        sql.SQL(options),
        sql.Identifier(name),
        sql.SQL("({})").format(arguments) if placeholders(name) else sql.SQL(""),
    )
    connection.execute(f"SET plan_cache_mode = force_{kind}_plan".encode())
    ((found,),) = connection.execute(call).fetchall()
    connection.execute("RESET plan_cache_mode")
    connection.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(name)))
    return list(nodes(found[0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)
