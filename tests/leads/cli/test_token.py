"""`leads token`: what it prints is accepted by an engine of the same configuration, for that role alone."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from leads.cli.token import VARIABLE
from sandbox.hasura.jwt_auth import JwtVerifier, role_and_variables

KEY = "a-key-of-thirty-two-characters-or-more"


def run(configuration: Any, *arguments: str) -> Result:
    value = configuration if isinstance(configuration, str) else json.dumps(configuration)
    return CliRunner().invoke(app, ["token", *arguments], env={VARIABLE: value})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"claims_namespace": "claims", "claims_format": "stringified_json"},
        {"audience": "diva", "issuer": "https://diva.internal"},
        {"audience": ["diva", "other"]},
    ],
)
@pytest.mark.parametrize("role", ["pancake_service", "pancake_edge"])
def test_the_engine_accepts_the_token_for_its_role_and_it_has_no_end(role: str, more: dict[str, Any]) -> None:
    configuration = {"type": "HS256", "key": KEY, **more}
    printed = run(configuration, role)
    assert printed.exit_code == 0, printed.output
    token = printed.stdout.strip()
    claims = JwtVerifier(configuration).claims(f"Bearer {token}")
    assert role_and_variables(claims, None) == (role, {})
    assert "exp" not in jwt.decode(token, options={"verify_signature": False})


def test_an_engine_with_a_public_key_needs_the_private_one(tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    encoding = serialization.Encoding.PEM
    public = private.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    file = tmp_path / "key.pem"
    file.write_bytes(
        private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    configuration = {"type": "Ed25519", "key": public.decode()}

    refused = run(configuration, "pancake_edge")
    printed = run(configuration, "pancake_edge", "--private-key", str(file))

    assert refused.exit_code == 2
    assert "--private-key" in refused.output
    claims = JwtVerifier(configuration).claims(f"Bearer {printed.stdout.strip()}")
    assert role_and_variables(claims, None)[0] == "pancake_edge"


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ("", "is not set"),
        ("[]", "not a JSON object"),
        ({"jwk_url": "https://keys.internal"}, "ask the issuer of this engine's tokens"),
        ({"type": "HS256", "key": KEY, "claims_map": {}}, "claims_map"),
    ],
)
def test_what_cannot_sign_is_said(configuration: Any, said: str) -> None:
    refused = run(configuration, "pancake_service")
    assert refused.exit_code == 2
    assert said in refused.output
    assert KEY not in refused.output


def test_another_role_is_refused() -> None:
    assert run({"type": "HS256", "key": KEY}, "admin").exit_code == 2
