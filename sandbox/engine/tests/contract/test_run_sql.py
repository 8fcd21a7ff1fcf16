"""run_sql and the data commands of the query endpoints. Contract section 6."""

import pytest

from tests.support.hasura import Hasura, Json

RELATION = {"foreign_key_constraint_on": "author_id"}


@pytest.fixture
def library(engine: Hasura) -> tuple[Json, Json]:
    """author and article with a relationship, a permission and three rows."""
    author = engine.table("author", "id int PRIMARY KEY, name text UNIQUE, age int")
    reference = f'author_id int REFERENCES "{engine.schema}".author(id)'
    article = engine.table("article", f"id int PRIMARY KEY, title text, {reference}")
    engine.do("pg_create_object_relationship", {"table": article, "name": "writer", "using": RELATION})
    permission = {"columns": ["id", "name"], "filter": {"name": {"_eq": "X-Hasura-Name"}}}
    engine.do("pg_create_select_permission", {"table": author, "role": "user", "permission": permission})
    engine.sql(f"INSERT INTO \"{engine.schema}\".author VALUES (1, 'a', 30), (2, 'b', NULL)")
    engine.sql(f"INSERT INTO \"{engine.schema}\".article VALUES (1, 't', 1)")
    return author, article


def run(engine: Hasura, text: str, **more: Json) -> tuple[int, Json]:
    return engine.query("run_sql", {"sql": text.replace("AT.", f'"{engine.schema}".'), **more})


def test_rows_come_as_texts_below_their_header(engine: Hasura) -> None:
    text = "SELECT 1 AS n, NULL::text AS t, true AS b, now() IS NULL AS f"
    expected = {"result_type": "TuplesOk", "result": [["n", "t", "b", "f"], ["1", "NULL", "t", "f"]]}
    assert run(engine, text) == (200, expected)


def test_commands_have_no_result_and_the_last_statement_counts(engine: Hasura) -> None:
    expected = {"result_type": "CommandOk", "result": None}
    assert run(engine, "SELECT 1; CREATE TEMP TABLE x (id int) ON COMMIT DROP") == (200, expected)
    assert run(engine, "CREATE TEMP TABLE x (id int) ON COMMIT DROP; SELECT 1 AS a")[1]["result"][1] == ["1"]


def test_errors_of_postgresql_are_shown_to_admin(engine: Hasura) -> None:
    status, body = run(engine, "SELECT * FROM nowhere_at_all")
    assert (status, body["path"], body["code"]) == (400, "$", "postgres-error")
    assert body["error"] == "query execution failed"
    assert body["internal"]["error"]["status_code"] == "42P01"


@pytest.mark.parametrize("text", ["", "-- x"])
def test_a_text_without_a_statement_is_an_error(engine: Hasura, text: str) -> None:
    status, body = engine.query("run_sql", {"sql": text})
    assert (status, body["path"], body["code"]) == (400, "$", "postgres-error")
    assert body["internal"]["error"]["exec_status"] == "EmptyQuery"


def test_a_bulk_of_sql_names_the_failing_item_and_keeps_the_others(engine: Hasura) -> None:
    made = f'CREATE TABLE "{engine.schema}".made (id int)'
    items = [{"type": "run_sql", "args": {"sql": text}} for text in (made, "SELECT nothing")]
    status, body = engine.post("/v2/query", {"type": "bulk", "args": items})
    assert (status, body["path"], body["code"]) == (400, "$[1]", "postgres-error")
    assert run(engine, "SELECT count(*) FROM AT.made")[0] == 200


def test_data_commands_of_the_newer_endpoint_are_for_admin(
    engine: Hasura, library: tuple[Json, Json]
) -> None:
    body = {"type": "select", "args": {"table": library[0], "columns": ["id"]}}
    expected = {"path": "$.args", "error": "restricted access : admin only", "code": "access-denied"}
    assert engine.post("/v2/query", body, engine.role("user", name="b")) == (400, expected)


def test_it_is_one_transaction(engine: Hasura, library: tuple[Json, Json]) -> None:
    assert run(engine, "DELETE FROM AT.article; SELECT 1/0")[0] == 400
    assert run(engine, "SELECT count(*) FROM AT.article")[1]["result"][1] == ["1"]


def test_read_only_refuses_writes(engine: Hasura, library: tuple[Json, Json]) -> None:
    assert run(engine, "SELECT count(*) FROM AT.author", read_only=True)[1]["result"][1] == ["2"]
    status, body = run(engine, "DELETE FROM AT.article", read_only=True)
    assert (status, body["internal"]["error"]["status_code"]) == (400, "25006")


@pytest.mark.parametrize("endpoint", ["/v1/query", "/v2/query"])
def test_only_admin_may_run_it(engine: Hasura, endpoint: str) -> None:
    body = {"type": "run_sql", "args": {"sql": "SELECT 1"}}
    expected = {"path": "$.args", "error": "restricted access : admin only", "code": "access-denied"}
    assert engine.post(endpoint, body, engine.role("user")) == (400, expected)


def test_a_dropped_table_leaves_the_metadata(engine: Hasura, library: tuple[Json, Json]) -> None:
    assert run(engine, "DROP TABLE AT.article")[0] == 200
    status, body = engine.call("pg_untrack_table", {"table": library[1]})
    assert (status, body["code"]) == (400, "already-untracked")


def test_dropping_what_others_use_needs_cascade(engine: Hasura, library: tuple[Json, Json]) -> None:
    text = "ALTER TABLE AT.article DROP COLUMN author_id"
    status, body = run(engine, text)
    assert (status, body["code"]) == (400, "dependency-error")
    assert f"relationship {engine.schema}.article.writer" in body["error"]
    assert run(engine, "SELECT author_id FROM AT.article")[0] == 200, "nothing was dropped"
    assert run(engine, text, cascade=True)[0] == 200
    args = {"table": library[1], "relationship": "writer"}
    assert engine.call("pg_drop_relationship", args)[1]["code"] == "not-exists"


