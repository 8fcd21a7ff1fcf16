"""Actions as fields: input, selection from the output."""

from decimal import Decimal

import pytest

from graphql_engine.webhooks import Response
from tests.support.library import Handler, Library

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
