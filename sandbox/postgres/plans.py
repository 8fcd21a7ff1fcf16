"""The plans that PostgreSQL chooses for the product's statements, prepared as psycopg prepares them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import pq, sql
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from leads.adapters.queries import QUERIES

LARGE_TABLES = {"account", "contact_book", "ticket", "pancake_webhook_event"}
Plan = list[dict[str, Any]]
"""The nodes of a plan, the outermost first."""


def placeholders(name: str) -> list[str]:
    """The names of the parameters, each once, in their order."""
    return list(dict.fromkeys(re.findall(r"%\((\w+)\)s", QUERIES[name].decode())))


def prepare(connection: psycopg.Connection[Any], name: str) -> int:
    """Prepare the statement under its own name; the number of its parameters. Raises psycopg.Error."""
    query = PostgresQuery(Transformer(connection))
    query.convert(QUERIES[name], dict.fromkeys(placeholders(name)))
    result = connection.pgconn.prepare(name.encode(), query.query)
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.ProgrammingError(result.error_message.decode())
    return len(placeholders(name))


def explain_prepared(
    connection: psycopg.Connection[Any], name: str, params: Mapping[str, Any], options: str, kind: str
) -> Plan:
    """Return the `generic` or `custom` plan of a prepared statement; with ANALYZE it is executed."""
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


def generic_plan(connection: psycopg.Connection[Any], name: str) -> Plan:
    """Return the generic plan of a prepared statement."""
    return explain_prepared(connection, name, {}, "FORMAT JSON", "generic")


def custom_plan(connection: psycopg.Connection[Any], name: str, params: Mapping[str, Any]) -> Plan:
    """Return the plan for these parameters."""
    ((found,),) = connection.execute(b"EXPLAIN (FORMAT JSON) " + QUERIES[name], params).fetchall()
    return list(nodes(found[0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a node of a plan and all below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def scanned(plan: Plan) -> set[str]:
    """Return the large tables that are scanned sequentially."""
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"} & LARGE_TABLES


def indexes(plan: Plan) -> set[str]:
    """Return the indexes that a plan reads."""
    return {node["Index Name"] for node in plan if "Index Name" in node}
