"""The permission that the handlers need for Diva's action `sendNotifications`."""

from collections.abc import Mapping
from typing import Any

from ops.metadata.pieces import Key

ACTION, ROLE = "sendNotifications", "pancake_service"
OF_DIVA: Key = ("action", ACTION)
PERMISSION: Key = ("action permission", f"{ACTION} for {ROLE}")
"""In the record of what is applied: we gave the permission, so we take it back."""


def is_allowed(pieces: Mapping[Key, Any]) -> bool:
    """Whether the handlers may call the action."""
    permissions = pieces.get(OF_DIVA, {}).get("permissions") or []
    return any(each["role"] == ROLE for each in permissions)
