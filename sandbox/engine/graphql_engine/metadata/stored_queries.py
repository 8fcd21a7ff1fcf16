"""Find stored queries and RESTified endpoints that do not work; remove inconsistent objects.

Stored queries must fit the schema of admin: they are part of the consistency of the metadata. Looked at are
the types of variables, the names of fields and the number of operations, not arguments; what was found last
comes first. Facts: recorded answers of a genuine engine of v2.48.10.
"""

import copy
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
    parse,
)

from graphql_engine.actions import base_name
from graphql_engine.catalog import Catalog, spelled
from graphql_engine.errors import QErr
from graphql_engine.graphql.document import parse_document, single_operation
from graphql_engine.graphql.roles import RoleSchema, Schemas
from graphql_engine.graphql.schema import refused_fields
from graphql_engine.metadata.access import Json, named, put_list, query_name

TABLE_PARTS = {
    "object_relationships": ("object_relation {0} in table {1}", "name"),
    "array_relationships": ("array_relation {0} in table {1}", "name"),
    "insert_permissions": ("insert_permission {0} in table {1}", "role"),
    "select_permissions": ("select_permission {0} in table {1}", "role"),
    "update_permissions": ("update_permission {0} in table {1}", "role"),
    "delete_permissions": ("delete_permission {0} in table {1}", "role"),
    "event_triggers": ("event_trigger {0} in table {1}", "name"),
}


def drop_inconsistent(metadata: Json, inconsistent: list[Json]) -> None:
    """Remove every named object from the metadata, in place."""
    broken = {each["name"] for each in inconsistent}
    for source in metadata["sources"]:
        suffix = f" in source {source['name']}"
        if f"source {source['name']}" in broken:
            source["tables"] = []
        source["tables"] = [
            t for t in source["tables"] if f"table {spelled(t['table'])}{suffix}" not in broken
        ]
        for table in source["tables"]:
            for part, (pattern, key) in TABLE_PARTS.items():
                name = spelled(table["table"])
                kept = [i for i in table.get(part, []) if pattern.format(i[key], name) + suffix not in broken]
                put_list(table, part, kept)
    for part, word in (
        ("actions", "action"),
        ("cron_triggers", "cron_trigger"),
        ("rest_endpoints", "rest_endpoint"),
    ):
        kept = [item for item in metadata.get(part, []) if f"{word} {item['name']}" not in broken]
        put_list(metadata, part, kept)
    for collection in metadata.get("query_collections", []):
        queries = collection["definition"]["queries"]
        collection["definition"]["queries"] = [
            query for query in queries if query_name(query["name"], collection["name"]) not in broken
        ]


META_FIELDS = {"__typename", "__schema", "__type"}
BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}


def endpoint_problems(metadata: Json) -> Iterator[Json]:
    endpoints = metadata.get("rest_endpoints", [])
    sound = []
    for endpoint in endpoints:
        reason = _url_problem(endpoint["url"])
        if reason is None and (problem := _query_problem(metadata, endpoint)):
            reason = f"Inconsistent object: in endpoint {endpoint['name']}: {problem}"
        if reason is None:
            sound.append(endpoint)
        else:
            definition = {"comment": None, **endpoint}
            name = f"rest_endpoint {endpoint['name']}"
            yield {"definition": definition, "name": name, "reason": reason, "type": "rest_endpoint"}
    yield from _conflicts(metadata, sound)


def _url_problem(url: str) -> str | None:
    segments = url.split("/")
    parameters = [segment for segment in segments if segment.startswith(":")]
    if "" in segments or ":" in parameters:
        return f"Empty segments or unnamed variables are not allowed: {url}"
    if len(set(parameters)) != len(parameters):
        return f"Duplicate variables found in endpoint path: {url}"
    return None


def _query_problem(metadata: Json, endpoint: Json) -> str | None:
    wanted = endpoint["definition"]["query"]
    collection, name = wanted["collection_name"], wanted["query_name"]
    if named(metadata.get("query_collections", []), collection) is None:
        return f"collection with name {collection} does not exist"
    text = query_text(metadata, endpoint)
    if text is None:
        return f"query with name {name} does not exist in collection {collection}"
    operation = one_operation(text)
    if operation is None:
        return f"query with name {name} has multiple definitions."
    if operation.operation is OperationType.SUBSCRIPTION:
        return f"query with name {name} is a subscription"
    return None


def one_operation(text: str) -> OperationDefinitionNode | None:
    """Return the operation of a stored query; None if it is not one, or written as a shorthand `{…}`."""
    try:
        definitions = parse(text, no_location=True).definitions
    except GraphQLSyntaxError:
        return None
    only = definitions[0]
    if len(definitions) != 1 or not isinstance(only, OperationDefinitionNode):
        return None
    return None if text.lstrip().startswith("{") else only


def query_text(metadata: Json, endpoint: Json) -> str | None:
    wanted = endpoint["definition"]["query"]
    collection = named(metadata.get("query_collections", []), wanted["collection_name"])
    query = named(collection["definition"]["queries"], wanted["query_name"]) if collection else None
    return None if query is None else str(query["query"])


