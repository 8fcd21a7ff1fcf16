"""Custom types that the engine refuses."""

import pytest

from tests.support.hasura import Hasura, Json

FAILED = "Inconsistent object: validation for the given custom types failed because "
FIELD = {"name": "a", "type": "Int"}
TYPE = {"name": "T", "fields": [FIELD]}
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
    status, body = engine.call("set_custom_types", types)
    assert (status, body["code"], body["path"]) == (400, "invalid-configuration", "$.args")
    assert body["error"] == FAILED + reason
    assert body["internal"][0]["name"] == "custom_types custom_types"


@pytest.mark.parametrize(
    ("types", "path"),
    [
        ({"objects": [{"name": "T", "fields": []}]}, "$.args.objects[0].fields"),
        ({"enums": [{"name": "E", "values": []}]}, "$.args.enums[0].values"),
        ({"scalars": [{"name": "9"}]}, "$.args.scalars[0].name"),
    ],
)
def test_types_without_parts_or_with_bad_names_are_refused(engine: Hasura, types: Json, path: str) -> None:
    status, body = engine.call("set_custom_types", types)
    assert (status, body["code"], body["path"]) == (400, "parse-failed", path)
