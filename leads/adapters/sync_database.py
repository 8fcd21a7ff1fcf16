"""Database connections without asyncio, for commands. Handlers use leads.adapters.database."""

import psycopg
from psycopg.errors import QueryCanceled
from psycopg.rows import DictRow, class_row, dict_row

from leads.domain.errors import DatabaseUnavailable

__all__ = ["DatabaseError", "Db", "DictRow", "QueryCanceled", "class_row", "connect", "is_connection_lost"]

Db = psycopg.Connection[DictRow]
DatabaseError = psycopg.Error
CONNECT_TIMEOUT_SECONDS = 10
SHUTDOWN_STATES = frozenset({"57P01", "57P02", "57P03"})
"""SQLSTATEs of a server that shuts down, or of a session that was terminated."""


def connect(database_url: str, *, autocommit: bool = False) -> Db:
    """Open a connection. Raises DatabaseUnavailable with the reason that the server or the network gave."""
    try:
        return psycopg.connect(
            database_url,
            autocommit=autocommit,
            row_factory=dict_row,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        )
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(str(error).strip()) from error


def is_connection_lost(error: psycopg.Error) -> bool:
    """Whether the connection broke, so that the database can no longer be reached."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith("08") or error.sqlstate in SHUTDOWN_STATES
