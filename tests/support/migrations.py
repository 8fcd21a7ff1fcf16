"""Run files of migrations, and statements beside them, each in a new session."""

from pathlib import Path
from typing import Any

import psycopg

from sandbox.postgres.database import run_file


def run(url: str, *files: Path) -> None:
    """Run SQL files, each in one transaction."""
    with psycopg.connect(url, autocommit=True) as db_connection:
        for file in files:
            run_file(db_connection, file)


def execute(url: str, statement: str) -> list[Any]:
    """Run one statement and return its rows, if it has any."""
    with psycopg.connect(url, autocommit=True) as db_connection:
        cursor = db_connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
