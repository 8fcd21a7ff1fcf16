"""Reads metadata directories strictly into the JSON that the engine works on.

An unknown file, an unknown key, or one that this stand-in does not support stops the start with a message
that names file and key.
"""

from pathlib import Path
from typing import Any

from leads.cli.metadata import directory as reader
from leads.cli.metadata.yaml_files import DirectoryError
from sandbox.hasura.metadata import keys
from sandbox.hasura.metadata.merge import merge
from sandbox.hasura.metadata.shape import ANY, Shape, check
from sandbox.hasura.settings import StartError

LISTS: dict[str, Shape] = {
    "cron_triggers": [keys.CRON_TRIGGER],
    "query_collections": [keys.COLLECTION],
    "rest_endpoints": [keys.ENDPOINT],
    "allowlist": [{"collection!": str, "scope": ANY}],
    "inherited_roles": [{"role_name!": str, "role_set!": [str], "comment": keys.TEXT_OR_NONE}],
}
OBJECTS: dict[str, Shape] = {
    "api_limits": keys.API_LIMITS,
    "graphql_schema_introspection": {"disabled_for_roles!": [str]},
}
SHAPES: dict[str, Shape] = {
    **LISTS,
    **OBJECTS,
    "source": keys.SOURCE,
    "table": keys.TABLE,
    "function": keys.FUNCTION,
    "actions": {"actions": [keys.ACTION], "custom_types": keys.CUSTOM_TYPES},
}


def empty_metadata() -> dict[str, Any]:
    """Metadata that says nothing."""
    return {"version": 3, "sources": []}


def read_directories(directories: list[Path]) -> dict[str, Any]:
    """The metadata of several directories merged; raises StartError if two say different things."""
    merged = empty_metadata()
    for directory in directories:
        merged = merge(merged, read_directory(directory), str(directory))
    return merged


def read_directory(directory: Path) -> dict[str, Any]:
    """The metadata of one directory; a missing file counts as empty. Raises StartError."""
    try:
        return reader.read_directory(directory, _check)
    except DirectoryError as error:
        raise StartError(str(error)) from error


def _check(content: Any, kind: str, where: str) -> None:
    check(content, SHAPES[kind], where)
