"""Requests: tokens, the backend, browsers of other origins, bytes that are no text. Contract section 6."""

import jwt
import pytest

from tests.support.hasura import Hasura, Json

QUERY = {"query": "{ __typename }"}
NAMESPACE = "https://hasura.io/jwt/claims"
CLAIMS = {
    "x-hasura-allowed-roles": ["user", "editor"],
    "x-hasura-default-role": "user",
    "x-hasura-user-id": "7",
}


@pytest.fixture
def bearer(engine: Hasura) -> Json:
    """Makes the Authorization header for claims."""
    if engine.jwt_key is None:
        pytest.skip("HASURA_GRAPHQL_JWT_SECRET of the engine is not known")

    def make(claims: Json) -> dict[str, str]:
        token = jwt.encode({NAMESPACE: claims}, str(engine.jwt_key))
        return {"authorization": f"Bearer {token}"}

    return make


def graphql_error(engine: Hasura, headers: dict[str, str]) -> tuple[str, str]:
    status, body = engine.post("/v1/graphql", QUERY, headers)
    assert status == 200
    return body["errors"][0]["extensions"]["code"], body["errors"][0]["message"]


def test_a_token_gives_its_default_role_or_an_allowed_one(engine: Hasura, bearer: Json) -> None:
    table = engine.table("secret", "id int PRIMARY KEY, owner text")
    engine.sql(f"INSERT INTO \"{engine.schema}\".secret VALUES (1, '7'), (2, '8')")
    rows = {"columns": ["id"], "filter": {"owner": {"_eq": "X-Hasura-User-Id"}}}
    engine.do("pg_create_select_permission", {"table": table, "role": "user", "permission": rows})
    query = f"{{ {engine.schema}_secret {{ id }} }}"
    expected = {"data": {f"{engine.schema}_secret": [{"id": 1}]}}
    assert engine.graphql(query, bearer(CLAIMS)) == expected
    assert "errors" in engine.graphql(query, bearer(CLAIMS) | {"x-hasura-role": "editor"})
    denied = ("access-denied", "Your requested role is not in allowed roles")
    assert graphql_error(engine, bearer(CLAIMS) | {"x-hasura-role": "admin"}) == denied
    spoofed = bearer(CLAIMS) | {"x-hasura-user-id": "8"}
    assert engine.graphql(query, spoofed) == expected, "session variables come from the token only"


def test_the_claim_of_a_default_role_must_be_there(engine: Hasura, bearer: Json) -> None:
    claims = {key: value for key, value in CLAIMS.items() if key != "x-hasura-default-role"}
    message = 'JWT claim does not contain "x-hasura-default-role"'
    assert graphql_error(engine, bearer(claims)) == ("jwt-missing-role-claims", message)


def test_what_has_not_the_parts_of_a_token_is_refused(engine: Hasura, bearer: Json) -> None:
    code, message = graphql_error(engine, {"authorization": "Bearer a"})
    assert (code, message.partition(" (")[0]) == ("invalid-jwt", "Could not verify JWT: JWSError")


def test_backend_only_permissions_need_the_secret_and_the_header(engine: Hasura) -> None:
    table = engine.table("inbox", "id int PRIMARY KEY")
    permission = {"check": {}, "columns": ["id"], "backend_only": True}
    engine.do("pg_create_insert_permission", {"table": table, "role": "user", "permission": permission})
    mutation = f"mutation {{ insert_{engine.schema}_inbox(objects: [{{id: 1}}]) {{ affected_rows }} }}"
    assert "errors" in engine.graphql(mutation, engine.role("user"))
    headers = engine.role("user", use_backend_only_permissions="true")
    assert "data" in engine.graphql(mutation, headers)


def test_health_and_version_are_public(engine: Hasura) -> None:
    for path in ("/healthz", "/hasura/healthz"):
        answer = engine.client.get(engine.url + path)
        assert (answer.status_code, answer.text) == (200, "OK")
    answer = engine.client.get(engine.url + "/v1/version")
    assert set(answer.json()) == {"server_type", "version"}


def test_the_stand_in_says_that_it_is_not_hasura(engine: Hasura) -> None:
    if not engine.stand_in:
        pytest.skip("a genuine engine is Hasura")
    for path in ("/healthz", "/v1/version", "/nowhere"):
        assert "not Hasura" in engine.client.get(engine.url + path).headers["x-sandbox"]


ORIGIN = {"Origin": "http://example.com"}


def test_browsers_of_any_origin_may_ask(engine: Hasura) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = engine.client.options(engine.url + "/v1/graphql", headers=ORIGIN | asked)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
    assert preflight.headers["Access-Control-Allow-Headers"] == "content-type"
    answer = engine.client.post(engine.url + "/v1/graphql", json=QUERY, headers=engine.admin | ORIGIN)
    assert answer.json() == {"data": {"__typename": "query_root"}}
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
    plain = engine.client.post(engine.url + "/v1/graphql", json=QUERY, headers=engine.admin)
    assert "Access-Control-Allow-Origin" not in plain.headers


def test_a_body_that_is_no_utf8_is_refused(engine: Hasura) -> None:
    body = b'{"query": "{ __typename }", "x": "\xff"}'
    answer = engine.client.post(engine.url + "/v1/graphql", content=body, headers=engine.admin)
    assert answer.status_code == 200
    (error,) = answer.json()["errors"]
    assert error["extensions"] == {"path": "$", "code": "invalid-json"}


def test_empty_segments_of_a_path_do_not_count(engine: Hasura) -> None:
    answer = engine.client.post(engine.url + "//v1/graphql/", json=QUERY, headers=engine.admin)
    assert answer.json() == {"data": {"__typename": "query_root"}}
