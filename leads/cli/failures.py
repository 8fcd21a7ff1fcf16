"""Report every failure of a verb as one message on stderr and one exit code."""

from textwrap import fill
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from leads.adapters.alertmanager import AlertmanagerUnavailable
from leads.adapters.db_session import DatabaseError, LoginRefused, is_lost
from leads.adapters.hasura_admin import AccessDenied
from leads.adapters.plain_http import NoAnswer
from leads.adapters.settings import SettingsError
from leads.cli.exit_codes import ExitCode
from leads.domain.errors import (
    DatabaseUnavailable,
    HasuraUnavailable,
    IntegrationError,
    Misconfigured,
    PancakeUnavailable,
)
from leads.domain.visible_text import escape_unseen

SERVICES: tuple[tuple[type[IntegrationError], str, str], ...] = (
    (DatabaseUnavailable, "the database", "DATABASE_URL"),
    (HasuraUnavailable, "Hasura", "HASURA_URL"),
    (AlertmanagerUnavailable, "Alertmanager", "ALERTMANAGER_URL"),
    (NoAnswer, "the handlers", "HANDLERS_URL"),
    (PancakeUnavailable, "Pancake", "the connection's API URL (leads connection status)"),
)
"""The services that may be unreachable, each with what to check."""

SET_VARIABLES = """Set the variables in the environment, or in .env of the clone for scripts/leads.
The file .env.example explains each of them."""
LINE_LENGTH = 80
NO_REASON = "no reason was given"


class CommandFailed(Exception):
    """The work of a verb failed; the message says what happened and what to do next."""

    exit_code = ExitCode.FAILED


class WrongUsage(CommandFailed):
    """The arguments do not fit together or do not fit the installation."""

    exit_code = ExitCode.USAGE


class VerbGroup(TyperGroup):
    """The group of all verbs. What a verb raises ends the command with a message instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("Interrupted.", ExitCode.INTERRUPTED)
        except SettingsError as error:
            fail(describe_settings(error), ExitCode.USAGE)
        except CommandFailed as error:
            fail(str(error), error.exit_code)
        except (IntegrationError, DatabaseError) as error:
            fail(*describe(error))


def fail(message: str, exit_code: ExitCode) -> NoReturn:
    """Print the message and end with the code."""
    typer.echo(escape_unseen(message), err=True)
    raise typer.Exit(exit_code)


def describe_settings(error: SettingsError) -> str:
    """Format all problems of the configuration, each in its own lines."""
    problems = [
        fill(problem, LINE_LENGTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        for problem in error.problems
    ]
    return "\n".join(["The configuration is incomplete:", *problems, SET_VARIABLES])


def describe(error: IntegrationError | DatabaseError) -> tuple[str, ExitCode]:
    """Return the message and the exit code of an error that a verb did not catch."""
    text = " ".join(str(error).split()) or NO_REASON
    if isinstance(error, DatabaseError):
        if is_lost(error):
            return _unreachable("the database", text, "DATABASE_URL")
        # Only the first line: DETAIL quotes the values of the row, secrets and customers' data.
        reason = (str(error).splitlines() or [NO_REASON])[0].strip()
        return f"The database refused a statement: {reason}", ExitCode.FAILED
    for kind, service, check in SERVICES:
        if isinstance(error, kind):
            return _unreachable(service, text, check)
    if isinstance(error, Misconfigured):
        return text, ExitCode.USAGE
    if isinstance(error, LoginRefused):
        return f"The database refused the login: {text}\nCheck DATABASE_URL.", ExitCode.USAGE
    if isinstance(error, AccessDenied):
        return f"{text}\nCheck HASURA_ADMIN_SECRET.", ExitCode.USAGE
    return f"Failed: {text} ({error.code})", ExitCode.FAILED


def _unreachable(service: str, reason: str, check: str) -> tuple[str, ExitCode]:
    message = f"Could not reach {service}: {reason}\nCheck {check} and try again."
    return message, ExitCode.UNREACHABLE
