"""Hasura's console over a row of ours: deliver, redeliver and invoke, with the engine's log.

What the engine does was recorded from a genuine one: "Redeliver" starts the count of tries again and keeps
the log of invocations; a delivery and its line in the log are written together.
"""

import json
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.handlers import HandlerHarness

ADMIN = {"x-hasura-role": "admin"}
TRIGGER = "pancake_webhook_event_status_update"
TRIGGER_SAVED_IN_CONSOLE = {
    "name": TRIGGER, "table": {"schema": "public", "name": "pancake_webhook_event"},
    "webhook": "{{HANDLERS_URL}}/events/process_record", "webhook_from_env": None,
    "insert": {"columns": "*"}, "update": {"columns": ["received_at"]}, "delete": None,
    "enable_manual": True, "replace": True, "source": "default",
    "retry_conf": {"num_retries": 20, "interval_sec": 15, "timeout_sec": 30},
    "headers": [{"name": "X-Handler-Secret", "value_from_env": "HANDLER_SECRET"}],
}  # fmt: skip
"""What pg_create_event_trigger gets when our trigger is saved in the console, as it was recorded."""


@dataclass
class Console:
    """The pages Invocation Logs, Browse Rows and API of the console."""

    harness: HandlerHarness

    @classmethod
    def open(cls, harness: HandlerHarness) -> "Console":
        """Open it for a harness whose database has the engine's tables."""
        return cls(harness)

    async def deliver(self, hasura_event_id: str) -> httpx.Response:
        """Make one try of an event, and log it. A 503 is tried again, and any other answer ends the event."""
        event = self.harness.one("SELECT * FROM hdb_catalog.event_log WHERE id = %s", hasura_event_id)
        answer = await self.harness.fire(
            event["payload"]["data"]["new"]["id"],
            event["payload"]["op"],
            event["tries"],
            hasura_event_id,
            event["payload"].get("session_variables"),
        )
        self.log(hasura_event_id, answer.status_code)
        return answer

    def log(self, hasura_event_id: str, status: int) -> None:
        """Log a try with this answer."""
        self.harness.sql(
            "INSERT INTO hdb_catalog.event_invocation_logs (event_id, status, created_at)"
            " VALUES (%s, %s, clock_timestamp())",
            hasura_event_id,
            status,
        )
        self.harness.sql(
            "UPDATE hdb_catalog.event_log SET tries = tries + 1, delivered = %s WHERE id = %s",
            status == 200,
            hasura_event_id,
        )

    async def deliver_all(self) -> list[dict[str, Any]]:
        """Deliver every event that is not delivered yet, and those that this fires; return the answers."""
        answers = []
        while pending := self.pending():
            for hasura_event_id in pending:
                answer = await self.deliver(hasura_event_id)
                assert answer.status_code == 200, answer.text
                answers.append(answer.json())
        return answers

    def pending(self) -> list[str]:
        pending = "SELECT id FROM hdb_catalog.event_log WHERE NOT delivered ORDER BY created_at"
        rows = self.harness.sql(pending)
        return [row["id"] for row in rows]

    def event_of(self, event_id: int) -> str:
        """The first event that the engine fired for a row."""
        rows = self.harness.sql(
            "SELECT id FROM hdb_catalog.event_log WHERE payload #>> '{data,new,id}' = %s ORDER BY created_at",
            str(event_id),
        )
        return str(rows[0]["id"])

    def start_again(self, hasura_event_id: str) -> None:
        """Press "Redeliver", without the delivery that follows."""
        self.harness.sql(
            "UPDATE hdb_catalog.event_log SET delivered = false, tries = 0 WHERE id = %s", hasura_event_id
        )

    async def redeliver(self, event_id: int) -> dict[str, Any]:
        """Press "Redeliver" at the first event of a row, which was delivered; return the answer."""
        hasura_event_id = self.event_of(event_id)
        self.start_again(hasura_event_id)
        answer = await self.deliver(hasura_event_id)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def invoke(self, event_id: int, session: dict[str, str] | None = None) -> dict[str, Any]:
        """Press "Invoke" at a row; return the answer."""
        payload = {
            "op": "MANUAL",
            "data": {"old": None, "new": {"id": event_id}},
            "session_variables": session or ADMIN,
        }
        row = self.harness.one(
            "INSERT INTO hdb_catalog.event_log (trigger_name, payload) VALUES (%s, %s) RETURNING id",
            TRIGGER,
            json.dumps(payload),
        )
        answer = await self.deliver(row["id"])
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def edit_status(self, event_id: int, session: dict[str, str] | None = None) -> None:
        """Set `status` to received in Browse Rows, which sends a mutation."""
        with self.harness.session.transaction():
            self.harness.sql("SELECT set_config('hasura.user', %s, true)", json.dumps(session or ADMIN))
            self.harness.sql("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", event_id)
