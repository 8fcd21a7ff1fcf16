"""A synchronous database session, for commands; handlers and crons use leads/adapters/database.py."""

import psycopg
from psycopg.rows import DictRow, dict_row

DbSession = psycopg.Connection[DictRow]
"""Rows are dictionaries; every statement commits alone unless `transaction()` is open."""


def open_session(url: str, *, connect_timeout_seconds: int = 10) -> DbSession:
    """Open a session in autocommit mode; use it as a context manager. Raises psycopg.OperationalError."""
    return psycopg.Connection[DictRow].connect(
        url, autocommit=True, row_factory=dict_row, connect_timeout=connect_timeout_seconds
    )
