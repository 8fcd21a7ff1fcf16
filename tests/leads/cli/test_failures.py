"""What a verb does not explain itself still ends with a message and the exit code of the table."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from typer.testing import CliRunner

from leads.adapters.db_session import LoginRefused
from leads.adapters.hasura_admin import AccessDenied
from leads.adapters.plain_http import NoAnswer
from leads.adapters.settings import SettingsError
from leads.cli.failures import CommandFailed, VerbGroup, WrongUsage
from leads.cli.output import AsJson
from leads.domain.errors import (
    DatabaseUnavailable,
    HasuraUnavailable,
    HostNotAllowed,
    IntegrationError,
    PancakeKeyRejected,
    PancakeUnavailable,
    SecretUnreadable,
)

ROOT = Path(__file__).parents[3]


def fail_with(error: BaseException, *arguments: str) -> Any:
    """The result of a verb that raises this."""
    app = typer.Typer(cls=VerbGroup, pretty_exceptions_enable=False)

    @app.command()
    def verb(as_json: AsJson = False) -> None:
        raise error

    @app.command()
    def other() -> None:
        """A second command keeps the first one a command: Typer calls a single one without its name."""

    return CliRunner().invoke(app, ["verb", *arguments])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            SettingsError("A is not set", "B is not set"),
            2,
            "  A is not set\n  B is not set\nSet the variables",
        ),
        (CommandFailed("It failed. Do this."), 1, "It failed. Do this.\n"),
        (WrongUsage("Give this."), 2, "Give this.\n"),
        (DatabaseUnavailable("no route"), 3, "Could not reach the database: no route\nCheck DATABASE_URL"),
        (HasuraUnavailable("no route"), 3, "Could not reach Hasura: no route\nCheck HASURA_URL"),
        (PancakeUnavailable("no route"), 3, "Could not reach Pancake: no route\nCheck"),
        (AccessDenied("not accepted"), 2, "not accepted\nCheck HASURA_ADMIN_SECRET."),
        (
            LoginRefused("no such user"),
            2,
            "The database refused the login: no such user\nCheck DATABASE_URL.",
        ),
        (SecretUnreadable("not opened"), 2, "not opened\n"),
        (HostNotAllowed("not allowed"), 2, "not allowed\n"),
        (PancakeKeyRejected("rejected", status=401), 1, "Failed: rejected (pancake_key_rejected)"),
        (IntegrationError(), 1, "Failed: The integration failed. (internal)"),
        (psycopg.OperationalError("server closed the connection"), 3, "Could not reach the database"),
        (psycopg.errors.AdminShutdown("terminating"), 3, "Could not reach the database"),
        (psycopg.errors.UndefinedTable("no table"), 1, "The database refused a statement: no table"),
        (psycopg.errors.LockNotAvailable("locked"), 1, "The database refused a statement: locked"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_failure_has_its_message_and_code(error: BaseException, code: int, words: str) -> None:
    result = fail_with(error)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_failure_is_a_document_too_if_it_is_asked_for_as_json() -> None:
    for error, code in (
        (WrongUsage("Gib: Đ\x1b"), 2),
        (typer.BadParameter("too long"), 2),
        (NoAnswer("x"), 3),
    ):
        result = fail_with(error, "--json")
        found = json.loads(result.stdout)
        assert (result.exit_code, found["exit_code"]) == (code, code)
        assert found["error"].splitlines()[0] in result.stderr.replace("\\u001b", "\x1b")
        assert "\x1b" not in result.stdout + result.stderr


def test_a_message_is_wrapped_at_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    message = f"  What happened, in many words: /{'long-path/' * 4}file\nDo this."
    assert fail_with(CommandFailed(message)).stderr.splitlines() == [
        "  What happened, in many",
        "    words:",
        f"    /{'long-path/' * 4}file",
        "Do this.",
    ]


def test_sigterm_interrupts_as_ctrl_c_does() -> None:
    """The entry point turns it into the same exception, so that work ends in order."""
    program = (
        "import os, signal, time\n"
        "from leads.cli import __main__ as cli\n"
        "cli.app = lambda **_: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(10))\n"
        "try:\n    cli.main()\nexcept KeyboardInterrupt:\n    print('in order')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "in order\n"), signal.Signals(abs(done.returncode) or 1)


def test_a_refused_statement_is_reported_without_the_values_of_its_row(database: str) -> None:
    """PostgreSQL's DETAIL quotes the row: ciphertexts, or a customer's data."""
    with psycopg.connect(database) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256, api_key_encrypted)"
            " VALUES ('x', 1, sha256('t'), NULL), ('x', 2, '\\x00', 'a secret')"
        )
    assert "secret" in str(caught.value) or "DETAIL" in str(caught.value)
    result = fail_with(caught.value)
    assert result.exit_code == 1
    assert result.stderr.startswith("The database refused a statement: ")
    assert "DETAIL" not in result.stderr
    assert "Failing row" not in result.stderr
