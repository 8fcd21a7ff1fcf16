"""Stored queries and RESTified endpoints: consistency, matching, variables, answers. Contract section 4."""

import pytest

from tests.support.hasura import Hasura, Json, unique


class Stored:
    """Collections of one query each and endpoints under a prefix, over a table with two rows."""

    def __init__(self, engine: Hasura) -> None:
        self.engine = engine
        self.prefix = unique("rest")
        engine.table("item", "id int PRIMARY KEY, name text, done boolean")
        engine.sql(f"INSERT INTO \"{engine.schema}\".item VALUES (1, 'one', true), (2, 'two', false)")
        self.item = f"{engine.schema}_item"

    def add(self, name: str, query: str) -> tuple[int, Json]:
        """Create a collection; `ITEM` in the query is the table's root field."""
        definition = {"queries": [{"name": name, "query": query.replace("ITEM", self.item)}]}
        args = {"name": f"{self.prefix}_{name}", "definition": definition}
        return self.engine.call("create_query_collection", args)

    def serve(self, name: str, url: str, *methods: str) -> None:
        """Create an endpoint below the prefix for the query of a collection."""
        definition = {"query": {"collection_name": f"{self.prefix}_{name}", "query_name": name}}
        args = {"name": unique("endpoint"), "url": f"{self.prefix}/{url}", "definition": definition}
        self.engine.do("create_rest_endpoint", {**args, "methods": list(methods) or ["GET", "POST"]})

    def endpoint(self, url: str, query: str, *methods: str) -> None:
        name = unique("query")
        assert self.add(name, query)[0] == 200
        self.serve(name, url, *methods)

    def names(self) -> list[str]:
        collections = self.engine.do("export_metadata", {}).get("query_collections", [])
        found = [each for each in collections if each["name"].startswith(self.prefix)]
        return [query["name"] for each in found for query in each["definition"]["queries"]]

    def send(self, path: str, content: str = "", method: str = "POST") -> tuple[int, Json]:
        """Send any method with a raw body."""
        url = f"{self.engine.url}/api/rest/{self.prefix}/{path}"
        answer = self.engine.client.request(method, url, content=content, headers=self.engine.admin)
        return answer.status_code, answer.json()

    def get(self, path: str) -> tuple[int, Json]:
        return self.send(path, method="GET")


@pytest.fixture
def stored(engine: Hasura) -> Stored:
    return Stored(engine)


BY_ID = "query ($id: Int!) { ITEM(where: {id: {_eq: $id}}) { id name } }"


def test_the_answer_is_the_data_without_its_wrapper(stored: Stored) -> None:
    stored.endpoint("all", "query { ITEM(order_by: {id: asc}) { id } }")
    assert stored.get("all") == (200, {stored.item: [{"id": 1}, {"id": 2}]})


@pytest.mark.parametrize("path", ["by/1", "q?id=1"])
def test_path_and_query_values_are_parsed_by_type(stored: Stored, path: str) -> None:
    stored.endpoint("by/:id", BY_ID)
    stored.endpoint("q", BY_ID)
    assert stored.get(path) == (200, {stored.item: [{"id": 1, "name": "one"}]})


def test_path_beats_body_beats_query(stored: Stored) -> None:
    stored.endpoint("by/:id", BY_ID)
    stored.endpoint("q", BY_ID)
    assert stored.send("by/1?id=2", '{"id": 2}')[1] == {stored.item: [{"id": 1, "name": "one"}]}
    assert stored.send("q?id=2", '{"id": 1}')[1] == {stored.item: [{"id": 1, "name": "one"}]}


def test_an_empty_boolean_is_true(stored: Stored) -> None:
    stored.endpoint("flag", "query ($done: Boolean!) { ITEM(where: {done: {_eq: $done}}) { id } }")
    assert stored.get("flag?done") == (200, {stored.item: [{"id": 1}]})
    assert stored.get("flag?done=false") == (200, {stored.item: [{"id": 2}]})


def test_an_unexpected_name_is_refused_and_an_impossible_one_ignored(stored: Stored) -> None:
    stored.endpoint("q", BY_ID)
    expected = {"path": "$", "error": "Unexpected variable extra", "code": "bad-request"}
    assert stored.send("q", '{"id": 1, "extra": 2}') == (400, expected)
    assert stored.send("q", '{"id": 1, "foo-bar": 2, "@type": 3}')[0] == 200


def test_lists_cannot_come_in_the_url(stored: Stored) -> None:
    stored.endpoint("list", "query ($ids: [Int!]) { ITEM(where: {id: {_in: $ids}}) { id } }")
    status, body = stored.get("list?ids=1")
    assert (status, body["code"]) == (400, "bad-request")
    assert body["error"].startswith("List variables are not currently supported")
    assert stored.send("list", '{"ids": [1]}')[0] == 200