def _conflicts(metadata: Json, endpoints: list[Json]) -> Iterator[Json]:
    clashing: dict[str, Json] = {}
    for one, other in combinations(endpoints, 2):
        if set(one["methods"]) & set(other["methods"]) and _overlap(one["url"], other["url"]):
            clashing |= {one["name"]: one, other["name"]: other}
    if clashing:
        ordered = sorted(clashing.values(), key=lambda endpoint: (endpoint["url"], endpoint["name"]))
        reason = f"Ambiguous URL paths: {', '.join(endpoint['url'] for endpoint in ordered)}"
        conflicts = [
            {"comment": None, **endpoint, "definition": {"query": query_text(metadata, endpoint)}}
            for endpoint in ordered
        ]
        yield {"name": f"endpoints {reason}", "reason": reason, "conflicts": conflicts}


def _overlap(one: str, other: str) -> bool:
    left, right = one.split("/"), other.split("/")
    pairs: list[Any] = list(zip(left, right, strict=False))
    return len(left) == len(right) and all(a == b or ":" in (a[:1], b[:1]) for a, b in pairs)


def stored_query_problems(metadata: Json, catalog: Catalog, broken: list[Json]) -> Iterator[Json]:
    """Return the stored queries that do not fit a schema without the objects in `broken`."""
    collections = metadata.get("query_collections", [])
    if not any(collection["definition"]["queries"] for collection in collections):
        return
    schema = _schema(metadata, catalog, broken)
    for collection in collections:
        for query in collection["definition"]["queries"]:
            problems = _problems(query["query"], schema)
            if problems:
                yield _inconsistent(metadata, collection["name"], query, problems)


def _schema(metadata: Json, catalog: Catalog, broken: list[Json]) -> RoleSchema:
    working = metadata
    if broken:
        working = copy.deepcopy(metadata)
        drop_inconsistent(working, broken)
        if any(each["type"] == "custom_types" for each in broken):
            working.pop("custom_types", None)
            working.pop("actions", None)
    return Schemas(working, catalog).of("admin", True)


def _inconsistent(metadata: Json, collection: str, query: Json, problems: list[str]) -> Json:
    listed = ", ".join(f'"{problem}"' for problem in problems)
    reason = (
        f'Inconsistent object: In query collection "{collection}" the query "{query["name"]}"'
        f" is invalid with the following error(s): {listed}"
    )
    wanted = {"collection_name": collection, "query_name": query["name"]}
    users = [e["name"] for e in metadata.get("rest_endpoints", []) if e["definition"]["query"] == wanted]
    if users:
        names = ", ".join(f'"{name}"' for name in users)
        reason += f". This query is being used in the following REST endpoint(s): {names}"
    return {
        "definition": query,
        "name": query_name(query["name"], collection),
        "reason": reason,
        "type": "query_collections",
    }


def _problems(text: str, schema: RoleSchema) -> list[str]:
    try:
        operation, fragments = single_operation(parse_document(text), None)
    except QErr as error:
        return [error.message]
    if operation.operation is OperationType.SUBSCRIPTION:
        return []  # the schema has none
    types = schema.schema.type_map
    root = types.get(f"{operation.operation.value}_root")
    found: list[str] = []
    if isinstance(root, GraphQLObjectType):
        found.extend(_fields(operation.selection_set, root, fragments, "$"))
    else:
        found.append(f"$: type '{operation.operation.value}_root' not found in the schema")
    return [*reversed(list(_variables(operation, schema))), *reversed(found)]


def _variables(operation: OperationDefinitionNode, schema: RoleSchema) -> Iterator[str]:
    for definition in operation.variable_definitions or ():
        name = base_name(definition.type)
        if not (name in schema.schema.type_map or name in schema.refused_types or name in BUILT_IN):
            yield f"$.{definition.variable.name.value}: type '{name}' not found in the schema"


def _fields(
    selections: SelectionSetNode,
    parent: GraphQLObjectType,
    fragments: dict[str, FragmentDefinitionNode],
    path: str,
) -> Iterator[str]:
    for item in selections.selections:
        if isinstance(item, FragmentSpreadNode):
            yield from _fields(fragments[item.name.value].selection_set, parent, fragments, path)
        elif isinstance(item, InlineFragmentNode):
            yield from _fields(item.selection_set, parent, fragments, path)
        elif isinstance(item, FieldNode) and item.name.value not in META_FIELDS:
            name = item.name.value
            here = f"{path}.{name}"
            if name in refused_fields(parent):
                continue
            if name not in parent.fields:
                yield f"{here}: field '{name}' not found in object '{parent.name}'"
                continue
            inner = get_named_type(parent.fields[name].type)
            if item.selection_set is not None and isinstance(inner, GraphQLObjectType):
                yield from _fields(item.selection_set, inner, fragments, here)
