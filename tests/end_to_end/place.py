"""The whole system as a client sees it: its addresses, its rows, what it sent."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from sandbox.observe import Observer
from sandbox.stack.stack import Sandbox

EVERYTHING = {
    "pancake_webhook_event": "SELECT e.* FROM pancake_webhook_event AS e ORDER BY id",
    "account": "SELECT * FROM account ORDER BY id",
    "contact_book": "SELECT * FROM contact_book ORDER BY id",
    "ticket": "SELECT * FROM ticket ORDER BY id",
    "pancake_assignee": "SELECT * FROM pancake_assignee ORDER BY id",
    "customer_consent": "SELECT * FROM customer_consent ORDER BY account_id",
}


@dataclass(frozen=True)
class Place:
    """Where the whole system can be reached; `sandbox` is None if it is not ours to break."""

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
    def named_by(cls, values: Mapping[str, str], sandbox: Sandbox | None = None) -> "Place":
        """From the lines that `scripts/sandbox up --env-file` writes."""
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
        """Run one statement; its rows, if it has any."""
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def snapshot(self) -> dict[str, Any]:
        """Every row that a delivery could change, and what was sent."""
        rows: dict[str, Any] = {name: self.query(statement) for name, statement in EVERYTHING.items()}
        rows["sent"] = httpx.get(f"{self.notifications_url}/sent").json()["sent"]
        return rows

    async def post(self, bodies: Sequence[bytes], at_once: int = 8) -> list[dict[str, Any]]:
        """Post to the webhook, so many at a time; the answers in the order of the bodies."""
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
        )
        return answer.raise_for_status().json()

    def events_of(self, event_id: int) -> list[dict[str, Any]]:
        """What the engine captured for one row, oldest first."""
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
        """A view of what becomes of the deliveries posted from now on."""
        return Observer(self.database_url, self.notifications_url)


async def eventually(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 30
) -> None:
    """Return once the condition holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        held = condition()
        if held if isinstance(held, bool) else await held:
            return
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        await asyncio.sleep(0.05)
