"""A synchronous database session and the statements of commands; others use leads/adapters/database.py."""

import getpass
import logging
import os
from typing import TypeVar

import psycopg
from psycopg import errors, rows
from psycopg.conninfo import conninfo_to_dict

from leads.adapters import database
from leads.adapters.database import SQL_FOLDER, Params, load_queries
from leads.domain.errors import DatabaseUnavailable, IntegrationError, Misconfigured
from ops.settings import read_operator_settings

QUERIES = {**database.QUERIES, **load_queries(SQL_FOLDER / "ops")}
"""The statements that commands send: their own, and those of the server."""

# It logs what it raises too; without a handler Python prints that.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

DictRow = rows.DictRow
DbSession = psycopg.Connection[DictRow]
"""Rows are dictionaries."""

class_row = rows.class_row
DatabaseError = psycopg.Error
InsufficientPrivilege = errors.InsufficientPrivilege
QueryCanceled = errors.QueryCanceled
DeadlockDetected = errors.DeadlockDetected
DiskFull = errors.DiskFull
Row = TypeVar("Row")
CONNECT_TIMEOUT_SECONDS = 10
NO_URL = "is no URL: postgresql://user:password@host:5432/database, with @ in a password as %40"
SHUTDOWN_STATES = frozenset({"57P01", "57P02", "57P03"})
"""SQLSTATEs of a server that shuts down or starts, or of a session that was terminated."""


class LoginRefused(IntegrationError):
    """The server does not accept the password, or not this user in this database."""

    code = "login_refused"


class OwnerUnavailable(DatabaseUnavailable):
    """No connection to the database of OWNER_DATABASE_URL."""


def open_session(
    url: str, command: str, *, autocommit: bool = True, connect_seconds: int = CONNECT_TIMEOUT_SECONDS
) -> DbSession:
    """Open a session for a command of `leads` within `connect_seconds`, at least 2; use it in a `with`.

    The database sees the application `leads COMMAND by USER`, also in the history of changes. With
    `autocommit` every statement commits alone unless `transaction()` is open; without, the block is one
    transaction. Raises LoginRefused or DatabaseUnavailable, with the reason that server or network gave,
    and Misconfigured.
    """
    if not is_address(url):
        raise Misconfigured(f"The database URL {NO_URL}")
    try:
        return psycopg.Connection[DictRow].connect(
            url,
            autocommit=autocommit,
            row_factory=rows.dict_row,
            connect_timeout=connect_seconds,
            application_name=f"leads {command} by {login_name()}",
        )
    except psycopg.OperationalError as error:
        reason = _reason(error)
        # The server was reached and asked for the password. psycopg has no SQLSTATE of a failed connection.
        if error.pgconn is not None and error.pgconn.used_password:
            raise LoginRefused(reason) from error
        raise DatabaseUnavailable(reason) from error


def open_database(command: str) -> DbSession:
    """Open a session on DATABASE_URL as `open_session` does. Raises SettingsError too."""
    return open_session(read_operator_settings("DATABASE_URL").database_url, command)


def is_address(url: str) -> bool:
    """Whether libpq can read it: else it quotes it, or the rest of a password as the host."""
    try:
        given = conninfo_to_dict(url)
    except (psycopg.ProgrammingError, UnicodeError):
        return False
    # An @ at the begin is an abstract socket.
    return all("@" not in host[1:] for host in str(given.get("host", "")).split(","))


def load_rows(db: DbSession, kind: type[Row], name: str, params: Params | None = None) -> list[Row]:
    """Send a statement; return its rows as objects of this class. Raises DatabaseError."""
    return db.cursor(row_factory=class_row(kind)).execute(QUERIES[name], params).fetchall()


def load_row(db: DbSession, name: str, params: Params | None = None) -> DictRow:
    """Send a statement that has exactly one row, and return it. Raises DatabaseError."""
    (row,) = db.execute(QUERIES[name], params).fetchall()
    return row


def _reason(error: psycopg.OperationalError) -> str:
    """Return what libpq says in one line, without its question whether a server runs there."""
    lines = [line.strip() for line in str(error).removeprefix("connection failed: ").splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith("Is the server running"))


def is_lost(error: psycopg.Error) -> bool:
    """Whether the error says that the session broke, so that the database can no longer be reached."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith("08") or error.sqlstate in SHUTDOWN_STATES


def login_name() -> str:
    """Return the name of the operating system's user; in a container there may be only a number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
