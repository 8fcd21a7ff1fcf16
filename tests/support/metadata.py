"""An engine that holds Diva's metadata and more of other applications, for the tests of `leads metadata`."""

import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from app import create_app
from leads.adapters.graphql import GraphqlClient
from leads.adapters.secrets import KeyRing
from leads.adapters.settings import CallerSecret
from leads.runtime import Runtime
from ops.cli import app
from ops.metadata.pieces import Json, Key, put, split
from proofs.incidents.faults import metadata_api
from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.diva.project import copy_project, merge_project
from sandbox.postgres.database import grant_rights
from sandbox.processes import Processes
from sandbox.serving import LoopbackServer
from sandbox.stack.hasura import start_engine
from sandbox.stack.keys import Keys
from scripts.metadata_form import formatted_files
from tests.support.end_to_end import query
from tests.support.fake_services import ANY, FakeServer
from tests.support.handlers import DatabaseHarness, DatabaseRows
from tests.support.settings import ADMIN_ID, UNREACHABLE_URL, handler_settings

SECRET = "admin-secret-of-the-test"
FOREIGN: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("foreign_metadata.yaml").read_text())
"""Calls that make what other applications have."""
OUR_ROWS = "pancake_connection, pancake_webhook_event, integration_change, hdb_catalog.event_log"


def run_metadata(
    words: Sequence[str], environment: dict[str, str], code: int, says: Iterable[str] = ()
) -> str:
    """Run `leads metadata`, which must end with this code and say all of this; return what it printed."""
    variables = environment | {"COLUMNS": "500"}
    result = CliRunner().invoke(app, ["metadata", *words], env=variables, catch_exceptions=False)
    assert result.exit_code == code, result.output
    said = " ".join(result.output.split())
    assert [text for text in says if text not in said] == [], result.output
    return result.output


@dataclass
class Shared(DatabaseRows):
    """A running engine, the folder of backups, its database, and the command."""

    url: str
    folder: Path
    database_url: str = ""

    def run(
        self, *arguments: str, code: int = 0, says: Iterable[str] = (), other_secret: str = SECRET
    ) -> str:
        environment = {
            "HASURA_URL": self.url,
            "HASURA_ADMIN_SECRET": SECRET,
            "HASURA_OTHER_ADMIN_SECRET": other_secret,
        }
        options = [] if arguments[0] == "compare" else ["--backups", str(self.folder)]
        return run_metadata([*arguments, *options], environment, code, says)

    def api(self, kind: str, args: Any = None) -> Any:
        return metadata_api(self.url, SECRET, kind, args)

    def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        return query(self.database_url, statement, params)

    @contextmanager
    def changed(self, change: str, back: str) -> Iterator[None]:
        """Run a statement, and undo it at the end of the block with another."""
        self.sql(change)
        try:
            yield
        finally:
            self.sql(back)

    def edit(self, key: Key, **fields: Any) -> None:
        edited = {key: self.pieces()[key] | fields}
        self.api("replace_metadata", put(self.export(), "default", edited, set()))

    def empty(self, metadata: Json) -> None:
        """Replace the metadata, and remove every row of ours and every event."""
        self.api("replace_metadata", metadata)
        self.sql(f"SET session_replication_role = replica; TRUNCATE {OUR_ROWS} CASCADE")

    def export(self) -> Json:
        return dict(self.api("export_metadata")["metadata"])

    def pieces(self) -> dict[tuple[str, str], Any]:
        return split(self.export(), "default")

    def scheduled(self, cron: str) -> list[Any]:
        args = {"type": "cron", "trigger_name": cron, "limit": 200, "offset": 0}
        return list(self.api("get_scheduled_events", args)["events"])


@contextmanager
def running_shared_engine(
    database: str, folder: Path, *, without: str = "", **variables: str
) -> Iterator[Shared]:
    """Start an engine with Diva's metadata and FOREIGN; a fake server takes every call to the handlers.

    `without` names a variable that its environment lacks; `variables` are added to it.
    """
    environment = {
        "PG_DATABASE_URL": database, "HASURA_GRAPHQL_ADMIN_SECRET": SECRET,
        "HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL": "50", "HANDLER_SECRET": "handler-secret",
        "NOTIFICATIONS_URL": "http://127.0.0.1:9", "DIVA_URL": "http://127.0.0.1:9",
    }  # fmt: skip
    with FakeServer() as handlers, Processes() as processes:
        answer = {"event_id": 0, "result": "not_received"}  # what the handlers answer to a probe event
        handlers.expect_request(ANY, method="POST").respond_with_json(answer)
        environment |= {"HANDLERS_URL": handlers.url} | variables
        environment.pop(without, None)
        running = start_engine(processes, database, metadata=DIVA_METADATA, environment=environment)
        engine = Shared(running.url, folder, database)
        for each in FOREIGN:
            engine.api(each["type"], each["args"])
        grant_rights(database)
        yield engine


