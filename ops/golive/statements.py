"""The statements that a criterion of source `sql` may name, with the columns of their row."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from leads.services.kpi import AutoAssign, Intervention, Latency, Response, Success, ZeroMiss
from ops.clients.db_session import QUERIES, DbSession

OWN_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "golive/check_diva_columns": ("expected", "missing", "details"),
    "golive/check_migration": ("expected", "missing", "partial", "details"),
    "golive/check_switches": ("before_start", "after_start", "details"),
    "golive/check_ticket_sources": ("of_diva",),
    "golive/count_accounts": ("value",),
    "golive/count_active_sources": ("value",),
    "golive/count_dead_letters": ("events", "dead", "ratio"),
    "golive/count_inactive_connections": ("value", "details"),
    "golive/count_lock_waits": ("value",),
    "golive/count_replays": ("value",),
    "golive/count_suspensions": ("value", "checks"),
    "golive/count_unenforced": ("signature", "allowlist"),
    "golive/count_unfilled": ("value",),
    "golive/load_migration_log": ("newest",),
    "golive/load_missing": ("left_missing", "found_missing_worst", "days"),
    "golive/load_reconciliation": ("longest_minutes", "runs"),
    "golive/load_server_version": ("value",),
}
KEY_FIGURES = {
    "kpi/load_auto_assign": AutoAssign,
    "kpi/load_intervention": Intervention,
    "kpi/load_latency": Latency,
    "kpi/load_response": Response,
    "kpi/load_success": Success,
    "kpi/load_zero_miss": ZeroMiss,
}
STATEMENT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    **OWN_COLUMNS,
    **{name: tuple(column.name for column in fields(row)) for name, row in KEY_FIGURES.items()},
}


def read_row(session: DbSession, name: str, params: Mapping[str, object]) -> Mapping[str, Any] | None:
    """Run a statement for the window from `from` to `to` of the parameters; None if it returned no row.

    Raises DatabaseError.
    """
    return session.execute(QUERIES[name], params).fetchone()


def knows_the_past(name: str) -> bool:
    """Whether the statement tells the state at the end of its window; others know the present only."""
    return b"%(to)s" in QUERIES[name]
