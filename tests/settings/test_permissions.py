"""What each role may do with our tables and actions, and that forged credentials give no role at all."""

import base64
import hmac
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from graphql import get_introspection_query

from sandbox.stack.keys import CLAIMS, Keys
from tests.support.metadata import METADATA, SettingsHarness
from tests.support.settings import ADMIN_ID, WEBHOOK_TOKEN_SHA256

ROLES = ["crm_admin", "crm_manager", "crm_telesale", "pancake_edge", "pancake_service", "anonymous"]
OTHER_ROLES = ROLES[1:]
UNTRACKED = ["customer_erasure"]
"""Relations that the engine does not serve."""
GRANTED: dict[tuple[str, str], str] = {
    (table, operation): columns
    for table, operations in yaml.safe_load(Path(__file__).with_name("granted.yaml").read_text()).items()
    for operation, columns in operations.items()
}
"""What crm_admin may do, with the columns."""
REPORT = {"view_pancake_report_owner", "view_pancake_report_source"}
"""What crm_manager may read, with the same columns. No other role may do anything with our tables."""
OF_MANAGERS = {"pancake_list_leads", "pancake_trace_lead"}
"""The actions of crm_manager."""
AGGREGATED = {
    "pancake_assignee", "pancake_cron_run", "pancake_source", "pancake_webhook_event",
    "view_pancake_connection_status",
}  # fmt: skip
"""What crm_admin may count."""
TABLES = sorted({table for table, _ in GRANTED})
# The type that holds an operation's columns, and the field without which the type is of no use.
HOLDERS = {
    "select": ("{table}", "{table}"),
    "insert": ("{table}_insert_input", "insert_{table}"),
    "update": ("{table}_set_input", "update_{table}"),
}
OTHER_INPUTS = ("{table}_bool_exp", "{table}_order_by", "{table}_inc_input", "{table}_append_input")
HIDDEN = re.compile(
    r"token_sha256|encrypted|payload_hash|claim_id|notify_claimed_at|^notifications$|^raw$|source_ip"
)
SUFFIXES = "(_bool_exp|_order_by|_select_column|_stream)$|_stream_cursor(_value)?_input$"
"""Of the names of types and fields that belong to a table."""
Schema = dict[str, dict[str, Any]]
"""The types of a role by name, as its introspection shows them."""


def granted(role: str, table: str, operation: str) -> set[str] | None:
    """The columns that a role may use; None if it has no such operation."""
    may = role == "crm_admin" or (role == "crm_manager" and table in REPORT)
    columns = GRANTED.get((table, operation)) if may else None
    return None if columns is None else set(columns.split())


def test_the_metadata_grants_these_columns_and_no_others(database: str) -> None:
    """No inherited role has a part, and every relation of ours is in one list."""
    files = sorted((METADATA / "databases/default/tables").glob("public_*.yaml"))
    assert [path.stem.removeprefix("public_") for path in files] == TABLES
    found = {
        (item["role"], table, key.removesuffix("_permissions")): set(item["permission"].get("columns", []))
        for table, path in zip(TABLES, files, strict=True)
        for key, items in yaml.safe_load(path.read_text("utf-8")).items()
        if key.endswith("_permissions")
        for item in items
    }
    expected = {
        (role, table, operation): granted(role, table, operation)
        for role in ROLES
        for table, operation in GRANTED
        if granted(role, table, operation) is not None
    }
    assert found == expected
    assert yaml.safe_load((METADATA / "inherited_roles.yaml").read_text("utf-8")) == []
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()
    ours = {table for table, _ in rows if "pancake" in table or table in ("integration_change", *UNTRACKED)}
    assert ours == {*TABLES, *UNTRACKED}
    assert {(table, column) for (table, _), all_ in GRANTED.items() for column in all_.split()} <= set(rows)


def credentials(role: str) -> str | None:
    return None if role == "anonymous" else role


@pytest.fixture(scope="module")
async def schemas(shared_harness: SettingsHarness) -> dict[str, Schema]:
    found = {}
    for role in ROLES:
        query = get_introspection_query(descriptions=False)
        answer = await shared_harness.query(query, role=credentials(role))
        found[role] = {kind["name"]: kind for kind in answer["data"]["__schema"]["types"]}
    return found


def fields(schema: Schema, type_name: str) -> set[str]:
    """The names of the fields of a type; none if there is no such type."""
    kind = schema.get(type_name, {})
    return {item["name"] for item in kind.get("fields") or kind.get("inputFields") or ()}


