"""The metadata API: tracking, relationships, permissions, customization, bulk. Contract sections 5 and 6."""

import pytest

from tests.support.hasura import Hasura, Json, unique

AUTHOR = "id serial PRIMARY KEY, name text UNIQUE"


def failure(answer: tuple[int, Json]) -> tuple[int, str, str]:
    """Return status, code and message of an error, whose path must be that of the arguments."""
    status, body = answer
    assert body["path"].startswith("$.args"), body
    return status, body["code"], body["error"]


@pytest.mark.parametrize(("prefix", "endpoint"), [("pg_", "/v1/metadata"), ("", "/v1/query")])
def test_tables_are_tracked_and_untracked_once(engine: Hasura, prefix: str, endpoint: str) -> None:
    table = engine.table("author", AUTHOR, tracked=False)
    named = {"table": table} if prefix else table

    def call(kind: str, args: Json) -> tuple[int, Json]:
        return engine.post(endpoint, {"type": prefix + kind, "args": args})

    shown = f'"{engine.schema}.author"'
    assert call("track_table", named) == (200, {"message": "success"})
    assert failure(call("track_table", named)) == (
        400,
        "already-tracked",
        f"view/table already tracked: {shown}",
    )
    assert call("untrack_table", {"table": table}) == (200, {"message": "success"})
    assert failure(call("untrack_table", {"table": table}))[1:] == (
        "already-untracked",
        f"view/table already untracked: {shown}",
    )


@pytest.mark.parametrize(
    ("name", "endpoint"), [("track_table", "/v1/metadata"), ("pg_track_table", "/v1/query")]
)
def test_each_endpoint_has_its_own_names(engine: Hasura, name: str, endpoint: str) -> None:
    table = engine.table("author", AUTHOR, tracked=False)
    status, body = engine.post(endpoint, {"type": name, "args": {"table": table}})
    assert (status, body["code"]) == (400, "parse-failed")
    assert body["path"] == ("$" if endpoint == "/v1/metadata" else "$.type")


def test_several_tables_are_tracked_with_warnings(engine: Hasura) -> None:
    one = engine.table("one", "id int PRIMARY KEY", tracked=False)
    tables = [{"table": one}, {"table": {"schema": engine.schema, "name": "nowhere"}}]
    place = f"table {engine.schema}.nowhere in source default"
    reasons = {
        "track": f'Inconsistent object: no such table/view exists in source: "{engine.schema}.nowhere"',
        "untrack": f'view/table already untracked: "{engine.schema}.nowhere"',
    }
    for kind, reason in reasons.items():
        warning = {"code": f"{kind}-table-failed", "message": reason, "name": place, "type": "table"}
        answer = engine.do(f"pg_{kind}_tables", {"tables": tables})
        assert answer == {"message": "success", "warnings": [warning]}
    assert engine.call("pg_untrack_table", {"table": one})[1]["code"] == "already-untracked"


def test_a_table_that_does_not_exist_cannot_be_tracked(engine: Hasura) -> None:
    answer = engine.call("pg_track_table", {"table": {"schema": engine.schema, "name": "nowhere"}})
    message = f'Inconsistent object: no such table/view exists in source: "{engine.schema}.nowhere"'
    assert failure(answer) == (400, "invalid-configuration", message)


def test_unknown_commands_are_refused(engine: Hasura) -> None:
    status, body = engine.call("no_such_command", {})
    assert (status, body["code"], body["path"]) == (400, "parse-failed", "$")


def test_relationships_need_a_foreign_key_and_a_free_name(engine: Hasura, pair: tuple[Json, Json]) -> None:
    author, article = pair
    using = {"foreign_key_constraint_on": "author_id"}
    args = {"table": article, "name": "writer", "using": using}
    engine.do("pg_create_object_relationship", args)
    shown = f"{engine.schema}.article"
    assert failure(engine.call("pg_create_object_relationship", args))[1:] == (
        "already-exists",
        f'field with name "writer" already exists in table "{shown}"',
    )
    wrong = {**args, "name": "other", "using": {"foreign_key_constraint_on": "title"}}
    assert failure(engine.call("pg_create_object_relationship", wrong)) == (
        400,
        "invalid-configuration",
        f'Inconsistent object: in table "{shown}": in relationship "other":'
        " no foreign constraint exists on the given column(s)",
    )
    many = {"foreign_key_constraint_on": {"table": article, "column": "author_id"}}
    engine.do("pg_create_array_relationship", {"table": author, "name": "articles", "using": many})
    engine.do("pg_rename_relationship", {"table": author, "name": "articles", "new_name": "works"})
    engine.do("pg_drop_relationship", {"table": author, "relationship": "works"})
    assert failure(engine.call("pg_drop_relationship", {"table": author, "relationship": "works"}))[:2] == (
        400,
        "not-exists",
    )


