"""What the console and the command line tool ask besides. Contract section 6."""

import pytest

from tests.support.hasura import Hasura, Json


def test_foreign_keys_suggest_relationships_in_both_directions(
    engine: Hasura, pair: tuple[Json, Json]
) -> None:
    author, article = pair
    columns = ["author_id"]
    holder: Json = {"table": article, "columns": columns, "constraint_name": "article_author_id_fkey"}
    target: Json = {"table": author, "columns": ["id"]}
    one: Json = {"type": "object", "from": holder, "to": target}
    many = {"type": "array", "from": target, "to": holder}
    asked = {"tables": [author], "omit_tracked": True}
    assert engine.do("pg_suggest_relationships", asked)["relationships"] == [one, many]

    using: Json = {"foreign_key_constraint_on": "author_id"}
    engine.relate(article, "object", "author", **using)
    assert engine.do("pg_suggest_relationships", asked)["relationships"] == [many]
    using = {"foreign_key_constraint_on": {"table": article, "column": "author_id"}}
    engine.relate(author, "array", "articles", **using)
    assert engine.do("pg_suggest_relationships", asked)["relationships"] == []
    everything = engine.do("pg_suggest_relationships", {"tables": [article], "omit_tracked": False})
    assert everything["relationships"] == [one, many]


def test_a_trial_of_a_transform_names_the_missing_variable(engine: Hasura) -> None:
    """Without one the stand-in refuses to execute the transform."""
    transform = {"version": 2, "template_engine": "Kriti", "url": "{{$base_url}}"}
    args = {
        "webhook_url": "{{CONTRACT_WEBHOOK}}/x",
        "body": {"a": 1},
        "env": {},
        "request_transform": transform,
    }
    status, body = engine.call("test_webhook_transform", args)
    assert (status, body["code"], body["path"]) == (400, "not-found", "$.args")
    assert body["error"].startswith("Missing Env Var: CONTRACT_WEBHOOK.")
    if engine.stand_in:
        status, body = engine.call("test_webhook_transform", args | {"env": {"CONTRACT_WEBHOOK": "http://x"}})
        assert (status, body["code"]) == (400, "not-supported")
        assert body["error"] == "request_transform is not supported by this stand-in"


def test_the_description_of_the_endpoints_is_refused_by_name_and_to_others_than_admins(
    engine: Hasura,
) -> None:
    url = f"{engine.url}/api/swagger/json"
    answer = engine.client.get(url, headers=engine.role("user"))
    assert (answer.status_code, answer.json()["code"]) == (400, "access-denied")
    if engine.stand_in:
        answer = engine.client.get(url, headers=engine.admin)
        assert answer.json()["error"] == "/api/swagger/json is not supported by this stand-in"


def test_the_schema_is_dumped_as_sql(engine: Hasura) -> None:
    engine.table("item", "id int PRIMARY KEY, name text", tracked=False)
    options = ["-O", "-x", "--schema-only", "--schema", engine.schema]
    body = {"opts": options, "clean_output": True, "source": "default"}
    answer = engine.client.post(f"{engine.url}/v1alpha1/pg_dump", json=body, headers=engine.admin)
    if answer.status_code == 500 and "cannot be run" in answer.text:
        pytest.skip("the engine's machine has no program pg_dump")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/sql; charset=utf-8"
    assert (
        f"CREATE TABLE {engine.schema}.item (\n    id integer NOT NULL,\n    name text\n);\n" in answer.text
    )
    assert "--" not in answer.text
    assert "search_path" not in answer.text
    denied = engine.client.post(f"{engine.url}/v1alpha1/pg_dump", json=body, headers=engine.role("user"))
    assert (denied.status_code, denied.json()["code"]) == (400, "access-denied")
