"""Roles see and change exactly what the metadata grants, at every entry."""

import pytest

from tests.support.library import Library

VIOLATED = "check constraint of an insert/update permission has failed"


async def test_hidden_columns_and_tables_do_not_exist(library: Library) -> None:
    """They are neither fields nor filters nor root fields."""
    assert await library.fail("{ author { big } }", "user", user_id="1") == (
        "$.selectionSet.author.selectionSet.big",
        "validation-failed",
        "field 'big' not found in type: 'author'",
    )
    assert (await library.fail("{ author(where: {big: {_eq: 1}}) { id } }", "user", user_id="1"))[2] == (
        "field 'big' not found in type: 'author_bool_exp'"
    )
    assert (await library.fail("{ detail { id } }", "user"))[
        2
    ] == "field 'detail' not found in type: 'query_root'"
    assert (await library.fail("{ article_aggregate { aggregate { count } } }", "anonymous"))[0] == (
        "$.selectionSet.article_aggregate"
    )


async def test_row_filters_hold_at_every_entry(library: Library) -> None:
    """At the root, by key, through relationships, in aggregates and inside the client's filters."""
    two = await library.ask(
        """{ author(order_by: {id: asc}) { name articles(order_by: {id: asc}) { id } }
          by_pk: author_by_pk(id: 3) { id }
          through: article(where: {author: {name: {_eq: "Cyd"}}}) { id }
          author_aggregate { aggregate { count } } }""",
        "user",
        user_id="2",
    )
    assert two["author"] == [
        {"name": "Ann", "articles": [{"id": 1}]},
        {"name": "Bob", "articles": [{"id": 3}]},
    ]
    assert (two["by_pk"], two["through"]) == (None, [])
    assert two["author_aggregate"] == {"aggregate": {"count": 2}}


async def test_a_permission_limit_cuts_rows_but_not_counts(library: Library) -> None:
    """The smaller of the two limits applies; `count` counts all permitted rows."""
    data = await library.ask(
        """{ all: article { id } one: article(limit: 1) { id } many: article(limit: 9) { id }
          article_aggregate { aggregate { count } } }""",
        "user",
        user_id="1",
    )
    assert [len(data[name]) for name in ("all", "one", "many")] == [2, 1, 2]
    assert data["article_aggregate"]["aggregate"]["count"] == 3


async def test_session_variables_of_clients_are_only_strings(library: Library) -> None:
    """A client's string that looks like a session variable is compared as a string."""
    query = '{ author(where: {name: {_eq: "X-Hasura-User-Id"}}) { id } }'
    assert await library.ask(query, "user", user_id="1") == {"author": []}


async def test_a_missing_session_variable_is_named(library: Library) -> None:
    assert await library.fail("{ author { id } }", "user") == (
        "$",
        "not-found",
        'missing session variable: "x-hasura-user-id"',
    )


async def test_array_session_variables_are_array_literals(library: Library) -> None:
    """`_in` with a session variable reads PostgreSQL's array text."""
    data = await library.ask("{ article(order_by: {id: asc}) { id } }", "limited", ids="{1,3}")
    assert data == {"article": [{"id": 1}, {"id": 3}]}


async def test_presets_fill_what_a_client_cannot_set(library: Library) -> None:
    """The preset column is no input field; session variables fill it."""
    data = await library.ask(
        'mutation { insert_article_one(object: {title: "mine"}) { title author_id } }', "user", user_id="1"
    )
    assert data == {"insert_article_one": {"title": "mine", "author_id": 1}}
    refused = await library.fail(
        'mutation { insert_article_one(object: {title: "x", author_id: 2}) { id } }', "user", user_id="1"
    )
    assert refused[2] == "field 'author_id' not found in type: 'article_insert_input'"


@pytest.mark.parametrize(
    ("query", "path"),
    [
        (
            'mutation { insert_article(objects: [{title: "x"}]) { affected_rows } }',
            "$.selectionSet.insert_article.args.objects",
        ),
        ("mutation { update_article(where: {}, _set: {is_published: true}) { affected_rows } }", "$"),
    ],
)
async def test_checks_refuse_rows_and_leave_nothing_behind(library: Library, query: str, path: str) -> None:
    """Bob is not registered, and an update may not publish."""
    assert await library.fail(query, "user", user_id="2") == (path, "permission-error", VIOLATED)
    data = await library.ask("{ article_aggregate { aggregate { count } } }")
    assert data["article_aggregate"]["aggregate"]["count"] == 3


async def test_update_and_delete_touch_only_permitted_rows(library: Library) -> None:
    data = await library.ask(
        """mutation { update_article(where: {}, _set: {title: "new", is_published: false}) {
            affected_rows returning { id title } }
          delete_article(where: {id: {_in: [1, 2, 3]}}) { affected_rows } }""",
        "user",
        user_id="2",
    )
    assert data == {
        "update_article": {"affected_rows": 1, "returning": [{"id": 3, "title": "new"}]},
        "delete_article": {"affected_rows": 1},
    }


async def test_a_role_without_mutations_is_refused_before_its_variables(library: Library) -> None:
    """A role with any other mutation is told of the missing variable."""
    query = "mutation($a: [article_insert_input!]!) { insert_article(objects: $a) { affected_rows } }"
    missing = ("$", "validation-failed", 'expecting a value for non-nullable variable: "a"')
    assert await library.fail(query, "service") == ("$", "validation-failed", "no mutations exist")
    assert await library.fail(query, "service", backend_only="true") == missing
    assert await library.fail(query.replace("insert_article", "nothing"), "user", user_id="2") == missing


async def test_a_role_without_permissions_finds_only_the_placeholder(library: Library) -> None:
    data = await library.ask("{ no_queries_available }", "nobody")
    assert data["no_queries_available"].startswith("There are no queries available to the current role.")
