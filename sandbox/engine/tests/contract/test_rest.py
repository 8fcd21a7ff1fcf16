"""RESTified endpoints: matching, variables, answers. Contract section 4."""

import pytest

from tests.support.hasura import Hasura, Json, unique


class Endpoints:
    """Endpoints under a prefix, over a table with two rows."""

    def __init__(self, engine: Hasura) -> None:
        self.engine = engine
        self.prefix = unique("rest")
        engine.table("item", "id int PRIMARY KEY, name text, done boolean, tags jsonb")
        engine.sql(
            f"INSERT INTO \"{engine.schema}\".item VALUES (1, 'one', true, '{{}}'), (2, 'two', false, '[]')"
        )
        self.item = f"{engine.schema}_item"

    def add(self, url: str, query: str, *methods: str) -> str:
        """Create an endpoint below the prefix; `ITEM` in the query is the table's root field."""
        name = unique("endpoint")
        text = query.replace("ITEM", self.item)
        stored = {"queries": [{"name": name, "query": text}]}
        self.engine.do("create_query_collection", {"name": name, "definition": stored})
        definition = {"query": {"collection_name": name, "query_name": name}}
        args = {"name": name, "url": f"{self.prefix}/{url}", "methods": list(methods) or ["GET", "POST"]}
        self.engine.do("create_rest_endpoint", {**args, "definition": definition})
        return f"{self.engine.url}/api/rest/{self.prefix}/"

    def get(self, path: str) -> tuple[int, Json]:
        url = f"{self.engine.url}/api/rest/{self.prefix}/{path}"
        answer = self.engine.client.get(url, headers=self.engine.admin)
        return answer.status_code, answer.json()

    def send(self, path: str, content: bytes | str, method: str = "POST") -> tuple[int, Json]:
        """Send any method with a raw body."""
        url = f"{self.engine.url}/api/rest/{self.prefix}/{path}"
        answer = self.engine.client.request(method, url, content=content, headers=self.engine.admin)
        return answer.status_code, answer.json()


@pytest.fixture
def endpoints(engine: Hasura) -> Endpoints:
    return Endpoints(engine)


BY_ID = "query ($id: Int!) { ITEM(where: {id: {_eq: $id}}) { id name } }"
BY_FLAG = (
    "query ($done: Boolean, $name: String) { ITEM(where: {done: {_eq: $done}, name: {_eq: $name}}) { id } }"
)


def test_the_answer_is_the_data_without_its_wrapper(endpoints: Endpoints) -> None:
    endpoints.add("all", "query { ITEM(order_by: {id: asc}) { id } }")
    assert endpoints.get("all") == (200, {endpoints.item: [{"id": 1}, {"id": 2}]})


@pytest.mark.parametrize("path", ["by/1", "q?id=1"])
def test_path_and_query_values_are_parsed_by_type(endpoints: Endpoints, path: str) -> None:
    endpoints.add("by/:id", BY_ID)
    endpoints.add("q", BY_ID)
    assert endpoints.get(path) == (200, {endpoints.item: [{"id": 1, "name": "one"}]})


def test_body_values_go_in_as_they_are(endpoints: Endpoints) -> None:
    endpoints.add("q", BY_ID)
    assert endpoints.send("q", '{"id": 2}') == (200, {endpoints.item: [{"id": 2, "name": "two"}]})


def test_path_beats_body_beats_query(endpoints: Endpoints) -> None:
    endpoints.add("by/:id", BY_ID)
    endpoints.add("q", BY_ID)
    assert endpoints.send("by/1?id=2", '{"id": 2}')[1] == {endpoints.item: [{"id": 1, "name": "one"}]}
    assert endpoints.send("q?id=2", '{"id": 1}')[1] == {endpoints.item: [{"id": 1, "name": "one"}]}


def test_an_empty_boolean_is_true(endpoints: Endpoints) -> None:
    endpoints.add("flag", "query ($done: Boolean!) { ITEM(where: {done: {_eq: $done}}) { id } }")
    assert endpoints.get("flag?done") == (200, {endpoints.item: [{"id": 1}]})
    assert endpoints.get("flag?done=false") == (200, {endpoints.item: [{"id": 2}]})


