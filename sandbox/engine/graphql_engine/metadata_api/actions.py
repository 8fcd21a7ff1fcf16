"""Actions, their permissions, and the custom types.

Facts: the engine's `RQL/DDL/Action` and `RQL/DDL/CustomTypes`.
"""

from typing import Any

from graphql import GraphQLSyntaxError, parse_type

from graphql_engine.changes import Context
from graphql_engine.errors import QErr, not_exists
from graphql_engine.metadata.access import (
    Json,
    check_headers,
    dict_of,
    mismatch,
    named,
    put_list,
    required,
    without,
)
from graphql_engine.metadata_api.registry import command
from graphql_engine.metadata_api.transform_check import check_transforms
from graphql_engine.rest import GRAPHQL_NAME

KINDS = ("enums", "input_objects", "objects", "scalars")


@command("create_action")
async def create_action(context: Context, args: Json) -> None:
    name = required(args, "name")
    if not isinstance(name, str) or not GRAPHQL_NAME.match(name):
        raise QErr("parse-failed", f"{name} is not valid GraphQL name", "$.name")
    actions = context.metadata.setdefault("actions", [])
    if named(actions, name):
        raise QErr("already-exists", f'action with name "{name}" already exists')
    entry: Json = {"name": name, "definition": definition_of(required(args, "definition"))}
    if args.get("comment") is not None:
        entry["comment"] = args["comment"]
    actions.append(entry)
    context.subject = f"action {name}"


@command("update_action")
async def update_action(context: Context, args: Json) -> None:
    """Replace an action's definition; its permissions stay."""
    entry = _find(context, required(args, "name"))
    entry["definition"] = definition_of(required(args, "definition"))
    entry.pop("comment", None)
    if args.get("comment") is not None:
        entry["comment"] = args["comment"]
    context.subject = f"action {args['name']}"


@command("drop_action", removes=True)
async def drop_action(context: Context, args: Json) -> None:
    """Remove an action, and by default the log of its asynchronous calls."""
    name = required(args, "name")
    _find(context, name)
    put_list(context.metadata, "actions", without(context.metadata["actions"], name))
    if args.get("clear_data", True):
        async with context.engine.pool.connection() as connection:
            await connection.execute("DELETE FROM hdb_catalog.hdb_action_log WHERE action_name = %s", [name])


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


@command("set_custom_types")
async def set_custom_types(context: Context, args: Any) -> None:
    given = dict_of(args)
    _check_types(given)
    types = {kind: given[kind] for kind in KINDS if given.get(kind)}
    context.metadata.pop("custom_types", None)
    if types:
        context.metadata["custom_types"] = types
    context.subject = "custom_types custom_types"


def _check_types(given: Json) -> None:
    for kind in KINDS:
        for index, item in enumerate(given.get(kind) or []):
            place = f"$.{kind}[{index}]"
            if not GRAPHQL_NAME.match(str(item["name"])):
                raise QErr("parse-failed", f"{item['name']} is not valid GraphQL name", f"{place}.name")
            inner = {"enums": "values", "scalars": ""}.get(kind, "fields")
            if inner and not item.get(inner):
                message = "parsing NonEmpty failed, unexpected empty list"
                raise QErr("parse-failed", message, f"{place}.{inner}")


def definition_of(given: Json) -> Json:
    """Return a definition as the engine stores it: with defaults, without empty values.

    Raises QErr for missing, malformed or unsupported values.
    """
    definition = dict(dict_of(given))
    kind = definition.setdefault("type", "mutation")
    if kind not in ("mutation", "query"):
        raise QErr("parse-failed", f"expected mutation or query, but found {kind}", "$.definition")
    for key in ("handler", "output_type"):
        if key not in definition:
            raise QErr("parse-failed", f'key "{key}" not found', "$.definition")
        if not isinstance(definition[key], str):
            raise mismatch("String", "String", definition[key], f"$.definition.{key}")
    if kind == "mutation" and definition.get("kind", "synchronous") not in ("synchronous", "asynchronous"):
        raise QErr(
            "parse-failed",
            "parsing Hasura.RQL.Types.Action.ActionMutationKind failed, expected one of the tags"
            f' ["synchronous","asynchronous"], but found tag "{definition["kind"]}"',
            "$.definition.kind",
        )
    timeout = definition.get("timeout")
    if isinstance(timeout, int) and timeout < 0:
        raise QErr("parse-failed", "timeout value cannot be negative", "$.definition.timeout")
    check_transforms(definition)
    check_headers(definition.get("headers"), "$.definition.headers")
    if kind == "query":
        definition.pop("kind", None)
    else:
        definition["kind"] = definition.get("kind") or "synchronous"
    definition["arguments"] = definition.get("arguments") or []
    _check_type(definition["output_type"], "$.definition.output_type")
    for index, argument in enumerate(definition["arguments"]):
        _check_type(argument["type"], f"$.definition.arguments[{index}].type")
    return {key: value for key, value in definition.items() if value is not None}


def _check_type(text: str, path: str) -> None:
    try:
        parse_type(text)
    except GraphQLSyntaxError as error:
        raise QErr("parse-failed", f"not a valid GraphQL type: {text}", path) from error


def _find(context: Context, name: str) -> Json:
    entry = named(context.metadata.get("actions", []), name)
    if entry is None:
        raise not_exists(f'action with name "{name}" does not exist')
    return entry
