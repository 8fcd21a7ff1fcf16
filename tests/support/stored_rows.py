"""Rows in a state that tests want: events and tickets with known figures, and with unsent notifications."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from leads.adapters.queries import QUERIES
from tests.support.handlers import DatabaseHarness, HandlerHarness

FROM = datetime(2026, 5, 14, tzinfo=UTC)
TO = FROM + timedelta(days=1)
NOON = FROM + timedelta(hours=12)
HANH, KHOA = "c0000000-0000-4000-8000-000000000001", "c0000000-0000-4000-8000-000000000002"
INSERT_UNSENT = """
    INSERT INTO pancake_webhook_event (
        connection_id, origin, record_id, payload_hash, status, arrived_at, created_at, notifications
    )
    SELECT
        c.id, 'webhook', %(prefix)s || n, sha256((%(prefix)s || n)::bytea), 'skipped_source_disabled',
        now(), now(), %(notifications)s
    FROM (SELECT id FROM pancake_connection LIMIT 1) AS c, generate_series(1, %(count)s) AS n
    RETURNING id
"""
SENDING = (
    "SELECT notify_attempts AS attempts, notify_refusals AS refusals, notify_unknowns AS unknowns,"
    " notify_error AS error, notified_at IS NOT NULL AS is_sent,"
    " notify_given_up_at IS NOT NULL AS is_given_up FROM pancake_webhook_event WHERE id = %s"
)
RECIPIENT = "11111111-1111-4111-8111-111111111111"


class Figures:
    """Inserts events and tickets and reads the figures of a day."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self.connection = connection
        self.number = 0
        # Insert rows in their final state, not through the steps that lead to it.
        connection.execute("SET session_replication_role = replica")
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


def insert_unsent(
    harness: DatabaseHarness,
    count: int = 1,
    names: tuple[str, ...] = ("new_source",),
    recipients: tuple[str, ...] = (RECIPIENT,),
    prefix: str = "unsent",
) -> list[int]:
    """Insert events whose notifications no sender has claimed; return their ids."""
    notifications = [
        {"name": name, "template_code": "t", "recipient_ids": recipients, "data": {}} for name in names
    ]
    params = {"count": count, "notifications": Jsonb(notifications), "prefix": prefix}
    return [row["id"] for row in harness.session.execute(INSERT_UNSENT, params).fetchall()]


def keys(ids: list[int], name: str = "new_source") -> set[str]:
    """The idempotency keys of these events' notifications of that name."""
    return {f"{id_}:{name}" for id_ in ids}


def taken(harness: HandlerHarness) -> list[str]:
    """The keys of the events' notifications that arrived at the service, repeats too."""
    return [key for key in harness.hasura.taken if key[0].isdigit()]


def sending(harness: DatabaseHarness, event_id: int) -> dict[str, Any]:
    """What the event's row says of the sending of its notifications."""
    return harness.one(SENDING, event_id)


def counted(harness: HandlerHarness, result: str) -> float:
    """The notifications that the process counted with this result."""
    registry = harness.runtime.metrics.registry
    return registry.get_sample_value("pancake_notifications_total", {"result": result}) or 0
