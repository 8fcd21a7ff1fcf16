"""Merge metadata of different owners; a contradiction is an error."""

from typing import Any

from graphql_engine.settings import StartError

IDENTITIES = ("name", "role_name", "role", "table", "function", "collection", "value")


def merge(left: Any, right: Any, where: str, path: str = "$") -> Any:
    """Merge two pieces: objects key by key, lists by the identity of their items.

    Raises StartError naming the place of two different values.
    """
    if isinstance(left, dict) and isinstance(right, dict):
        merged = dict(left)
        for key, value in right.items():
            merged[key] = merge(left[key], value, where, f"{path}.{key}") if key in left else value
        return merged
    if isinstance(left, list) and isinstance(right, list):
        return _merge_lists(left, right, where, path)
    if left != right:
        raise StartError(f"{where}: {path} is {right!r} here and {left!r} in another metadata directory")
    return left


def _merge_lists(left: list[Any], right: list[Any], where: str, path: str) -> list[Any]:
    merged = list(left)
    places = {_identity(item): index for index, item in enumerate(merged)}
    for item in right:
        identity = _identity(item)
        if identity in places:
            index = places[identity]
            merged[index] = merge(merged[index], item, where, f"{path}[{identity}]")
        else:
            merged.append(item)
    return merged


def _identity(item: Any) -> str:
    if isinstance(item, dict):
        for key in IDENTITIES:
            if key in item:
                return f"{key}={_plain(item[key])}"
    return repr(item)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value.get('schema', 'public')}.{value.get('name')}"
    return str(value)
