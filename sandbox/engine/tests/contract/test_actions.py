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
        self.engine.receiver.answers(self.path, *answers)

    def received(self) -> Received:
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


def test_an_answer_of_the_wrong_shape_is_an_error(action: Action) -> None:
    action.define(output_type="[ContractOut]")
    action.answers(Answer(200, {"id": 1}))
    assert error(action.call()) == ("expecting array for the action webhook response", UNEXPECTED)


@pytest.mark.parametrize(
    ("answer", "extensions"),
    [
        ({"message": "no", "extensions": {"code": "theirs", "x": 1}}, {"code": "theirs", "x": 1}),
        ({"message": "no", "code": "mine", "extensions": {"x": 1}}, {"x": 1}),
        ({"message": "no", "extensions": {}}, {}),
    ],
)
def test_a_4xx_speaks_to_the_client(action: Action, answer: Json, extensions: Json) -> None:
    action.answers(Answer(422, answer))
    assert error(action.call()) == ("no", extensions)


def test_a_dead_handler_is_an_http_exception(action: Action) -> None:
    action.define(handler="http://127.0.0.1:1/", timeout=1)
    assert error(action.call()) == ("http exception when calling webhook", UNEXPECTED)


@pytest.mark.usefixtures("traced")
def test_an_action_goes_on_with_the_trace_and_without_other_headers_of_the_client(action: Action) -> None:
    sent = {"x-b3-traceid": "0af7651916cd43dd8448eb211c80319c", "x-b3-spanid": "b7ad6b7169203331"}
    action.answers(Answer(200, {"id": 1}))
    action.call(**action.engine.admin, **sent, cookie="c=1")
    assert action.received().headers["x-b3-traceid"] == sent["x-b3-traceid"]
    assert not {"cookie", "x-hasura-admin-secret"} & set(action.received().headers)


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
