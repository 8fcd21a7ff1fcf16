"""Format the metadata for export: ordered lists, no defaults, one spelling of table references.

Facts: the engine's `RQL/Types/Metadata/Serialization`.
"""

import copy
from collections.abc import Callable, Iterator

from graphql_engine.actions import IGNORED_CLIENT_HEADERS
from graphql_engine.catalog import key_of
from graphql_engine.metadata.access import DEFAULT_CRON_RETRY, Json, table_object

PERMISSIONS = ("insert_permissions", "select_permissions", "update_permissions", "delete_permissions")
RELATIONSHIPS = ("object_relationships", "array_relationships")
EVENT_RETRY = {"num_retries": 0, "interval_sec": 10, "timeout_sec": 60}
ORDER = {
    "actions": "name",
    "cron_triggers": "name",
    "query_collections": "name",
    "allowlist": "collection",
    "rest_endpoints": "url",
    "inherited_roles": "role_name",
}


def exportable(metadata: Json) -> Json:
    """Return the metadata for export, without cron triggers that have `include_in_metadata: false`."""
    exported = copy.deepcopy(metadata)
    crons = [t for t in exported.get("cron_triggers", []) if t.get("include_in_metadata", True)]
    exported["cron_triggers"] = crons
    for trigger in crons:
        if trigger.get("retry_conf") == DEFAULT_CRON_RETRY:
            trigger.pop("retry_conf")
        _without(trigger, "headers", "retry_conf")
        for key in ("payload", "comment"):
            if trigger.get(key, "") is None:
                trigger.pop(key)
    for action in exported.get("actions", []):
        _action(action)
    for endpoint in exported.get("rest_endpoints", []):
        endpoint.setdefault("comment", None)
    _custom_types(exported)
    _without(exported, "api_limits", "opentelemetry")
    if not (exported.get("graphql_schema_introspection") or {}).get("disabled_for_roles"):
        exported.pop("graphql_schema_introspection", None)
    for source in exported["sources"]:
        _sort(source, "functions", lambda item: key_of(item["function"]))
        source["tables"].sort(key=lambda item: key_of(item["table"]))
        for table in source["tables"]:
            _table(table)
    for key, field in ORDER.items():
        _sort(exported, key, lambda item, field=field: str(item.get(field, "")))  # type: ignore[misc]
    return exported


def _sort(owner: Json, key: str, order: Callable[[Json], str | tuple[str, str]]) -> None:
    if owner.get(key):
        owner[key].sort(key=order)
    else:
        owner.pop(key, None)


def _without(owner: Json, *keys: str) -> None:
    """Remove those of the keys whose value is empty, false or null."""
    for key in keys:
        if (not owner.get(key) and owner.get(key) != 0) or owner.get(key) is False:
            owner.pop(key, None)


def _custom_types(exported: Json) -> None:
    types = exported.get("custom_types", {})
    for described in [item for items in types.values() for item in items or []]:
        for part in [described, *described.get("fields", []), *described.get("values", [])]:
            _without(part, "description")
    _without(types, "enums", "input_objects", "objects", "scalars")
    _without(exported, "custom_types")


def _action(action: Json) -> None:
    definition = action["definition"]
    definition.setdefault("ignored_client_headers", list(IGNORED_CLIENT_HEADERS))
    for argument in definition.get("arguments", []):
        _without(argument, "description")
    _without(definition, "headers", "arguments", "forward_client_headers")
    if definition.setdefault("type", "mutation") == "query":
        definition.pop("kind", None)
    else:
        definition.setdefault("kind", "synchronous")
    if definition.get("timeout") in (None, 30):
        definition.pop("timeout", None)
    _without(action, "permissions")


def _table(table: Json) -> None:
    _without(table, "is_enum", "configuration")
    for key in (*RELATIONSHIPS, "computed_fields", "event_triggers"):
        _sort(table, key, lambda item: str(item["name"]))
    for key in PERMISSIONS:
        _sort(table, key, lambda item: str(item["role"]))
        for item in table.get(key, []):
            _permission(item["permission"], key)
    for using in _usings(table):
        if "manual_configuration" in using:
            using["manual_configuration"].setdefault("insertion_order", None)
        for holder, field in (
            ("manual_configuration", "remote_table"),
            ("foreign_key_constraint_on", "table"),
        ):
            if isinstance(using.get(holder), dict) and field in using[holder]:
                using[holder][field] = table_object(using[holder][field])
    for trigger in table.get("event_triggers", []):
        trigger["definition"].setdefault("enable_manual", False)
        trigger["retry_conf"] = EVENT_RETRY | (trigger.get("retry_conf") or {})
        _without(trigger, "headers")


def _usings(table: Json) -> Iterator[Json]:
    for key in RELATIONSHIPS:
        for item in table.get(key, []):
            yield item["using"]


def _permission(permission: Json, kind: str) -> None:
    _without(permission, "set", "backend_only", "allow_aggregations", "computed_fields")
    if kind == "update_permissions":
        permission.setdefault("check", None)
