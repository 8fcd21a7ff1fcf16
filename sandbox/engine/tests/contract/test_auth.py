"""Authentication: admin secret, impersonation, JWT, no credentials. Contract section 6."""

import time

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

    def make(claims: Json, key: str | None = None, **registered: Json) -> dict[str, str]:
        token = jwt.encode({NAMESPACE: claims, **registered}, key or str(engine.jwt_key))
        return {"authorization": f"Bearer {token}"}

    return make


def graphql_error(engine: Hasura, headers: dict[str, str]) -> tuple[str, str]:
    status, body = engine.post("/v1/graphql", QUERY, headers)
    assert status == 200
    return body["errors"][0]["extensions"]["code"], body["errors"][0]["message"]


def test_a_wrong_admin_secret_is_denied_with_200_on_graphql_and_401_elsewhere(engine: Hasura) -> None:
    wrong = {"x-hasura-admin-secret": "wrong"}
    message = 'invalid "x-hasura-admin-secret"/"x-hasura-access-key"'
    assert graphql_error(engine, wrong) == ("access-denied", message)
    body = {"type": "export_metadata", "args": {}}
    expected = {"path": "$", "error": message, "code": "access-denied"}
    assert engine.post("/v1/metadata", body, wrong) == (401, expected)


def test_admin_may_take_any_role(engine: Hasura) -> None:
    status, body = engine.post("/v1/graphql", {"query": "{ __typename }"}, engine.role("anything"))
    assert (status, body) == (200, {"data": {"__typename": "query_root"}})
    status, body = engine.post("/v1/metadata", {"type": "export_metadata", "args": {}}, engine.role("user"))
    expected = {"path": "$.args", "error": "restricted access : admin only", "code": "access-denied"}
    assert (status, body) == (400, expected)


def test_without_anything_the_token_is_missed(engine: Hasura, bearer: Json) -> None:
    missing = "Missing 'Authorization' or 'Cookie' header in JWT authentication mode"
    assert graphql_error(engine, {}) == ("invalid-headers", missing)


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


@pytest.mark.parametrize(
    ("headers", "code", "message"),
    [
        ({"authorization": "token"}, "invalid-headers", "Malformed Authorization header"),
        ({"authorization": "Bearer a b"}, "invalid-headers", "Malformed Authorization header"),
        ({"authorization": "Bearer a"}, "invalid-jwt", "Could not verify JWT: JWSError"),
    ],
)
def test_what_is_no_token_is_refused(
    engine: Hasura, bearer: Json, headers: dict[str, str], code: str, message: str
) -> None:
    got = graphql_error(engine, headers)
    assert (got[0], got[1].startswith(message)) == (code, True)


def test_a_bad_signature_or_an_expired_token_is_refused(engine: Hasura, bearer: Json) -> None:
    other = bearer(CLAIMS, key="another-key-of-at-least-32-bytes-long")
    assert graphql_error(engine, other) == (
        "invalid-jwt",
        "Could not verify JWT: JWSError JWSInvalidSignature",
    )
    expired = bearer(CLAIMS, exp=int(time.time()) - 10)
    assert graphql_error(engine, expired) == ("invalid-jwt", "Could not verify JWT: JWTExpired")


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("x-hasura-allowed-roles", 'JWT claim does not contain "x-hasura-allowed-roles"'),
        ("x-hasura-default-role", 'JWT claim does not contain "x-hasura-default-role"'),
    ],
)
def test_role_claims_must_be_there(engine: Hasura, bearer: Json, drop: str, message: str) -> None:
    claims = {key: value for key, value in CLAIMS.items() if key != drop}
    assert graphql_error(engine, bearer(claims)) == ("jwt-missing-role-claims", message)


def test_claims_must_be_in_their_namespace(engine: Hasura, bearer: Json) -> None:
    token = jwt.encode({"other": CLAIMS}, str(engine.jwt_key))
    got = graphql_error(engine, {"authorization": f"Bearer {token}"})
    assert got == ("jwt-invalid-claims", f"claims key: '{NAMESPACE}' not found")


def test_rest_and_metadata_errors_of_auth_have_real_statuses(engine: Hasura, bearer: Json) -> None:
    status, body = engine.post(
        "/v1/metadata", {"type": "export_metadata", "args": {}}, {"authorization": "x"}
    )
    assert (status, body["code"]) == (400, "invalid-headers")


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
