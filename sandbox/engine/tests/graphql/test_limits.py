"""Hostile queries, and what the stand-in does not execute, are refused; concurrent requests are served."""

from typing import Any

import anyio
import pytest

from tests.support.library import Library

DEEP = "articles { author { " * 40 + "id" + " } }" * 40
BOMB = " ".join(f"fragment f{i} on author {{ ...f{i + 1} ...f{i + 1} }}" for i in range(30))
HOSTILE = {
    "depth": "{ author { " + DEEP + " } }",
    "aliases": "{" + " ".join(f"a{i}: author {{ id }}" for i in range(15_000)) + "}",
    "nodes": "{ author { " + " ".join(f"a{i}: id" for i in range(21_000)) + " } }",
    "fragments": "{ author { ...f0 } } " + BOMB + " fragment f30 on author { id }",
    "nested values": "{ author(where: " + "{_not: " * 2000 + "{}" + "}" * 2000 + ") { id } }",
    "nested lists": "{ author(where: " + "{_and: [" * 2000 + "]}" * 2000 + ") { id } }",
    "introspection": "{ __schema { types { " + "fields { type { " * 6 + "name" + " } }" * 6 + " } } }",
    "brackets": "{" * 20_000,
    "size": "{ author { id " + "# x\n name " * 40_000 + " } }",
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_query_is_refused(shelf: Library, kind: str) -> None:
    """As a validation error, within seconds."""
    with anyio.fail_after(10):
        _, code, _ = await shelf.fail(HOSTILE[kind])
    assert code == "validation-failed"


@pytest.mark.parametrize("levels", [20, 60, 100, 120, 140, 160, 180, 200, 220, 240, 260, 300, 400])
async def test_a_deep_filter_is_answered_or_refused(shelf: Library, levels: int) -> None:
    where = "{_not: {articles: " * levels + "{}" + "}}" * levels
    answer = await shelf.raw({"query": f"{{ author(where: {where.replace('articles', '_not')}) {{ id }} }}"})
    assert ("data" in answer) != ("errors" in answer)
    assert "data" in answer or answer["errors"][0]["extensions"]["code"] == "validation-failed"


async def test_a_large_batch_is_refused(shelf: Library) -> None:
    answer = await shelf.raw([{"query": "{ author { id } }"}] * 201)
    assert answer["errors"][0]["extensions"]["code"] == "validation-failed"


async def test_a_hundred_requests_at_once_are_all_answered(library: Library) -> None:
    """More requests than connections, reading and writing, some of them failing."""
    answers: list[Any] = []

    async def ask(number: int) -> None:
        queries = (
            "{ author { articles { author { name } } } }",
            'mutation { insert_author(objects: [{name: "n' + str(number) + '"}]) { affected_rows } }',
            "mutation { delete_author(where: {id: {_eq: 1}}) { affected_rows } }",
            "{ greet(who: {id: 1}) { text } a: author { id } b: author { id } }",
        )
        answers.append(await library.raw({"query": queries[number % 4]}))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(ask, number)
    assert sum("errors" in answer for answer in answers) == 25
    assert len(answers) == 100


BY_COLOUR = "query ($c: colour_enum!) { author(where: {colour: {_eq: $c}}) { id } }"
INCREMENT = "mutation { update_author(where: {}, _inc: {big: 1}) { affected_rows } }"
AGGREGATE = 'the aggregate in a filter or order "articles_aggregate"'
RETURN = "mutation { delete_article_by_pk(id: 1) { author { id } } }"
NEST = 'mutation { insert_author_one(object: {name: "x", articles: {data: [{title: "t"}]}}) { id } }'


@pytest.mark.parametrize(
    ("query", "role", "refused"),
    [
        ('{ search_articles(args: {search: "t"}) { id } }', "admin", 'the function "search_articles"'),
        (
            "{ search_articles_aggregate { nodes { id } } }",
            "user",
            'the function "search_articles_aggregate"',
        ),
        ("{ author { full_name } }", "admin", 'the computed field "full_name"'),
        ('{ author(where: {full_name: {_eq: "A"}}) { id } }', "admin", 'the computed field "full_name"'),
        ("{ author(order_by: {full_name: asc}) { id } }", "admin", 'the computed field "full_name"'),
        ("{ grid { id } }", "reader", 'the computed field "label" in a permission'),
        (BY_COLOUR, "admin", 'the type "colour_enum" of an enum table'),
        ("{ article { id } }", "both", 'the inherited role "both"'),
        ("mutation { later { text } }", "admin", 'the asynchronous action "later"'),
        ('{ later(id: "x") { output { text } } }', "admin", 'the asynchronous action "later"'),
        ("{ author(where: {articles_aggregate: {}}) { id } }", "admin", AGGREGATE),
        ("{ author(order_by: {articles_aggregate: {}}) { id } }", "user", AGGREGATE),
        (
            "{ greet(who: {id: 1}) { author { id } } }",
            "user",
            'the relationship of an action\'s output "author"',
        ),
        (
            "{ article(order_by: {author: {name: asc}}) { id } }",
            "admin",
            'the order by related rows "author"',
        ),
        ("{ article(distinct_on: [id]) { id } }", "admin", 'the argument "distinct_on"'),
        ("{ article { id @skip(if: true) } }", "admin", 'the directive "skip"'),
        (
            '{ author(where: {details: {_cast: {String: {_eq: "x"}}}}) { id } }',
            "admin",
            'the operator "_cast"',
        ),
        ("{ article_aggregate { aggregate { max { id } } } }", "admin", 'the aggregate "max"'),
        ("{ article_aggregate { nodes { id } } }", "admin", 'the list of aggregated rows "nodes"'),
        (
            "{ author { articles_aggregate { nodes { id } } } }",
            "admin",
            'the aggregate of related rows "articles_aggregate"',
        ),
        (INCREMENT, "admin", 'the argument "_inc"'),
        (
            "mutation { update_author_many(updates: []) { id } }",
            "admin",
            'the update of many "update_author_many"',
        ),
        ("{ detail { id } }", "reader", 'the condition "_exists" in a permission'),
        ("{ detail { id } }", "other", 'the operator "_ceq" in a permission'),
        (NEST, "admin", 'the nested insert "articles"'),
        (RETURN, "admin", 'the relationship "author" of a changed row'),
    ],
)
async def test_a_feature_is_refused_by_name_when_it_is_used(
    shelf: Library, query: str, role: str, refused: str
) -> None:
    given = {"c": "red"} if "$c" in query else None
    _, code, message = await shelf.fail(query, role, given, user_id="1")
    assert (code, message) == ("not-supported", f"{refused} is not supported by this stand-in")


async def test_a_column_of_an_enum_table_is_a_text(shelf: Library) -> None:
    data = await shelf.ask('{ author(where: {colour: {_eq: "red"}}) { colour } }')
    assert data == {"author": [{"colour": "red"}]}
