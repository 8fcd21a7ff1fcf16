"""Prepare a statement of the integration as psycopg hands it to PostgreSQL; try one as a role."""

import re

import psycopg
from psycopg import pq, sql
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from leads.adapters.queries import QUERIES

CALLED_FUNCTION = re.compile(
    r"\bpancake_(?:pending_event_ids|sources_of_record|member_limit|recall_is_due|business_minutes|open_minutes"
    r"|business_period|valid_hours|delivery_history|fired_event_id)\b"
)
"""Functions that are called, not inlined: once, for few rows, or with the rights of their owner."""
SWITCHING = {
    "switches/list_switches",
    "switches/set_setting",
    "switches/set_source",
    "status/list_connections",
    "status/list_rosters",
    "metrics/count_source_events",
    "golive/count_active_sources",
}
"""Statements that show and turn the switches; they decide nothing by them."""
CHECKING = {
    "golive/check_diva_columns",
    "golive/check_migration",
    "golive/check_switches",
    "golive/insert_thousand_events",
    "golive/load_opening",
}
"""Statements that check the installation before and after the go-live; no lead is decided by them."""


def placeholders(name: str) -> list[str]:
    """The names of the parameters, each once, in their order."""
    return list(dict.fromkeys(re.findall(r"%\((\w+)\)s", QUERIES[name].decode())))


def prepare(connection: psycopg.Connection, name: str) -> int:
    """Prepare the statement under its own name; the number of its parameters. Raises psycopg.Error."""
    query = PostgresQuery(Transformer(connection))
    query.convert(QUERIES[name], dict.fromkeys(placeholders(name)))
    result = connection.pgconn.prepare(name.encode(), query.query)
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.ProgrammingError(result.error_message.decode())
    return len(placeholders(name))


def is_refused(db: psycopg.Connection, role: str, statement: bytes | sql.Composed) -> bool:
    """Whether the role may not run the statement, which is undone."""
    try:
        with db.transaction(force_rollback=True):
            db.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            db.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False
