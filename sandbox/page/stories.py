"""What the page shows: leads with their stories, tickets, rosters and switches, read from the database."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

MAX_LEADS = 12
_LEADS = """
    SELECT
        e.id, e.status, e.error_code, e.error_detail, e.attempts, e.arrived_at, e.created_at, e.processed_at,
        e.notified_at, e.held_at, e.replayed_at, e.replayed_by, e.origin, e.normalized_phone AS phone,
        COALESCE(e.evidence ->> 'result', e.outcome) AS result, e.evidence ->> 'held_by' AS held_by,
        e.payload ->> 'name' AS name, e.payload -> 'phone_number' #>> '{}' AS typed_phone,
        jsonb_array_length(e.notifications) AS notifications,
        t.code AS ticket_code, s.full_name AS owner, p.name AS source
    FROM pancake_webhook_event AS e
    LEFT JOIN ticket AS t ON t.id = e.ticket_id
    LEFT JOIN staff AS s ON s.id = e.assignee_id
    LEFT JOIN LATERAL (
        SELECT q.name FROM pancake_source AS q
        WHERE q.connection_id = e.connection_id AND q.pancake_source_id = ANY (e.source_ids)
        ORDER BY q.is_active DESC, q.name LIMIT 1
    ) AS p ON true
    ORDER BY e.id DESC
    LIMIT %s
"""
_OWNERS = """
    SELECT s.full_name AS name, s.on_duty, count(t.id) AS tickets
    FROM staff AS s
    LEFT JOIN ticket AS t ON t.assignee_id = s.id AND t.source_id = 'ticket_source_pancake'
    WHERE EXISTS (SELECT FROM pancake_assignee AS a WHERE a.staff_id = s.id)
    GROUP BY s.id, s.full_name, s.on_duty
    ORDER BY s.full_name
"""
_SETTINGS = "SELECT kill_switch, processing_paused FROM view_pancake_setting"
_COUNTS = "SELECT status, count(*) AS number FROM pancake_webhook_event GROUP BY status"

OUTCOMES = {
    "ticket_created": "A new ticket was created",
    "ticket_updated": "The customer's open ticket was updated, no second one was created",
    "contact_updated": "Account and contact were updated, no ticket was needed",
    "record_deleted": "The record was deleted in Pancake: nothing was changed",
    "no_change": "Nothing differs from what was applied before",
    "stale": "A newer version was applied before: this one changes nothing",
}
HELD_BY = {
    "connection_disabled": "its connection is disabled",
    "source_unknown": "its source is not known yet",
}


@dataclass(frozen=True)
class View:
    """Everything that the page shows of the database."""

    leads: list[dict[str, Any]]
    owners: list[dict[str, Any]]
    counts: dict[str, int]
    kill_switch: bool
    processing_paused: bool


def load_view(database_url: str) -> View:
    with psycopg.connect(database_url, row_factory=dict_row) as db_connection:
        (settings,) = db_connection.execute(_SETTINGS).fetchall()
        return View(
            leads=db_connection.execute(_LEADS, [MAX_LEADS]).fetchall(),
            owners=db_connection.execute(_OWNERS).fetchall(),
            counts={row["status"]: row["number"] for row in db_connection.execute(_COUNTS).fetchall()},
            **settings,
        )


def story(lead: dict[str, Any]) -> Iterator[tuple[datetime | None, str]]:
    """Yield the story of a lead as sentences with their times; a later one may lack it."""
    way = {"webhook": "Pancake's webhook brought it", "poll": "Polling found it in Pancake's list"}
    typed = f", phone as typed: {lead['typed_phone']}" if lead["typed_phone"] else ""
    yield lead["arrived_at"], way.get(lead["origin"], "The daily comparison found it") + typed
    yield lead["created_at"], f"Stored as event {lead['id']}, before Pancake was answered"
    if lead["held_at"]:
        yield lead["held_at"], "Held"
    if lead["replayed_at"]:
        yield lead["replayed_at"], f"Set going again by {lead['replayed_by']}"
    yield from _ending(lead)


def _ending(lead: dict[str, Any]) -> Iterator[tuple[datetime | None, str]]:
    status = lead["status"]
    if status == "processed":
        ticket = f": {lead['ticket_code']}" if lead["ticket_code"] else ""
        owner = f", owner {lead['owner']}" if lead["owner"] else ""
        yield lead["processed_at"], OUTCOMES[lead["result"]] + ticket + owner
        if lead["notified_at"] and lead["notifications"]:
            yield lead["notified_at"], "Diva's notification service accepted the message to the staff"
        elif lead["notifications"]:
            yield None, "The message to the staff waits: it is sent again every few minutes"
    elif status == "dead_letter":
        yield None, f"No ticket: {lead['error_detail'] or lead['error_code']} ({lead['error_code']})"
    elif status == "failed":
        yield None, f"Attempt {lead['attempts']} of 5 failed ({lead['error_code']}); the next one is planned"
    elif status == "skipped_kill_switch":
        yield None, "No ticket yet: the kill switch was on. When it is off, process the lead again"
    elif status == "skipped_source_disabled":
        yield None, f"No ticket yet: {HELD_BY.get(lead['held_by'], 'its source is switched off')}"
    else:
        yield None, "Waits for Hasura to deliver it to a handler"