def of_others(pieces: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    """Return the pieces of a metadata that are not of this integration."""
    words = ("pancake", "integration_change")
    return {key: piece for key, piece in pieces.items() if not any(word in key[1].lower() for word in words)}


METADATA = Path(__file__).parents[2] / "hasura" / "metadata"
TABLES = "metadata/databases/default/tables"
PROJECT = Path(__file__).with_name("project")
"""Files of Diva's metadata directory."""
CRON = (PROJECT / "cron_triggers.yaml").read_text()


@dataclass(frozen=True)
class Project:
    root: Path

    def path(self, name: str) -> Path:
        return self.root / name

    def files(self) -> dict[str, bytes]:
        paths = (path for path in sorted(self.root.rglob("*")) if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in paths}

    def read(self, name: str) -> str:
        return self.path(name).read_bytes().decode()

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(text.encode())

    def edit(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert old in text
        self.write(name, text.replace(old, new, 1))

    def run(self, verb: str, *arguments: str, code: int = 0) -> str:
        target = ("--into", str(self.root)) if verb == "merge" else (str(self.root),)
        return run_metadata([verb, *target, *arguments], {}, code)


def make_project(root: Path) -> Project:
    """Create Diva's project in the form of `hasura metadata export`, without the permission of our role."""
    copy_project(root)
    project = Project(root)
    shutil.copytree(PROJECT, root / "metadata", dirs_exist_ok=True)
    project.edit("metadata/actions.yaml", "    permissions:\n      - role: pancake_service\n", "")
    project.write("migrations/default/1600000000000_init/up.sql", "SELECT 1;\n")
    for path, text in formatted_files(root / "metadata").items():
        path.write_text(text, "utf-8")
    return project


def make_own(folder: Path) -> Path:
    """Copy our metadata and migrations, to be changed into another version; return the metadata directory."""
    shutil.copytree(METADATA, folder / "metadata")
    shutil.copytree(METADATA.parent / "migrations", folder / "migrations")
    return folder / "metadata"


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
        return dict(response.json())

    async def run(self, name: str, **variables: Any) -> dict[str, Any]:
        """Return the data of a stored operation, run as crm_admin."""
        answer = await self.query(self.operations[name], variables)
        assert "errors" not in answer, answer
        return dict(answer["data"])

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
        diva = {"name": "Diva", "workspace_id": 607, "token_sha256": sha256(b"token").digest()}
        connection_id = self.insert("pancake_connection", **diva, api_key_encrypted="secret")["id"]
        for source, name in (("-1", "Facebook"), ("777", None), ("(none)", None)):
            named = {"pancake_source_id": source, "name": name, "is_active": name is not None}
            self.insert("pancake_source", connection_id=connection_id, **named)
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
        for status in ("silent", "active"):
            self.sql("UPDATE pancake_connection SET status = %s", status)
        checked = {"connection_id": str(connection_id), "before": "silent", "after": "active"}
        for cron, report in (
            ("check_sla", {"kpi": {"success": {"ratio": 1}}}),
            ("check_connection", {"connections": [checked]}),
        ):
            times = dict.fromkeys(("scheduled_time", "started_at", "finished_at"), datetime.now(UTC))
            self.insert("pancake_cron_run", name=cron, outcome="succeeded", report=Jsonb(report), **times)


@asynccontextmanager
async def running_settings_tab(
    database_url: str, *, has_allow_list: bool = False
) -> AsyncIterator[SettingsHarness]:
    keys = Keys.generate()
    key_ring = KeyRing.parse(keys.encryption_keys)
    secrets = CallerSecret(keys.handler_secret), CallerSecret(keys.edge_secret)
    settings = handler_settings(database_url, key_ring, *secrets)
    handlers = create_app(Runtime.assemble(settings, graphql=GraphqlClient(UNREACHABLE_URL, "unused")))
    with Processes() as processes:
        metadata = merge_project(processes.directory("hasura-") / "project")
        with LoopbackServer(handlers) as served:
            environment = {
                "HASURA_GRAPHQL_ADMIN_SECRET": keys.admin_secret,
                "HASURA_GRAPHQL_JWT_SECRET": keys.jwt_secret,
                "HASURA_GRAPHQL_UNAUTHORIZED_ROLE": "anonymous",
                "HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL": "0",
                "HASURA_GRAPHQL_ENABLE_ALLOWLIST": str(has_allow_list).lower(),
                "HANDLERS_URL": served.url,
                "HANDLER_SECRET": keys.handler_secret,
                "NOTIFICATIONS_URL": UNREACHABLE_URL,
                "PG_DATABASE_URL": database_url,
            }
            engine = start_engine(processes, database_url, metadata=metadata, environment=environment)
            grant_rights(database_url)
            async with httpx.AsyncClient(base_url=engine.url, timeout=30) as client:
                # Crons must not run during a test: the engine takes today's ticks for those of tomorrow.
                admin = {"X-Hasura-Admin-Secret": keys.admin_secret}
                yesterday = {"advance": -86_400}
                (await client.post("/sandbox/clock", json=yesterday, headers=admin)).raise_for_status()
                with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as session:
                    (row,) = session.execute("SELECT app_settings FROM app_setting").fetchall()
                    harness = SettingsHarness(session, client, keys, Jsonb(row["app_settings"]))
                    harness.reset()
                    yield harness
