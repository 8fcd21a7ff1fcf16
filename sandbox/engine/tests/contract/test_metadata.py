"""The metadata: tracking, permissions, bulk; export, replace, reload. Contract sections 5 and 6."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.hasura import Hasura, Json, eventually, unique

AUTHOR = "id serial PRIMARY KEY, name text UNIQUE"
ROWS, TEXT = "$$ SELECT 1, 'a' $$", "$$ SELECT 'a' $$"


def failure(answer: tuple[int, Json]) -> tuple[int, str, str]:
    """Return status, code and message of an error, whose path must be that of the arguments."""
    status, body = answer
    assert body["path"].startswith("$.args"), body
    return status, body["code"], body["error"]


@pytest.mark.parametrize(
    ("kind", "definition"),
    [
        ("insert", {"check": {}, "columns": "*", "set": {"name": "x"}}),
        ("select", {"columns": ["id"], "filter": {}}),
        ("update", {"columns": ["name"], "filter": {}, "check": None}),
        ("delete", {"filter": {}}),
    ],
)
def test_permissions_are_created_and_dropped_once(engine: Hasura, kind: str, definition: Json) -> None:
    of_role = {"table": engine.table("author", AUTHOR), "role": "user"}
    args = {**of_role, "permission": definition}
    assert engine.do(f"pg_create_{kind}_permission", args) == {"message": "success"}
    assert failure(engine.call(f"pg_create_{kind}_permission", args))[1] == "already-exists"
    engine.do(f"pg_drop_{kind}_permission", of_role)
    assert failure(engine.call(f"pg_drop_{kind}_permission", of_role))[1] == "permission-denied"


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


@pytest.mark.parametrize("args", [None, [], "text", {"table": 5}, {"table": {"schema": 1}}])
def test_malformed_arguments_are_a_clear_error(engine: Hasura, args: Json) -> None:
    for kind in ("pg_track_table", "pg_create_select_permission", "create_cron_trigger"):
        status, body = engine.call(kind, args)
        assert (status, set(body) - {"internal"}) == (400, {"path", "error", "code"}), (kind, body)


def exported(engine: Hasura) -> list[Json]:
    tables = engine.do("export_metadata", {})["sources"][0]["tables"]
    return [table for table in tables if table["table"]["schema"] == engine.schema]


def test_lists_are_sorted_and_defaults_left_out(engine: Hasura) -> None:
    later = engine.table("later", "id int PRIMARY KEY, name text")
    earlier = engine.table(
        "earlier", f'id int PRIMARY KEY, later_id int REFERENCES "{engine.schema}".later(id)'
    )
    for role in ("zoe", "adam"):
        permission = {"columns": ["name"], "filter": {}, "set": {}, "backend_only": False}
        engine.do("pg_create_update_permission", {"table": later, "role": role, "permission": permission})
    for name in ("two", "one"):
        manual = {"remote_table": later, "column_mapping": {"later_id": "id"}}
        engine.relate(earlier, "object", name, manual_configuration=manual)
    trigger = {"name": f"t_{engine.schema}", "table": later, "webhook": "http://127.0.0.1:1/"}
    engine.do("pg_create_event_trigger", {**trigger, "insert": {"columns": "*"}, "headers": []})
    first, second = exported(engine)
    assert (first["table"]["name"], second["table"]["name"]) == ("earlier", "later")
    assert [item["name"] for item in first["object_relationships"]] == ["one", "two"]
    permission = {"columns": ["name"], "filter": {}, "check": None}
    expected = [{"role": role, "permission": permission} for role in ("adam", "zoe")]
    assert second["update_permissions"] == expected
    assert second["event_triggers"] == [
        {
            "name": f"t_{engine.schema}",
            "definition": {"enable_manual": False, "insert": {"columns": "*"}},
            "retry_conf": {"num_retries": 0, "interval_sec": 10, "timeout_sec": 60},
            "webhook": "http://127.0.0.1:1/",
        }
    ]


def test_nulls_and_defaults_of_exports_are_those_of_the_engine(engine: Hasura) -> None:
    table = engine.table("item", "id int PRIMARY KEY, parent_id int")
    manual = {"remote_table": table, "column_mapping": {"parent_id": "id"}}
    engine.relate(table, "object", "parent", manual_configuration=manual)
    (shown,) = exported(engine)
    assert shown["object_relationships"][0]["using"]["manual_configuration"]["insertion_order"] is None

    name = unique("act")
    argument = {"name": "text", "type": "String!", "description": None}
    definition = {"handler": "http://127.0.0.1:1/", "output_type": "String!", "arguments": [argument]}
    entry = {"name": name, "definition": definition}
    engine.change(lambda metadata: metadata.setdefault("actions", []).append(entry))
    actions = engine.do("export_metadata", {})["actions"]
    (definition,) = [each["definition"] for each in actions if each["name"] == name]
    assert definition["arguments"] == [{"name": "text", "type": "String!"}]
    assert "Content-Length" in definition["ignored_client_headers"]


def test_a_read_waits_for_no_other(engine: Hasura) -> None:
    """Else what needs no database hangs with what waits for one."""
    cron = {"name": unique("cron"), "webhook": "http://127.0.0.1:9", "schedule": "0 0 1 1 *"}
    engine.do("create_cron_trigger", cron | {"include_in_metadata": True})
    table = "hdb_catalog.hdb_cron_events"
    waiting = f"SELECT 1 FROM pg_locks WHERE relation = '{table}'::regclass AND granted = "
    args = {"type": "cron", "trigger_name": cron["name"]}
    with ThreadPoolExecutor(2) as threads:
        threads.submit(engine.sql, f"LOCK TABLE {table}; SELECT pg_sleep(2)")
        eventually(lambda: engine.sql(waiting + "true"))
        reading = threads.submit(engine.call, "get_scheduled_events", args)
        eventually(lambda: engine.sql(waiting + "false"))
        engine.do("export_metadata", {})
        assert not reading.done()


def test_empty_parts_are_left_out(engine: Hasura) -> None:
    engine.do("set_graphql_schema_introspection_options", {"disabled_for_roles": []})
    engine.change(lambda metadata: metadata.update(api_limits={}))
    assert not {"api_limits", "graphql_schema_introspection"} & set(engine.do("export_metadata", {}))


def test_export_and_replace_round_trip(engine: Hasura, pair: tuple[Json, Json]) -> None:
    first = engine.do("export_metadata", {}, version=2)
    assert set(first) == {"resource_version", "metadata"}
    assert first["metadata"]["version"] == 3
    args = {"allow_inconsistent_metadata": False, "metadata": first["metadata"]}
    answer = engine.do("replace_metadata", args, version=2, resource_version=first["resource_version"])
    assert answer["is_consistent"] is True
    assert answer["inconsistent_objects"] == []
    second = engine.do("export_metadata", {}, version=2)
    assert second["metadata"] == first["metadata"]
    assert second["resource_version"] > first["resource_version"]


def test_an_old_resource_version_is_a_conflict(engine: Hasura) -> None:
    current = engine.do("export_metadata", {}, version=2)
    stale = current["resource_version"] - 1
    args = {"metadata": current["metadata"]}
    status, body = engine.call("replace_metadata", args, version=2, resource_version=stale)
    assert (status, body["code"]) == (409, "conflict")
    assert body["error"] == (f"metadata resource version referenced ({stale}) did not match current version")


def test_inconsistent_metadata_is_refused_or_allowed_reported_and_dropped(engine: Hasura) -> None:
    before = engine.do("export_metadata", {})
    missing = {"schema": engine.schema, "name": "nowhere"}
    source = {**before["sources"][0], "tables": [*before["sources"][0]["tables"], {"table": missing}]}
    wanted = {**before, "sources": [source, *before["sources"][1:]]}
    status, body = engine.call("replace_metadata", {"metadata": wanted}, version=2)
    assert (status, body["code"]) == (400, "unexpected")
    args = {"allow_inconsistent_metadata": True, "metadata": wanted}
    answer = engine.do("replace_metadata", args, version=2)
    expected = {
        "definition": missing,
        "name": f"table {engine.schema}.nowhere in source default",
        "reason": f'Inconsistent object: no such table/view exists in source: "{engine.schema}.nowhere"',
        "type": "table",
    }
    assert answer == {"is_consistent": False, "inconsistent_objects": [expected]}
    assert engine.do("get_inconsistent_metadata", {}) == answer
    health = engine.client.get(engine.url + "/healthz")
    assert (health.status_code, health.text) == (200, "WARN: inconsistent objects in schema")
    strict = engine.client.get(engine.url + "/healthz?strict=true")
    assert (strict.status_code, strict.text) == (500, "ERROR: inconsistent objects in schema")
    assert engine.do("drop_inconsistent_metadata", {}) == {"message": "success"}
    assert engine.do("get_inconsistent_metadata", {}) == {"is_consistent": True, "inconsistent_objects": []}


def test_a_refused_replace_has_deleted_the_future_events_of_a_changed_cron(engine: Hasura) -> None:
    """Seen on the genuine engine: a reload brings them back at once, the generator within a minute."""
    cron = unique("cron")
    given = {
        "name": cron,
        "webhook": "http://127.0.0.1:9",
        "schedule": "0 0 1 1 *",
        "include_in_metadata": True,
    }
    engine.do("create_cron_trigger", given)

    def count() -> int:
        args = {"type": "cron", "trigger_name": cron, "get_rows_count": True}
        return int(engine.do("get_scheduled_events", args)["count"])

    assert count() == 100
    wanted = copy.deepcopy(engine.do("export_metadata", {}))
    (changed,) = [each for each in wanted["cron_triggers"] if each["name"] == cron]
    changed["comment"] = "changed"
    missing = {"table": {"schema": engine.schema, "name": "nowhere"}}
    wanted["sources"][0]["tables"].append(missing)
    assert engine.call("replace_metadata", {"metadata": wanted}, version=2)[0] == 400
    assert count() == 0
    engine.do("reload_metadata", {})
    assert count() == 100
    engine.do("delete_cron_trigger", {"name": cron})


def test_the_resource_version_is_looked_at_last(engine: Hasura) -> None:
    nowhere = {"table": {"schema": engine.schema, "name": "nowhere"}}
    assert engine.call("pg_track_table", nowhere, resource_version=1)[0] == 400
    table = engine.table("one", "id int PRIMARY KEY", tracked=False)
    for version, failure in ((1, (409, "conflict", "$")), ("1", (400, "parse-failed", "$.resource_version"))):
        status, body = engine.call("pg_track_table", {"table": table}, resource_version=version)
        assert (status, body["code"], body["path"]) == failure


def test_metadata_with_unknown_keys_or_without_a_kind_are_taken(engine: Hasura) -> None:
    before = engine.do("export_metadata", {})
    source = {key: value for key, value in before["sources"][0].items() if key != "kind"}
    wanted = {**before, "nothing": 1, "sources": [source, *before["sources"][1:]]}
    assert engine.do("replace_metadata", {"metadata": wanted}, version=2)["is_consistent"]
    assert engine.do("export_metadata", {}) == before
    unfit = {**before, "sources": [{**source, "tables": [{"table": "t", "nothing": 1}]}]}
    status, body = engine.call("replace_metadata", {"metadata": unfit}, version=2)
    assert (status, body["code"]) == (400, "parse-failed")
    assert body["path"] == "$.args.metadata.sources[0].tables[0]"


def test_a_source_of_an_unset_variable_is_inconsistent(engine: Hasura) -> None:
    before = engine.do("export_metadata", {})
    source = copy.deepcopy(before["sources"][0])
    source["configuration"]["connection_info"]["database_url"] = {"from_env": "MISSING_VARIABLE"}
    wanted = {**before, "sources": [source]}
    status, body = engine.call("replace_metadata", {"metadata": wanted}, version=2)
    assert (status, body["code"]) == (400, "unexpected")
    assert body["internal"][0] == {
        "definition": source["name"],
        "name": f"source {source['name']}",
        "reason": "Inconsistent object: environment variable 'MISSING_VARIABLE' not set",
        "type": "source",
    }
    assert engine.do("export_metadata", {}) == before


def test_features_that_the_stand_in_does_not_execute_are_stored_unchanged(engine: Hasura) -> None:
    """A genuine engine takes them only if they fit the database: these do."""
    engine.table("item", "id int PRIMARY KEY, name text")
    engine.table("kind", "value text PRIMARY KEY")
    schema = engine.schema
    engine.sql(f"INSERT INTO \"{schema}\".kind VALUES ('a')")
    engine.sql(
        f'CREATE FUNCTION "{schema}".many() RETURNS SETOF "{schema}".item LANGUAGE sql STABLE AS {ROWS}'
    )
    engine.sql(
        f'CREATE FUNCTION "{schema}".label("{schema}".item) RETURNS text LANGUAGE sql STABLE AS {TEXT}'
    )
    many, label = ({"schema": schema, "name": name} for name in ("many", "label"))
    permission: Json = {"columns": ["id"], "computed_fields": ["label"], "filter": {"label": {"_eq": "a"}}}
    wanted: Json = {}

    def edit(metadata: Json) -> None:
        source = metadata["sources"][0]
        source["functions"] = [{"function": many}]
        entries = {table["table"]["name"]: table for table in source["tables"]}
        entries["kind"]["is_enum"] = True
        entries["item"]["computed_fields"] = [{"name": "label", "definition": {"function": label}}]
        entries["item"]["select_permissions"] = [{"role": "user", "permission": permission}]
        metadata["inherited_roles"] = [{"role_name": f"{schema}_both", "role_set": ["user"]}]
        metadata["api_limits"] = {"disabled": False, "depth_limit": {"global": 5, "per_role": {}}}
        wanted.update(copy.deepcopy(metadata))

    status, body = engine.change(edit)
    assert (status, body["is_consistent"]) == (200, True), body
    assert engine.do("export_metadata", {}) == wanted
