"""Small modules: the allow list, the JSON text that webhooks get, tokens; and the list of behaviours."""

import json
import re
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from graphql_engine.auth import DEFAULT_NAMESPACE, JwtVerifier
from graphql_engine.errors import QErr
from graphql_engine.graphql.document import check_allowed
from graphql_engine.rawjson import canonical, loads

QUERY = "query Names($n: Int) { author(limit: $n) { id name } }"


def metadata(**entry: Any) -> dict[str, Any]:
    queries = [{"name": "names", "query": QUERY}]
    return {
        "query_collections": [{"name": "stored", "definition": {"queries": queries}}],
        "allowlist": [{"collection": "stored", **entry}],
    }


@pytest.mark.parametrize(
    "text",
    [QUERY, QUERY.replace(" ", "\n "), QUERY.replace("{ id", "{ __typename id"), "{ __typename }"],
)
def test_these_are_allowed(text: str) -> None:
    check_allowed(metadata(), text)
    check_allowed(metadata(scope={"global": True}), text)


@pytest.mark.parametrize(
    "text",
    [
        QUERY.replace("Names", "Other"),
        QUERY.replace("id name", "name id"),
        QUERY.replace("Int", "Int!"),
        "{ author { id } }",
        "{ not a query",
    ],
)
def test_these_are_not(text: str) -> None:
    with pytest.raises(QErr, match="query is not allowed"):
        check_allowed(metadata(), text)


def test_a_collection_that_is_not_listed_globally_does_not_count() -> None:
    for other in (metadata(scope={"global": False, "roles": ["user"]}), metadata() | {"allowlist": []}):
        with pytest.raises(QErr, match="query is not allowed"):
            check_allowed(other, QUERY)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("1.50", "1.5"),
        ("1.00", "1.0"),
        ("-0.5", "-0.5"),
        ("0.0", "0.0"),
        ("0.05", "5.0e-2"),
        ("100.0", "100.0"),
        ("1e2", "100"),
        ("12345678.5", "1.23456785e7"),
        ("9007199254740993", "9007199254740993"),
    ],
)
def test_numbers_are_sent_without_trailing_zeros(written: str, sent: str) -> None:
    assert canonical(loads(f'{{"b": [{written}], "a": null}}')) == f'{{"a":null,"b":[{sent}]}}'


def test_texts_survive() -> None:
    value = {"ü": 'a "quoted" \n text', "a": [True, {"c": 1, "b": 2}]}
    assert json.loads(canonical(value)) == value
    assert canonical(value).startswith('{"a":[true,{"b":2,"c":1}]')


KEY = "a-key-of-at-least-32-bytes-for-these-tests"
CLAIMS = {DEFAULT_NAMESPACE: {"X-Hasura-Default-Role": "user"}}


def bearer(**more: Any) -> str:
    return f"Bearer {jwt.encode({**CLAIMS, **more}, KEY, 'HS256')}"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
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


PROJECT = Path(__file__).parents[2]


def test_every_test_that_the_contract_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (PROJECT / "CONTRACT.md").read_text()))
    written = {
        name
        for path in (PROJECT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 60
    assert named <= written, named - written
