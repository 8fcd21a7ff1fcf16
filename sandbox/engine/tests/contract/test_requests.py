"""Requests as HTTP sees them: browsers of other origins, bytes that are no text."""

from tests.support.hasura import Hasura

ORIGIN = {"Origin": "http://example.com"}
TYPENAME = {"query": "{ __typename }"}


def test_browsers_of_any_origin_may_ask(engine: Hasura) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = engine.client.options(engine.url + "/v1/graphql", headers=ORIGIN | asked)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
    assert preflight.headers["Access-Control-Allow-Headers"] == "content-type"
    answer = engine.client.post(engine.url + "/v1/graphql", json=TYPENAME, headers=engine.admin | ORIGIN)
    assert answer.json() == {"data": {"__typename": "query_root"}}
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
    plain = engine.client.post(engine.url + "/v1/graphql", json=TYPENAME, headers=engine.admin)
    assert "Access-Control-Allow-Origin" not in plain.headers


def test_a_body_that_is_no_utf8_is_refused(engine: Hasura) -> None:
    body = b'{"query": "{ __typename }", "x": "\xff"}'
    answer = engine.client.post(engine.url + "/v1/graphql", content=body, headers=engine.admin)
    assert answer.status_code == 200
    (error,) = answer.json()["errors"]
    assert error["extensions"] == {"path": "$", "code": "invalid-json"}


def test_empty_segments_of_a_path_do_not_count(engine: Hasura) -> None:
    answer = engine.client.post(engine.url + "//v1/graphql/", json=TYPENAME, headers=engine.admin)
    assert answer.json() == {"data": {"__typename": "query_root"}}
