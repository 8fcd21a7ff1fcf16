"""Events with unsent notifications, and what their rows say of them."""

from typing import Any

from psycopg.types.json import Jsonb

from tests.support.handlers import DatabaseHarness, HandlerHarness

INSERT = """
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
    return [row["id"] for row in harness.session.execute(INSERT, params).fetchall()]


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
