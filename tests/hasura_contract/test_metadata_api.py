"""The metadata API: tracking, relationships, permissions, whole metadata, bulk. Contract sections 5 and 6."""

import pytest

from tests.hasura_contract.place import Json, Place, unique

AUTHOR = "id serial PRIMARY KEY, name text UNIQUE"


@pytest.fixture
def pair(place: Place) -> tuple[Json, Json]:
    """Tracked tables author and article, with a foreign key."""
    author = place.table("author", AUTHOR)
    reference = f'author_id int REFERENCES "{place.schema}".author(id)'
    return author, place.table("article", f"id serial PRIMARY KEY, title text, {reference}")


def failure(answer: tuple[int, Json]) -> tuple[int, str, str]:
    """Status, code and message of an error, whose path must be that of the arguments."""
    status, body = answer
    assert body["path"].startswith("$.args"), body
    return status, body["code"], body["error"]


@pytest.mark.parametrize("prefix", ["pg_", ""])
@pytest.mark.parametrize("endpoint", ["/v1/metadata", "/v1/query"])
def test_tables_are_tracked_and_untracked_once(place: Place, prefix: str, endpoint: str) -> None:
    if not place.stand_in and (prefix, endpoint) in {("pg_", "/v1/query"), ("", "/v1/metadata")}:
        pytest.skip("the genuine engine knows each name on one of the two endpoints only")
    table = place.table("author", AUTHOR, tracked=False)
    named = {"table": table} if prefix else table

    def call(kind: str, args: Json) -> tuple[int, Json]:
        return place.post(endpoint, {"type": prefix + kind, "args": args})

    shown = f'"{place.schema}.author"'
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


def test_a_table_that_does_not_exist_cannot_be_tracked(place: Place) -> None:
    answer = place.call("pg_track_table", {"table": {"schema": place.schema, "name": "nowhere"}})
    message = f'Inconsistent object: no such table/view exists in source: "{place.schema}.nowhere"'
    assert failure(answer) == (400, "invalid-configuration", message)


def test_unknown_commands_are_refused(place: Place) -> None:
    status, body = place.call("no_such_command", {})
    assert (status, body["code"], body["path"]) == (400, "parse-failed", "$")


def test_relationships_need_a_foreign_key_and_a_free_name(place: Place, pair: tuple[Json, Json]) -> None:
    author, article = pair
    using = {"foreign_key_constraint_on": "author_id"}
    args = {"table": article, "name": "writer", "using": using}
    place.do("pg_create_object_relationship", args)
    shown = f"{place.schema}.article"
    assert failure(place.call("pg_create_object_relationship", args))[1:] == (
        "already-exists",
        f'field with name "writer" already exists in table "{shown}"',
    )
    wrong = {**args, "name": "other", "using": {"foreign_key_constraint_on": "title"}}
    assert failure(place.call("pg_create_object_relationship", wrong)) == (
        400,
        "invalid-configuration",
        f'Inconsistent object: in table "{shown}": in relationship "other":'
        " no foreign constraint exists on the given column(s)",
    )
    many = {"foreign_key_constraint_on": {"table": article, "column": "author_id"}}
    place.do("pg_create_array_relationship", {"table": author, "name": "articles", "using": many})
    place.do("pg_rename_relationship", {"table": author, "name": "articles", "new_name": "works"})
    place.do("pg_drop_relationship", {"table": author, "relationship": "works"})
    assert failure(place.call("pg_drop_relationship", {"table": author, "relationship": "works"}))[:2] == (
        400,
        "not-exists",
    )


def test_a_manual_relationship_needs_no_foreign_key(place: Place, pair: tuple[Json, Json]) -> None:
    author, article = pair
    manual = {"remote_table": article, "column_mapping": {"name": "title"}}
    args = {"table": author, "name": "namesakes", "using": {"manual_configuration": manual}}
    place.do("pg_create_array_relationship", args)
    field = f"{place.schema}_author"
    assert place.graphql(f"{{ {field} {{ namesakes {{ id }} }} }}") == {"data": {field: []}}


