"""What metadata define and the stand-in does not execute: kept as it is, and refused by name when used."""

import pytest

from tests.support.library import Library

BY_COLOUR = "query ($c: colour_enum!) { author(where: {colour: {_eq: $c}}) { id } }"
AGGREGATE = 'the aggregate in a filter or order "articles_aggregate"'
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
        ("subscription { author_stream { id } }", "admin", 'the stream "author_stream"'),
        (NEST, "admin", 'the nested insert "articles"'),
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
