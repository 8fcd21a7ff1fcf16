"""The whole system as a client sees it: addresses, rows, notifications sent."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from psycopg.rows import dict_row
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from sandbox.stack.observer import Observer
from sandbox.stack.stack import Sandbox

TABLES = {
    "pancake_webhook_event": "SELECT e.* FROM pancake_webhook_event AS e ORDER BY id",
    "account": "SELECT * FROM account ORDER BY id",
    "contact_book": "SELECT * FROM contact_book ORDER BY id",
    "ticket": "SELECT * FROM ticket ORDER BY id",
    "pancake_assignee": "SELECT * FROM pancake_assignee ORDER BY id",
    "customer_consent": "SELECT * FROM customer_consent ORDER BY account_id",
}

CHANGE_SETTINGS = """
    UPDATE app_setting
    SET app_settings = app_settings || jsonb_build_object('pancake_integration',
        app_settings -> 'pancake_integration' || %s::jsonb)
    WHERE id = 1
"""


def log_lines(log: str, **fields: object) -> list[dict[str, Any]]:
    """Return the lines of a log in JSON that have these fields."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if fields.items() <= line.items()]


@dataclass(frozen=True)
class EndToEndHarness:
    """The addresses of a running system; `sandbox` is None if the test must not stop its services."""

    database_url: str
    hasura_url: str
    admin_secret: str
    webhook_url: str
    webhook_token: str
    notifications_url: str
    handlers_url: str
    handler_secret: str
    sandbox: Sandbox | None = None

    @classmethod
    def from_environment(cls, values: Mapping[str, str], sandbox: Sandbox | None = None) -> "EndToEndHarness":
        """Read the variables that `scripts/sandbox up --env-file` writes."""
        return cls(
            database_url=values["DATABASE_URL"],
            hasura_url=values["HASURA_URL"],
            admin_secret=values["HASURA_ADMIN_SECRET"],
            webhook_url=values["WEBHOOK_URL"],
            webhook_token=values["WEBHOOK_TOKEN"],
            notifications_url=values["NOTIFICATIONS_URL"],
            handlers_url=values["HANDLERS_URL"],
            handler_secret=values["HANDLER_SECRET"],
            sandbox=sandbox,
        )

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one statement and return its rows, if it has any."""
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def change_settings(self, **settings: Any) -> None:
        """Write settings of the integration where the screens write them."""
        self.query(CHANGE_SETTINGS, [json.dumps(settings)])

    def snapshot(self) -> dict[str, Any]:
        """Return every row that a delivery could change, and the notifications sent."""
        rows: dict[str, Any] = {name: self.query(statement) for name, statement in TABLES.items()}
        rows["sent"] = httpx.get(f"{self.notifications_url}/sent").json()["sent"]
        return rows

    async def post(self, bodies: Sequence[bytes], at_once: int = 8) -> list[dict[str, Any]]:
        """Post to the webhook, `at_once` at a time; return the answers in the order of the bodies."""
        limit = asyncio.Semaphore(at_once)
        async with httpx.AsyncClient(timeout=60) as client:

            async def one(body: bytes) -> dict[str, Any]:
                async with limit:
                    answer = await client.post(self.webhook_url, content=body)
                    return dict(answer.raise_for_status().json())

            return list(await asyncio.gather(*(one(body) for body in bodies)))

    def metadata_api(self, kind: str, args: Mapping[str, Any]) -> Any:
        """Call the engine's metadata API as admin."""
        answer = httpx.post(
            f"{self.hasura_url}/v1/metadata",
            json={"type": kind, "args": args},
            headers={"x-hasura-admin-secret": self.admin_secret},
            timeout=30,
        )
        return answer.raise_for_status().json()

    def tick(self, cron: str) -> dict[str, Any]:
        """Call a cron for this moment, as the engine does; return the answer."""
        call = {
            "id": str(uuid4()),
            "name": f"pancake_{cron}",
            "scheduled_time": datetime.now(UTC).isoformat(),
            "payload": {},
        }
        headers = {"X-Handler-Secret": self.handler_secret}
        answer = httpx.post(f"{self.handlers_url}/cron/{cron}", json=call, headers=headers, timeout=60)
        return dict(answer.raise_for_status().json())

    def retry_pending(self) -> None:
        """Make every event that the engine has not delivered due now."""
        self.query("UPDATE hdb_catalog.event_log SET next_retry_at = NULL WHERE NOT delivered AND NOT error")

    async def leads(self, *words: str) -> Result:
        """Run an operator's command in a thread."""
        environment = {
            "DATABASE_URL": self.database_url,
            "HASURA_URL": self.hasura_url,
            "HASURA_ADMIN_SECRET": self.admin_secret,
        }
        return await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)

    def events_of(self, event_id: int) -> list[dict[str, Any]]:
        """Return the events that the engine captured for one row, oldest first."""
        return self.query(
            """
            SELECT id, delivered, error, tries FROM hdb_catalog.event_log
            WHERE trigger_name = 'pancake_webhook_event_status_update'
                AND payload -> 'data' -> 'new' ->> 'id' = %s
            ORDER BY created_at
            """,
            [str(event_id)],
        )

    def observer(self) -> Observer:
        """Observe the deliveries posted from now on."""
        return Observer(self.database_url, self.notifications_url)
