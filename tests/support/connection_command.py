"""Run `leads connection` in this process, without a terminal."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from leads.cli.__main__ import app
from sandbox.postgres.roles import operators_url

OLD_KEY, NEW_KEY = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
API_KEY = "0123456789abcdef0123456789abcdef"
EDGE = "https://edge.example.com"


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(
    database: str, *arguments: str, stdin: str = "", keys: str = f"old:{OLD_KEY}", **variables: str
) -> CommandResult:
    """Run one command as the operators; EDGE is the address of the edge, OLD_KEY the only key."""
    environment = {
        "DATABASE_URL": operators_url(database),
        "ENCRYPTION_KEYS": keys,
        "PUBLIC_URL": EDGE,
    } | variables
    result = CliRunner().invoke(app, ["connection", *arguments], input=stdin, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return CommandResult(result.exit_code, result.stdout, result.stderr)


def status(database: str) -> dict[str, Any]:
    (connection,) = json.loads(run(database, "status", "--json").stdout)
    assert isinstance(connection, dict)
    return connection


def made(database: str, *arguments: str) -> str:
    """Create a connection and return its webhook URL, the first line of the output."""
    done = run(database, "create", "--name", "Diva", "--workspace", "123", *arguments,
               "--key-file", "-", stdin=API_KEY)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\n")[0]
