"""`leads` in this process, as operators type it."""

import json
from typing import Any

import psycopg
from typer.testing import CliRunner, Result

from ops.cli import app
from sandbox.postgres.database import operators_url


def leads(*words: str, typed: str | None = None, **variables: str) -> Result:
    """Run a command. What it raises fails the test, unless it is an exit."""
    result = CliRunner().invoke(app, words, prog_name="leads", env=variables, input=typed)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def document(result: Result) -> Any:
    """Return the document that a command with --json printed, which ended well and said nothing else."""
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def operators_of(session: psycopg.Connection[Any]) -> str:
    """Return the operators' URL of the database of a session."""
    info = session.info
    return operators_url(f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}")
