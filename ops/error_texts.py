"""What a person reads of an error that no verb caught, and of a value that a command line may not have."""

import re
from datetime import UTC, datetime

import typer

from leads.adapters.settings import SettingsError
from leads.domain.errors import (
    DatabaseUnavailable,
    HasuraUnavailable,
    IntegrationError,
    Misconfigured,
    PancakeUnavailable,
)
from ops.clients.db_session import DatabaseError, LoginRefused, OwnerUnavailable, is_lost
from ops.clients.hasura_admin import AccessDenied
from ops.clients.monitoring import AlertmanagerUnavailable
from ops.clients.plain_http import NoAnswer
from ops.failures import NO_REASON, ExitCode, first_line
from ops.output import escape_unseen, wrapped

SERVICES: tuple[tuple[type[IntegrationError], str, str], ...] = (
    (OwnerUnavailable, "the database", "OWNER_DATABASE_URL"),
    (DatabaseUnavailable, "the database", "DATABASE_URL"),
    (HasuraUnavailable, "Hasura", "HASURA_URL"),
    (AlertmanagerUnavailable, "Alertmanager", "ALERTMANAGER_URL"),
    (NoAnswer, "the handlers", "HANDLERS_URL"),
    (PancakeUnavailable, "Pancake", "the connection's API URL (leads connection status)"),
)
"""The services that may be unreachable, each with what to check."""
EXAMPLE = datetime(2026, 5, 14, 9, 30, tzinfo=UTC)
_NO_TIME = re.compile(r"(?P<value>.*) does not match the formats (?P<known>.*)\.", re.DOTALL)
_NO_CHOICE = re.compile(r"(?P<value>.*) is not one of (?P<known>.*)\.", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'")
_MEANINGS = {
    "int_parsing": "is not a whole number",
    "float_parsing": "is not a number",
    "greater_than_equal": "is less than {ge:g}",
    "less_than_equal": "is more than {le:g}",
}
"""By the type of an error of pydantic: what is wrong with the value."""


def describe(error: Exception) -> tuple[str, ExitCode] | None:
    """Return the message and the exit code of an error that a verb did not catch; None of a defect."""
    if isinstance(error, SettingsError):
        return error.report("scripts/leads"), ExitCode.USAGE
    if isinstance(error, (IntegrationError, DatabaseError)):
        return describe_answer(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}", ExitCode.FAILED
    return None


def describe_answer(error: IntegrationError | DatabaseError) -> tuple[str, ExitCode]:
    """Return the message and the exit code of what a service or our own rules answered."""
    text = " ".join(str(error).split()) or NO_REASON
    if isinstance(error, DatabaseError):
        if not is_lost(error):
            return f"The database refused a statement: {first_line(error)}", ExitCode.FAILED
        error = DatabaseUnavailable(text)
    for kind, service, check in SERVICES:
        if isinstance(error, kind):
            message = f"Could not reach {service}: {text}\nCheck {check} and try again."
            return message, ExitCode.UNREACHABLE
    if isinstance(error, Misconfigured):
        return text, ExitCode.USAGE
    if isinstance(error, LoginRefused):
        return f"The database refused the login: {text}\nCheck DATABASE_URL.", ExitCode.USAGE
    if isinstance(error, AccessDenied):
        return f"{text}\nCheck HASURA_ADMIN_SECRET.", ExitCode.USAGE
    return f"Failed: {text} ({error.code})", ExitCode.FAILED


def describe_value(error: typer.BadParameter) -> str:
    """Return what is wrong with the value, in plain words and at most as wide as the terminal."""
    # Only now: no other text needs the library, and it takes long to import.
    from pydantic import ValidationError

    if not isinstance(error.__cause__, ValidationError):
        return error.message
    first = error.__cause__.errors()[0]
    if first["type"] in _MEANINGS:
        meaning = _MEANINGS[first["type"]].format_map(first.get("ctx", {}))
        return escape_unseen(f"'{first['input']}' {meaning}.")
    message = escape_unseen(str(first.get("ctx", {}).get("error", first["msg"])))
    if found := _NO_TIME.fullmatch(message):
        examples = [EXAMPLE.strftime(known) for known in _QUOTED.findall(found["known"])]
        return f"{found['value']} is not understood.\n  Write it like {' or '.join(examples)}"
    if found := _NO_CHOICE.fullmatch(message):
        choices = wrapped(f"  {', '.join(_QUOTED.findall(found['known']))}")
        return f"{found['value']} is not one of:\n{choices}"
    return message
