"""`leads tickets move`: there and back; tests/hasura/test_rollback.py has it around the migrations."""

import json
from urllib.parse import urlsplit

import psycopg
import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from sandbox.postgres.roles import operators_url

PANCAKE, OTHER = "ticket_source_pancake", "ticket_source_8"
INSERT = "INSERT INTO ticket (title, source_id) SELECT 'Lead ' || n, %s FROM generate_series(1, %s) AS n"
COUNT = "SELECT count(*) FROM ticket WHERE source_id = %s"


@pytest.fixture
def with_tickets(database: str) -> str:
    """25 tickets of Pancake, and some in the other source before."""
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(INSERT, (PANCAKE, 25))
        db.execute(INSERT, (OTHER, 3))
    return database


def run(database: str, *arguments: str) -> Result:
    return run_at(operators_url(database), *arguments)


def run_at(url: str, *arguments: str) -> Result:
    command = ["tickets", "move", "--pause-seconds", "0", *arguments]
    return CliRunner().invoke(app, command, env={"DATABASE_URL": url})


def count(database: str, source: str) -> int:
    with psycopg.connect(database) as db:
        row = db.execute(COUNT, [source]).fetchone()
    assert row is not None
    return int(row[0])


def test_there_and_back_leaves_the_tickets_of_others_where_they_were(with_tickets: str) -> None:
    before = count(with_tickets, OTHER)
    there = run(with_tickets, "--rows-per-batch", "10")
    assert (there.exit_code, count(with_tickets, PANCAKE)) == (0, 0)
    assert there.stdout == f"25 tickets to move from {PANCAKE} to {OTHER}.\n0 tickets are left.\n"
    assert count(with_tickets, OTHER) == before + 25
    assert run(with_tickets, "--back").exit_code == 0
    assert (count(with_tickets, PANCAKE), count(with_tickets, OTHER)) == (25, before)


def test_a_dry_run_only_counts(with_tickets: str) -> None:
    """Exit code 0: tickets that it leaves are no failure."""
    result = run(with_tickets, "--dry-run", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"from": PANCAKE, "to": OTHER, "waiting": 25, "left": 25}
    assert count(with_tickets, PANCAKE) == 25


def test_a_move_for_a_program_prints_one_document(with_tickets: str) -> None:
    result = run(with_tickets, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {"from": PANCAKE, "to": OTHER, "waiting": 25, "left": 0}


def test_our_own_source_is_no_target(with_tickets: str) -> None:
    result = run(with_tickets, "--to", PANCAKE)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--to must not be {PANCAKE}" in result.stderr


def test_without_a_database_it_does_not_start() -> None:
    """Exit code 2 for none, 3 for one that does not answer."""
    assert run("").exit_code == 2
    away = run("postgresql://user:hunter2@127.0.0.1:9/none")
    assert (away.exit_code, away.stdout) == (3, "")
    assert away.stderr.startswith("Could not reach the database: ")
    assert away.stderr.endswith("Check DATABASE_URL and try again.\n")
    assert "hunter2" not in away.stderr


def test_a_wrong_password_is_a_wrong_configuration(database: str) -> None:
    """Exit code 2, unlike that of a server that cannot be reached."""
    password = urlsplit(database).password
    if not password:
        pytest.skip("the server of DATABASE_URL asks for no password")
    result = run_at(database.replace(password, "hunter2"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("The database refused the login: ")
    assert result.stderr.endswith("Check DATABASE_URL.\n")
    assert "hunter2" not in result.stderr
