"""Actions: the request to the handler, each kind of response, custom types. Contract section 3."""

from dataclasses import dataclass

import pytest

from tests.support.hasura import Hasura, Json, unique
from tests.support.receiver import Answer, Received

FIELDS = [{"name": "id", "type": "Int!"}, {"name": "note", "type": "String"}]


@dataclass
class Action:
    """An action whose handler is the receiver, with a scalar, an object and an enum as types."""

    engine: Hasura
    name: str
    path: str

    def call(self, arguments: str = "", fields: str = "{ id note }", **headers: str) -> Json:
        """Call the action as admin, or with the given headers."""
        passed = f"({arguments})" if arguments else ""
        return self.engine.graphql(f"mutation {{ {self.name}{passed} {fields} }}", headers or None)

    def answers(self, *answers: Answer) -> None:
        """Set the responses of the handler."""
        self.engine.receiver.answers(self.path, *answers)

    def received(self) -> Received:
        """Return the last request to the handler."""
        return self.engine.receiver.received(self.path)[-1]

    def define(self, **definition: Json) -> None:
        """Create the action, or give it another definition."""
        base = {
            "kind": "synchronous",
            "handler": self.engine.receiver.url + self.path,
            "arguments": [{"name": "name", "type": "String"}, {"name": "params", "type": "jsonb"}],
            "output_type": "ContractOut",
        }
        entry = {"name": self.name, "definition": {**base, **definition}}

        def edit(metadata: Json) -> None:
            others = [each for each in metadata.get("actions", []) if each["name"] != self.name]
            metadata["actions"] = [*others, entry]
            metadata["custom_types"] = {"objects": [{"name": "ContractOut", "fields": FIELDS}]}

        status, body = self.engine.change(edit)
        assert status == 200, body


@pytest.fixture
def action(engine: Hasura) -> Action:
    """An action `submit…(name: String, params: jsonb): ContractOut`."""
    made = Action(engine, unique("submit"), f"/{unique('action')}")
    made.define()
    return made


def test_a_failed_action_leaves_its_input_out_of_the_log(action: Action) -> None:
    """The log is searched when the engine stops (tests/support/process.py)."""
    for answer in (Answer(500), Answer(400, {"message": "no"}), Answer(200, [])):
        action.answers(answer)
        body = action.call('name: "Nguyễn Văn A", params: {phone: "0905111222"}')
        assert "errors" in body


def error(body: Json) -> tuple[str, Json]:
    """Return message and extensions of the one error, without details for admins."""
    assert set(body) == {"errors"}
    extensions = dict(body["errors"][0]["extensions"])
    extensions.pop("internal", None)
    return body["errors"][0]["message"], extensions


UNEXPECTED = {"path": "$", "code": "unexpected"}


def test_the_handler_gets_the_documented_body(action: Action) -> None:
    action.answers(Answer(200, {"id": 1}))
    action.call('name: "x", params: {a: [1, 2.50]}')
    body = action.received().body
    assert set(body) == {"action", "input", "session_variables", "request_query"}
    assert body["action"] == {"name": action.name}
    assert body["input"] == {"name": "x", "params": {"a": [1, 2.5]}}
    assert body["session_variables"] == {"x-hasura-role": "admin"}
    assert body["request_query"].startswith("mutation {")


def test_only_supplied_arguments_are_in_the_input(action: Action) -> None:
    action.answers(Answer(200, {"id": 1}))
    action.call("params: null")
    assert action.received().body["input"] == {"params": None}


def test_session_variables_come_with_the_role(action: Action) -> None:
    engine = action.engine
    engine.do("create_action_permission", {"action": action.name, "role": "user"})
    action.answers(Answer(200, {"id": 1}))
    action.call(**engine.role("user", user_id="7"))
    session = action.received().body["session_variables"]
    assert session == {"x-hasura-role": "user", "x-hasura-user-id": "7"}


def test_a_role_without_permission_does_not_see_the_action(action: Action) -> None:
    body = action.call(**action.engine.role("stranger"))
    assert error(body)[1]["code"] == "validation-failed"


def test_only_selected_fields_come_back_and_extra_ones_are_ignored(action: Action) -> None:
    action.answers(Answer(200, {"id": 1, "note": "n", "extra": True}))
    assert action.call(fields="{ alias: id }") == {"data": {action.name: {"alias": 1}}}


def test_a_nullable_output_may_be_null(action: Action) -> None:
    action.answers(Answer(200, None))
    assert action.call() == {"data": {action.name: None}}


@pytest.mark.parametrize(
    ("output", "answer", "message"),
    [
        ("ContractOut", {}, 'field "id" expected in webhook response, but not found'),
        ("ContractOut", {"id": None}, 'expecting not null value for field "id"'),
        ("ContractOut", "text", "got scalar String for the action webhook response, expecting ContractOut"),
        ("ContractOut", [], "got array for the action webhook response, expecting ContractOut"),
        ("ContractOut!", None, "got null for the action webhook response"),
        ("[ContractOut]", {"id": 1}, "expecting array for the action webhook response"),
    ],
)
def test_an_answer_of_the_wrong_shape_is_an_error(
    action: Action, output: str, answer: Json, message: str
) -> None:
    action.define(output_type=output)
    action.answers(Answer(200, answer))
    assert error(action.call()) == (message, UNEXPECTED)


@pytest.mark.parametrize("status", [200, 400, 500])
def test_what_is_not_json_is_an_error_whatever_the_status(action: Action, status: int) -> None:
    action.answers(Answer(status, b""))
    assert error(action.call()) == ("not a valid json response from webhook", UNEXPECTED)


