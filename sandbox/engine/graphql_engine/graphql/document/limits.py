"""Limits of a query: fixed ones, and those of the metadata's `api_limits`.

Facts: metadata keys `api_limits.depth_limit`, `node_limit` (each with `global` and `per_role`).
"""

from typing import Any

MAX_TOKENS = 100_000
MAX_DEPTH = 60
MAX_NODES = 20_000
MAX_REQUESTS_PER_BATCH = 200


def limit_of(metadata: dict[str, Any], kind: str, role: str, default: int) -> int:
    """Return the limit of a role: the metadata's if it sets one, else the default. Admin has the default."""
    limits = metadata.get("api_limits") or {}
    setting = limits.get(kind)
    if setting is None or limits.get("disabled") or role == "admin":
        return default
    per_role = setting.get("per_role") or {}
    chosen = per_role.get(role, setting.get("global", default))
    return min(int(chosen), default)
