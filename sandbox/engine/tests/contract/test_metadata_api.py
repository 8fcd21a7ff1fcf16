"""The metadata API: tracking, relationships, permissions, customization, bulk. Contract sections 5 and 6."""

import pytest

from tests.support.hasura import Hasura, Json, unique

AUTHOR = "id serial PRIMARY KEY, name text UNIQUE"


def failure(answer: tuple[int, Json]) -> tuple[int, str, str]:
    """Return status, code and message of an error, whose path must be that of the arguments."""
    status, body = answer
    assert body["path"].startswith("$.args"), body
    return status, body["code"], body["error"]


@pytest.mark.parametrize(
    ("name", "endpoint"), [("pg_track_table", "/v1/metadata"), ("track_table", "/v1/query")]
)
def test_a_table_is_tracked_once(engine: Hasura, name: str, endpoint: str) -> None:
    table = engine.table("author", AUTHOR, tracked=False)
    request = {"type": name, "args": {"table": table}}
    assert engine.post(endpoint, request) == (200, {"message": "success"})
    message = f'view/table already tracked: "{engine.schema}.author"'
    assert failure(engine.post(endpoint, request)) == (400, "already-tracked", message)


@pytest.mark.parametrize(
    ("name", "endpoint"), [("track_table", "/v1/metadata"), ("pg_track_table", "/v1/query")]
)
def test_each_endpoint_has_its_own_names(engine: Hasura, name: str, endpoint: str) -> None:
    table = engine.table("author", AUTHOR, tracked=False)
    status, body = engine.post(endpoint, {"type": name, "args": {"table": table}})
    assert (status, body["code"]) == (400, "parse-failed")
    assert body["path"] == ("$" if endpoint == "/v1/metadata" else "$.type")


def test_a_table_that_does_not_exist_cannot_be_tracked(engine: Hasura) -> None:
    answer = engine.call("pg_track_table", {"table": {"schema": engine.schema, "name": "nowhere"}})
    message = f'Inconsistent object: no such table/view exists in source: "{engine.schema}.nowhere"'
    assert failure(answer) == (400, "invalid-configuration", message)


def test_unknown_commands_are_refused(engine: Hasura) -> None:
    status, body = engine.call("no_such_command", {})
    assert (status, body["code"], body["path"]) == (400, "parse-failed", "$")


@pytest.mark.parametrize(
    ("kind", "definition"),
    [
        ("insert", {"check": {}, "columns": "*"}),
        ("select", {"columns": ["id"], "filter": {}}),
        ("update", {"columns": ["name"], "filter": {}, "check": None}),
        ("delete", {"filter": {}}),
    ],
)
def test_permissions_are_created_and_dropped_once(engine: Hasura, kind: str, definition: Json) -> None:
    table = engine.table("author", AUTHOR)
    shown = f"{engine.schema}.author"
    args = {"table": table, "role": "user", "permission": definition}
    assert engine.do(f"pg_create_{kind}_permission", args) == {"message": "success"}
    message = f'{kind} permission already defined on table "{shown}" with role "{{}}"'
    assert failure(engine.call(f"pg_create_{kind}_permission", args))[1:] == (
        "already-exists",
        message.format("user"),
    )
    admin = {**args, "role": "admin"}
    assert failure(engine.call(f"pg_create_{kind}_permission", admin)) == (
        400,
        "already-exists",
        message.format("admin"),
    )
    drop = {"table": table, "role": "user"}
    engine.do(f"pg_drop_{kind}_permission", drop)
    assert failure(engine.call(f"pg_drop_{kind}_permission", drop))[1] == "permission-denied"


def test_a_permission_on_an_unknown_column_is_refused(engine: Hasura) -> None:
    table = engine.table("author", AUTHOR)
    args = {"table": table, "role": "user", "permission": {"columns": ["nowhere"], "filter": {}}}
    status, code, message = failure(engine.call("pg_create_select_permission", args))
    assert (status, code) == (400, "invalid-configuration")
    assert 'column "nowhere" does not exist' in message
    assert engine.do("get_inconsistent_metadata", {})["is_consistent"] is True


