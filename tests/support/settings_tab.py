"""The stand-in engine with our metadata and Diva's, and the handlers that it calls."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn
import yaml
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from starlette.applications import Starlette

from app import create_app
from leads.adapters.caller_secret import CallerSecret
from leads.adapters.graphql import GraphqlClient
from leads.adapters.secrets import KeyRing
from leads.services.runtime import Runtime
from sandbox.diva.project import merge_project
from sandbox.postgres.roles import grant_rights
from sandbox.processes import Processes
from sandbox.stack.hasura import start_engine
from sandbox.stack.keys import Keys
from tests.support.handlers import DatabaseHarness
from tests.support.settings import ADMIN_ID, UNREACHABLE_URL, handler_settings

METADATA = Path(__file__).parents[2] / "hasura" / "metadata"


def stored_operations(collection: str = "pancake_settings") -> dict[str, str]:
    """Read a collection's operations, without a name those of the Settings tabs: queries by name."""
    collections = yaml.safe_load((METADATA / "query_collections.yaml").read_text("utf-8"))
    (found,) = (item for item in collections if item["name"] == collection)
    return {query["name"]: query["query"] for query in found["definition"]["queries"]}


@dataclass
class SettingsHarness(DatabaseHarness):
    """The Settings tabs' GraphQL under a role, and the tables behind it."""

    client: httpx.AsyncClient
    keys: Keys
    first_settings: Jsonb
    operations: dict[str, str] = field(default_factory=stored_operations)

    async def query(
        self, query: str, variables: dict[str, Any] | None = None, role: str | None = "crm_admin"
    ) -> dict[str, Any]:
        """Return the whole answer, data or errors; without a role the request carries no credentials."""
        headers = {"Authorization": f"Bearer {self.keys.token(role, ADMIN_ID)}"} if role else {}
        request = {"query": query, "variables": variables or {}}
        response = await self.client.post("/v1/graphql", json=request, headers=headers)
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        return answer

    async def run(self, name: str, **variables: Any) -> dict[str, Any]:
        """Return the data of a stored operation, run as crm_admin."""
        answer = await self.query(self.operations[name], variables)
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    async def refusal(self, name: str, **variables: Any) -> str:
        """Return the error message of a stored operation that must be refused to crm_admin."""
        answer = await self.query(self.operations[name], variables)
        assert "errors" in answer, answer
        return str(answer["errors"][0]["message"])

    def reset(self) -> None:
        """Put back the first rows: those of the migration, and of each table that the tabs show."""
        self.sql("SET session_replication_role = replica")  # triggers keep the rows of events and history
        self.sql("TRUNCATE pancake_connection, pancake_cron_run, integration_change RESTART IDENTITY CASCADE")
        self.sql("UPDATE app_setting SET app_settings = %s", self.first_settings)
        self.sql("RESET session_replication_role")
        self._seed()

    def _seed(self) -> None:
        """Insert one connection, three sources, five events that were not processed and two cron runs."""
        connection_id = self.one(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256, api_key_encrypted)"
            " VALUES ('Diva', 607, sha256('token'), 'secret') RETURNING id"
        )["id"]
        for source, name in (("-1", "Facebook"), ("777", None), ("(none)", None)):
            self.sql(
                "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
                " VALUES (%s, %s, %s, %s)",
                *(connection_id, source, name, name is not None),
            )
        self.sql(
            "INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, payload,"
            " status, error_code, source_ids, arrived_at, created_at)"
            " SELECT %s, 'webhook', 'record-' || n, sha256(n::text::bytea), jsonb_build_object("
            " 'id', 'record-' || n, 'phone_number', '09051110' || n, 'source', ARRAY['-1']),"
            " (ARRAY['skipped_kill_switch', 'dead_letter'])[1 + n %% 2],"
            " (ARRAY[NULL, 'invalid_phone'])[1 + n %% 2], '{-1}', now(), now()"
            " FROM generate_series(10, 14) AS n",
            connection_id,
        )
        checked = {"connection_id": str(connection_id), "before": "silent", "after": "active"}
        for cron, report in (
            ("check_sla", {"kpi": {"success": {"ratio": 1}}}),
            ("check_connection", {"connections": [checked]}),
        ):
            self.sql(
                "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome,"
                " report) VALUES (%s, now(), now(), now(), 'succeeded', %s)",
                *(cron, Jsonb(report)),
            )


def engine_environment(
    keys: Keys, database_url: str, handlers_url: str, *, has_allow_list: bool
) -> dict[str, str]:
    """Return the environment of the engine."""
    return {
        "HASURA_GRAPHQL_ADMIN_SECRET": keys.admin_secret,
        "HASURA_GRAPHQL_JWT_SECRET": keys.jwt_secret,
        "HASURA_GRAPHQL_UNAUTHORIZED_ROLE": "anonymous",
        "HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL": "0",
        "HASURA_GRAPHQL_ENABLE_ALLOWLIST": str(has_allow_list).lower(),
        "HANDLERS_URL": handlers_url,
        "HANDLER_SECRET": keys.handler_secret,
        "NOTIFICATIONS_URL": UNREACHABLE_URL,
        "PG_DATABASE_URL": database_url,
    }


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
async def running_settings_tab(
    database_url: str, *, has_allow_list: bool = False
) -> AsyncIterator[SettingsHarness]:
    """Start the engine and the handlers on a migrated database."""
    keys = Keys.generate()
    key_ring = KeyRing.parse(keys.encryption_keys)
    secrets = CallerSecret(keys.handler_secret), CallerSecret(keys.edge_secret)
    settings = handler_settings(database_url, key_ring, *secrets)
    handlers = create_app(Runtime.assemble(settings, graphql=GraphqlClient(UNREACHABLE_URL, "unused")))
    with Processes() as processes:
        metadata = merge_project(processes.directory("hasura-") / "project")
        async with served(handlers) as handlers_url:
            environment = engine_environment(keys, database_url, handlers_url, has_allow_list=has_allow_list)
            engine = start_engine(
                processes, database_url, "--metadata", str(metadata), environment=environment
            )
            grant_rights(database_url)
            async with httpx.AsyncClient(base_url=engine.url, timeout=30) as client:
                # Crons must not run during a test: the engine drops every delivery.
                admin = {"X-Hasura-Admin-Secret": keys.admin_secret}
                plan = {"seed": 1, "triggers": {"*": {"drop": 1}}}
                (await client.post("/sandbox/chaos", json=plan, headers=admin)).raise_for_status()
                with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as session:
                    (row,) = session.execute("SELECT app_settings FROM app_setting").fetchall()
                    harness = SettingsHarness(session, client, keys, Jsonb(row["app_settings"]))
                    harness.reset()
                    yield harness