@pytest.mark.parametrize("role", ROLES)
async def test_the_engine_shows_these_columns(
    schemas: dict[str, Schema], shared_harness: SettingsHarness, subtests: pytest.Subtests, role: str
) -> None:
    """To read, write, filter and sort. Relationships are no columns. No query may name anything else."""
    schema = schemas[role]
    roots = fields(schema, "query_root") | fields(schema, "mutation_root")
    look = "SELECT column_name AS name FROM information_schema.columns WHERE table_name = %s"
    for table in (*TABLES, *UNTRACKED):
        columns = {row["name"] for row in shared_harness.sql(look, table)}
        with subtests.test(table):
            for operation, (holder, field) in HOLDERS.items():
                is_shown = field.format(table=table) in roots and holder.format(table=table) in schema
                shown = fields(schema, holder.format(table=table)) & columns if is_shown else None
                assert shown == granted(role, table, operation), operation
            assert (f"delete_{table}" in roots) == (granted(role, table, "delete") is not None)
            assert (f"{table}_aggregate" in roots) == (role == "crm_admin" and table in AGGREGATED)
            usable = (granted(role, table, "select") or set()) | (granted(role, table, "update") or set())
            for name in OTHER_INPUTS:
                assert fields(schema, name.format(table=table)) & columns <= usable, name


@pytest.mark.parametrize("role", OTHER_ROLES)
async def test_other_roles_may_use_none_of_the_settings(
    shared_harness: SettingsHarness, subtests: pytest.Subtests, role: str
) -> None:
    for name, text in shared_harness.operations.items():
        with subtests.test(name):
            assert "data" not in await shared_harness.query(text, role=credentials(role))


def test_introspection_shows_each_role_its_part_of_the_integration_only(schemas: dict[str, Schema]) -> None:
    manager, edge = schemas["crm_manager"], schemas["pancake_edge"]
    shown = re.findall(r'"name": "(\w*(?:pancake|integration)\w*)"', json.dumps(manager))
    assert {re.sub(SUFFIXES, "", name) for name in shown} == REPORT | OF_MANAGERS
    assert {name for name in manager if name.startswith("Pancake")} == {"PancakeLeadList", "PancakeLeadTrace"}
    assert fields(manager, "query_root") >= REPORT | OF_MANAGERS
    assert fields(edge, "mutation_root") == {"pancake_ingest_record"}
    assert {name for name in edge if "pancake" in name.lower()} == {"PancakeIngestAck"}
    for role in ("crm_telesale", "pancake_service", "anonymous"):
        assert not re.search("pancake|integration_change", json.dumps(schemas[role]).lower()), role


def test_introspection_shows_administrators_no_secret_and_no_other_action(schemas: dict[str, Schema]) -> None:
    """Nor a way from Diva's rows to ours: a permission on a ticket would also give access to our rows."""
    schema = schemas["crm_admin"]
    for name, kind in schema.items():
        if "pancake" in name.lower():
            for part in ("fields", "inputFields", "enumValues"):
                assert not [item["name"] for item in kind[part] or () if HIDDEN.search(item["name"])], kind
    for name in ("account", "contact_book", "ticket", "staff", "app_setting", "crm_master_data"):
        assert "pancake" not in json.dumps(schema.get(name, {}).get("fields")), name
    assert {each for each in fields(schema, "query_root") if re.search("_(trace|list)_", each)} == OF_MANAGERS
    writes = re.compile("(insert|update|delete)_(view_)?pancake_[a-z_]+")
    actions = {each for each in fields(schema, "mutation_root") if "pancake" in each}
    assert {each for each in actions if not writes.fullmatch(each)} == {"pancake_replay_events"}


# Forged credentials

Headers = dict[str, str]
Forgery = Callable[[Keys], Headers]
ROLE = {"x-hasura-role": "crm_admin"}
ADMIN = {"x-hasura-default-role": "crm_admin", "x-hasura-allowed-roles": ["crm_admin", "pancake_edge"]}
SOUND = {CLAIMS: ADMIN}


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


def signed(payload: dict[str, Any], **options: Any) -> Forgery:
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


async def test_forgeries_give_nothing(shared_harness: SettingsHarness, subtests: pytest.Subtests) -> None:
    """No data, no action, no delivery, no metadata, no SQL; and no answer quotes a secret."""
    harness, keys = shared_harness, shared_harness.keys
    before = harness.count("pancake_webhook_event")
    for name, forge in FORGERIES.items():
        headers, answers = forge(keys), []
        with subtests.test(name):
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
