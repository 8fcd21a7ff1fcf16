"""The allow list compares documents as syntax trees, without `__typename`, with global collections."""

from typing import Any

import pytest

from graphql_engine.errors import QErr
from graphql_engine.graphql.document import check_allowed

QUERY = "query Names($n: Int) { author(limit: $n) { id name } }"


def metadata(**entry: Any) -> dict[str, Any]:
    queries = [{"name": "names", "query": QUERY}]
    return {
        "query_collections": [{"name": "stored", "definition": {"queries": queries}}],
        "allowlist": [{"collection": "stored", **entry}],
    }


@pytest.mark.parametrize(
    "text",
    [QUERY, QUERY.replace(" ", "\n "), QUERY.replace("{ id", "{ __typename id"), "{ __typename }"],
)
def test_these_are_allowed(text: str) -> None:
    check_allowed(metadata(), text)
    check_allowed(metadata(scope={"global": True}), text)


@pytest.mark.parametrize(
    "text",
    [
        QUERY.replace("Names", "Other"),
        QUERY.replace("id name", "name id"),
        QUERY.replace("Int", "Int!"),
        "{ author { id } }",
        "{ not a query",
    ],
)
def test_these_are_not(text: str) -> None:
    with pytest.raises(QErr, match="query is not allowed"):
        check_allowed(metadata(), text)


def test_a_collection_that_is_not_listed_globally_does_not_count() -> None:
    for other in (metadata(scope={"global": False, "roles": ["user"]}), metadata() | {"allowlist": []}):
        with pytest.raises(QErr, match="query is not allowed"):
            check_allowed(other, QUERY)
