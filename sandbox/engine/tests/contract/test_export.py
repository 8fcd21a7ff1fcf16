"""The metadata in exports. Contract section 6."""

from tests.support.hasura import Hasura, Json


def exported(engine: Hasura) -> list[Json]:
    """Return the tables of the test's schema from an export."""
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
        using = {"manual_configuration": {"remote_table": later, "column_mapping": {"later_id": "id"}}}
        engine.do("pg_create_object_relationship", {"table": earlier, "name": name, "using": using})
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
