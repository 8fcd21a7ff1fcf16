"""Actions as fields: input, selection from the output, relationships from output to tables."""

from decimal import Decimal

from tests.support.library import Library

QUERY = "query g($w: GreetInput!) { greet(who: $w) { text again: text __typename author { name } } }"


async def test_an_action_gets_its_input_and_gives_what_is_selected(library: Library) -> None:
    """Only given fields are passed, numbers keep their digits, only selected fields come back."""
    data = await library.ask(QUERY, "user", {"w": {"id": 1, "note": {"a": Decimal("1.50")}}}, user_id="1")
    assert data["greet"] == [
        {"text": "hello", "again": "hello", "__typename": "Greeting", "author": {"name": "Ann"}},
        {"text": "bye", "again": "bye", "__typename": "Greeting", "author": None},
    ]
    assert library.calls == [("greet", {"who": {"id": 1, "note": {"a": Decimal("1.50")}}}, QUERY)]


async def test_a_relationship_of_an_output_obeys_the_tables_permissions(library: Library) -> None:
    """Cyd is not registered and not the caller."""
    data = await library.ask(QUERY, "user", {"w": {"id": 3}}, user_id="1")
    assert [item["author"] for item in data["greet"]] == [None, None]


async def test_wrong_input_and_strange_roles_never_reach_the_handler(library: Library) -> None:
    """Types are checked first; without a permission the action does not exist."""
    assert await library.fail('{ greet(who: {id: "x"}) { text } }', "user") == (
        "$.selectionSet.greet.args.who.id",
        "validation-failed",
        "expected a 32-bit integer for type 'Int', but found a string",
    )
    assert (await library.fail("{ greet(who: {id: 1}) { text } }", "anonymous"))[0] == "$.selectionSet.greet"
    assert library.calls == []
