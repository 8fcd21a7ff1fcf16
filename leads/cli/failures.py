"""Report every failure of a verb as one message on stderr and one exit code."""

import json
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from leads.adapters.alertmanager import AlertmanagerUnavailable
from leads.adapters.db_session import DatabaseError, LoginRefused, is_lost
from leads.adapters.hasura_admin import AccessDenied
from leads.adapters.plain_http import NoAnswer
from leads.adapters.settings import SettingsError
from leads.cli.exit_codes import ExitCode
from leads.cli.output import print_line, say
from leads.domain.errors import (
    DatabaseUnavailable,
    HasuraUnavailable,
    IntegrationError,
    Misconfigured,
    PancakeUnavailable,
)

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
AS_JSON = "--json"
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
        as_json = AS_JSON in ctx.args
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("Interrupted.", ExitCode.INTERRUPTED)
        except SettingsError as error:
            fail(describe_settings(error), ExitCode.USAGE, as_json=as_json)
        except CommandFailed as error:
            fail(str(error), error.exit_code, as_json=as_json)
        except (IntegrationError, DatabaseError) as error:
            fail(*describe(error), as_json=as_json)
        except typer.BadParameter as error:
            if as_json:
                print_failure(error.format_message(), ExitCode.USAGE)
            raise


def fail(message: str, exit_code: ExitCode, *, as_json: bool = False) -> NoReturn:
    """Print the message, with `as_json` also as a document on stdout, and end with the code."""
    if as_json:
        print_failure(message, exit_code)
    say(message)
    raise typer.Exit(exit_code)


def print_failure(message: str, exit_code: ExitCode) -> None:
    """Print a failure for programs, in one line: `leads tail --json` has printed lines before."""
    document = {"error": message, "exit_code": int(exit_code)}
    print_line(json.dumps(document, ensure_ascii=False))


def describe_settings(error: SettingsError) -> str:
    """Format all problems of the configuration, each in its own line."""
    problems = [f"  {problem}" for problem in error.problems]
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
