"""Query collections, the allow list, RESTified endpoints, and permissions of actions.

Facts: the engine's `RQL/DDL/QueryCollection`, `RQL/DDL/Endpoint` and `RQL/DDL/Action`.
"""

from graphql import GraphQLSyntaxError, parse

from graphql_engine.changes import Context
from graphql_engine.errors import QErr, not_exists
from graphql_engine.metadata.access import Json, named, put_list, required, without
from graphql_engine.metadata_api.dispatch import command
from graphql_engine.rawjson import kind_of

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


@command("create_query_collection", removes=True)
async def create_query_collection(context: Context, args: Json) -> None:
    name = required(args, "name")
    collections = context.metadata.setdefault("query_collections", [])
    if named(collections, name):
        raise QErr("already-exists", f'query collection with name "{name}" already exists', "$.name")
    queries = required(required(args, "definition"), "queries")
    for index, query in enumerate(queries):
        _check_query(query["query"], f"$.definition.queries[{index}].query")
    names = [query["name"] for query in queries]
    if duplicates := sorted({each for each in names if names.count(each) > 1}):
        raise QErr("not-supported", f"found duplicate query names {', '.join(map(quoted, duplicates))}")
    entry: Json = {"name": name, "definition": {"queries": queries}}
    if args.get("comment") is not None:
        entry["comment"] = args["comment"]
    collections.append(entry)


@command("add_collection_to_allowlist")
async def add_collection_to_allowlist(context: Context, args: Json) -> Json | None:
    """Add a collection to the allow list; once more is no error."""
    name = required(args, "collection")
    _collection(context, name, "$.collection")
    allowed = context.metadata.setdefault("allowlist", [])
    if named(allowed, name, "collection"):
        return {
            "message": f'collection "{name}" already exists in the allowlist, scope ignored;'
            " to change scope, use update_scope_of_collection_in_allowlist"
        }
    allowed.append({"collection": name, "scope": args.get("scope", {"global": True})})
    return None


@command("drop_collection_from_allowlist", removes=True)
async def drop_collection_from_allowlist(context: Context, args: Json) -> None:
    name = required(args, "collection")
    allowed = context.metadata.get("allowlist", [])
    if named(allowed, name, "collection") is None:
        raise QErr("not-found", f'collection "{name}" doesn\'t exist in the allowlist')
    put_list(context.metadata, "allowlist", without(allowed, name, "collection"))


@command("create_rest_endpoint")
async def create_rest_endpoint(context: Context, args: Json) -> None:
    """Serve a stored query under /api/rest."""
    name, url = required(args, "name"), required(args, "url")
    methods = required(args, "methods")
    endpoints = context.metadata.setdefault("rest_endpoints", [])
    if named(endpoints, name):
        raise QErr("already-exists", f"Endpoint with name: {name} already exists")
    _check_methods(methods)
    if not url:
        raise QErr("parse-failed", "empty string not allowed", "$.url")
    if not isinstance(definition := required(args, "definition"), dict):
        raise QErr(
            "parse-failed",
            "When parsing the constructor EndpointDef of type Hasura.RQL.Types.Endpoint.EndpointDef"
            f" expected Object but got {kind_of(definition)}.",
            "$.definition",
        )
    query = required(definition, "query")
    for key in ("collection_name", "query_name"):
        required(query, key)
    context.subject = f"rest_endpoint {name}"
    entry = {"name": name, "url": url, "methods": methods, "definition": args["definition"]}
    if args.get("comment") is not None:
        entry["comment"] = args["comment"]
    endpoints.append(entry)


def _check_methods(methods: list[str]) -> None:
    if not methods:
        raise QErr("parse-failed", "parsing NonEmpty failed, unexpected empty list", "$.methods")
    for index, method in enumerate(methods):
        if method not in METHODS:
            tags = ",".join(quoted(each) for each in METHODS)
            raise QErr(
                "parse-failed",
                "parsing Hasura.RQL.Types.Endpoint.EndpointMethod failed, expected one of the tags"
                f" [{tags}], but found tag {quoted(method)}",
                f"$.methods[{index}]",
            )


def _check_query(text: str, path: str) -> None:
    try:
        parse(text)
    except GraphQLSyntaxError as error:
        raise QErr("parse-failed", "parsing the graphql query failed", path) from error


def _collection(context: Context, name: str, path: str = "$") -> Json:
    entry = named(context.metadata.get("query_collections", []), name)
    if entry is None:
        raise not_exists(f'query collection with name "{name}" does not exist', path)
    return entry


def quoted(name: str) -> str:
    return f'"{name}"'


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
