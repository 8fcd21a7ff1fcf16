"""run_sql and the data commands of the query endpoints. Contract section 6."""

import json

import pytest

from tests.support.hasura import Hasura, Json


@pytest.fixture
def library(engine: Hasura) -> tuple[Json, Json]:
    """author and article with a relationship, a permission and three rows."""
    author = engine.table("author", "id int PRIMARY KEY, name text UNIQUE, age int")
    reference = f'author_id int REFERENCES "{engine.schema}".author(id)'
    article = engine.table("article", f"id int PRIMARY KEY, title text, {reference}")
    engine.relate(article, "object", "writer", foreign_key_constraint_on="author_id")
    permission = {"columns": ["id", "name"], "filter": {"name": {"_eq": "X-Hasura-Name"}}}
    engine.do("pg_create_select_permission", {"table": author, "role": "user", "permission": permission})
    engine.sql(f"INSERT INTO \"{engine.schema}\".author VALUES (1, 'a', 30), (2, 'b', NULL)")
    engine.sql(f"INSERT INTO \"{engine.schema}\".article VALUES (1, 't', 1)")
    return author, article


def run(engine: Hasura, text: str, **more: Json) -> tuple[int, Json]:
    return engine.query("run_sql", {"sql": text.replace("AT.", f'"{engine.schema}".'), **more})


def test_data_commands_of_the_newer_endpoint_are_for_admin(
    engine: Hasura, library: tuple[Json, Json]
) -> None:
    body = {"type": "select", "args": {"table": library[0], "columns": ["id"]}}
    expected = {"path": "$.args", "error": "restricted access : admin only", "code": "access-denied"}
    assert engine.post("/v2/query", body, engine.role("user", name="b")) == (400, expected)


def test_it_is_one_transaction(engine: Hasura, library: tuple[Json, Json]) -> None:
    assert run(engine, "DELETE FROM AT.article; SELECT 1/0")[0] == 400
    assert run(engine, "SELECT count(*) FROM AT.article")[1]["result"][1] == ["1"]


@pytest.mark.parametrize("endpoint", ["/v1/query", "/v2/query"])
def test_only_admin_may_run_it(engine: Hasura, endpoint: str) -> None:
    body = {"type": "run_sql", "args": {"sql": "SELECT 1"}}
    expected = {"path": "$.args", "error": "restricted access : admin only", "code": "access-denied"}
    assert engine.post(endpoint, body, engine.role("user")) == (400, expected)


def test_a_dropped_table_leaves_the_metadata(engine: Hasura, library: tuple[Json, Json]) -> None:
    assert run(engine, "DROP TABLE AT.article")[0] == 200
    assert library[1] not in [t["table"] for t in engine.do("export_metadata", {})["sources"][0]["tables"]]


def test_dropping_what_others_use_needs_cascade(engine: Hasura, library: tuple[Json, Json]) -> None:
    text = "ALTER TABLE AT.article DROP COLUMN author_id"
    status, body = run(engine, text)
    assert (status, body["code"]) == (400, "dependency-error")
    assert f"relationship {engine.schema}.article.writer" in body["error"]
    assert run(engine, "SELECT author_id FROM AT.article")[0] == 200, "nothing was dropped"
    assert run(engine, text, cascade=True)[0] == 200
    assert "writer" not in json.dumps(engine.do("export_metadata", {}))


def test_the_stand_in_refuses_to_rename_a_tracked_table(engine: Hasura, library: tuple[Json, Json]) -> None:
    if not engine.stand_in:
        pytest.skip("a genuine engine follows")
    status, body = run(engine, "ALTER TABLE AT.author RENAME TO person")
    assert (status, body["code"]) == (400, "not-supported")
    assert body["error"] == 'renaming the tracked table "author" is not supported by this stand-in'
    assert run(engine, "SELECT count(*) FROM AT.author")[0] == 200, "nothing was renamed"


def test_event_triggers_survive_ddl(engine: Hasura, library: tuple[Json, Json]) -> None:
    name = f"t_{engine.schema}"
    args = {"name": name, "table": library[0], "webhook": "http://127.0.0.1:1/", "insert": {"columns": "*"}}
    engine.do("pg_create_event_trigger", args)
    assert run(engine, "ALTER TABLE AT.author ADD COLUMN email text")[0] == 200
    engine.sql(f"INSERT INTO \"{engine.schema}\".author (id, email) VALUES (9, 'e')")
    assert engine.events(name)[0]["payload"]["data"]["new"]["email"] == "e"


@pytest.mark.parametrize("endpoint", ["/v1/query", "/v2/query"])
def test_rows_are_selected_updated_and_deleted(
    engine: Hasura, library: tuple[Json, Json], endpoint: str
) -> None:
    author, _ = library

    def ask(kind: str, **args: Json) -> tuple[int, Json]:
        return engine.post(endpoint, {"type": kind, "args": {"table": author, **args}})

    found = ask("select", columns=["id", "name"], where={"age": {"$gt": 1}}, order_by="-id")
    assert found == (200, [{"id": 1, "name": "a"}])
    order = [{"column": "id", "type": "desc", "nulls": "last"}]
    assert ask("select", columns=["*"], order_by=order, limit=1) == (
        200,
        [{"id": 2, "name": "b", "age": None}],
    )
    changed = ask("update", where={"id": 2}, **{"$set": {"name": "g"}}, returning=["name"])
    assert changed == (200, {"affected_rows": 1, "returning": [{"name": "g"}]})
    assert ask("delete", where={"id": 2}) == (200, {"affected_rows": 1})
    assert ask("select", columns=["none"])[1]["code"] == "permission-denied"
    insert = {"type": "insert", "args": {"table": author, "objects": []}}
    status, body = engine.post("/v1/query", {"type": "bulk", "args": [insert]})
    assert (status, body["path"], body["error"]) == (
        400, "$.args[0].args.objects", "objects should not be empty",
    )  # fmt: skip
    if engine.stand_in:
        for kind in ("insert", "count"):
            status, body = ask(kind)
            assert (status, body["error"]) == (400, f"{kind} is not supported by this stand-in")


def test_a_bulk_may_mix_reading_and_writing_modes(engine: Hasura) -> None:
    items = [{"type": "run_sql", "args": {"sql": "SELECT 1", "read_only": each}} for each in (False, True)]
    status, body = engine.post("/v1/query", {"type": "bulk", "args": items})
    assert (status, [each["result"] for each in body]) == (200, [[["?column?"], ["1"]]] * 2)
