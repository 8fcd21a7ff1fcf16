"""Statements with exceptions to the rules for statements; try one as a role."""

import re

import psycopg
from psycopg import sql

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


def is_refused(db: psycopg.Connection, role: str, statement: bytes | sql.Composed) -> bool:
    """Whether the role may not run the statement, which is undone."""
    try:
        with db.transaction(force_rollback=True):
            db.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            db.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False