def test_wrong_methods_and_unknown_paths(stored: Stored) -> None:
    stored.endpoint("q", BY_ID, "POST", "PUT")
    status, body = stored.get("q?id=1")
    assert (status, body["code"], body["path"]) == (405, "method-not-allowed", "$")
    assert body["error"] in {"Allowed methods: POST, PUT", "Allowed methods: PUT, POST"}
    assert stored.get("nowhere") == (
        404,
        {"path": "$", "error": "Endpoint not found", "code": "not-found"},
    )


def test_mutations_and_their_errors_have_real_statuses(stored: Stored) -> None:
    insert = "mutation ($id: Int!) { insert_ITEM_one(object: {id: $id}) { id } }"
    stored.endpoint("new", insert, "POST")
    assert stored.send("new", '{"id": 5}') == (200, {f"insert_{stored.item}_one": {"id": 5}})
    status, body = stored.send("new", '{"id": 5}')
    assert (status, body["code"]) == (400, "constraint-violation")
    assert set(body) - {"internal"} == {"path", "error", "code"}


def test_a_stored_query_must_be_one_operation(stored: Stored) -> None:
    with pytest.raises(AssertionError, match="has multiple definitions"):
        stored.endpoint("short", "{ ITEM { id } }")
    assert stored.get("short")[0] == 404


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("{ nothing }", "\"$.nothing: field 'nothing' not found in object 'query_root'\""),
        (
            "query A { __typename } query B { __typename }",
            '"exactly one operation has to be present in the document when operationName is not specified"',
        ),
        (
            "query ($a: uuid, $b: missing) { ITEM { id none } }",
            "\"$.b: type 'missing' not found in the schema\","
            " \"$.ITEM.none: field 'none' not found in object 'ITEM'\"",
        ),
    ],
)
def test_a_query_that_does_not_fit_the_schema_is_refused(stored: Stored, query: str, reason: str) -> None:
    stored.engine.table("uuids", "id uuid PRIMARY KEY")
    status, body = stored.add("unfit", query)
    assert (status, body["code"], body["path"]) == (500, "unexpected", "$.args")
    assert body["error"] == "cannot continue due to newly found inconsistent metadata"
    start = (
        f'Inconsistent object: In query collection "{stored.prefix}_unfit" the query "unfit"'
        " is invalid with the following error(s): "
    )
    assert [each["reason"] for each in body["internal"]] == [start + reason.replace("ITEM", stored.item)]
    assert body["internal"][0]["name"] == f"query_collections unfit in {stored.prefix}_unfit"
    assert stored.names() == []


def test_sql_that_breaks_a_stored_query_is_refused_and_done(stored: Stored) -> None:
    engine = stored.engine
    assert stored.add("broken", f"query {{ {stored.item} {{ name }} }}")[0] == 200
    assert stored.add("kept", f"query {{ {stored.item} {{ id }} }}")[0] == 200
    text = f'ALTER TABLE "{engine.schema}".item DROP COLUMN name'
    status, body = engine.query("run_sql", {"sql": text})
    assert (status, body["code"]) == (500, "unexpected"), body
    assert [each["definition"]["name"] for each in body["internal"]] == ["broken"]
    columns = f"SELECT column_name FROM information_schema.columns WHERE table_schema = '{engine.schema}'"
    assert engine.sql(f"{columns} ORDER BY 1") == [["done"], ["id"]]
    assert engine.do("get_inconsistent_metadata", {})["is_consistent"]

    engine.sql(f'CREATE TABLE "{engine.schema}".late (id int PRIMARY KEY)')
    status, body = engine.call("pg_track_table", {"table": {"schema": engine.schema, "name": "late"}})
    assert (status, body["error"]) == (400, "cannot continue due to new inconsistent metadata")

    assert engine.call("drop_inconsistent_metadata", {})[0] == 400, "it does not look again"
    assert set(stored.names()) == {"broken", "kept"}
    assert not engine.do("reload_metadata", {})["is_consistent"]
    engine.do("drop_inconsistent_metadata", {})
    assert stored.names() == ["kept"]
    assert engine.do("get_inconsistent_metadata", {})["is_consistent"]


def test_a_query_of_an_inconsistent_table_names_the_endpoints_that_use_it(stored: Stored) -> None:
    engine = stored.engine
    assert stored.add("all", f"query {{ {stored.item} {{ id }} }}")[0] == 200
    stored.serve("all", "all")
    engine.query(
        "run_sql", {"sql": f'DROP TABLE "{engine.schema}".item', "check_metadata_consistency": False}
    )
    found = engine.do("reload_metadata", {})["inconsistent_objects"]
    queries = [each for each in found if each["type"] == "query_collections"]
    assert len(queries) == 1
    assert ". This query is being used in the following REST endpoint(s): " in queries[0]["reason"]
    engine.sql(f'CREATE TABLE "{engine.schema}".item (id int PRIMARY KEY, name text)')
    assert engine.do("reload_metadata", {})["is_consistent"]