def test_untracking_a_table_that_others_point_to_needs_cascade(place: Place, pair: tuple[Json, Json]) -> None:
    author, article = pair
    using = {"foreign_key_constraint_on": "author_id"}
    place.do("pg_create_object_relationship", {"table": article, "name": "writer", "using": using})
    assert failure(place.call("pg_untrack_table", {"table": author})) == (
        400,
        "dependency-error",
        "cannot drop due to the following dependent objects:"
        f' relationship {place.schema}.article.writer in source "default"',
    )
    place.do("pg_untrack_table", {"table": author, "cascade": True})
    assert failure(place.call("pg_drop_relationship", {"table": article, "relationship": "writer"}))[1] == (
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
def test_permissions_are_created_and_dropped_once(place: Place, kind: str, definition: Json) -> None:
    table = place.table("author", AUTHOR)
    shown = f"{place.schema}.author"
    args = {"table": table, "role": "user", "permission": definition}
    assert place.do(f"pg_create_{kind}_permission", args) == {"message": "success"}
    message = f'{kind} permission already defined on table "{shown}" with role "{{}}"'
    assert failure(place.call(f"pg_create_{kind}_permission", args))[1:] == (
        "already-exists",
        message.format("user"),
    )
    admin = {**args, "role": "admin"}
    assert failure(place.call(f"pg_create_{kind}_permission", admin)) == (
        400,
        "already-exists",
        message.format("admin"),
    )
    drop = {"table": table, "role": "user"}
    place.do(f"pg_drop_{kind}_permission", drop)
    assert failure(place.call(f"pg_drop_{kind}_permission", drop))[1] == "permission-denied"


def test_a_permission_on_an_unknown_column_is_refused(place: Place) -> None:
    table = place.table("author", AUTHOR)
    args = {"table": table, "role": "user", "permission": {"columns": ["nowhere"], "filter": {}}}
    status, code, message = failure(place.call("pg_create_select_permission", args))
    assert (status, code) == (400, "invalid-configuration")
    assert 'column "nowhere" does not exist' in message
    assert place.do("get_inconsistent_metadata", {})["is_consistent"] is True


def test_a_table_of_one_key_may_be_an_enum(place: Place) -> None:
    table = place.table("colour", "value text PRIMARY KEY, comment text")
    place.sql(f"INSERT INTO \"{place.schema}\".colour VALUES ('red', NULL)")
    place.do("pg_set_table_is_enum", {"table": table, "is_enum": True})
    other = place.table("number", "id int PRIMARY KEY")
    answer = place.call("pg_set_table_is_enum", {"table": other, "is_enum": True})
    assert failure(answer)[:2] == (400, "invalid-configuration")


def test_customization_renames_fields(place: Place) -> None:
    table = place.table("author", AUTHOR)
    name = unique("writers")
    configuration = {"custom_name": name, "custom_column_names": {"name": "full_name"}}
    place.do("pg_set_table_customization", {"table": table, "configuration": configuration})
    assert place.graphql(f"{{ {name} {{ full_name }} }}") == {"data": {name: []}}


def test_export_and_replace_round_trip(place: Place, pair: tuple[Json, Json]) -> None:
    first = place.do("export_metadata", {}, version=2)
    assert set(first) == {"resource_version", "metadata"}
    assert first["metadata"]["version"] == 3
    args = {"allow_inconsistent_metadata": False, "metadata": first["metadata"]}
    answer = place.do("replace_metadata", args, version=2, resource_version=first["resource_version"])
    assert answer["is_consistent"] is True
    assert answer["inconsistent_objects"] == []
    second = place.do("export_metadata", {}, version=2)
    assert second["metadata"] == first["metadata"]
    assert second["resource_version"] > first["resource_version"]


def test_an_old_resource_version_is_a_conflict(place: Place) -> None:
    current = place.do("export_metadata", {}, version=2)
    stale = current["resource_version"] - 1
    args = {"metadata": current["metadata"]}
    status, body = place.call("replace_metadata", args, version=2, resource_version=stale)
    assert (status, body["code"]) == (409, "conflict")
    assert body["error"] == (f"metadata resource version referenced ({stale}) did not match current version")


def test_inconsistent_metadata_is_refused_or_allowed_reported_and_dropped(place: Place) -> None:
    before = place.do("export_metadata", {})
    missing = {"schema": place.schema, "name": "nowhere"}
    source = {**before["sources"][0], "tables": [*before["sources"][0]["tables"], {"table": missing}]}
    wanted = {**before, "sources": [source, *before["sources"][1:]]}
    status, body = place.call("replace_metadata", {"metadata": wanted}, version=2)
    assert (status, body["code"]) == (400, "unexpected")
    args = {"allow_inconsistent_metadata": True, "metadata": wanted}
    answer = place.do("replace_metadata", args, version=2)
    expected = {
        "definition": missing,
        "name": f"table {place.schema}.nowhere in source default",
        "reason": f'Inconsistent object: no such table/view exists in source: "{place.schema}.nowhere"',
        "type": "table",
    }
    assert answer == {"is_consistent": False, "inconsistent_objects": [expected]}
    assert place.do("get_inconsistent_metadata", {}) == answer
    health = place.client.get(place.url + "/healthz")
    assert (health.status_code, health.text) == (200, "WARN: inconsistent objects in schema")
    assert place.client.get(place.url + "/healthz?strict=true").status_code == 500
    assert place.do("drop_inconsistent_metadata", {}) == {"message": "success"}
    assert place.do("get_inconsistent_metadata", {}) == {"is_consistent": True, "inconsistent_objects": []}


def test_reload_sees_what_others_did_to_the_database(place: Place) -> None:
    table = place.table("author", AUTHOR)
    args = {"sql": f'DROP TABLE "{place.schema}".author', "check_metadata_consistency": False}
    assert place.query("run_sql", args)[0] == 200
    body = place.do("reload_metadata", {})
    assert (body["message"], body["is_consistent"]) == ("success", False)
    place.do("pg_untrack_table", {"table": table})
    assert place.do("reload_metadata", {}) == {"message": "success", "is_consistent": True}


def test_bulk_stops_at_the_first_failure_and_keep_going_does_not(place: Place) -> None:
    place.table("one", "id int PRIMARY KEY", tracked=False)
    place.table("two", "id int PRIMARY KEY", tracked=False)
    track = [
        {"type": "pg_track_table", "args": {"table": {"schema": place.schema, "name": name}}}
        for name in ("one", "nowhere", "two")
    ]
    status, body = place.call("bulk", track)
    assert (status, body["path"], body["code"]) == (400, "$.args[1].args", "invalid-configuration")
    results = place.do("bulk_keep_going", track[1:])
    assert results[0]["code"] == "invalid-configuration"
    assert results[1] == {"message": "success"}


def test_migrations_of_the_cli_have_their_state(place: Place) -> None:
    state = place.do("get_catalog_state", {})
    assert {"cli_state", "console_state"} <= set(state)


@pytest.mark.parametrize("args", [None, [], "text", {"table": 5}, {"table": {"schema": 1}}])
def test_malformed_arguments_are_a_clear_error(place: Place, args: Json) -> None:
    for kind in ("pg_track_table", "pg_create_select_permission", "create_cron_trigger", "create_action"):
        status, body = place.call(kind, args)
        assert (status, set(body) - {"internal"}) == (400, {"path", "error", "code"}), (kind, body)
    assert place.call("set_api_limits", {"disabled": "text"})[0] == 400
