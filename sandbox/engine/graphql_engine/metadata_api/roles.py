"""Inherited roles, and roles that may not introspect the schema.

Facts: the documentation of the metadata API.
"""

from graphql_engine.changes import Context
from graphql_engine.errors import QErr
from graphql_engine.metadata.access import Json, named, put_list, required, without
from graphql_engine.metadata.names import inherited_role_name
from graphql_engine.metadata_api.registry import command


@command("add_inherited_role")
async def add_inherited_role(context: Context, args: Json) -> None:
    """Define an inherited role, or replace the one of that name."""
    name, parents = required(args, "role_name"), required(args, "role_set")
    if name == "admin":
        raise QErr("not-supported", "the role admin cannot be an inherited role")
    if name in parents:
        raise QErr("invalid-params", "an inherited role name cannot be in the role combination")
    known = without(context.metadata.get("inherited_roles", []), name, "role_name")
    put_list(context.metadata, "inherited_roles", [*known, {"role_name": name, "role_set": list(parents)}])
    context.subject = inherited_role_name(name)


@command("drop_inherited_role")
async def drop_inherited_role(context: Context, args: Json) -> None:
    name = required(args, "role_name")
    known = context.metadata.get("inherited_roles", [])
    if not named(known, name, "role_name"):
        raise QErr("not-exists", f'"{name}" inherited role doesn\'t exist')
    put_list(context.metadata, "inherited_roles", without(known, name, "role_name"))


@command("set_graphql_schema_introspection_options")
async def set_introspection_options(context: Context, args: Json) -> None:
    """Set the roles that may not introspect."""
    roles = required(args, "disabled_for_roles")
    context.metadata["graphql_schema_introspection"] = {"disabled_for_roles": list(roles)}
