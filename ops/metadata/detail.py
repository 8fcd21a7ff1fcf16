"""Say in which places a piece on the engine differs from the directory."""

from collections.abc import Iterator
from typing import Any

from ops.metadata.normal import normal
from ops.output import differences

NAMING = ("name", "role")
"""The keys that name an item of a list: of columns' relationships, triggers and headers, of permissions."""

EXPLAINED = {
    "event_triggers": "the table has no event trigger on the engine",
    "payload": (
        "all columns are delivered, and Hasura's event log gets whole rows with personal data:"
        " the console drops this list when it saves an event trigger"
    ),
}
"""By the last key of a path: what it means that the engine lacks it."""


def changed_places(wanted: Any, held: Any) -> Iterator[tuple[str, Any, Any]]:
    """Return path, our value and the engine's value of what differs; of equal parts nothing."""
    yield from differences({"": _named(normal(wanted))}, {"": _named(normal(held))})


def describe_places(wanted: Any, held: Any) -> str:
    """Return the paths of what differs, each meaning once.

    Values are left out: a header of the engine may hold a secret.
    """
    found, told = [], set()
    for path, _, theirs in changed_places(wanted, held):
        place = path.lstrip(".")
        explained = EXPLAINED.get(place.rpartition(".")[2]) if theirs is None else None
        meaning = "the same" if explained in told else explained
        found.append(f"{place} ({meaning})" if meaning else place)
        told.add(explained)
    return "; ".join(found)


def _named(value: Any) -> Any:
    """Return a value with each list of named items as an object by name."""
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    for key in NAMING:
        if value and all(isinstance(item, dict) and key in item for item in value):
            return {str(item[key]): _named(item) for item in value}
    return [_named(item) for item in value]