@pytest.mark.parametrize(
    ("answer", "extensions"),
    [
        ({"message": "no"}, UNEXPECTED),
        ({"message": "no", "code": "mine"}, {"path": "$", "code": "mine"}),
        ({"message": "no", "extensions": {"code": "theirs", "x": 1}}, {"code": "theirs", "x": 1}),
        ({"message": "no", "code": "mine", "extensions": {"x": 1}}, {"x": 1}),
        ({"message": "no", "extensions": {}}, {}),
    ],
)
def test_a_4xx_speaks_to_the_client(action: Action, answer: Json, extensions: Json) -> None:
    action.answers(Answer(422, answer))
    assert error(action.call()) == ("no", extensions)


@pytest.mark.parametrize("status", [301, 500, 503])
def test_other_statuses_hide_the_handlers_words(action: Action, status: int) -> None:
    action.answers(Answer(status, {"message": "secret"}))
    assert error(action.call()) == ("internal error", UNEXPECTED)


def test_timeouts_and_dead_handlers_are_http_exceptions(action: Action) -> None:
    action.define(timeout=1)
    action.answers(Answer(200, {"id": 1}, {}, 2.0))
    assert error(action.call()) == ("http exception when calling webhook", UNEXPECTED)
    action.define(handler="http://127.0.0.1:1/")
    assert error(action.call()) == ("http exception when calling webhook", UNEXPECTED)


@pytest.mark.usefixtures("traced")
def test_client_headers_are_forwarded_only_on_demand(action: Action) -> None:
    engine = action.engine
    sent = engine.admin | {"authorization": "token", "cookie": "c=1", "origin": "http://o", "x-mine": "1"}
    sent |= {"x-b3-traceid": "0af7651916cd43dd8448eb211c80319c", "x-b3-spanid": "b7ad6b7169203331"}
    action.answers(Answer(200, {"id": 1}))
    action.call(**sent)
    assert action.received().headers["x-b3-traceid"] == sent["x-b3-traceid"]
    assert not {"authorization", "cookie", "x-mine"} & set(action.received().headers)
    action.define(forward_client_headers=True, headers=[{"name": "X-Conf", "value": "c"}])
    action.call(**sent)
    got = action.received().headers
    assert (got["authorization"], got["cookie"], got["x-mine"], got["x-conf"]) == ("token", "c=1", "1", "c")
    assert got["x-forwarded-origin"] == "http://o"
    assert "x-hasura-admin-secret" not in got
    assert "origin" not in got


def test_set_cookie_comes_back(action: Action) -> None:
    engine = action.engine
    action.answers(Answer(200, {"id": 1}, {"Set-Cookie": "a=b"}))
    query = f"mutation {{ {action.name} {{ id }} }}"
    answer = engine.client.post(f"{engine.url}/v1/graphql", json={"query": query}, headers=engine.admin)
    assert answer.headers["set-cookie"] == "a=b"


def test_an_action_may_not_use_unknown_types(engine: Hasura) -> None:
    definition = {"handler": "http://127.0.0.1:1/", "output_type": "Nowhere", "arguments": []}
    entry = {"name": unique("bad"), "definition": definition}
    status, body = engine.change(lambda metadata: metadata.setdefault("actions", []).append(entry))
    assert (status, body["code"]) == (400, "unexpected")
    assert [each["type"] for each in body["internal"]] == ["action"]


@pytest.mark.parametrize("change", [{"kind": "asynchronous"}, {"request_transform": {"version": 2}}])
def test_what_the_stand_in_does_not_execute_is_stored_and_refused_by_name(
    action: Action, change: Json
) -> None:
    if not action.engine.stand_in:
        pytest.skip("a genuine engine executes it")
    action.define(**change)
    stored = action.engine.do("export_metadata", {})["actions"]
    assert (
        change.items() <= next(each for each in stored if each["name"] == action.name)["definition"].items()
    )
    message, extensions = error(action.call())
    assert next(iter(change)).replace("kind", "asynchronous action") in message
    assert extensions["code"] == "not-supported"
    assert action.engine.receiver.received(action.path) == []


FAILED = "Inconsistent object: validation for the given custom types failed because "
FIELD = {"name": "a", "type": "Int"}
RELATIONSHIP = {"name": "r", "type": "object", "remote_table": "nowhere", "field_mapping": {"a": "id"}}


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        (
            {
                "objects": [{"name": "T", "fields": [FIELD]}],
                "input_objects": [{"name": "T", "fields": [FIELD]}],
            },
            'duplicate type names: "T"',
        ),
        (
            {"objects": [{"name": "T", "fields": [FIELD, FIELD]}]},
            'the object "T" has duplicate fields: "a"',
        ),
        (
            {"objects": [{"name": "T", "fields": [FIELD], "relationships": [RELATIONSHIP]}]},
            'the remote table "nowhere" for relationship "r" of object type "T" does not exist',
        ),
        (
            {"input_objects": [{"name": "T", "fields": [{"name": "a", "type": "Missing"}]}]},
            'the type "Missing" for field "a" in  input object type "T" does not exist',
        ),
    ],
)
def test_types_that_do_not_fit_each_other_are_refused(engine: Hasura, types: Json, reason: str) -> None:
    status, body = engine.change(lambda metadata: metadata.update(custom_types=types))
    assert (status, body["code"]) == (400, "unexpected")
    assert body["internal"][0]["name"] == "custom_types custom_types"
    assert body["internal"][0]["reason"] == FAILED + reason
