"""The one error type of the stand-in, in the two JSON shapes that Hasura uses; PostgreSQL errors in them.

Facts: the engine's `Base/Error` (codes, JSON paths, both encodings) and `Execute/Types` (mkTxErrorHandler).
"""

import json
import re
from typing import Any

import psycopg
from psycopg import Error

JsonValue = Any
# Keys that a JSON path shows without quotes.
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


def json_path(*parts: str | int, start: str = "$") -> str:
    """Format a JSON path as Hasura does: `$.args.objects[0]["odd key"]`."""
    spelled = start
    for part in parts:
        if isinstance(part, int):
            spelled += f"[{part}]"
        elif PLAIN_KEY.match(part):
            spelled += f".{part}"
        else:
            spelled += f"[{json.dumps(part, ensure_ascii=False)}]"
    return spelled


class QErr(Exception):
    """An error for the client.

    path: JSON path into the request ("$…"); status: HTTP status on endpoints that use real ones;
    internal: details for admins only; extensions: replaces the GraphQL extensions (actions).
    """

    def __init__(
        self,
        code: str,
        message: str,
        path: str = "$",
        status: int = 400,
        internal: JsonValue = None,
        extensions: dict[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.status = status
        self.internal = internal
        self.extensions = extensions

    def under(self, *parts: str | int) -> "QErr":
        """Prefix the path of the error: `$.x` under ("args",) is `$.args.x`."""
        self.path = json_path(*parts) + self.path[1:]
        return self

    def as_graphql(self, *, include_internal: bool = False) -> dict[str, JsonValue]:
        """Return one element of `errors` in a GraphQL response."""
        if self.extensions is not None:
            return {"message": self.message, "extensions": self.extensions}
        extensions: dict[str, JsonValue] = {"path": self.path, "code": self.code}
        if include_internal and self.internal is not None:
            extensions["internal"] = self.internal
        return {"message": self.message, "extensions": extensions}

    def as_api(self, *, include_internal: bool = False) -> dict[str, JsonValue]:
        """Return the body for the metadata, query and REST endpoints."""
        body: dict[str, JsonValue] = {"path": self.path, "error": self.message, "code": self.code}
        if include_internal and self.internal is not None:
            body["internal"] = self.internal
        return body


def not_exists(message: str, path: str = "$") -> QErr:
    """Return the error (400) for an object that is named in the request and does not exist."""
    return QErr("not-exists", message, path)


def unexpected(message: str, internal: JsonValue = None, path: str = "$") -> QErr:
    """Return the error (500) for a failure of the engine or of a webhook."""
    return QErr("unexpected", message, path, 500, internal)


def unsupported(what: str, path: str = "$") -> QErr:
    """Return the error (400) for something that Hasura supports and this stand-in does not."""
    return QErr("not-supported", f"{what} is not supported by this stand-in", path)


# By the beginning of a SQLSTATE, the longer before the shorter: the code, and what stands before the message.
CLASSES = {
    "23001": ("constraint-violation", "Can not delete or update due to data being referred. "),
    "23502": ("constraint-violation", "Not-NULL violation. "),
    "23503": ("constraint-violation", "Foreign key violation. "),
    "23505": ("constraint-violation", "Uniqueness violation. "),
    "23514": ("permission-error", "Check constraint violation. "),
    "23P01": ("constraint-violation", "Exclusion violation. "),
    "23": ("constraint-violation", ""),
    "22025": ("bad-request", ""),
    "22": ("data-exception", ""),
    "40": ("concurrent-update", ""),
    "42P10": ("constraint-error", ""),
    "42704": ("constraint-error", ""),
}
MESSAGES = {
    "40001": "serialization failure due to concurrent update",
    "42P10": "there is no unique or exclusion constraint on target column(s)",
}


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
    message = MESSAGES.get(code) or error.diag.message_primary or str(error)
    for prefix, (name, before) in CLASSES.items():
        if code.startswith(prefix):
            return QErr(name, before + message)
    return QErr("unexpected", "database query error", status=500, internal=postgres_error(error, statement))
