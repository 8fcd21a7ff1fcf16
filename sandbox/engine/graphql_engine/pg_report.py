"""PostgreSQL errors in the engine's shape."""

from psycopg import Error

from graphql_engine.errors import JsonValue


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
