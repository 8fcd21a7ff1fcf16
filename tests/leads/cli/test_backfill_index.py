"""The index that the backfill builds, because the migrations leave it out on a large table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from sandbox.postgres.roles import operators_url

pytestmark = pytest.mark.own_database

ROOT = Path(__file__).parents[3]
INDEX = (
    "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
    " WHERE indisvalid AND indexrelid = to_regclass('account_phone_not_normalized_idx')"
)


def backfill(database: str, folder: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "leads.cli", "backfill-phones", "--anytime", "--processes", "1", *arguments],
        env=os.environ | {"DATABASE_URL": database, "PYTHONPATH": str(ROOT)},
        cwd=folder, check=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX account_phone_not_normalized_idx",
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'account_phone_not_normalized_idx'::regclass",
    ],
    ids=["missing", "invalid"],
)
def test_it_is_the_index_of_the_migration_and_replaces_an_interrupted_build(
    database: str, tmp_path: Path, change: str
) -> None:
    """A dry run does not build it."""
    with psycopg.connect(database, autocommit=True) as db_connection:
        expected = db_connection.execute(INDEX.encode()).fetchall()
        assert len(expected) == 1
        db_connection.execute(change.encode())
        backfill(database, tmp_path, "--dry-run")
        assert db_connection.execute(INDEX.encode()).fetchall() == []
        backfill(database, tmp_path)
        assert db_connection.execute(INDEX.encode()).fetchall() == expected


def test_the_operators_are_told_that_the_owner_builds_it(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as db_connection:
        db_connection.execute("DROP INDEX account_phone_not_normalized_idx")
    done = subprocess.run(
        [sys.executable, "-m", "leads.cli", "backfill-phones", "--anytime", "--processes", "1", "--json"],
        env=os.environ | {"DATABASE_URL": operators_url(database), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path, check=False, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "only the owner of the table account may build it" in json.loads(done.stdout)["reason"]
