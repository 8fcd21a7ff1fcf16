"""What a person reads of an error that no verb caught: what happened and what to check."""

from leads.adapters.settings import SettingsError
from leads.domain.errors import (
    DatabaseUnavailable,
    HasuraUnavailable,
    IntegrationError,
    Misconfigured,
    PancakeUnavailable,
)
from ops.clients.alertmanager import AlertmanagerUnavailable
from ops.clients.db_session import DatabaseError, LoginRefused, is_lost
from ops.clients.hasura_admin import AccessDenied
from ops.clients.plain_http import NoAnswer
from ops.exit_codes import ExitCode
from ops.failures import NO_REASON

SERVICES: tuple[tuple[type[IntegrationError], str, str], ...] = (
    (DatabaseUnavailable, "the database", "DATABASE_URL"),
    (HasuraUnavailable, "Hasura", "HASURA_URL"),
    (AlertmanagerUnavailable, "Alertmanager", "ALERTMANAGER_URL"),
    (NoAnswer, "the handlers", "HANDLERS_URL"),
    (PancakeUnavailable, "Pancake", "the connection's API URL (leads connection status)"),
)
"""The services that may be unreachable, each with what to check."""


def describe(error: Exception) -> tuple[str, ExitCode] | None:
    """Return the message and the exit code of an error that a verb did not catch; None of a defect."""
    if isinstance(error, SettingsError):
        return error.report("scripts/leads"), ExitCode.USAGE
    if isinstance(error, (IntegrationError, DatabaseError)):
        return describe_answer(error)
    return None


def describe_answer(error: IntegrationError | DatabaseError) -> tuple[str, ExitCode]:
    """Return the message and the exit code of what a service or our own rules answered."""
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
