"""Find RESTified endpoints that do not work: subscriptions, unknown fields, ambiguous URLs.

Facts: the engine's tests under `endpoints` (names, reasons, the shown definition).
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from graphql import FieldNode, GraphQLSyntaxError, OperationDefinitionNode, OperationType, parse

from graphql_engine.catalog import Catalog
from graphql_engine.graphql.schema.schemas import Schemas
from graphql_engine.metadata.access import Json, named


def endpoint_problems(metadata: Json, catalog: Catalog) -> Iterator[Json]:
    """Return the inconsistent objects of endpoints."""
    endpoints = metadata.get("rest_endpoints", [])
    if not endpoints:
        return
    fields = _root_fields(metadata, catalog)
    for endpoint in endpoints:
        text = query_text(metadata, endpoint)
        if text is not None:
            yield from _query_problems(endpoint, text, fields)
    yield from _conflicts(metadata, endpoints)


def query_text(metadata: Json, endpoint: Json) -> str | None:
    """Return the stored query of an endpoint, or None if it does not exist."""
    wanted = endpoint["definition"]["query"]
    collection = named(metadata.get("query_collections", []), wanted["collection_name"])
    query = named(collection["definition"]["queries"], wanted["query_name"]) if collection else None
    return None if query is None else str(query["query"])


def _root_fields(metadata: Json, catalog: Catalog) -> dict[OperationType, set[str]]:
    schema = Schemas(metadata, catalog).of("admin", True).schema
    roots = {OperationType.QUERY: schema.query_type, OperationType.MUTATION: schema.mutation_type}
    return {kind: set(root.fields) if root else set() for kind, root in roots.items()}


def _query_problems(endpoint: Json, text: str, fields: dict[OperationType, set[str]]) -> Iterator[Json]:
    name = endpoint["name"]
    try:
        definitions = parse(text).definitions
    except GraphQLSyntaxError as error:
        yield _problem("endpoint", f"endpoint {name}", endpoint, f"in endpoint {name}: {error.message}")
        return
    for operation in definitions:
        if not isinstance(operation, OperationDefinitionNode):
            continue
        if operation.operation is OperationType.SUBSCRIPTION:
            query = endpoint["definition"]["query"]["query_name"]
            reason = f"in endpoint {name}: query with name {query} is a subscription"
            yield _problem("endpoint", f"endpoint {name}", endpoint, reason)
            continue
        root = f"{operation.operation.value}_root"
        for selection in operation.selection_set.selections:
            if isinstance(selection, FieldNode):
                field = selection.name.value
                if field not in fields[operation.operation] and not field.startswith("__"):
                    reason = f'{name} ("Couldn\'t find field {field} in root field {root}")'
                    yield _problem("rest_endpoint", f"rest_endpoint {name}", endpoint, reason)


def _problem(kind: str, name: str, endpoint: Json, reason: str) -> Json:
    definition = {"comment": None, **endpoint}
    return {"definition": definition, "name": name, "reason": f"Inconsistent object: {reason}", "type": kind}


def _conflicts(metadata: Json, endpoints: list[Json]) -> Iterator[Json]:
    clashing: dict[str, Json] = {}
    for one, other in combinations(endpoints, 2):
        if set(one["methods"]) & set(other["methods"]) and _overlap(one["url"], other["url"]):
            clashing |= {one["name"]: one, other["name"]: other}
    if clashing:
        ordered = sorted(clashing.values(), key=lambda endpoint: endpoint["url"])
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
