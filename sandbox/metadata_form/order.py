"""Order of keys and lists in the CLI's export, and what it leaves out.

Keys are in alphabetical order where KEYS has no other; lists keep their order where SORTED names no key.
"""

from typing import Any

PERMISSIONS = ("insert_permissions", "select_permissions", "update_permissions", "delete_permissions")
RELATIONSHIPS = ("object_relationships", "array_relationships", "computed_fields", "remote_relationships")
TRANSFORMS = ("request_transform", "response_transform")

KEYS: dict[str, tuple[str, ...]] = {
    "databases": ("name", "kind", "configuration", "tables", "functions"),
    "table": ("table", "is_enum", "configuration", *RELATIONSHIPS, *PERMISSIONS, "event_triggers"),
    **dict.fromkeys(PERMISSIONS, ("role", "permission", "comment")),
    "permission": (
        "check", "set", "columns", "computed_fields", "backend_only", "filter", "limit", "allow_aggregations",
        "query_root_fields", "subscription_root_fields",
    ),
    "update permission": ("columns", "filter", "check", "set", "backend_only"),
    "event_triggers": (
        "name", "definition", "retry_conf", "webhook", "webhook_from_env", "headers", *TRANSFORMS,
        "cleanup_config",
    ),
    "cron_triggers": (
        "name", "webhook", "schedule", "include_in_metadata", "payload", "retry_conf", "headers", "comment",
        *TRANSFORMS,
    ),
    "actions": ("name", "definition", "permissions", "comment"),
    "action definition": ("kind", "handler", "forward_client_headers", "headers", "timeout", *TRANSFORMS),
    "query_collections": ("name", "definition"),
}  # fmt: skip
"""Keys in their order, by the kind of object."""

SORTED = {
    **dict.fromkeys((*PERMISSIONS, "permissions"), "role"),
    **dict.fromkeys(
        (*RELATIONSHIPS, "event_triggers", "actions", "cron_triggers", "query_collections"), "name"
    ),
    "rest_endpoints": "url",
    "allow_list": "collection",
    "inherited_roles": "role_name",
}
"""Key by which a list is sorted."""

CRON_RETRY = {
    "num_retries": 0,
    "retry_interval_seconds": 10,
    "timeout_seconds": 60,
    "tolerance_seconds": 21600,
}


def ordered(value: Any, kind: str) -> Any:
    """Return a value with its keys and lists in the CLI's order."""
    if isinstance(value, list):
        items = [ordered(item, kind) for item in value]
        if kind in SORTED and all(isinstance(item, dict) for item in items):
            items.sort(key=lambda item: str(item[SORTED[kind]]))
        return sorted(items) if kind == "tables" else items
    if isinstance(value, dict):
        known = KEYS.get(kind, ())
        names = sorted(value, key=lambda name: (known.index(name) if name in known else len(known), name))
        kept = {name: ordered(value[name], _kind(name, kind)) for name in names}
        return {name: item for name, item in kept.items() if not _is_left_out(kind, name, item)}
    return value


def _kind(name: str, parent: str) -> str:
    if name == "definition" and parent == "actions":
        return "action definition"
    if name == "permission" and parent == "update_permissions":
        return "update permission"
    return name if name in KEYS or name in SORTED else f"{parent} {name}"


def _is_left_out(kind: str, name: str, item: Any) -> bool:
    if kind == "action definition":
        return item is False or item == [] or (name == "timeout" and item == 30)
    if kind == "cron_triggers":
        return (name == "retry_conf" and item == CRON_RETRY) or (name == "headers" and item == [])
    if kind == "query_collections":
        return name == "comment"
    return kind in ("table", "permission", "update permission", "event_triggers") and (
        item is False or item == []
    )
