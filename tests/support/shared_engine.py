"""An engine that holds Diva's metadata and more of other applications, for the tests of `leads metadata`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from typer.testing import CliRunner

from leads.cli.__main__ import app
from leads.cli.metadata.pieces import Json, Key, put, split
from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.postgres.roles import grant_rights
from sandbox.processes import Processes
from sandbox.stack.hasura import start_engine
from tests.support.fake_services import fixed_handlers

SECRET = "admin-secret-of-the-test"
STAFF_QUERY = {"collection_name": "diva", "query_name": "staff"}
FOREIGN: list[tuple[str, Json]] = [
    ("pg_create_event_trigger", {
        "name": "diva_ticket_created", "source": "default", "table": {"schema": "public", "name": "ticket"},
        "webhook": "http://diva.internal/tickets", "insert": {"columns": "*"},
        "retry_conf": {"num_retries": 3, "interval_sec": 15, "timeout_sec": 60},
    }),
    ("create_cron_trigger", {
        "name": "diva_nightly", "webhook": "http://diva.internal/nightly", "schedule": "0 1 * * *",
        "include_in_metadata": True, "payload": {"of": "diva"}, "comment": "theirs",
    }),
    ("create_cron_trigger", {
        "name": "diva_private", "webhook": "http://diva.internal/private", "schedule": "0 2 * * *",
        "include_in_metadata": False,
    }),
    ("create_query_collection", {
        "name": "diva",
        "definition": {"queries": [{"name": "staff", "query": "query Staff { staff { id } }"}]},
    }),
    ("create_rest_endpoint", {
        "name": "diva staff", "url": "diva/staff", "methods": ["GET"], "definition": {"query": STAFF_QUERY},
    }),
]  # fmt: skip
OUR_ROWS = "pancake_connection, pancake_webhook_event, integration_change, hdb_catalog.event_log"


@dataclass
class Shared:
    """A running engine, the folder of backups, its database, and the command."""

    url: str
    folder: Path
    database_url: str = ""

    def run(self, *arguments: str, code: int = 0, other_secret: str = SECRET) -> str:
        """Run the command; returns what it said."""
        environment = {
            "HASURA_URL": self.url,
            "HASURA_ADMIN_SECRET": SECRET,
            "HASURA_OTHER_ADMIN_SECRET": other_secret,
            "COLUMNS": "500",
        }
        options = [] if arguments[0] == "compare" else ["--backups", str(self.folder)]
        result = CliRunner().invoke(app, ["metadata", *arguments, *options], env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == code, result.output
        return result.output

    def api(self, kind: str, args: Any = None, **more: Any) -> Any:
        body = {"type": kind, "args": args or {}} | more
        headers = {"x-hasura-admin-secret": SECRET}
        answer = httpx.post(f"{self.url}/v1/metadata", json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sql(self, statement: str) -> list[Any]:
        with psycopg.connect(self.database_url, autocommit=True) as db:
            cursor = db.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def changed(self, change: str, back: str) -> Iterator[None]:
        """Run a statement, and at the end of the block the one that takes it back."""
        self.sql(change)
        try:
            yield
        finally:
            self.sql(back)

    def edit(self, key: Key, **fields: Any) -> None:
        """Change an object on the engine."""
        edited = {key: self.pieces()[key] | fields}
        self.api("replace_metadata", put(self.export(), "default", edited, set()))

    def empty(self, metadata: Json) -> None:
        """Replace the metadata, and remove every row of ours and every event."""
        self.api("replace_metadata", metadata)
        self.sql(f"SET session_replication_role = replica; TRUNCATE {OUR_ROWS} CASCADE")

    def export(self) -> Json:
        exported: Json = self.api("export_metadata", version=2)["metadata"]
        return exported

    def pieces(self) -> dict[tuple[str, str], Any]:
        return split(self.export(), "default")

    def scheduled(self, cron: str) -> list[Any]:
        args = {"type": "cron", "trigger_name": cron, "limit": 200, "offset": 0}
        events: list[Any] = self.api("get_scheduled_events", args)["events"]
        return events


@contextmanager
def running_shared_engine(
    database: str, folder: Path, *, without: str = "", **variables: str
) -> Iterator[Shared]:
    """Start an engine with Diva's metadata and with triggers, crons and endpoints of other applications.

    The handlers have their rights in its database; what answers in their place takes every call.
    `without` names a variable that its environment lacks; `variables` are added to it.
    """
    environment = {
        "PG_DATABASE_URL": database,
        "HASURA_GRAPHQL_ADMIN_SECRET": SECRET,
        "HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL": "50",
        "HANDLER_SECRET": "handler-secret",
        "NOTIFICATIONS_URL": "http://127.0.0.1:9",
        "DIVA_URL": "http://127.0.0.1:9",
    }
    with fixed_handlers() as handlers_url, Processes() as processes:
        environment |= {"HANDLERS_URL": handlers_url} | variables
        environment.pop(without, None)
        arguments = ("--metadata", str(DIVA_METADATA))
        running = start_engine(processes, database, *arguments, environment=environment)
        engine = Shared(running.url, folder, database)
        grant_rights(database)
        for kind, args in FOREIGN:
            engine.api(kind, args)
        yield engine


def of_others(pieces: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    """Return the pieces of a metadata that are not of this integration."""
    words = ("pancake", "integration_change")
    return {key: piece for key, piece in pieces.items() if not any(word in key[1].lower() for word in words)}
