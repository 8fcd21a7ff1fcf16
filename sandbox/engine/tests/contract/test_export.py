"""The metadata in exports. Contract section 6."""

from tests.support.hasura import Hasura, Json, unique


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


def test_empty_parts_are_left_out(engine: Hasura) -> None:
    engine.do("set_graphql_schema_introspection_options", {"disabled_for_roles": []})
    engine.change(lambda metadata: metadata.update(api_limits={}))
    assert not {"api_limits", "graphql_schema_introspection"} & set(engine.do("export_metadata", {}))


def test_states_of_cli_and_console_are_kept_as_they_were_set(engine: Hasura) -> None:
    before = engine.do("get_catalog_state", {})
    for kind in ("cli", "console"):
        state = {"migrations": {"other": {"1": True}}, "anything": [None, kind]}
        engine.do("set_catalog_state", {"type": kind, "state": state})
        assert engine.do("get_catalog_state", {})[f"{kind}_state"] == state
        engine.do("set_catalog_state", {"type": kind, "state": before[f"{kind}_state"]})
    status, body = engine.call("set_catalog_state", {"type": "x", "state": {}})
    assert (status, body["code"], body["path"]) == (400, "parse-failed", "$.args.type")


def test_the_configuration_says_what_the_console_asks_for(engine: Hasura) -> None:
    answer = engine.client.get(f"{engine.url}/v1alpha1/config", headers=engine.admin).json()
    assert answer["default_naming_convention"] == "hasura-default"
    assert answer["is_admin_secret_set"]
    assert {"live_queries", "streaming_queries", "feature_flags", "console_assets_dir"} <= set(answer)
    if answer["is_jwt_set"]:
        claims = {"claims_namespace": "https://hasura.io/jwt/claims", "claims_format": "json"}
        assert answer["jwt"] == [claims | {"claims_map": None}]
