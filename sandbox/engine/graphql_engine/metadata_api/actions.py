"""Actions, their permissions, and the custom types.

Facts: the engine's `RQL/DDL/Action` and `RQL/DDL/CustomTypes`.
"""

from graphql_engine.changes import Context
from graphql_engine.errors import QErr, not_exists
from graphql_engine.metadata.access import (
    Json,
    named,
    put_list,
    required,
    without,
)
from graphql_engine.metadata_api.registry import command


@command("create_action_permission")
async def create_action_permission(context: Context, args: Json) -> None:
    """Permit an action to a role. The engine accepts one that does not exist, and stores nothing."""
    name, role = required(args, "action"), required(args, "role")
    entry = named(context.metadata.get("actions", []), name)
    if entry is None:
        return
    if named(entry.get("permissions", []), role, "role"):
        raise QErr("already-exists", f'permission for role "{role}" is already defined on "{name}"')
    permission: Json = {"role": role}
    if args.get("comment") is not None:
        permission["comment"] = args["comment"]
    entry.setdefault("permissions", []).append(permission)


@command("drop_action_permission", removes=True)
async def drop_action_permission(context: Context, args: Json) -> None:
    name, role = required(args, "action"), required(args, "role")
    entry = _find(context, name)
    if named(entry.get("permissions", []), role, "role") is None:
        raise not_exists(f'permission for role "{role}" is not defined on "{name}"')
    put_list(entry, "permissions", without(entry["permissions"], role, "role"))


def _find(context: Context, name: str) -> Json:
    entry = named(context.metadata.get("actions", []), name)
    if entry is None:
        raise not_exists(f'action with name "{name}" does not exist')
    return entry
