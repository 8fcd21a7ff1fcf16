"""Metadata as named pieces, each with one owner, that can be applied, removed and compared alone.

Settings, the database connection of a source and other sources are pieces too, so that the pieces together
are the whole metadata and a comparison covers all of it.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str]
"""Kind and name of a piece."""

LISTS = {
    "actions": ("action", "name"),
    "cron_triggers": ("cron trigger", "name"),
    "query_collections": ("query collection", "name"),
    "rest_endpoints": ("REST endpoint", "name"),
    "allowlist": ("allow-list entry", "collection"),
    "inherited_roles": ("inherited role", "role_name"),
    "remote_schemas": ("remote schema", "name"),
}
"""Lists at the top level: kind and naming key of their items."""

TYPES = {
    "enums": "enum type",
    "input_objects": "input type",
    "objects": "object type",
    "scalars": "scalar type",
}
SOURCE_LISTS = {"tables": ("table", "table"), "functions": ("function", "function")}
CRON = "cron trigger"


def split(metadata: Json, source: str) -> dict[Key, Any]:
    """Return every piece of the metadata. Raises KeyError if it has no such source."""
    pieces: dict[Key, Any] = {}
    for name, (kind, naming) in LISTS.items():
        pieces.update({(kind, item[naming]): item for item in metadata.get(name, [])})
    for name, kind in TYPES.items():
        pieces.update({(kind, item["name"]): item for item in _types(metadata).get(name, [])})
    for each in metadata.get("sources", []):
        if each["name"] != source:
            pieces["source", each["name"]] = each
    shared = _source(metadata, source)
    for name, (kind, naming) in SOURCE_LISTS.items():
        pieces.update({(kind, qualified(item[naming])): item for item in shared.get(name, [])})
    pieces["source settings", source] = {k: v for k, v in shared.items() if k not in SOURCE_LISTS}
    taken = {*LISTS, "custom_types", "sources", "version"}
    pieces.update({("setting", name): value for name, value in metadata.items() if name not in taken})
    return pieces


def put(metadata: Json, source: str, wanted: Mapping[Key, Any], unwanted: set[Key]) -> Json:
    """Return a copy with the wanted pieces added or replaced, and the unwanted ones removed."""
    changed = copy.deepcopy(metadata)
    for owner, name, kind, naming in _lists(changed, source):
        items = [item for item in owner.get(name, []) if (kind, _name(item, naming)) not in unwanted]
        left = {key: piece for key, piece in wanted.items() if key[0] == kind}
        items = [left.pop((kind, _name(item, naming)), item) for item in items]
        items.extend(left.values())
        if items or name in owner:
            owner[name] = items
    if not any(_types(changed).values()):
        changed.pop("custom_types", None)
    return changed


def _lists(metadata: Json, source: str) -> Iterator[tuple[Json, str, str, str]]:
    """Yield owner, key, kind and naming key of each list that holds pieces."""
    for name, (kind, naming) in LISTS.items():
        yield metadata, name, kind, naming
    types = metadata.setdefault("custom_types", {})
    for name, kind in TYPES.items():
        yield types, name, kind, "name"
    for name, (kind, naming) in SOURCE_LISTS.items():
        yield _source(metadata, source), name, kind, naming


def qualified(name: str | Json) -> str:
    """Return `schema.name` of a table or function."""
    return f"public.{name}" if isinstance(name, str) else f"{name.get('schema', 'public')}.{name['name']}"


def _name(item: Json, naming: str) -> str:
    return qualified(item[naming]) if naming in ("table", "function") else str(item[naming])


def _types(metadata: Json) -> Json:
    return metadata.get("custom_types") or {}


def _source(metadata: Json, name: str) -> Json:
    for source in metadata.get("sources", []):
        if source["name"] == name:
            return source  # type: ignore[no-any-return]
    raise KeyError(name)
