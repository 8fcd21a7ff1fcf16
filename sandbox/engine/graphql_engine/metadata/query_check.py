"""Find stored queries that do not fit the schema of admin: they are part of the consistency of the metadata.

Facts: recorded answers of a genuine engine of v2.48.10. It looks at the types of variables, at the names of
fields and at the number of operations, not at arguments, and lists what it found last first.
"""

import copy
from collections.abc import Iterator

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    InlineFragmentNode,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    SelectionSetNode,
    TypeNode,
    get_named_type,
)

from graphql_engine.catalog import Catalog
from graphql_engine.errors import QErr
from graphql_engine.graphql.document.operation import parse_document, single_operation
from graphql_engine.graphql.schema.refused import refused_fields
from graphql_engine.graphql.schema.schemas import RoleSchema, Schemas
from graphql_engine.metadata.access import Json
from graphql_engine.metadata.drop_inconsistent import drop_inconsistent
from graphql_engine.metadata.names import query_name

META_FIELDS = {"__typename", "__schema", "__type"}
BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}


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
        name = _base(definition.type)
        if not (name in schema.schema.type_map or name in schema.refused_types or name in BUILT_IN):
            yield f"$.{definition.variable.name.value}: type '{name}' not found in the schema"


def _base(node: TypeNode) -> str:
    while isinstance(node, NonNullTypeNode | ListTypeNode):
        node = node.type
    assert isinstance(node, NamedTypeNode)
    return node.name.value


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
