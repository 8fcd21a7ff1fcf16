"""Events and tickets in their final state, whose figures a test knows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from leads.adapters.queries import QUERIES

FROM = datetime(2026, 5, 14, tzinfo=UTC)
TO = FROM + timedelta(days=1)
NOON = FROM + timedelta(hours=12)
HANH, KHOA = "c0000000-0000-4000-8000-000000000001", "c0000000-0000-4000-8000-000000000002"


class Figures:
    """Inserts events and tickets and reads the figures of a day."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self.connection = connection
        self.number = 0
        # Insert rows in their final state, not through the steps that lead to it.
        connection.execute("ALTER TABLE pancake_webhook_event DISABLE TRIGGER USER")
        self.connection_id = self._one(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
            " VALUES ('x', 1, sha256('x')) RETURNING id"
        )["id"]

    def _one(self, statement: str, *params: Any) -> dict[str, Any]:
        return self.connection.execute(statement, params).fetchone() or {}

    def event(self, status: str = "processed", **columns: Any) -> None:
        """Insert an event that arrived at noon."""
        self.number += 1
        row = {
            "connection_id": self.connection_id,
            "origin": "webhook",
            "record_id": f"record-{self.number}",
            "payload_hash": self.number.to_bytes(32, "big"),
            "status": status,
            "arrived_at": NOON,
            "received_at": NOON,
            "ingested_at": NOON,
            "created_at": NOON,
            "claim_id": HANH,
            "source_ids": [],
        }
        if status == "processed":
            row |= {"processed_at": NOON + timedelta(seconds=1), "outcome": "contact_updated"}
        if status == "failed":
            row |= {"error_code": "internal", "next_attempt_at": NOON}
        row |= columns
        names, values = ", ".join(row), ", ".join(["%s"] * len(row))
        self.connection.execute(
            f"INSERT INTO pancake_webhook_event ({names}) VALUES ({values})", [*row.values()]
        )

    def ticket(
        self, chosen: str | None, owner: str | None, response: float | None = None, **columns: Any
    ) -> None:
        """Insert a ticket created at noon: the owner we chose, its current owner, minutes to the response.

        `columns` are those of its event.
        """
        answered = NOON + timedelta(minutes=response) if response is not None else None
        ticket = self._one(
            "INSERT INTO ticket (title, source_id, assignee_id, created_at, first_response_at)"
            " VALUES ('x', 'ticket_source_pancake', %s, %s, %s) RETURNING id",
            owner,
            NOON,
            answered,
        )["id"]
        evidence = Jsonb({"assignment": {"chosen": chosen}})
        self.event(outcome="ticket_created", ticket_id=ticket, evidence=evidence, **columns)

    def of(self, name: str) -> dict[str, Any]:
        """Return a figure of the day."""
        cursor = self.connection.execute(QUERIES[name], {"from": FROM, "to": TO})
        (row,) = cursor.fetchall()
        return row
