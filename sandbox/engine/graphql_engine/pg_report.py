"""PostgreSQL errors in the engine's shape."""

from psycopg import Error

from graphql_engine.errors import JsonValue


def postgres_error(error: Error, text: str) -> dict[str, JsonValue]:
    """Return a PostgreSQL error as the engine shows it under `internal`."""
    diag = error.diag
    return {
        "statement": text,
        "prepared": False,
        "arguments": [],
        "error": {
            "exec_status": "FatalError",
            "hint": diag.message_hint,
            "message": diag.message_primary or str(error),
            "status_code": diag.sqlstate,
            "description": diag.message_detail,
        },
    }
