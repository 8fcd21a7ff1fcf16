"""Normalize pieces of metadata, so that an export can be compared with a directory.

An engine omits most defaults, writes some of them (`ignored_client_headers`), and reorders lists.
Facts: exports in the documentation and in the tests of engines v2.36 to v2.48.
"""

import json
from typing import Any

DEFAULTS: dict[str, Any] = {
    "kind": "synchronous",
    "type": "mutation",
    "timeout": 30,
    "forward_client_headers": False,
    "allow_aggregations": False,
    "backend_only": False,
    "enable_manual": False,
    "trigger_on_replication": False,
    "is_enum": False,
    "num_retries": 0,
    "interval_sec": 10,
    "timeout_sec": 60,
    "retry_interval_seconds": 10,
    "timeout_seconds": 60,
    "tolerance_seconds": 21600,
}
OPAQUE = {"filter", "check", "set", "payload"}
"""Keys of rules and data. Their values are compared unchanged: an empty list is not a default there."""

UNORDERED = {"columns", "methods", "headers", "permissions", "event_triggers", "fields", "arguments"}
UNORDERED |= {f"{operation}_permissions" for operation in ("select", "insert", "update", "delete")}
UNORDERED |= {"object_relationships", "array_relationships", "computed_fields", "queries", "values"}
EMPTY: tuple[Any, ...] = (None, "", [], {})


def normal(value: Any, key: str = "") -> Any:
    """Return the value without defaults and with its unordered lists sorted."""
    if key in OPAQUE and not (key == "payload" and isinstance(value, list)):
        return value
    if isinstance(value, dict):
        kept = {name: normal(item, name) for name, item in value.items() if name != "ignored_client_headers"}
        return {
            name: item
            for name, item in kept.items()
            if item not in EMPTY and not (name in DEFAULTS and item == DEFAULTS[name])
        }
    if isinstance(value, list):
        items = [normal(item) for item in value]
        return sorted(items, key=_text) if key in UNORDERED or key == "payload" else items
    return value


def same(left: Any, right: Any) -> bool:
    """Whether two pieces mean the same."""
    return _text(normal(left)) == _text(normal(right))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
