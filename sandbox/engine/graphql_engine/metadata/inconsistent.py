"""The shape of an inconsistent object."""

from typing import Any

from graphql_engine.metadata.access import Json


def inconsistent(kind: str, name: str, definition: Any, reason: str) -> Json:
    """Return one inconsistent object as the API shows it."""
    return {"definition": definition, "name": name, "reason": f"Inconsistent object: {reason}", "type": kind}
