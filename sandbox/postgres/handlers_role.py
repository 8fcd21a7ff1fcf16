"""The database role of the handlers: the rights of deploy/postgres/grant_handlers.sql, and a login role."""

import secrets
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from sandbox.postgres.database import run_file
from sandbox.postgres.server import RUN_ID

GRANTS = Path(__file__).parents[2] / "deploy" / "postgres" / "grant_handlers.sql"
LOGIN = f"pancake_handlers_{RUN_ID}"
_PASSWORD = secrets.token_hex(16)
_owners: dict[str, str] = {}


def grant_rights(url: str, login: str = LOGIN, password: str = _PASSWORD) -> None:
    """Run the grants on a database, as its owner, and create the login role if it is missing."""
    with psycopg.connect(url, autocommit=True) as db_connection:
        run_file(db_connection, GRANTS)
        if db_connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [login]).fetchone() is None:
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE pancake_handlers")
            db_connection.execute(create.format(sql.Identifier(login), sql.Literal(password)))


def drop_login(url: str) -> None:
    """Drop the login role, on a server that continues to run; the role of the grants stays."""
    with psycopg.connect(url, autocommit=True) as db_connection:
        db_connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(LOGIN)))


def handlers_url(url: str) -> str:
    """Return the URL of the same database for the login role."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    of_handlers = urlunsplit(parts._replace(netloc=f"{LOGIN}:{_PASSWORD}@{host}"))
    _owners[of_handlers] = url
    return of_handlers


def owner_url(url: str) -> str:
    """Return the owner's URL that a result of `handlers_url` was made from; any other URL as it is."""
    return _owners.get(url, url)
