"""The functions of templates; each takes one argument."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote


def _concat(items: Any) -> Any:
    if items and isinstance(items[0], dict):
        merged: dict[str, Any] = {}
        for item in items:
            merged |= item
        return merged
    if items and isinstance(items[0], list):
        return [each for item in items for each in item]
    return "".join(items)


def _inverse(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value[::-1] if isinstance(value, str | list) else 1 / value


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "concat": _concat,
    "empty": lambda value: value in (None, 0, "") or (isinstance(value, list | dict) and not value),
    "escapeUri": lambda value: quote(str(value), safe=""),
    "fromPairs": dict,
    "head": lambda value: value[0],
    "inverse": _inverse,
    "length": len,
    "not": lambda value: not value,
    "removeNulls": lambda value: [item for item in value if item is not None],
    "size": lambda value: len(value) if isinstance(value, str | list | dict) else value,
    "tail": lambda value: value[1:],
    "toCaseFold": lambda value: value.casefold(),
    "toLower": lambda value: value.lower(),
    "toPairs": lambda value: [list(pair) for pair in value.items()],
    "toTitle": lambda value: value.title(),
    "toUpper": lambda value: value.upper(),
}
