"""Tracked functions and computed fields."""

import copy

from tests.support.library import Library
from tests.support.library_schema import METADATA

FUNCTIONS = """
CREATE FUNCTION add_author(name text, times int DEFAULT 1) RETURNS SETOF author LANGUAGE sql VOLATILE
  AS $$ INSERT INTO author (name) SELECT add_author.name || i FROM generate_series(1, times) i RETURNING * $$;
CREATE FUNCTION who(session json, key text) RETURNS SETOF colour LANGUAGE sql STABLE
  AS $$ SELECT session->>key, NULL::text $$;
CREATE FUNCTION articles_like(a author, search text) RETURNS SETOF article LANGUAGE sql STABLE
  AS $$ SELECT * FROM article WHERE author_id = a.id AND title ILIKE search $$;
CREATE FUNCTION same(a author) RETURNS SETOF author LANGUAGE sql STABLE AS $$ SELECT a.* $$;
"""


async def with_functions(library: Library) -> None:
    """Create and track more functions."""
    async with library.engine.pool.connection() as conn:
        await conn.execute(FUNCTIONS)
    metadata = copy.deepcopy(METADATA)
    source = metadata["sources"][0]
    source["functions"] += [
        {"function": "add_author", "permissions": [{"role": "user"}]},
        {"function": "who", "configuration": {"session_argument": "session", "custom_name": "whoami"}},
        {"function": "same"},
    ]
    author = next(t for t in source["tables"] if t["table"] == {"schema": "public", "name": "author"})
    author["computed_fields"].append({"name": "like", "definition": {"function": "articles_like"}})
    library.engine.metadata = metadata
    await library.read_catalog()


async def test_a_function_is_queried_like_its_table(shelf: Library) -> None:
    """Filters, ordering, aggregates and the role's row filter apply; arguments are checked."""
    query = """{ search_articles(args: {search: "t"}, order_by: {id: desc}) { title author { name } }
      search_articles_aggregate(args: {search: ""}) { aggregate { count } } }"""
    data = await shelf.ask(query)
    assert [row["title"] for row in data["search_articles"]] == ["Three", "Two"]
    assert data["search_articles_aggregate"]["aggregate"]["count"] == 3
    data = await shelf.ask(query, "user", user_id="3")
    assert [row["title"] for row in data["search_articles"]] == ["Three"]
    assert data["search_articles_aggregate"]["aggregate"]["count"] == 2
    assert (await shelf.fail("{ search_articles { id } }"))[2] == "missing required field 'args'"


async def test_a_volatile_function_is_a_mutation_for_whom_it_is_granted(library: Library) -> None:
    """It shares the transaction of the other root fields; only trailing arguments may be omitted."""
    await with_functions(library)
    query = """mutation { add_author(args: {name: "New"}) { name }
      update_author(where: {name: {_eq: "New1"}}, _set: {big: 7}) { affected_rows } }"""
    data = await library.ask(query)
    assert data == {"add_author": [{"name": "New1"}], "update_author": {"affected_rows": 1}}
    mine = 'mutation { add_author(args: {name: "Ann", times: 2}) { id } }'
    assert await library.ask(mine, "user", user_id="1") == {"add_author": []}
    assert (await library.fail(mine, "anonymous"))[2] == "no mutations exist"
    assert await library.fail("mutation { add_author(args: {times: 2}) { id } }") == (
        "$.selectionSet.add_author.args.args",
        "not-supported",
        "Non default arguments cannot be omitted",
    )


async def test_a_function_learns_the_session(library: Library) -> None:
    """The session argument is not an argument of the field; the custom name is the field's name."""
    await with_functions(library)
    data = await library.ask('{ whoami(args: {key: "x-hasura-user-id"}) { value } }', user_id="42")
    assert data == {"whoami": [{"value": "42"}]}


async def test_a_row_is_an_argument_in_its_text_form(library: Library) -> None:
    """The scalar of a row type has another name than the table's object type."""
    await with_functions(library)
    data = await library.ask(
        "query($a: author_scalar!) { same(args: {a: $a}) { id name } }", given={"a": "(8,Zoe,,,,t,,,)"}
    )
    assert data == {"same": [{"id": 8, "name": "Zoe"}]}


async def test_functions_are_granted_with_their_table_unless_switched_off(library: Library) -> None:
    """Without inference a query function needs a permission of its own."""
    library.set(infer_function_permissions=False)
    refused = await library.fail('{ search_articles(args: {search: "t"}) { id } }', "user", user_id="1")
    assert refused[2] == "field 'search_articles' not found in type: 'query_root'"


async def test_a_computed_field_gives_rows_for_its_row(library: Library) -> None:
    """It has arguments; a role that may read the rows' table may read the field."""
    await with_functions(library)
    query = (
        '{ author_by_pk(id: 1) { full_name like(args: {search: "%o%"}, order_by: {id: desc}) { title } } }'
    )
    data = await library.ask(query)
    assert data["author_by_pk"] == {"full_name": "Ann (1)", "like": [{"title": "Two"}, {"title": "One"}]}
    data = await library.ask(query.replace("full_name", "id"), "user", user_id="2")
    assert data["author_by_pk"] == {"id": 1, "like": [{"title": "One"}]}
    assert (await library.fail(query, "user", user_id="1"))[
        2
    ] == "field 'full_name' not found in type: 'author'"
