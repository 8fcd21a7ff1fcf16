"""A synchronous database session, for commands; handlers and crons use leads/adapters/database.py."""

import psycopg
from psycopg.errors import QueryCanceled
from psycopg.rows import DictRow, class_row, dict_row

from leads.domain.errors import DatabaseUnavailable

__all__ = ["DatabaseError", "DbSession", "DictRow", "QueryCanceled", "class_row", "is_lost", "open_session"]

DbSession = psycopg.Connection[DictRow]
"""Rows are dictionaries."""

DatabaseError = psycopg.Error
CONNECT_TIMEOUT_SECONDS = 10
SHUTDOWN_STATES = frozenset({"57P01", "57P02", "57P03"})
"""SQLSTATEs of a server that shuts down or starts, or of a session that was terminated."""


def open_session(url: str, *, autocommit: bool = True) -> DbSession:
    """Open a session; use it as a context manager.

    With `autocommit` every statement commits alone unless `transaction()` is open; without, the block is one
    transaction. Raises DatabaseUnavailable with the reason that the server or the network gave.
    """
    try:
        return psycopg.Connection[DictRow].connect(
            url, autocommit=autocommit, row_factory=dict_row, connect_timeout=CONNECT_TIMEOUT_SECONDS
        )
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(str(error).strip()) from error


def is_lost(error: psycopg.Error) -> bool:
    """Whether the error says that the session broke, so that the database can no longer be reached."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith("08") or error.sqlstate in SHUTDOWN_STATES
