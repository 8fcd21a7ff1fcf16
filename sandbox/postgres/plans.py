"""The plans that PostgreSQL chooses for the product's statements, prepared as psycopg prepares them."""

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import pq, sql
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from ops.clients.db_session import QUERIES

LARGE_TABLES = {"account", "contact_book", "ticket", "pancake_webhook_event"}
PLANNED_EACH_TIME = 5
"""PostgreSQL plans the first executions of a prepared statement for their parameters, then chooses."""
Plan = list[dict[str, Any]]
"""The nodes of a plan, the outermost first."""


def placeholders(name: str) -> list[str]:
    """The names of the parameters, each once, in their order."""
    return list(dict.fromkeys(re.findall(r"%\((\w+)\)s", QUERIES[name].decode())))


def prepare(
    connection: psycopg.Connection[Any], name: str, params: Mapping[str, Any] = MappingProxyType({})
) -> int:
    """Prepare the statement under its own name; the number of its parameters. Raises psycopg.Error.

    PostgreSQL chooses the types of those that are not in `params`.
    """
    query = PostgresQuery(Transformer(connection))
    query.convert(QUERIES[name], {key: params.get(key) for key in placeholders(name)})
    result = connection.pgconn.prepare(name.encode(), query.query, query.types)
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.ProgrammingError(result.error_message.decode())
    return len(placeholders(name))


def explain_prepared(
    connection: psycopg.Connection[Any], name: str, params: Mapping[str, Any], options: str, kind: str
) -> Plan:
    """Return the `generic` or `custom` plan of a prepared statement; with ANALYZE it is executed."""
    prepare(connection, name)
    connection.execute(f"SET plan_cache_mode = force_{kind}_plan".encode())
    plan = explain(connection, name, params, options)
    connection.execute("RESET plan_cache_mode")
    connection.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(name)))
    return plan


def generic_plan(connection: psycopg.Connection[Any], name: str) -> Plan:
    return explain_prepared(connection, name, {}, "FORMAT JSON", "generic")


def custom_plan(connection: psycopg.Connection[Any], name: str, params: Mapping[str, Any]) -> Plan:
    ((found,),) = connection.execute(b"EXPLAIN (FORMAT JSON) " + QUERIES[name], params).fetchall()
    return list(nodes(found[0]["Plan"]))


def chosen_plan(
    connection: psycopg.Connection[Any],
    name: str,
    params: Mapping[str, Any],
    begin: Callable[[], object] = lambda: None,
) -> tuple[str, Plan]:
    """Return the plan that PostgreSQL chooses for a prepared statement after PLANNED_EACH_TIME executions.

    Before it its kind: `custom`, made for the parameters, or `generic`. Each execution is undone; `begin` is
    called before it, in its transaction. Raises psycopg.Error.
    """
    prepare(connection, name, params)
    for _ in range(PLANNED_EACH_TIME):
        with connection.transaction(force_rollback=True):
            begin()
            connection.execute(_call(name, params))
    with connection.transaction(force_rollback=True):
        begin()
        plan = explain(connection, name, params, "FORMAT JSON")
    ((generic,),) = connection.execute(
        "SELECT generic_plans FROM pg_prepared_statements WHERE name = %s", (name,)
    ).fetchall()
    connection.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(name)))
    return ("generic" if generic else "custom"), plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a node of a plan and all below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def scanned(plan: Plan) -> set[str]:
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"} & LARGE_TABLES


def indexes(plan: Plan) -> set[str]:
    return {node["Index Name"] for node in plan if "Index Name" in node}


def _call(name: str, params: Mapping[str, Any]) -> sql.Composed:
    if not placeholders(name):
        return sql.SQL("EXECUTE {}").format(sql.Identifier(name))
    arguments = sql.SQL(", ").join(sql.Literal(params.get(key)) for key in placeholders(name))
    return sql.SQL("EXECUTE {}({})").format(sql.Identifier(name), arguments)


def explain(connection: psycopg.Connection[Any], name: str, params: Mapping[str, Any], options: str) -> Plan:
    """Return the plan of a prepared statement for these parameters; with ANALYZE it is executed."""
    call = sql.SQL("EXPLAIN ({}) {}").format(sql.SQL(options), _call(name, params))
    ((found,),) = connection.execute(call).fetchall()
    return list(nodes(found[0]["Plan"]))
