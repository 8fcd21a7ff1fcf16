"""Stored queries are part of the consistency of the metadata. Contract section 4."""

import pytest

from tests.support.hasura import Hasura, Json, unique


class Stored:
    """Collections of one query each, on a table of the test."""

    def __init__(self, engine: Hasura) -> None:
        self.engine = engine
        self.table = engine.table("item", "id int PRIMARY KEY, name text")
        self.field = f"{engine.schema}_item"
        self.collection = unique("queries")

    def add(self, name: str, query: str) -> tuple[int, Json]:
        """Create a collection with this query."""
        definition = {"queries": [{"name": name, "query": query}]}
        args = {"name": f"{self.collection}_{name}", "definition": definition}
        return self.engine.call("create_query_collection", args)

    def endpoint(self, query: str) -> None:
        """Serve a query of the collection."""
        definition = {"query": {"collection_name": f"{self.collection}_{query}", "query_name": query}}
        name = unique("endpoint")
        self.engine.do(
            "create_rest_endpoint", {"name": name, "url": name, "methods": ["GET"], "definition": definition}
        )

    def names(self) -> list[str]:
        """The names of the queries that the collections have."""
        collections = self.engine.do("export_metadata", {}).get("query_collections", [])
        found = [each for each in collections if each["name"].startswith(self.collection)]
        return [query["name"] for each in found for query in each["definition"]["queries"]]


@pytest.fixture
def stored(engine: Hasura) -> Stored:
    return Stored(engine)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("{ nothing }", "\"$.nothing: field 'nothing' not found in object 'query_root'\""),
        (
            "query A { __typename } query B { __typename }",
            '"exactly one operation has to be present in the document when operationName is not specified"',
        ),
        (
            "query ($a: uuid, $b: missing) { FIELD { id none } }",
            "\"$.b: type 'missing' not found in the schema\","
            " \"$.FIELD.none: field 'none' not found in object 'FIELD'\"",
        ),
    ],
)
def test_a_query_that_does_not_fit_the_schema_is_refused(stored: Stored, query: str, reason: str) -> None:
    stored.engine.table("uuids", "id uuid PRIMARY KEY")
    status, body = stored.add("unfit", query.replace("FIELD", stored.field))
    assert (status, body["code"], body["path"]) == (500, "unexpected", "$.args")
    assert body["error"] == "cannot continue due to newly found inconsistent metadata"
    start = (
        f'Inconsistent object: In query collection "{stored.collection}_unfit" the query "unfit"'
        " is invalid with the following error(s): "
    )
    assert [each["reason"] for each in body["internal"]] == [start + reason.replace("FIELD", stored.field)]
    assert body["internal"][0]["name"] == f"query_collections unfit in {stored.collection}_unfit"
    assert stored.names() == []


def test_sql_that_breaks_a_stored_query_is_refused_and_done(stored: Stored) -> None:
    engine = stored.engine
    assert stored.add("broken", f"query {{ {stored.field} {{ name }} }}")[0] == 200
    assert stored.add("kept", f"query {{ {stored.field} {{ id }} }}")[0] == 200
    text = f'ALTER TABLE "{engine.schema}".item DROP COLUMN name'
    status, body = engine.query("run_sql", {"sql": text})
    assert (status, body["code"]) == (500, "unexpected"), body
    assert [each["definition"]["name"] for each in body["internal"]] == ["broken"]
    columns = f"SELECT column_name FROM information_schema.columns WHERE table_schema = '{engine.schema}'"
    assert engine.sql(columns) == [["id"]]
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
    assert stored.add("all", f"query {{ {stored.field} {{ id }} }}")[0] == 200
    stored.endpoint("all")
    engine.query(
        "run_sql", {"sql": f'DROP TABLE "{engine.schema}".item', "check_metadata_consistency": False}
    )
    found = engine.do("reload_metadata", {})["inconsistent_objects"]
    queries = [each for each in found if each["type"] == "query_collections"]
    assert len(queries) == 1
    assert ". This query is being used in the following REST endpoint(s): " in queries[0]["reason"]
    engine.sql(f'CREATE TABLE "{engine.schema}".item (id int PRIMARY KEY, name text)')
    assert engine.do("reload_metadata", {})["is_consistent"]
