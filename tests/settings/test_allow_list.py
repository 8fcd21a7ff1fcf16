"""With the engine's allow list on, everything of the integration works, and nothing else does."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from graphql import parse, print_ast

from leads.adapters.graphql import SEND_NOTIFICATIONS, GraphqlClient
from leads.cli.replay.action import EVENTS, NAMES, REPLAY
from sandbox.postgres.server import RUN_ID, Cluster
from tests.support.settings_tab import METADATA, SettingsHarness, running_settings_tab

NOT_ALLOWED = "query is not allowed"
COLLECTIONS = yaml.safe_load((METADATA / "query_collections.yaml").read_text("utf-8"))
STORED = {query["name"]: query["query"] for item in COLLECTIONS for query in item["definition"]["queries"]}
VARIABLES: dict[str, dict[str, Any]] = {
    "pancake_settings_event": {"id": 1},
    "pancake_report": {"week": "2026-05-11"},
    "pancake_settings_kpis": {"since": "2026-01-01T00:00:00Z"},
    "pancake_replayed_events": {"ids": [1]},
    "pancake_owners": {"ids": []},
}


@pytest.fixture(scope="module")
async def allowing(cluster: Cluster, seeded_template: str) -> AsyncIterator[SettingsHarness]:
    """The engine with its allow list on."""
    name = f"pancake_allow_list_{RUN_ID}"
    database = cluster.create_database(name, seeded_template)
    async with running_settings_tab(database, has_allow_list=True) as started:
        yield started
    cluster.drop_database(name)


def test_every_collection_of_ours_is_in_the_allow_list() -> None:
    listed = yaml.safe_load((METADATA / "allow_list.yaml").read_text("utf-8"))
    assert listed == [{"collection": item["name"], "scope": {"global": True}} for item in COLLECTIONS]


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("pancake_send_notifications", print_ast(SEND_NOTIFICATIONS.document)),
        ("pancake_replay", REPLAY),
        ("pancake_replayed_events", EVENTS),
        ("pancake_owners", NAMES),
    ],
)
def test_what_our_programs_ask_is_stored_as_they_ask_it(name: str, program: str) -> None:
    """The engine compares syntax trees."""
    assert print_ast(parse(STORED[name])) == print_ast(parse(program))


@pytest.mark.parametrize("name", sorted(STORED))
async def test_a_stored_operation_is_not_stopped(allowing: SettingsHarness, name: str) -> None:
    """Those with variables are called without: the engine then misses a variable, not the permission."""
    answer = await allowing.query(STORED[name], VARIABLES.get(name))
    assert NOT_ALLOWED not in json.dumps(answer)
    if name in VARIABLES or "$" not in STORED[name].partition("{")[0]:
        assert "errors" not in answer, answer


async def test_the_edges_call_is_not_stopped(allowing: SettingsHarness) -> None:
    headers = {"Authorization": f"Bearer {allowing.keys.token('pancake_edge')}"}
    body = {"token_sha256": "0" * 64, "raw": "e30="}
    answer = await allowing.client.post("/api/rest/pancake/record", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["pancake_ingest_record"]["status"] == "unknown_token"


async def test_notifications_are_not_stopped(allowing: SettingsHarness) -> None:
    """The service behind the action cannot be reached here; the engine gets as far as calling it."""
    text = print_ast(SEND_NOTIFICATIONS.document)
    answer = await allowing.query(text, {"notifications": []}, role="pancake_service")
    assert answer["errors"][0]["message"] == "http exception when calling webhook"


async def change_metadata(allowing: SettingsHarness, kind: str, args: dict[str, Any]) -> None:
    admin = {"X-Hasura-Admin-Secret": allowing.keys.admin_secret}
    answer = await allowing.client.post("/v1/metadata", json={"type": kind, "args": args}, headers=admin)
    answer.raise_for_status()


@pytest.mark.parametrize(
    ("drop", "add", "dropped", "added", "lost"),
    [
        (
            "drop_collection_from_allowlist",
            "add_collection_to_allowlist",
            {"collection": "pancake_calls"},
            {"collection": "pancake_calls", "scope": {"global": True}},
            {"allow_list": False, "notifications": None},
        ),
        (
            "drop_action_permission",
            "create_action_permission",
            {"action": "sendNotifications", "role": "pancake_service"},
            {"action": "sendNotifications", "role": "pancake_service"},
            {"notifications": False},
        ),
    ],
    ids=["allow list", "permission"],
)
async def test_readiness_sees_what_stops_our_notifications(
    allowing: SettingsHarness,
    drop: str,
    add: str,
    dropped: dict[str, Any],
    added: dict[str, Any],
    lost: dict[str, bool | None],
) -> None:
    """Without a call of the notification service. What is taken away is given back at the end."""
    hasura = GraphqlClient(str(allowing.client.base_url).rstrip("/"), allowing.keys.token("pancake_service"))
    healthy = dict.fromkeys(("hasura", "consistent", "allow_list", "notifications"), True)
    try:
        assert await hasura.examine() == healthy
        await change_metadata(allowing, drop, dropped)
        try:
            assert await hasura.examine() == healthy | lost
        finally:
            await change_metadata(allowing, add, added)
        assert await hasura.examine() == healthy
    finally:
        await hasura.close()


@pytest.mark.parametrize(
    ("query", "role", "is_allowed"),
    [
        ("{ __typename }", "crm_admin", True),
        ("{ pancake_connection { id } }", "crm_admin", False),
        ("query PancakeSettingsOther { pancake_connection { id } }", "crm_admin", False),
        ("{ __schema { queryType { name } } }", "pancake_service", False),
    ],
)
async def test_anything_else_is_stopped(
    allowing: SettingsHarness, query: str, role: str, is_allowed: bool
) -> None:
    answer = await allowing.query(query, role=role)
    assert (NOT_ALLOWED not in json.dumps(answer)) == is_allowed
    if not is_allowed:
        assert answer["errors"][0]["extensions"] == {"code": "validation-failed", "path": "$"}


async def test_spelling_and_typenames_make_no_difference(allowing: SettingsHarness) -> None:
    query = STORED["pancake_settings_connections"].replace("\n", " ").replace("{", "{ __typename", 1)
    assert "errors" not in await allowing.query(query)


async def test_an_admin_is_not_limited(allowing: SettingsHarness) -> None:
    admin = {"X-Hasura-Admin-Secret": allowing.keys.admin_secret}
    request = {"query": "{ pancake_connection { id } }"}
    assert "data" in (await allowing.client.post("/v1/graphql", json=request, headers=admin)).json()
    config = (await allowing.client.get("/v1alpha1/config", headers=admin)).json()
    assert config["is_allow_list_enabled"] is True