def test_a_manual_relationship_needs_no_foreign_key(engine: Hasura, pair: tuple[Json, Json]) -> None:
    author, article = pair
    manual = {"remote_table": article, "column_mapping": {"name": "title"}}
    args = {"table": author, "name": "namesakes", "using": {"manual_configuration": manual}}
    engine.do("pg_create_array_relationship", args)
    field = f"{engine.schema}_author"
    assert engine.graphql(f"{{ {field} {{ namesakes {{ id }} }} }}") == {"data": {field: []}}


def test_untracking_a_table_that_others_point_to_needs_cascade(
    engine: Hasura, pair: tuple[Json, Json]
) -> None:
    author, article = pair
    using = {"foreign_key_constraint_on": "author_id"}
    engine.do("pg_create_object_relationship", {"table": article, "name": "writer", "using": using})
    assert failure(engine.call("pg_untrack_table", {"table": author})) == (
        400,
        "dependency-error",
        "cannot drop due to the following dependent objects:"
        f' relationship {engine.schema}.article.writer in source "default"',
    )
    engine.do("pg_untrack_table", {"table": author, "cascade": True})
    assert failure(engine.call("pg_drop_relationship", {"table": article, "relationship": "writer"}))[1] == (
        "not-exists"
    )


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


def test_a_table_of_one_key_may_be_an_enum(engine: Hasura) -> None:
    table = engine.table("colour", "value text PRIMARY KEY, comment text")
    engine.sql(f"INSERT INTO \"{engine.schema}\".colour VALUES ('red', NULL)")
    engine.do("pg_set_table_is_enum", {"table": table, "is_enum": True})
    other = engine.table("number", "id int PRIMARY KEY")
    answer = engine.call("pg_set_table_is_enum", {"table": other, "is_enum": True})
    assert failure(answer)[:2] == (400, "invalid-configuration")


def test_customization_renames_fields(engine: Hasura) -> None:
    table = engine.table("author", AUTHOR)
    name = unique("writers")
    configuration = {"custom_name": name, "custom_column_names": {"name": "full_name"}}
    engine.do("pg_set_table_customization", {"table": table, "configuration": configuration})
    assert engine.graphql(f"{{ {name} {{ full_name }} }}") == {"data": {name: []}}


def test_bulk_does_all_or_nothing_and_keep_going_goes_on(engine: Hasura) -> None:
    engine.table("one", "id int PRIMARY KEY", tracked=False)
    engine.table("two", "id int PRIMARY KEY", tracked=False)
    track: list[Json] = [
        {"type": "pg_track_table", "args": {"table": {"schema": engine.schema, "name": name}}}
        for name in ("one", "nowhere", "two")
    ]
    first = track[0]["args"]
    status, body = engine.call("bulk", track)
    assert (status, body["path"], body["code"]) == (400, "$.args[1].args", "invalid-configuration")
    assert engine.call("pg_untrack_table", first)[1]["code"] == "already-untracked"
    unknown = [*track[:1], {"type": "nothing", "args": {}}]
    for kind in ("bulk", "bulk_keep_going", "bulk_atomic"):
        status, body = engine.call(kind, unknown)
        assert (status, body["path"], body["code"]) == (400, "$.args[1]", "parse-failed")
    assert engine.call("pg_untrack_table", first)[1]["code"] == "already-untracked"
    results = engine.do("bulk_keep_going", track[1:])
    assert (results[0]["code"], results[0]["path"]) == ("invalid-configuration", "$.args")
    assert results[1] == {"message": "success"}
    engine.do("pg_untrack_table", track[2]["args"])


@pytest.mark.parametrize("kind", ["pg_track_table", "get_inconsistent_metadata", "bulk", None])
def test_bulk_atomic_refuses_what_it_does_not_support(engine: Hasura, kind: str | None) -> None:
    table = engine.table("one", "id int PRIMARY KEY", tracked=False)
    args = [] if kind == "bulk" else {"table": table}
    status, body = engine.call("bulk_atomic", [{"type": kind, "args": args}] if kind else [])
    assert (status, body["code"]) == (500, "unexpected")
    assert body["path"] == ("$.args" if kind else "$")


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
    for kind in ("pg_track_table", "pg_create_select_permission", "create_cron_trigger", "create_action"):
        status, body = engine.call(kind, args)
        assert (status, set(body) - {"internal"}) == (400, {"path", "error", "code"}), (kind, body)
    assert engine.call("set_api_limits", {"disabled": "text"})[0] == 400
