"""The allow list: for every role but admin, only operations of the listed collections run.

Facts: the engine's `checkQueryInAllowlist` and `normalizeQuery`: documents are compared as syntax trees
without `__typename`. A collection that is not listed globally counts in the Enterprise Edition only.
"""

from functools import lru_cache
from typing import Any

from graphql import FieldNode, GraphQLSyntaxError, OperationDefinitionNode, parse, print_ast, visit
from graphql.language import REMOVE, Visitor, VisitorAction

from graphql_engine.errors import QErr

Json = dict[str, Any]


class _WithoutTypename(Visitor):
    def enter_field(self, node: FieldNode, *_: object) -> VisitorAction:
        return REMOVE if node.name.value == "__typename" else None


@lru_cache(maxsize=512)
def normalized(text: str) -> str:
    """Return a document in the form that is compared; empty if it asks for `__typename` alone."""
    try:
        document = visit(parse(text), _WithoutTypename())
    except GraphQLSyntaxError:
        return text
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    if all(not each.selection_set.selections for each in operations):
        return ""
    return print_ast(document)


def check(metadata: Json, text: str) -> None:
    """Raise QErr unless the document is in a listed collection."""
    listed = {
        entry["collection"]
        for entry in metadata.get("allowlist", [])
        if entry.get("scope", {"global": True}).get("global")
    }
    allowed = {
        normalized(query["query"])
        for collection in metadata.get("query_collections", [])
        if collection["name"] in listed
        for query in collection["definition"]["queries"]
    }
    if normalized(text) not in allowed | {""}:
        raise QErr("validation-failed", "query is not allowed")
