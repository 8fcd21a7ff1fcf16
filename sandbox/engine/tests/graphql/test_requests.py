"""Documents, variables, fragments and batches, and their errors."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.library import Library

REFUSED = r"""
{ nothing { id } }
$.selectionSet.nothing: field 'nothing' not found in type: 'query_root'
{ article }
$.selectionSet.article.selectionSet: missing selection set for 'article'
{ article { id { x } } }
$.selectionSet.article.selectionSet.id: unexpected subselection set for non-object field
{ article(by: 1) { id } }
$.selectionSet.article: 'article' has no argument named 'by'
{ article(where: {id: {_like: 1}}) { id } }
$.selectionSet.article.args.where.id._like: field '_like' not found in type: 'Int_comparison_exp'
{ article(where: {id: {_eq: null}}) { id } }
$.selectionSet.article.args.where.id._eq: unexpected null value for type 'Int'
{ article(where: {_and: [{id: {_in: null}}]}) { id } }
$.selectionSet.article.args.where._and[0].id._in: expected a list, but found null
{ article(where: 1) { id } }
$.selectionSet.article.args.where: expected an object for type 'article_bool_exp', but found an integer
{ article(limit: -1) { id } }
$.selectionSet.article.args.limit: expected a non-negative 32-bit integer for type 'Int', but found an integer
{ article(limit: "1") { id } }
$.selectionSet.article.args.limit: expected a non-negative 32-bit integer for type 'Int', but found a string
query($x: String) { article(limit: $x) { id } } | {"x": 1}
$.selectionSet.article.args.limit: variable 'x' is declared as 'String', but used where 'Int' is expected
query($x: Int) { article_by_pk(id: $x) { id } } | {"x": 1}
$.selectionSet.article_by_pk.args.id: variable 'x' is declared as 'Int', but used where 'Int!' is expected
query($x: Int!) { article(limit: $x) { id } } | {}
$: expecting a value for non-nullable variable: "x"
{ article { id } } | {"y": 1}
$: unexpected variables in variableValues: y
{ article(limit: $x) { id } } | {}
$: unbound variable "x"
{ article { ...f } }
$.selectionSet.article.selectionSet: reference to undefined fragment "f"
{ article { id @no } }
$.selectionSet.article.selectionSet: directive 'no' is not defined in the schema
{ article { a: id a: title } }
$.selectionSet.article.selectionSet: selection of both 'id' and 'title' specify the same response name, 'a'
{ article { id }
$.query: not a valid graphql query
query a { article { id } } query b { article { id } }
$: exactly one operation has to be present in the document when operationName is not specified
{ article(where: {is_published: {_eq: 1}}) { id } }
$.selectionSet.article.args.where.is_published._eq parse-failed: expected Bool, but encountered Number
{ article(where: {id: {_eq: "x"}}) { id } }
$ data-exception: invalid input syntax for type integer: "x"
{ article(where: {title: {_like: "O\\"}}) { id } }
$ bad-request: LIKE pattern must not end with escape character
subscription { article { id } }
$ unexpected-payload: subscriptions are not supported over HTTP, use websockets instead
"""
"""A request, after a bar its variables; then path, code if it is not `validation-failed`, and message."""


def refused() -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    lines = REFUSED.strip().splitlines()
    for request, failure in zip(lines[::2], lines[1::2], strict=True):
        query, _, given = request.partition(" | ")
        place, _, message = failure.partition(": ")
        path, _, code = place.partition(" ")
        yield query, json.loads(given or "null"), (path, code or "validation-failed", message)


@pytest.mark.parametrize(("query", "given", "failure"), list(refused()), ids=lambda value: str(value)[-40:])
async def test_a_wrong_request_is_refused_with_path_code_and_reason(
    shelf: Library, query: str, given: Any, failure: tuple[str, ...]
) -> None:
    """The engine checks the document and numbers, the database checks strings."""
    assert await shelf.fail(query, given=given) == failure


async def test_a_number_beyond_an_integer_is_refused_by_the_parser(shelf: Library) -> None:
    query = 'mutation { insert_article(objects: {title: "x", author_id: 2147483648}) { affected_rows } }'
    path, code, message = await shelf.fail(query)
    assert (path, code) == ("$.selectionSet.insert_article.args.objects[0].author_id", "parse-failed")
    assert message.startswith("The value 2.147483648e9 lies outside the bounds or is not an integer.")


async def test_variables_and_fragments_shape_the_answer(shelf: Library) -> None:
    """Defaults, nulls, nested variables, fragments on types, merged selections."""
    data = await shelf.ask(
        """query($n: Int = 1, $w: article_bool_exp, $id: Int!, $null: Int) {
          article(limit: $n, where: $w, offset: $null, order_by: {id: asc}) { ...f }
          two: article(where: {_or: [{id: {_eq: $id}}]}) { ... on article { id } ... on author { name }
            author { id } author { name } } }
        fragment f on article { id __typename ...g } fragment g on article { author_id }""",
        given={"w": {"id": {"_gt": 1}}, "id": 3, "null": None},
    )
    assert data == {
        "article": [{"id": 2, "__typename": "article", "author_id": 1}],
        "two": [{"id": 3, "author": {"id": 2, "name": "Bob"}}],
    }


async def test_an_operation_is_chosen_by_name(shelf: Library) -> None:
    """Other operations of the document are not checked."""
    text = "query a { nothing } query b { article_by_pk(id: 1) { id } }"
    answer = await shelf.raw({"query": text, "operationName": "b"})
    assert answer == {"data": {"article_by_pk": {"id": 1}}}


async def test_a_persisted_query_is_refused_and_other_extensions_ignored(shelf: Library) -> None:
    query = "{ author_by_pk(id: 1) { id } }"
    answer = await shelf.raw({"query": query, "extensions": {"persistedQuery": {"version": 1}}})
    assert answer["errors"][0]["extensions"]["code"] == "not-supported"
    answer = await shelf.raw({"query": query, "extensions": {"tracing": True}})
    assert answer == {"data": {"author_by_pk": {"id": 1}}}


async def test_a_batch_is_answered_item_by_item(shelf: Library) -> None:
    answers = await shelf.raw([{"query": "{ nothing }"}, {"query": "{ article_by_pk(id: 1) { id } }"}])
    assert [list(answer) for answer in answers] == [["errors"], ["data"]]


async def test_introspection_describes_what_the_role_may_do(shelf: Library) -> None:
    """A client library can build its schema from it; `__typename` works at the root."""
    from graphql import build_client_schema, get_introspection_query

    for role in ("admin", "user", "anonymous", "nobody"):
        answer = await shelf.ask(get_introspection_query(), role)
        schema = build_client_schema(answer)
        assert schema.query_type is not None
        assert ("author" in schema.type_map) == (role in ("admin", "user"))
    assert await shelf.ask("{ __typename }") == {"__typename": "query_root"}
    described = await shelf.ask(
        "query($t: String!) { __type(name: $t) { kind } }", given={"t": "mutation_root"}
    )
    assert described == {"__type": {"kind": "OBJECT"}}
