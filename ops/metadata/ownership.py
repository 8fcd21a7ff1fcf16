"""Decide who owns a piece. No command changes the engine while a foreign piece has one of our names."""

import json
from collections.abc import Mapping
from typing import Any

from ops.metadata.normal import same
from ops.metadata.pieces import CRON, TYPES, Key

OUR_ADDRESS = "{{HANDLERS_URL}}"
OUR_TABLES = ("pancake", "integration_change")
"""One of these is in the name of each of the integration's tables and views."""


def foreign(wanted: Mapping[Key, Any], held: Mapping[Key, Any], recorded: Mapping[Key, Any]) -> list[str]:
    """List the pieces of other applications that have our names or addresses, each with the reason.

    A piece that we applied, or that equals the one we would apply, belongs to the integration.
    """
    reasons = [
        f"{key[0]} {key[1]} exists and belongs to another application"
        for key, piece in wanted.items()
        if key in held
        and key not in recorded
        and not same(piece, held[key])
        and not _looks_ours(key, piece, held[key], held)
    ]
    urls = {piece["url"]: key for key, piece in wanted.items() if key[0] == "REST endpoint"}
    triggers = {name: key for key, piece in wanted.items() for name in _triggers(piece)}
    for key, piece in held.items():
        if key[0] == "REST endpoint" and urls.get(piece["url"], key) != key:
            reasons.append(f"the path {piece['url']} belongs to the REST endpoint {key[1]}")
        for name in _triggers(piece) if key[0] == "table" else []:
            if triggers.get(name, key) != key:
                reasons.append(f"the event trigger {name} exists on table {key[1]}")
    return reasons


def drift(
    wanted: Mapping[Key, Any], held: Mapping[Key, Any], recorded: Mapping[Key, Any] | None
) -> list[Key]:
    """List our pieces that were changed on the engine since we applied them.

    Without a record, a piece that differs from the one we want counts as changed. One that is missing does
    not: putting it back overwrites nothing.
    """
    before = wanted if recorded is None else recorded
    return [
        key
        for key in before
        if key in held
        and not same(before[key], held[key])
        and not (key in wanted and same(wanted[key], held[key]))
    ]


def _looks_ours(key: Key, piece: Any, other: Any, held: Mapping[Key, Any]) -> bool:
    kind, name = key
    if kind == "table":
        return any(word in name for word in OUR_TABLES)
    if kind == "action":
        return str(other["definition"].get("handler", "")).startswith(OUR_ADDRESS)
    if kind == CRON:
        return str(other.get("webhook", "")).startswith(OUR_ADDRESS)
    if kind == "query collection":
        return bool(_queries(piece) & _queries(other))
    if kind == "REST endpoint":
        return bool(piece["url"] == other["url"])
    if kind in TYPES.values():
        return any(
            k == "action" and OUR_ADDRESS in json.dumps(p) and name in json.dumps(p)
            for (k, _), p in held.items()
        )
    return False


def _queries(collection: Any) -> set[str]:
    return {query["name"] for query in collection["definition"]["queries"]}


def _triggers(piece: Any) -> list[str]:
    return [each["name"] for each in piece.get("event_triggers", [])] if isinstance(piece, dict) else []
