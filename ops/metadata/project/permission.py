"""The permission of our role for Diva's action `sendNotifications`, inside their `actions.yaml`."""

import yaml

from ops.metadata.project.edit_error import EXPORT_FIRST, ProjectRefused
from ops.metadata.project.yaml_lists import (
    content_end,
    find,
    find_list,
    insert_item,
    line_start,
    newline,
    remove_item,
)

ACTION = "sendNotifications"
ROLE = "pancake_service"
PATH = ("actions", ("name", ACTION))
PERMISSIONS = (*PATH, "permissions")


def has_permission(text: str, where: str) -> bool:
    return (
        find(text, PERMISSIONS, where) is not None
        and find_list(text, PERMISSIONS, where).find("role", ROLE) is not None
    )


def add_permission(text: str, where: str) -> str:
    """Add the role to the permissions of the action. Raises ProjectRefused without the action."""
    action = find(text, PATH, where)
    if action is None:
        raise ProjectRefused(
            f"{where} has no action {ACTION}, with which the integration notifies. Nothing was changed."
        )
    if has_permission(text, where):
        return text
    if find(text, PERMISSIONS, where) is not None:
        return insert_item(text, PERMISSIONS, f"- role: {ROLE}\n", "role", where)
    definition = find(text, (*PATH, "definition"), where)
    if not isinstance(action.node, yaml.MappingNode) or action.node.flow_style or definition is None:
        raise ProjectRefused(f"{where}: {ACTION} has no line for each key. {EXPORT_FIRST}")
    start = line_start(text, definition.after)
    position = content_end(text, start, definition.limit, definition.indent)
    ending, indent = newline(text), " " * definition.indent
    added = f"{indent}permissions:{ending}{indent}  - role: {ROLE}{ending}"
    if text[position - 1] != "\n":
        return f"{text[:position]}{ending}{added.removesuffix(ending)}{text[position:]}"
    return text[:position] + added + text[position:]


def remove_permission(text: str, where: str) -> str:
    """Remove the role from the permissions of the action, and the key with its last role."""
    permissions = find(text, PERMISSIONS, where)
    if permissions is None:
        return text
    found = find_list(text, PERMISSIONS, where)
    item = found.find("role", ROLE)
    if item is None or len(found.items) > 1:
        return remove_item(text, PERMISSIONS, "role", ROLE, where)
    head, tail = text[: line_start(text, permissions.after)], text[item.end :]
    if not tail and not text.endswith("\n"):
        head = head.removesuffix("\n").removesuffix("\r")
    return head + tail
