"""Inserts, updates and deletes; several of them in one transaction."""

from tests.support.library import Library

COUNT = "{ author_aggregate { aggregate { count } } article_aggregate { aggregate { count } } }"


async def counts(library: Library) -> tuple[int, int]:
    data = await library.ask(COUNT)
    return tuple(data[f"{name}_aggregate"]["aggregate"]["count"] for name in ("author", "article"))


async def test_violations_are_named_and_placed(library: Library) -> None:
    assert await library.fail('mutation { insert_author(objects: {name: "Ann"}) { affected_rows } }') == (
        "$.selectionSet.insert_author.args.objects",
        "constraint-violation",
        'Uniqueness violation. duplicate key value violates unique constraint "author_name_key"',
    )
    assert await library.fail("mutation { delete_author(where: {id: {_eq: 1}}) { affected_rows } }") == (
        "$",
        "constraint-violation",
        'Foreign key violation. update or delete on table "author" violates foreign key constraint '
        '"article_author_id_fkey" on table "article"',
    )
    assert (await library.fail("mutation { insert_author(objects: {}) { affected_rows } }"))[2] == (
        'Not-NULL violation. null value in column "name" of relation "author" violates not-null constraint'
    )
    assert (
        await library.fail(
            'mutation { insert_archive_box(objects: {id: 7, label: "bad"}) { affected_rows } }'
        )
    )[1:] == (
        "permission-error",
        'Check constraint violation. new row for relation "box" violates check constraint "box_label_check"',
    )


async def test_a_mutation_is_one_transaction(library: Library) -> None:
    query = """mutation { insert_author(objects: {name: "Gil"}) { affected_rows }
      delete_author(where: {name: {_eq: "Ann"}}) { affected_rows } }"""
    assert (await library.fail(query))[1] == "constraint-violation"
    assert await counts(library) == (3, 3)


async def test_nothing_to_do_is_an_empty_answer(library: Library) -> None:
    data = await library.ask(
        """mutation { insert_author(objects: []) { affected_rows returning { id } }
          update_author(where: {}, _set: {}) { affected_rows returning { id } __typename }
          update_author_by_pk(pk_columns: {id: 1}) { id }
          gone: update_author_by_pk(pk_columns: {id: 99}, _set: {big: 1}) { id } }"""
    )
    assert data["insert_author"] == {"affected_rows": 0, "returning": []}
    assert data["update_author"]["affected_rows"] == 0
    assert data["update_author"]["__typename"] == "author_mutation_response"
    assert (data["update_author_by_pk"], data["gone"]) == ({}, None)


async def test_changed_and_deleted_rows_are_returned(library: Library) -> None:
    data = await library.ask(
        """mutation { delete_article(where: {author_id: {_eq: 1}}) { affected_rows returning { title } }
          delete_article_by_pk(id: 3) { title } gone: delete_article_by_pk(id: 3) { title } }"""
    )
    assert data["delete_article"] == {"affected_rows": 2, "returning": [{"title": "One"}, {"title": "Two"}]}
    assert (data["delete_article_by_pk"], data["gone"]) == ({"title": "Three"}, None)


async def test_values_travel_as_text_and_come_back_unchanged(library: Library) -> None:
    """Big integers as numbers or strings, numerics, json, arrays and quotes."""
    data = await library.ask(
        """mutation($o: author_insert_input!, $d: jsonb) {
          a: insert_author_one(object: $o) { big rating details tags }
          b: insert_author_one(object: {name: "it's \\"%s\\"", big: 9223372036854775807, details: $d,
            rating: 0.1000000000000000055511151231257827}) { name big rating details } }""",
        given={
            "o": {
                "name": "H",
                "big": "9223372036854775807",
                "rating": "1.10",
                "details": "text",
                "tags": ['a "b"', "c\\d", "", "{x}"],
            },
            "d": {"x": [18446744073709551617, None, True, "é"]},
        },
    )
    a, b = data["a"], data["b"]
    assert (a["big"], str(a["rating"]), a["details"]) == (9223372036854775807, "1.10", "text")
    assert a["tags"] == ['a "b"', "c\\d", "", "{x}"]
    assert (b["name"], b["details"]["x"][0]) == ('it\'s "%s"', 18446744073709551617)
    assert str(b["rating"]) == "0.1000000000000000055511151231257827"


async def test_money_is_written_with_two_digits_and_numeric_with_an_exponent(library: Library) -> None:
    """`txtEncodedVal` of the engine: PostgreSQL refuses an exponent for money, and keeps its digits."""
    data = await library.ask(
        """mutation { insert_archive_box_one(object: {id: 3, price: 0.02, prices: [1e7, 5]}) { price prices }
          insert_author_one(object: {name: "H", rating: 0.02}) { rating } }"""
    )
    assert data["insert_archive_box_one"] == {"price": "$0.02", "prices": ["$10,000,000.00", "$5.00"]}
    assert str(data["insert_author_one"]["rating"]) == "0.020"


async def test_values_are_not_cut_to_a_types_default_length(library: Library) -> None:
    """char(4) and bit(3) take what fits, and refuse what does not as the database does."""
    query = """mutation { insert_archive_box_one(object: {id: 3, code: "baaz", bits: "%s", span: "90 min"}) {
      code bits span } }"""
    data = await library.ask(query % "101")
    assert data["insert_archive_box_one"] == {"code": "baaz", "bits": "101", "span": "01:30:00"}
    assert await library.fail(query % "1011") == (
        "$.selectionSet.insert_archive_box_one.args.object",
        "data-exception",
        "bit string length 4 does not match type bit(3)",
    )


async def test_triggers_learn_whose_session_it_is(library: Library) -> None:
    """`hasura.user` holds the session variables during the transaction."""
    async with library.engine.pool.connection() as conn:
        await conn.execute(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.content := current_setting('hasura.user')::json->>'x-hasura-user-id';"
            " RETURN NEW; END $$;"
            "CREATE TRIGGER note BEFORE INSERT ON article FOR EACH ROW EXECUTE FUNCTION note()"
        )
    data = await library.ask(
        'mutation { insert_article_one(object: {title: "t"}) { content } }', user_id="42"
    )
    assert data["insert_article_one"]["content"] == "42"
