"""Fills a fresh database with Diva's tables and rows, and migrates it without Hasura."""

from pathlib import Path

import psycopg

from sandbox.diva import BASE_SQL, SEED_SQL

MIGRATIONS = Path(__file__).parents[1] / "hasura" / "migrations" / "default"


def run_file(connection: psycopg.Connection, path: Path) -> None:
    """Run one SQL file in one transaction."""
    with connection.transaction():
        connection.execute(path.read_text(encoding="utf-8"))


def install_diva(url: str) -> None:
    """Diva's base schema and seed rows, into an empty database."""
    with psycopg.connect(url, autocommit=True) as connection:
        run_file(connection, BASE_SQL)
        run_file(connection, SEED_SQL)


def migrate(url: str) -> None:
    """Our migrations in order, each in its own transaction, unrecorded (an engine records its own)."""
    with psycopg.connect(url, autocommit=True) as connection:
        for path in sorted(MIGRATIONS.glob("*/up.sql")):
            run_file(connection, path)
