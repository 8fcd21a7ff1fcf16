"""The metadata as a whole: export, replace, resource version, inconsistencies, reload."""

import copy

from tests.support.hasura import Hasura, Json, unique

AUTHOR = "id serial PRIMARY KEY, name text UNIQUE"
ROWS, TEXT = "$$ SELECT 1, 'a' $$", "$$ SELECT 'a' $$"


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


def test_reload_sees_what_others_did_to_the_database(engine: Hasura) -> None:
    engine.table("author", AUTHOR)
    args = {"sql": f'DROP TABLE "{engine.schema}".author', "check_metadata_consistency": False}
    assert engine.query("run_sql", args)[0] == 200
    body = engine.do("reload_metadata", {})
    assert (body["message"], body["is_consistent"]) == ("success", False)
    engine.do("drop_inconsistent_metadata", {})
    assert engine.do("reload_metadata", {}) == {"message": "success", "is_consistent": True}


def test_the_resource_version_is_looked_at_last(engine: Hasura) -> None:
    nowhere = {"table": {"schema": engine.schema, "name": "nowhere"}}
    assert engine.call("pg_track_table", nowhere, resource_version=1)[0] == 400
    table = engine.table("one", "id int PRIMARY KEY", tracked=False)
    status, body = engine.call("pg_track_table", {"table": table}, resource_version=1)
    assert (status, body["code"], body["path"]) == (409, "conflict", "$")


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