def test_relationships_need_a_foreign_key(engine: Hasura, pair: tuple[Json, Json]) -> None:
    author, article = pair
    status, body = engine.relate(article, "object", "other", foreign_key_constraint_on="title")
    assert (status, body["code"]) == (400, "unexpected")
    assert [each["reason"] for each in body["internal"]] == [
        f'Inconsistent object: in table "{engine.schema}.article": in relationship "other":'
        " no foreign constraint exists on the given column(s)"
    ]
    manual = {"remote_table": article, "column_mapping": {"name": "title"}}
    assert engine.relate(author, "array", "namesakes", manual_configuration=manual)[0] == 200
    field = f"{engine.schema}_author"
    assert engine.graphql(f"{{ {field} {{ namesakes {{ id }} }} }}") == {"data": {field: []}}


def test_customization_renames_fields(engine: Hasura) -> None:
    name = unique("writers")
    configuration = {"custom_name": name, "custom_column_names": {"name": "full_name"}}
    engine.extend(engine.table("author", AUTHOR), "configuration", configuration)
    assert engine.graphql(f"{{ {name} {{ full_name }} }}") == {"data": {name: []}}


def test_bulk_does_all_or_nothing(engine: Hasura) -> None:
    engine.table("one", "id int PRIMARY KEY", tracked=False)
    track: list[Json] = [
        {"type": "pg_track_table", "args": {"table": {"schema": engine.schema, "name": name}}}
        for name in ("one", "nowhere")
    ]
    status, body = engine.call("bulk", track)
    assert (status, body["path"], body["code"]) == (400, "$.args[1].args", "invalid-configuration")
    unknown = [*track[:1], {"type": "nothing", "args": {}}]
    status, body = engine.call("bulk", unknown)
    assert (status, body["path"], body["code"]) == (400, "$.args[1]", "parse-failed")
    assert engine.schema not in str(engine.do("export_metadata", {}))


@pytest.mark.parametrize(
    "name", ["create_action", "pg_untrack_table", "pg_track_function", "set_api_limits", "bulk_atomic"]
)
def test_a_command_that_the_stand_in_does_not_have_is_refused_by_name(engine: Hasura, name: str) -> None:
    if not engine.stand_in:
        pytest.skip("a genuine engine has it")
    reason = f"{name.removeprefix('pg_')} is not supported by this stand-in"
    assert failure(engine.call(name, {})) == (400, "not-supported", reason)


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ({"type": None, "args": {}}, "$.type"),
        ({"type": 5, "args": {}}, "$.type"),
        ({"type": "export_metadata", "args": {}, "version": 3}, "$.version"),
        ({"type": "export_metadata", "args": {}, "version": "2"}, "$.version"),
        ({"type": "reload_metadata", "args": {}, "version": 2}, "$.type"),
        ({"type": "pg_track_table"}, "$"),
        ({"type": "clear_metadata", "args": {}, "resource_version": "1"}, "$.resource_version"),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused(engine: Hasura, request_: Json, path: str) -> None:
    status, body = engine.post("/v1/metadata", request_)
    assert (status, body["code"], body["path"]) == (400, "parse-failed", path)


def test_migrations_of_the_cli_have_their_state(engine: Hasura) -> None:
    state = engine.do("get_catalog_state", {})
    assert {"cli_state", "console_state"} <= set(state)


@pytest.mark.parametrize("args", [None, [], "text", {"table": 5}, {"table": {"schema": 1}}])
def test_malformed_arguments_are_a_clear_error(engine: Hasura, args: Json) -> None:
    for kind in ("pg_track_table", "pg_create_select_permission", "create_cron_trigger"):
        status, body = engine.call(kind, args)
        assert (status, set(body) - {"internal"}) == (400, {"path", "error", "code"}), (kind, body)
