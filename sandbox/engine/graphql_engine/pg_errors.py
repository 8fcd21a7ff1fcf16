"""PostgreSQL errors in the engine's shapes. Facts: the engine's `Execute/Types` (mkTxErrorHandler)."""

from typing import Any

import psycopg
from psycopg import Error

from graphql_engine.errors import JsonValue, QErr

CONSTRAINTS = {
    "23001": ("constraint-violation", "Can not delete or update due to data being referred. "),
    "23502": ("constraint-violation", "Not-NULL violation. "),
    "23503": ("constraint-violation", "Foreign key violation. "),
    "23505": ("constraint-violation", "Uniqueness violation. "),
    "23514": ("permission-error", "Check constraint violation. "),
    "23P01": ("constraint-violation", "Exclusion violation. "),
}
NO_ARBITER = "there is no unique or exclusion constraint on target column(s)"


def postgres_error(error: Error, text: str) -> dict[str, JsonValue]:
    """Return a PostgreSQL error as the engine shows it under `internal`."""
    diag = error.diag
    return _report(
        text,
        "FatalError",
        hint=diag.message_hint,
        message=diag.message_primary or str(error),
        status_code=diag.sqlstate,
        description=diag.message_detail,
    )


def empty_query(text: str) -> dict[str, JsonValue]:
    """Return the same for a text without any statement."""
    return _report(text, "EmptyQuery", hint=None, message=None, status_code=None, description=None)


def _report(text: str, status: str, **error: JsonValue) -> dict[str, JsonValue]:
    return {"statement": text, "prepared": False, "arguments": [], "error": {"exec_status": status, **error}}


def query_error(error: psycopg.Error, statement: str) -> QErr:
    """Return the QErr of a failed statement: expected errors by class, all others as `unexpected`."""
    code = error.sqlstate or ""
    message = error.diag.message_primary or str(error)
    if code in CONSTRAINTS:
        name, prefix = CONSTRAINTS[code]
        return QErr(name, prefix + message)
    if code.startswith("23"):
        return QErr("constraint-violation", message)
    if code == "22025":
        return QErr("bad-request", message)
    if code.startswith("22"):
        return QErr("data-exception", message)
    if code == "40001":
        return QErr("concurrent-update", "serialization failure due to concurrent update")
    if code.startswith("40"):
        return QErr("concurrent-update", message)
    if code == "42P10":
        return QErr("constraint-error", NO_ARBITER)
    if code == "42704":
        return QErr("constraint-error", message)
    return QErr("unexpected", "database query error", status=500, internal=_internal(error, statement))


def _internal(error: psycopg.Error, statement: str) -> dict[str, Any]:
    diag = error.diag
    return {
        "statement": statement,
        "prepared": False,
        "arguments": [],
        "error": {
            "exec_status": "FatalError",
            "hint": diag.message_hint,
            "message": diag.message_primary or str(error),
            "status_code": error.sqlstate,
            "description": diag.message_detail,
        },
    }
