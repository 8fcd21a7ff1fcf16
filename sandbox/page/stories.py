"""What the page shows of the database: the newest leads with their traces, owners, counts and switches."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import Cursor

from leads.adapters.database import QUERIES
from leads.domain.trace import Search, Story, tell_stories
from leads.domain.trace_event import StoredEvent
from ops.clients.db_session import DbSession, class_row, open_session
from ops.switches import Switch, list_switches

MAX_LEADS = 12
_NEWEST = f"""
    WITH recent AS (
        SELECT e.id, e.connection_id, e.record_id, CASE WHEN e.record_id IS NULL THEN e.id END AS of_no_record
        FROM pancake_webhook_event AS e
        ORDER BY e.id DESC
        LIMIT 500
    ), lead AS (
        SELECT max(r.id) AS id
        FROM recent AS r
        GROUP BY r.connection_id, r.record_id, r.of_no_record
        ORDER BY 1 DESC
        LIMIT {MAX_LEADS}
    )
    SELECT e.id, e.status, coalesce(e.payload ->> 'name', e.payload -> 'data' ->> 'name') AS name
    FROM lead AS l
    JOIN pancake_webhook_event AS e ON e.id = l.id
    ORDER BY e.id DESC
""".encode()
_OWNERS = b"""
    SELECT s.full_name AS name, s.on_duty, count(t.id) AS tickets
    FROM staff AS s
    LEFT JOIN ticket AS t ON t.assignee_id = s.id AND t.source_id = 'ticket_source_pancake'
    WHERE EXISTS (SELECT FROM pancake_assignee AS a WHERE a.staff_id = s.id)
    GROUP BY s.id, s.full_name, s.on_duty
    ORDER BY s.full_name
"""
_COUNTS = b"SELECT status, count(*) AS number FROM pancake_webhook_event GROUP BY status"


@dataclass(frozen=True)
class Lead:
    """A lead: its newest event with its status, the name in it, and the story that `leads trace` tells."""

    event_id: int
    status: str
    name: str | None
    story: Story


@dataclass(frozen=True)
class View:
    """Everything that the page shows of the database; `counts` are the numbers of events by status."""

    leads: list[Lead]
    owners: list[dict[str, Any]]
    counts: dict[str, int]
    switches: list[Switch]


def load_view(database_url: str) -> View:
    with open_session(database_url, "page") as db:
        return View(
            leads=_load_leads(db),
            owners=db.execute(_OWNERS).fetchall(),
            counts={row["status"]: row["number"] for row in db.execute(_COUNTS).fetchall()},
            switches=list_switches(db),
        )


def _load_leads(db: DbSession) -> list[Lead]:
    now, rows = datetime.now(UTC), db.execute(_NEWEST).fetchall()
    with db.pipeline():
        found = [_trace(db, row["id"], now) for row in rows]
    stories = [tell_stories(cursor.fetchall(), now)[0] for cursor in found]
    return [
        Lead(row["id"], row["status"], row["name"], story) for row, story in zip(rows, stories, strict=True)
    ]


def _trace(db: DbSession, event_id: int, now: datetime) -> Cursor[StoredEvent]:
    """Send the statement of `leads trace` for an event; return the cursor."""
    search = Search(text="", event_id=event_id, phones=(), typed=None)
    params = search.params(None, now)
    return db.cursor(row_factory=class_row(StoredEvent)).execute(QUERIES["trace_lead/load_events"], params)
