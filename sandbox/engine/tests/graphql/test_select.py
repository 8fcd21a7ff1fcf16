"""Queries over tracked tables, and actions as fields: rows, relationships, counts, ordering, JSON."""

from decimal import Decimal

import pytest

from graphql_engine.webhooks import Response
from tests.support.library import Handler, Library


async def test_rows_come_with_related_rows_and_exact_numbers(library: Library) -> None:
    """Numbers keep every digit; without related rows the field is null or an empty list."""
    data = await library.ask(
        """{ author(order_by: {id: asc}, limit: 2) {
          id big rating details(path: "$.a.b[1]") tags
          articles(order_by: {id: asc}) { title author { name } __typename } detail { phone } } }"""
    )
    ann, bob = data["author"]
    assert ann["big"] == 9007199254740993
    assert str(ann["rating"]) == "4.50"
    assert ann["details"] == Decimal("2.50")
    assert (ann["tags"], ann["detail"]) == (["x", "y"], {"phone": "111"})
    assert ann["articles"] == [
        {"title": "One", "author": {"name": "Ann"}, "__typename": "article"},
        {"title": "Two", "author": {"name": "Ann"}, "__typename": "article"},
    ]
    assert (bob["detail"], bob["tags"], bob["details"]) == (None, None, None)


async def test_by_pk_gives_the_row_or_null(library: Library) -> None:
    data = await library.ask("{ a: author_by_pk(id: 1) { name } b: author_by_pk(id: 9) { name } }")
    assert data == {"a": {"name": "Ann"}, "b": None}


async def test_rows_are_counted_and_ordered(library: Library) -> None:
    """Nulls come last ascending and first descending; several orderings apply in turn."""
    data = await library.ask(
        """{ author_aggregate(where: {articles: {}}) { aggregate { all: count __typename } __typename }
          by_colour: author(order_by: [{colour: desc}, {name: desc}]) { name }
          by_date: author(order_by: {born: desc_nulls_last}) { name } }"""
    )
    assert data["author_aggregate"] == {
        "aggregate": {"all": 2, "__typename": "author_aggregate_fields"},
        "__typename": "author_aggregate",
    }
    assert [row["name"] for row in data["by_colour"]] == ["Bob", "Ann", "Cyd"]
    assert [row["name"] for row in data["by_date"]] == ["Cyd", "Ann", "Bob"]


QUERY = "query g($w: GreetInput!) { greet(who: $w) { text again: text __typename } }"


async def test_an_action_gets_its_input_and_gives_what_is_selected(library: Library) -> None:
    """Only given fields are passed, numbers keep their digits, only selected fields come back."""
    data = await library.ask(QUERY, "user", {"w": {"id": 1, "note": {"a": Decimal("1.50")}}}, user_id="1")
    assert data["greet"] == [
        {"text": "hello", "again": "hello", "__typename": "Greeting"},
        {"text": "bye", "again": "bye", "__typename": "Greeting"},
    ]
    assert library.calls == [("greet", {"who": {"id": 1, "note": {"a": Decimal("1.50")}}}, QUERY)]


async def test_wrong_input_and_strange_roles_never_reach_the_handler(library: Library) -> None:
    """Types are checked first; without a permission the action does not exist."""
    assert await library.fail('{ greet(who: {id: "x"}) { text } }', "user") == (
        "$.selectionSet.greet.args.who.id",
        "validation-failed",
        "expected a 32-bit integer for type 'Int', but found a string",
    )
    assert (await library.fail("{ greet(who: {id: 1}) { text } }", "anonymous"))[0] == "$.selectionSet.greet"
    assert library.calls == []


@pytest.mark.parametrize("role", ["admin", "user"])
async def test_http_log_holds_the_request_of_a_failed_action(
    library: Library, caplog: pytest.LogCaptureFixture, role: str
) -> None:
    """For every role, and without the mode for developers, as the engine's source says."""
    library.engine.http = Handler(lambda _: Response(500, [], b'{"answered": "by the handler"}'))
    await library.fail('{ greet(who: {id: 1, note: "canary"}) { text } }', role)
    assert "canary" in caplog.text
    assert "by the handler" in caplog.text
    caplog.clear()
    library.set(enabled_log_types=frozenset({"startup", "webhook-log"}))
    await library.fail('{ greet(who: {id: 1, note: "canary"}) { text } }', role)
    assert caplog.text == ""
