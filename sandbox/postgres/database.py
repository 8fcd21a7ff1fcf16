"""Create Diva's tables in a new database and apply our migrations, without Hasura."""

from pathlib import Path

import psycopg

from sandbox.diva import BASE_SQL, SEED_SQL

MIGRATIONS = Path(__file__).parents[2] / "hasura" / "migrations" / "default"


def run_file(db_connection: psycopg.Connection, path: Path) -> None:
    """Run one SQL file in one transaction."""
    with db_connection.transaction():
        db_connection.execute(path.read_text(encoding="utf-8"))


def install_diva(url: str) -> None:
    """Create Diva's base schema and seed rows in an empty database."""
    with psycopg.connect(url, autocommit=True) as db_connection:
        run_file(db_connection, BASE_SQL)
        run_file(db_connection, SEED_SQL)


def migrate(url: str) -> None:
    """Apply our migrations in order, each in its own transaction.

    They are not recorded: a Hasura engine on this database would apply them again.
    """
    with psycopg.connect(url, autocommit=True) as db_connection:
        for path in sorted(MIGRATIONS.glob("*/up.sql")):
            run_file(db_connection, path)
