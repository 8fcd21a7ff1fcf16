"""The stand-in engine with our metadata and Diva's, and in this process the handlers that it calls."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
import yaml
from psycopg.rows import dict_row
from starlette.applications import Starlette

from app import create_app
from leads.adapters.graphql import Graphql
from leads.adapters.secrets import KeyRing
from leads.adapters.settings import Settings
from sandbox.cluster import RUN, Cluster
from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.hasura import metadata_arguments, start_engine
from sandbox.processes import Processes
from sandbox.stack.keys import Keys

ROOT = Path(__file__).parents[2]
METADATA = ROOT / "hasura" / "metadata"
ADMIN = "a0000000-0000-4000-8000-000000000001"
_numbers = count(1)


def operations() -> dict[str, str]:
    """The stored operations of the Settings tabs, by name."""
    collections = yaml.safe_load((METADATA / "query_collections.yaml").read_text("utf-8"))
    (found,) = (item for item in collections if item["name"] == "pancake_settings")
    return {query["name"]: query["query"] for query in found["definition"]["queries"]}


@dataclass
class Desk:
    """Where somebody of Diva sits: GraphQL under a role, and a look at the tables beside it."""

    client: httpx.AsyncClient
    keys: Keys
    session: psycopg.Connection[dict[str, Any]]
    operations: dict[str, str] = field(default_factory=operations)

    async def ask(
        self, query: str, variables: dict[str, Any] | None = None, role: str | None = "crm_admin"
    ) -> dict[str, Any]:
        """The whole answer, data or errors; without a role nothing is said of who asks."""
        headers = {"Authorization": f"Bearer {self.keys.token(role, ADMIN)}"} if role else {}
        request = {"query": query, "variables": variables or {}}
        response = await self.client.post("/v1/graphql", json=request, headers=headers)
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        return answer

    async def run(self, name: str, **variables: Any) -> dict[str, Any]:
        """The data of a stored operation as crm_admin."""
        answer = await self.ask(self.operations[name], variables)
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    async def refusal(self, name: str, **variables: Any) -> str:
        """Why a stored operation is refused to crm_admin."""
        answer = await self.ask(self.operations[name], variables)
        assert "errors" in answer, answer
        return str(answer["errors"][0]["message"])

    def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        cursor = self.session.execute(statement, params)
        return cursor.fetchall() if cursor.description else []

    def one(self, statement: str, *params: Any) -> Any:
        (row,) = self.sql(statement, *params)
        return row


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """Serve an application in this event loop; yields its URL."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", ws="none"))
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Desk]:
    """Engine and handlers on a migrated database."""
    keys = Keys.generate()
    environment = {
        "HASURA_GRAPHQL_ADMIN_SECRET": keys.admin_secret,
        "HASURA_GRAPHQL_JWT_SECRET": keys.jwt_secret,
        "HASURA_GRAPHQL_UNAUTHORIZED_ROLE": "anonymous",
        "HANDLER_SECRET": keys.handler_secret,
        "HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL": "0",
        "NOTIFICATIONS_URL": "http://127.0.0.1:9",
        "PG_DATABASE_URL": url,
    }
    handlers = create_app(
        Settings(
            database_url=url,
            metadata_database_url=url,
            hasura_url="http://127.0.0.1:9",
            hasura_service_token="unused",
            handler_secrets=(keys.handler_secret,),
            edge_secrets=(keys.edge_secret,),
            key_ring=KeyRing.parse(keys.encryption_keys),
        ),
        graphql=Graphql("http://127.0.0.1:9", "unused"),
    )
    arguments = metadata_arguments(METADATA, DIVA_METADATA)
    with Processes() as processes:
        async with served(handlers) as handlers_url:
            environment["HANDLERS_URL"] = handlers_url
            engine = start_engine(processes, url, *arguments, environment=environment)
            async with httpx.AsyncClient(base_url=engine.url, timeout=30) as client:
                # The crons must not run beside a test: the engine sends nothing of them.
                admin = {"X-Hasura-Admin-Secret": keys.admin_secret}
                plan = {"seed": 1, "triggers": {"*": {"drop": 1}}}
                (await client.post("/sandbox/chaos", json=plan, headers=admin)).raise_for_status()
                with psycopg.connect(url, autocommit=True, row_factory=dict_row) as session:
                    yield Desk(client, keys, session)


@pytest.fixture(scope="session")
def furnished(cluster: Cluster, template: str) -> Iterator[str]:
    """Name of a migrated database with one connection, two sources, an event and a run in it."""
    name = f"pancake_furnished_{RUN}"
    with psycopg.connect(cluster.create_database(name, template), autocommit=True) as connection:
        (connection_id,) = connection.execute(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256, api_key_encrypted)"
            " VALUES ('Diva', 607, sha256('token'), 'secret') RETURNING id"
        ).fetchone() or ("",)
        connection.execute(
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active) VALUES"
            " (%(c)s, '-1', 'Facebook', true), (%(c)s, '777', NULL, false), (%(c)s, '(none)', NULL, false)",
            {"c": connection_id},
        )
        connection.execute(
            "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, payload,"
            " status, error_code, source_ids, arrived_at, created_at)"
            " SELECT %s, 'webhook', 'record-' || n, sha256(n::text::bytea), jsonb_build_object("
            " 'id', 'record-' || n, 'phone_number', '09051110' || n, 'source', ARRAY['-1']),"
            " (ARRAY['skipped_kill_switch', 'dead_letter'])[1 + n %% 2],"
            " (ARRAY[NULL, 'invalid_phone'])[1 + n %% 2], '{-1}', now(), now()"
            " FROM generate_series(10, 14) AS n",
            (connection_id,),
        )
        checked = {"connection_id": str(connection_id), "before": "silent", "after": "active"}
        for name_of_cron, report in (
            ("check_sla", {"kpi": {"success": {"ratio": 1}}}),
            ("check_connection", {"connections": [checked]}),
        ):
            connection.execute(
                "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome,"
                " report) VALUES (%s, now(), now(), now(), 'succeeded', %s)",
                (name_of_cron, json.dumps(report)),
            )
    yield name
    cluster.drop_database(name)


@pytest.fixture
async def desk(cluster: Cluster, furnished: str) -> AsyncIterator[Desk]:
    """A desk of one's own."""
    name = f"pancake_desk_{RUN}_{next(_numbers)}"
    async with opened(cluster.create_database(name, furnished)) as made:
        yield made
    cluster.drop_database(name)


@pytest.fixture(scope="module")
async def reading_desk(cluster: Cluster, furnished: str) -> AsyncIterator[Desk]:
    """A desk that the tests of a module share: what they are allowed there changes nothing."""
    name = f"pancake_desk_{RUN}_{next(_numbers)}"
    async with opened(cluster.create_database(name, furnished)) as made:
        yield made
    cluster.drop_database(name)