def test_an_unexpected_name_is_refused_and_an_impossible_one_ignored(endpoints: Endpoints) -> None:
    endpoints.add("q", BY_ID)
    expected = {"path": "$", "error": "Unexpected variable extra", "code": "bad-request"}
    assert endpoints.send("q", '{"id": 1, "extra": 2}') == (400, expected)
    assert endpoints.send("q", '{"id": 1, "foo-bar": 2, "@type": 3}')[0] == 200


@pytest.mark.parametrize("body", ["", "[1]", "3", "{broken"])
def test_a_body_that_is_no_object_gives_nothing(endpoints: Endpoints, body: str) -> None:
    endpoints.add("q", BY_ID)
    assert endpoints.send("q?id=1", body) == (200, {endpoints.item: [{"id": 1, "name": "one"}]})


def test_a_missing_value_of_a_non_null_variable_is_refused(endpoints: Endpoints) -> None:
    endpoints.add("q", BY_ID)
    status, body = endpoints.get("q")
    assert (status, body["code"]) == (400, "validation-failed")
    assert 'expecting a value for non-nullable variable: "id"' in body["error"]


def test_lists_cannot_come_in_the_url(endpoints: Endpoints) -> None:
    endpoints.add("list", "query ($ids: [Int!]) { ITEM(where: {id: {_in: $ids}}) { id } }")
    status, body = endpoints.get("list?ids=1")
    assert (status, body["code"]) == (400, "bad-request")
    assert body["error"].startswith("List variables are not currently supported")
    assert endpoints.send("list", '{"ids": [1]}')[0] == 200


def test_wrong_methods_and_unknown_paths(endpoints: Endpoints) -> None:
    endpoints.add("q", BY_ID, "POST", "PUT")
    status, body = endpoints.get("q?id=1")
    assert (status, body["code"], body["path"]) == (405, "method-not-allowed", "$")
    assert body["error"] in {"Allowed methods: POST, PUT", "Allowed methods: PUT, POST"}
    assert endpoints.get("nowhere") == (
        404,
        {"path": "$", "error": "Endpoint not found", "code": "not-found"},
    )


def test_mutations_and_their_errors_have_real_statuses(endpoints: Endpoints) -> None:
    insert = "mutation ($id: Int!) { insert_ITEM_one(object: {id: $id}) { id } }"
    endpoints.add("new", insert, "POST")
    assert endpoints.send("new", '{"id": 5}') == (200, {f"insert_{endpoints.item}_one": {"id": 5}})
    status, body = endpoints.send("new", '{"id": 5}')
    assert (status, body["code"]) == (400, "constraint-violation")
    assert set(body) - {"internal"} == {"path", "error", "code"}


def test_permissions_of_the_role_apply(endpoints: Endpoints) -> None:
    url = endpoints.add("all", "query { ITEM { id } }") + "all"
    answer = endpoints.engine.client.get(url, headers=endpoints.engine.role("stranger"))
    assert (answer.status_code, answer.json()["code"]) == (400, "validation-failed")


def test_a_stored_query_must_be_one_operation(endpoints: Endpoints) -> None:
    with pytest.raises(AssertionError, match="has multiple definitions"):
        endpoints.add("short", "{ ITEM { id } }")
    assert endpoints.get("short")[0] == 404


def test_an_endpoint_needs_a_stored_query_and_a_free_name(endpoints: Endpoints) -> None:
    engine = endpoints.engine
    collection = unique("queries")
    engine.do("create_query_collection", {"name": collection, "definition": {"queries": []}})
    definition = {"query": {"collection_name": collection, "query_name": "missing"}}
    args = {"name": unique("x"), "url": f"{endpoints.prefix}/x", "methods": ["GET"], "definition": definition}
    status, body = engine.call("create_rest_endpoint", args)
    assert (status, body["code"]) == (400, "invalid-configuration")
    assert body["internal"][0]["name"] == f"rest_endpoint {args['name']}"
    missing = f"query with name missing does not exist in collection {collection}"
    assert body["error"] == f"Inconsistent object: in endpoint {args['name']}: {missing}"
