"""`leads token`: what it prints is accepted by an engine of the same configuration, for that role alone."""

import hmac
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from leads.cli.token import VARIABLE, Role, make_token
from sandbox.postgres.server import RUN_ID, Cluster
from sandbox.processes import Processes
from sandbox.stack.hasura import RunningEngine, start_engine

pytestmark = pytest.mark.own_database

StartEngine = Callable[[dict[str, Any]], RunningEngine]
ADMIN_SECRET = "an-admin-secret"
CLAIMS = {"x-hasura-default-role": "crm_admin", "x-hasura-allowed-roles": ["crm_admin"]}
PEM = serialization.Encoding.PEM
PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = PRIVATE.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
KEY = "a-key-of-thirty-two-characters-or-more"


def run(configuration: Any, *arguments: str) -> Result:
    value = configuration if isinstance(configuration, str) else json.dumps(configuration)
    return CliRunner().invoke(app, ["token", *arguments], env={VARIABLE: value, "COLUMNS": "200"})


@pytest.fixture(scope="module")
def engine_with(cluster: Cluster) -> Iterator[StartEngine]:
    """Starts an engine with a JWT configuration, once for each configuration."""
    name = f"tokens_{RUN_ID}"
    database = cluster.create_database(name)
    started: dict[str, RunningEngine] = {}
    with Processes() as processes:

        def start(configuration: dict[str, Any]) -> RunningEngine:
            secret = json.dumps(configuration)
            if secret not in started:
                environment = {
                    "HASURA_GRAPHQL_ADMIN_SECRET": ADMIN_SECRET,
                    "HASURA_GRAPHQL_JWT_SECRET": secret,
                }
                started[secret] = start_engine(processes, database, environment=environment)
            return started[secret]

        yield start
    cluster.drop_database(name)


def role_of(engine: RunningEngine, token: str) -> str:
    """The role that an engine gives to a token; the token must not allow any other role."""
    with httpx.Client(base_url=engine.url) as client:
        # An engine names the caller's role where introspection is switched off for it.
        options = {"disabled_for_roles": ["pancake_service", "pancake_edge"]}
        request = {"type": "set_graphql_schema_introspection_options", "args": options}
        admin = {"x-hasura-admin-secret": ADMIN_SECRET}
        client.post("/v1/metadata", json=request, headers=admin).raise_for_status()
        query = {"query": "{ __schema { queryType { name } } }"}
        bearer = {"authorization": f"Bearer {token}"}
        answer = client.post("/v1/graphql", json=query, headers=bearer).json()
        other = client.post("/v1/graphql", json=query, headers=bearer | {"x-hasura-role": "admin"}).json()
    assert "requested role" in other["errors"][0]["message"], other
    found = re.fullmatch(r'introspection is disabled for role: "(\w+)"', answer["errors"][0]["message"])
    assert found is not None, answer
    return found[1]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"claims_namespace": "claims", "claims_format": "stringified_json", "audience": ["diva", "other"]},
        {"audience": "diva", "issuer": "https://diva.internal"},
    ],
)
@pytest.mark.parametrize("role", ["pancake_service", "pancake_edge"])
def test_the_engine_accepts_the_token_for_its_role_and_it_ends_after_90_days(
    engine_with: StartEngine, role: str, more: dict[str, Any]
) -> None:
    configuration = {"type": "HS256", "key": KEY, **more}
    printed = run(configuration, role)
    assert printed.exit_code == 0, printed.output
    token = printed.stdout.strip()
    assert role_of(engine_with(configuration), token) == role
    payload = jwt.decode(token, options={"verify_signature": False})
    assert payload["exp"] - payload["iat"] == 90 * 86400
    assert 0 <= datetime.now(UTC).timestamp() - payload["iat"] < 60
    ends = datetime.fromtimestamp(payload["exp"], UTC)
    assert f"It ends at {ends:%Y-%m-%d %H:%M} UTC" in printed.stderr


def test_a_token_is_refused_after_its_end_and_the_next_one_overlaps_it(engine_with: StartEngine) -> None:
    configuration = {"type": "HS256", "key": KEY}
    now = datetime.now(UTC)
    ended, current, following = (
        make_token(Role.EDGE, configuration, now - timedelta(days=90), now + timedelta(days=days))
        for days in (-1, 10, 90)
    )
    engine = engine_with(configuration)
    assert role_of(engine, current) == role_of(engine, following) == "pancake_edge"
    answer = httpx.post(
        f"{engine.url}/v1/graphql",
        json={"query": "{ __typename }"},
        headers={"authorization": f"Bearer {ended}"},
    ).json()
    assert answer["errors"][0]["extensions"]["code"] == "invalid-jwt"


@pytest.mark.parametrize("days", ["0", "91"])
def test_a_token_is_valid_for_1_to_90_days(days: str) -> None:
    configuration = {"type": "HS256", "key": KEY}
    assert run(configuration, "pancake_edge", "--days", days).exit_code == 2
    printed = json.loads(run(configuration, "pancake_edge", "--days", "7", "--json").stdout)
    left = datetime.fromisoformat(printed["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)


def test_an_engine_with_a_public_key_needs_the_private_one(engine_with: StartEngine, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(
        PRIVATE.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    configuration = {"type": "Ed25519", "key": PUBLIC.decode()}

    refused = run(configuration, "pancake_edge")
    printed = run(configuration, "pancake_edge", "--private-key", str(file))

    assert refused.exit_code == 2
    assert "--private-key" in refused.output
    assert role_of(engine_with(configuration), printed.stdout.strip()) == "pancake_edge"


def test_the_public_key_of_an_engine_signs_no_token(engine_with: StartEngine) -> None:
    """As the key of HS256, which is a secret in other configurations."""
    engine = engine_with({"type": "Ed25519", "key": PUBLIC.decode()})
    for algorithm in ("HS256", "EdDSA", "none"):
        parts = ({"alg": algorithm}, {"https://hasura.io/jwt/claims": CLAIMS})
        text = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
        signature = urlsafe_b64encode(hmac.digest(PUBLIC, text, "sha256")).rstrip(b"=")
        headers = {"authorization": f"Bearer {(text + b'.' + signature).decode()}"}
        answer = httpx.post(
            f"{engine.url}/v1/graphql", json={"query": "{ __typename }"}, headers=headers
        ).json()
        assert answer["errors"][0]["extensions"]["code"] == "invalid-jwt", algorithm


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ("", "is not set"),
        ("[]", "not a JSON object"),
        ({"jwk_url": "https://keys.internal"}, "ask the issuer of this engine's tokens"),
        ({"type": "HS256", "key": KEY, "claims_map": {}}, "claims_map"),
        ({"type": "HS256", "key": KEY[:31]}, "shorter than 32 characters"),
    ],
)
def test_what_cannot_sign_is_said(configuration: Any, said: str) -> None:
    refused = run(configuration, "pancake_service")
    assert refused.exit_code == 2
    assert said in refused.output
    assert KEY[:31] not in refused.output


def test_another_role_is_refused() -> None:
    assert run({"type": "HS256", "key": KEY}, "admin").exit_code == 2
