"""Find RESTified endpoints that do not work: bad URLs, missing queries, subscriptions, ambiguous URLs.

Facts: recorded answers of a genuine engine of v2.48.10 (names, reasons, the shown definition).
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from graphql import GraphQLSyntaxError, OperationDefinitionNode, OperationType, parse

from graphql_engine.metadata.access import Json, named


def endpoint_problems(metadata: Json) -> Iterator[Json]:
    """Return the inconsistent objects of endpoints."""
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
    """Return the stored query of an endpoint, or None if it does not exist."""
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
