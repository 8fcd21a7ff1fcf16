"""Create Diva's tables in a new database, apply our migrations, and give roles their rights."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from sandbox.diva import BASE_SQL, SEED_SQL
from sandbox.postgres.server import RUN_ID

MIGRATIONS = Path(__file__).parents[2] / "hasura" / "migrations" / "default"


def run_file(db_connection: psycopg.Connection, path: Path) -> None:
    with db_connection.transaction():
        db_connection.execute(path.read_text(encoding="utf-8"))


ACCOUNTS = (
    "INSERT INTO account (id, display_name, phone_code, phone_number)"
    " SELECT md5('account' || n)::uuid, 'Account ' || n, '84', '0' || (110000000 + n)"
    " FROM generate_series(1, %(accounts)s) AS n",
    "INSERT INTO contact_book (account_id, name) SELECT md5('account' || n)::uuid, 'Contact ' || n"
    " FROM generate_series(1, %(accounts)s) AS n",
    "VACUUM ANALYZE account, contact_book",
)
"""Customers whose phones no generated lead has: PostgreSQL plans for a table of that size."""


def install_diva(url: str, accounts: int = 0) -> None:
    """Create Diva's base schema and seed rows in an empty database, and so many more accounts."""
    with psycopg.connect(url, autocommit=True) as db_connection:
        run_file(db_connection, BASE_SQL)
        run_file(db_connection, SEED_SQL)
        for statement in ACCOUNTS if accounts else ():
            db_connection.execute(statement.encode(), {"accounts": accounts})


def migrate(url: str) -> None:
    """Apply our migrations in order, each in its own transaction.

    They are not recorded: a Hasura engine on this database would apply them again.
    """
    with psycopg.connect(url, autocommit=True) as db_connection:
        for path in sorted(MIGRATIONS.glob("*/up.sql")):
            run_file(db_connection, path)


NAMES = {
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
}


def psql_environment(url: str) -> dict[str, str]:
    """Return the variables that name the same database and role as a URL."""
    return {NAMES[key]: str(value) for key, value in conninfo_to_dict(url).items() if key in NAMES}


GRANTS = Path(__file__).parents[2] / "deploy" / "postgres" / "grant_roles.sql"
HANDLERS, OPERATORS = ROLES = ("pancake_handlers", "pancake_operators")
_PASSWORD = secrets.token_hex(16)
HANDLERS_LOGIN = f"{HANDLERS}_{RUN_ID}"
LOGINS = {f"{role}_{RUN_ID}": (role, _PASSWORD) for role in ROLES}
"""Name of a login → its role and its password."""

_owners: dict[str, str] = {}


def grant_rights(url: str, logins: Mapping[str, tuple[str, str]] = LOGINS) -> None:
    """Run the grants on a database, as its owner, and create the logins that are missing."""
    with psycopg.connect(url, autocommit=True) as db_connection:
        run_file(db_connection, GRANTS)
        for login, (role, password) in logins.items():
            if db_connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [login]).fetchone() is None:
                create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}")
                names = sql.Identifier(login), sql.Literal(password), sql.Identifier(role)
                db_connection.execute(create.format(*names))


def drop_logins(url: str) -> None:
    """Drop the logins, on a server that continues to run; the roles of the grants stay."""
    with psycopg.connect(url, autocommit=True) as db_connection:
        for login in LOGINS:
            db_connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(login)))


def handlers_url(url: str) -> str:
    return _url_of(HANDLERS, url)


def operators_url(url: str) -> str:
    return _url_of(OPERATORS, url)


def owner_url(url: str) -> str:
    """Return the owner's URL that one of a login was made from; any other URL as it is."""
    return _owners.get(url, url)


def _url_of(role: str, url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    of_login = urlunsplit(parts._replace(netloc=f"{role}_{RUN_ID}:{_PASSWORD}@{host}"))
    _owners[of_login] = url
    return of_login
