"""Forged credentials at the engine: none gives a role, calls an action or changes metadata."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from sandbox.stack.keys import CLAIMS, Keys
from tests.support.settings import ADMIN_ID, WEBHOOK_TOKEN_SHA256
from tests.support.settings_tab import SettingsHarness

Headers = dict[str, str]
Forgery = Callable[[Keys], Headers]
ROLE = {"x-hasura-role": "crm_admin"}
ADMIN = {"x-hasura-default-role": "crm_admin", "x-hasura-allowed-roles": ["crm_admin", "pancake_edge"]}
SOUND = {CLAIMS: ADMIN}


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


def signed(payload: dict[str, Any], **options: Any) -> Forgery:
    """A token with the right key."""
    return lambda keys: bearer(jwt.encode(payload, keys.jwt_key, **({"algorithm": "HS256"} | options)))


def signed_with(key: str, **headers: Any) -> Forgery:
    return lambda _: bearer(jwt.encode(SOUND, key, algorithm="HS256", headers=headers))


def encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def by_hand(header: dict[str, str], key: bytes | None) -> Forgery:
    """A token of the claims SOUND whose header the library would not write; without a key, no signature."""

    def forge(_: Keys) -> Headers:
        text = ".".join(encode(json.dumps(part).encode()) for part in (header, SOUND))
        signature = hmac.digest(key, text.encode(), "sha256") if key is not None else b""
        return bearer(f"{text}.{encode(signature)}")

    return forge


def changed(change: Callable[[str], str]) -> Forgery:
    """A sound token of the edge, changed afterwards."""
    return lambda keys: bearer(change(keys.token("pancake_edge")))


def with_other_claims(token: str) -> str:
    header, _, signature = token.split(".")
    return ".".join((header, encode(json.dumps(SOUND).encode()), signature))


def of_an_own_rsa_key(_: Keys) -> Headers:
    return bearer(jwt.encode(SOUND, generate_private_key(65537, 2048), algorithm="RS256"))


def secret(value: Callable[[Keys], str], header: str = "x-hasura-admin-secret") -> Forgery:
    return lambda keys: {header: value(keys), **ROLE}


def claims(**members: Any) -> Forgery:
    return signed({CLAIMS: {name: value for name, value in (ADMIN | members).items() if value is not None}})


FORGERIES: dict[str, Forgery] = {
    "nothing": lambda _: {},
    "a role alone": lambda _: ROLE,
    "a role and a user": lambda _: ROLE | {"x-hasura-user-id": ADMIN_ID},
    "the built-in role": lambda _: {"x-hasura-role": "admin"},
    "algorithm none": by_hand({"alg": "none"}, None),
    "algorithm None": by_hand({"alg": "None", "typ": "JWT"}, None),
    "algorithm none with a signature": by_hand({"alg": "none"}, b"x"),
    "no algorithm": by_hand({"typ": "JWT"}, b""),
    "an empty key": by_hand({"alg": "HS256"}, b""),
    "another key": signed_with("another-key-of-more-than-32-characters"),
    "a key of the header": signed_with("k" * 40, jwk={"kty": "oct", "k": encode(b"k" * 40)}),
    "a key by its address": signed_with("k" * 40, jku="http://127.0.0.1:9/keys", kid="../../dev/null"),
    "an own RSA key": of_an_own_rsa_key,
    "HS512 with the right key": signed(SOUND, algorithm="HS512"),
    "HS384 with the right key": signed(SOUND, algorithm="HS384"),
    "no signature": changed(lambda token: token.rpartition(".")[0] + "."),
    "two parts": changed(lambda token: token.rpartition(".")[0]),
    "four parts": changed(lambda token: token + ".x"),
    "the last byte of the signature": changed(lambda token: token[:-6] + ("A" * 6)),
    "the signature of other claims": changed(with_other_claims),
    "expired": signed(SOUND | {"exp": int(time.time()) - 60}),
    "not yet valid": signed(SOUND | {"nbf": int(time.time()) + 86_400}),
    "an end that is no number": signed(SOUND | {"exp": "never"}),
    "claims at the top": signed(ADMIN),
    "claims of another name": signed({"claims": ADMIN}),
    "claims as text": signed({CLAIMS: json.dumps(ADMIN)}),
    "claims as a list": signed({CLAIMS: [ADMIN]}),
    "no default role": claims(**{"x-hasura-default-role": None}),
    "no allowed roles": claims(**{"x-hasura-allowed-roles": None}),
    "no allowed role": claims(**{"x-hasura-allowed-roles": []}),
    "a default role that is not allowed": claims(**{"x-hasura-allowed-roles": ["crm_telesale"]}),
    "allowed roles as text": claims(**{"x-hasura-allowed-roles": "crm_admin"}),
    "a default role as a list": claims(**{"x-hasura-default-role": ["crm_admin"]}),
    "a role in other letters": claims(**{"x-hasura-default-role": "CRM_ADMIN",
                                         "x-hasura-allowed-roles": ["CRM_ADMIN"]}),
    "another role asked for": lambda keys: bearer(keys.token("crm_telesale")) | ROLE,
    "the built-in role asked for": lambda keys: bearer(keys.token("crm_telesale"))
    | {"x-hasura-role": "admin"},
    "the service's token as administrator": lambda keys: bearer(keys.token("pancake_service")) | ROLE,
    "the edge's token as administrator": lambda keys: bearer(keys.token("pancake_edge")) | ROLE,
    "another scheme": lambda keys: {"Authorization": f"Basic {keys.token('crm_admin')}"},
    "two tokens": lambda keys: bearer(" ".join([keys.token("crm_admin")] * 2)),
    "a token without a scheme": lambda keys: {"Authorization": keys.token("crm_admin")},
    "a token as a cookie": lambda keys: {"Cookie": f"token={keys.token('crm_admin')}"},
    "an empty secret": secret(lambda _: ""),
    "another secret": secret(lambda _: "x" * 32),
    "a secret without its end": secret(lambda keys: keys.admin_secret[:-1]),
    "a secret with more": secret(lambda keys: keys.admin_secret + "x"),
    "the handlers' secret": secret(lambda keys: keys.handler_secret),
    "the edge's secret": secret(lambda keys: keys.edge_secret),
    "the key of tokens as secret": secret(lambda keys: keys.jwt_key),
    "the token of the webhook as secret": secret(lambda keys: keys.webhook_token),
    "another secret in the old header": secret(lambda _: "x" * 32, "x-hasura-access-key"),
    "another secret beside a sound token": lambda keys: bearer(keys.token("crm_admin"))
    | {"x-hasura-admin-secret": "x"},
    "the handlers' header": secret(lambda keys: keys.handler_secret, "x-handler-secret"),
    "the edge's header": secret(lambda keys: keys.edge_secret, "x-edge-secret"),
}  # fmt: skip
REPLAY = "mutation { pancake_replay_events(ids: [1]) { __typename } }"
DELIVERY = {"token_sha256": WEBHOOK_TOKEN_SHA256, "raw": "e30="}
QUERIES = ("{ pancake_connection { id } }", REPLAY, "{ account { id } }")
SQL = {"type": "run_sql", "args": {"sql": "SELECT 1"}}
EXPORT = {"type": "export_metadata", "args": {}}


@pytest.mark.parametrize("name", FORGERIES)
async def test_forged_credentials_give_nothing(shared_harness: SettingsHarness, name: str) -> None:
    """No data, no action, no delivery, no metadata, no SQL; and no answer quotes a secret."""
    harness, keys = shared_harness, shared_harness.keys
    headers = FORGERIES[name](keys)
    before = harness.count("pancake_webhook_event")
    answers = []
    for query in QUERIES:
        response = await harness.client.post("/v1/graphql", json={"query": query}, headers=headers)
        answers.append(response.text)
        assert "data" not in response.json(), query
    for path, body in (
        ("/api/rest/pancake/record", DELIVERY), ("/v1/metadata", EXPORT), ("/v2/query", SQL),
    ):  # fmt: skip
        response = await harness.client.post(path, json=body, headers=headers)
        answers.append(response.text)
        assert response.status_code in (400, 401, 403, 404), (path, response.text)
    assert harness.count("pancake_webhook_event") == before
    assert not any(key in " ".join(answers) for key in (keys.admin_secret, keys.jwt_key))


async def test_sound_tokens_are_accepted(shared_harness: SettingsHarness) -> None:
    """The same calls with the credentials that the forgeries imitate."""
    harness, keys = shared_harness, shared_harness.keys
    assert "errors" not in await harness.query(QUERIES[0])
    edge = bearer(keys.token("pancake_edge"))
    delivered = await harness.client.post("/api/rest/pancake/record", json=DELIVERY, headers=edge)
    assert delivered.status_code == 200, delivered.text
    admin = {"x-hasura-admin-secret": keys.admin_secret}
    assert (await harness.client.post("/v1/metadata", json=EXPORT, headers=admin)).status_code == 200
