"""Tokens are verified once, until they expire."""

import time
from typing import Any

import jwt
import pytest

from graphql_engine.auth import DEFAULT_NAMESPACE, JwtVerifier
from graphql_engine.errors import QErr

KEY = "a-key-of-at-least-32-bytes-for-these-tests"
CLAIMS = {DEFAULT_NAMESPACE: {"X-Hasura-Default-Role": "user"}}


def bearer(**more: Any) -> str:
    return f"Bearer {jwt.encode({**CLAIMS, **more}, KEY, 'HS256')}"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were verified."""
    tokens: list[str] = []
    real = jwt.decode

    def decode(token: str, *arguments: Any, **options: Any) -> Any:
        tokens.append(token)
        return real(token, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", decode)
    return tokens


def test_a_token_with_an_expiry_is_verified_once(decoded: list[str]) -> None:
    verifier, token = JwtVerifier({"type": "HS256", "key": KEY}), bearer(exp=time.time() + 60)
    for _ in range(3):
        assert verifier.claims(token) == {"x-hasura-default-role": "user"}
    assert len(decoded) == 1


def test_a_known_token_is_refused_after_its_expiry() -> None:
    verifier, token = JwtVerifier({"type": "HS256", "key": KEY}), bearer(exp=time.time() - 30)
    verifier._verified[token] = (time.time() - 30, {})
    with pytest.raises(QErr, match="JWTExpired"):
        verifier.claims(token)


def test_a_token_of_another_key_is_never_known() -> None:
    verifier, token = JwtVerifier({"type": "HS256", "key": KEY}), bearer(exp=time.time() + 60)
    verifier.claims(token)
    forged = f"{token[:-4]}AAAA"
    with pytest.raises(QErr, match="Could not verify JWT"):
        verifier.claims(forged)