def test_renames_are_followed(engine: Hasura, library: tuple[Json, Json]) -> None:
    assert run(engine, "ALTER TABLE AT.author RENAME COLUMN name TO full_name")[0] == 200
    assert run(engine, "ALTER TABLE AT.author RENAME TO person")[0] == 200
    field = f"{engine.schema}_person"
    headers = engine.role("user", name="b")
    expected = {"data": {field: [{"id": 2, "full_name": "b"}]}}
    assert engine.graphql(f"{{ {field} {{ id full_name }} }}", headers) == expected
    article = f"{engine.schema}_article"
    answer = engine.graphql(f"{{ {article} {{ writer {{ full_name }} }} }}")
    assert answer == {"data": {article: [{"writer": {"full_name": "a"}}]}}


def test_custom_names_follow_their_columns(engine: Hasura, library: tuple[Json, Json]) -> None:
    configuration = {"custom_column_names": {"name": "called", "age": "years"}}
    engine.do("pg_set_table_customization", {"table": library[0], "configuration": configuration})
    assert run(engine, "ALTER TABLE AT.author RENAME COLUMN name TO full_name")[0] == 200
    assert run(engine, "ALTER TABLE AT.author DROP COLUMN age CASCADE", cascade=True)[0] == 200
    field = f"{engine.schema}_author"
    answer = engine.graphql(f"{{ {field}(where: {{id: {{_eq: 1}}}}) {{ called }} }}")
    assert answer == {"data": {field: [{"called": "a"}]}}
    assert run(engine, "ALTER TABLE AT.author ADD COLUMN age integer")[0] == 200
    assert engine.graphql(f"{{ {field}(where: {{id: {{_eq: 1}}}}) {{ age }} }}") == {
        "data": {field: [{"age": None}]}
    }


def test_event_triggers_survive_ddl(engine: Hasura, library: tuple[Json, Json]) -> None:
    name = f"t_{engine.schema}"
    args = {"name": name, "table": library[0], "webhook": "http://127.0.0.1:1/", "insert": {"columns": "*"}}
    engine.do("pg_create_event_trigger", args)
    assert run(engine, "ALTER TABLE AT.author ADD COLUMN email text")[0] == 200
    engine.sql(f"INSERT INTO \"{engine.schema}\".author (id, email) VALUES (9, 'e')")
    assert engine.events(name)[0]["payload"]["data"]["new"]["email"] == "e"


def v1(engine: Hasura, kind: str, args: Json, headers: dict[str, str] | None = None) -> tuple[int, Json]:
    return engine.post("/v1/query", {"type": kind, "args": args}, headers)


def test_rows_are_selected_with_relationships_and_order(engine: Hasura, library: tuple[Json, Json]) -> None:
    author, article = library
    args = {"table": author, "columns": ["id", "name"], "where": {"age": {"$gt": 1}}, "order_by": "-id"}
    assert v1(engine, "select", args) == (200, [{"id": 1, "name": "a"}])
    args = {"table": author, "columns": ["*"], "order_by": [{"column": "id", "type": "desc"}], "limit": 1}
    assert v1(engine, "select", args) == (200, [{"id": 2, "name": "b", "age": None}])
    args = {"table": article, "columns": ["id", {"name": "writer", "columns": ["name"]}]}
    assert v1(engine, "select", args) == (200, [{"id": 1, "writer": {"name": "a"}}])
    assert v1(engine, "count", {"table": author, "where": {"name": "a"}}) == (200, {"count": 1})


def test_rows_are_inserted_updated_and_deleted(engine: Hasura, library: tuple[Json, Json]) -> None:
    author, _ = library
    args: Json = {"table": author, "objects": [{"id": 5, "name": "e"}], "returning": ["id"]}
    assert v1(engine, "insert", args) == (200, {"affected_rows": 1, "returning": [{"id": 5}]})
    status, body = v1(engine, "insert", args)
    assert (status, body["code"]) == (400, "constraint-violation")
    upsert = {**args, "objects": [{"id": 5, "name": "f"}], "on_conflict": {"constraint_on": ["id"]}}
    assert v1(engine, "insert", upsert | {"on_conflict": {"constraint_on": ["id"], "action": "update"}}) == (
        200,
        {"affected_rows": 1, "returning": [{"id": 5}]},
    )
    change = {"table": author, "where": {"id": 5}, "$set": {"name": "g"}}
    assert v1(engine, "update", change) == (200, {"affected_rows": 1})
    assert v1(engine, "delete", {"table": author, "where": {"id": 5}}) == (200, {"affected_rows": 1})


def test_the_roles_permissions_apply_to_data_commands(engine: Hasura, library: tuple[Json, Json]) -> None:
    author, article = library
    headers = engine.role("user", name="b")
    args = {"table": author, "columns": ["*"]}
    assert v1(engine, "select", args, headers) == (200, [{"id": 2, "name": "b"}])
    status, body = v1(engine, "select", {"table": article, "columns": ["id"]}, headers)
    assert (status, body["code"], body["path"]) == (400, "permission-denied", "$.args")


def test_a_bulk_may_not_mix_reading_and_writing_modes(engine: Hasura, library: tuple[Json, Json]) -> None:
    insert = {"type": "insert", "args": {"table": library[0], "objects": [{"name": "x"}]}}
    read = {"type": "run_sql", "args": {"sql": "SELECT 1", "read_only": True}}
    status, body = v1(engine, "bulk", [insert, read])
    assert (status, body["code"], body["path"]) == (400, "bad-request", "$")
