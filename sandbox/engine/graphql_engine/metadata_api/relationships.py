"""Relationships between tables.

Facts: the engine's `RQL/DDL/Relationship` and its tests under `v1/relationships`.
"""

from graphql_engine.changes import Context
from graphql_engine.errors import QErr, not_exists
from graphql_engine.metadata.access import (
    DEFAULT_SOURCE,
    Json,
    dict_of,
    find_table,
    named,
    put_list,
    required,
    spelled,
    without,
)
from graphql_engine.metadata_api.registry import command
from graphql_engine.rest import GRAPHQL_NAME

WAYS = ("foreign_key_constraint_on", "manual_configuration")
KINDS = ("object_relationships", "array_relationships")


@command("create_object_relationship", postgres=True)
async def create_object_relationship(context: Context, args: Json) -> None:
    _create(context, args, "object_relationships")


@command("create_array_relationship", postgres=True)
async def create_array_relationship(context: Context, args: Json) -> None:
    _create(context, args, "array_relationships")


def _create(context: Context, args: Json, kind: str) -> None:
    table_name, source = required(args, "table"), args.get("source")
    table = find_table(context.metadata, table_name, source)
    name = required(args, "name")
    using = dict_of(required(args, "using"))
    if not name:
        raise QErr("parse-failed", "empty string not allowed", "$.name")
    if sum(each in using for each in WAYS) != 1:
        start = "only" if all(each in using for each in WAYS) else "atleast"
        raise QErr("parse-failed", f"{start} one of {'/'.join(WAYS)} should be present", "$.using")
    if not GRAPHQL_NAME.match(name):
        raise QErr(
            "validation-failed",
            f'cannot include "{name}" in the GraphQL schema because  it is not a valid GraphQL identifier',
        )
    if any(named(table.get(each, []), name) for each in KINDS) or context.engine.has_column(
        table["table"], name
    ):
        raise QErr(
            "already-exists", f'field with name "{name}" already exists in table "{spelled(table_name)}"'
        )
    entry: Json = {"name": name, "using": using}
    if args.get("comment") is not None:
        entry["comment"] = args["comment"]
    table.setdefault(kind, []).append(entry)
    word = "object_relation" if kind == KINDS[0] else "array_relation"
    context.subject = f"{word} {name} in table {spelled(table_name)} in source {source or DEFAULT_SOURCE}"


@command("drop_relationship", removes=True, postgres=True)
async def drop_relationship(context: Context, args: Json) -> None:
    table, kind = _find(context, args, required(args, "relationship"))
    put_list(table, kind, without(table[kind], args["relationship"]))


@command("rename_relationship", postgres=True)
async def rename_relationship(context: Context, args: Json) -> None:
    table, kind = _find(context, args, required(args, "name"))
    new_name = required(args, "new_name")
    if any(named(table.get(each, []), new_name) for each in KINDS):
        raise QErr(
            "already-exists",
            f'cannot rename relationship "{args["name"]}" to "{new_name}" in table'
            f' "{spelled(args["table"])}" as a column/relationship with the name already exists',
        )
    next(item for item in table[kind] if item["name"] == args["name"])["name"] = new_name


@command("set_relationship_comment", postgres=True)
async def set_relationship_comment(context: Context, args: Json) -> None:
    table, kind = _find(context, args, required(args, "name"))
    item = next(item for item in table[kind] if item["name"] == args["name"])
    item.pop("comment", None)
    if args.get("comment") is not None:
        item["comment"] = args["comment"]


def _find(context: Context, args: Json, name: str) -> tuple[Json, str]:
    table = find_table(context.metadata, required(args, "table"), args.get("source"))
    for kind in KINDS:
        if named(table.get(kind, []), name):
            return table, kind
    raise not_exists(f'relationship "{name}" does not exist')
