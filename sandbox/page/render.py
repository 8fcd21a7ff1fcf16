"""The page as HTML, from the newest leads, owners and switches. Every value is escaped."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup
from psycopg import Cursor

from leads.adapters.database import QUERIES
from leads.domain.trace import Search, tell_stories
from leads.domain.trace_event import StoredEvent
from ops.clients.db_session import DbSession, class_row, open_session
from ops.output import render_page
from ops.switches import list_switches
from sandbox.payloads import Sample
from sandbox.stack.observer import STATEMENTS

HERE = Path(__file__).parent


def live_part(database_url: str, parts: Mapping[str, bool], token: str, note: str = "") -> str:
    """Return the part of the page that changes. `parts`: whether each part runs."""
    with open_session(database_url, "page") as db:
        leads, switches = _load_leads(db), list_switches(db)
        owners = db.execute(STATEMENTS["page/load_owners"]).fetchall()
        events = db.execute(STATEMENTS["page/count_events"]).fetchall()
    counts: Counter[str] = Counter()
    for row in sorted(events, key=lambda row: str(row["status"])):
        counts[STATUS[row["status"]][0]] += row["number"]
    return render_page(
        HERE / "live.html.j2", leads=leads, all_switches=switches, owners=owners, parts=parts, token=token,
        note=note, chain=CHAIN, again=AGAIN, switches=SWITCHES, status=STATUS, counts=counts, time=_time,
        has_held=any(row["number"] for row in events if row["status"].startswith("skipped")),
        most_tickets=max((owner["tickets"] for owner in owners), default=0) or 1,
    )  # fmt: skip


def _load_leads(db: DbSession) -> list[dict[str, Any]]:
    """Return the newest leads: id and status of the last event, the name, and the story of `leads trace`."""
    now, rows = datetime.now(UTC), db.execute(STATEMENTS["page/load_newest_leads"]).fetchall()
    with db.pipeline():
        found = [_trace(db, row["id"], now) for row in rows]
    stories = [tell_stories(cursor.fetchall(), now)[0] for cursor in found]
    return [{**row, "story": story} for row, story in zip(rows, stories, strict=True)]


def _trace(db: DbSession, event_id: int, now: datetime) -> Cursor[StoredEvent]:
    """Send the statement of `leads trace` for an event; return the cursor."""
    search = Search(text="", event_id=event_id, phones=(), typed=None)
    params = search.params(None, now)
    return db.cursor(row_factory=class_row(StoredEvent)).execute(QUERIES["trace_lead/load_events"], params)


CHAIN = {
    "pancake": ("Pancake", "where leads come from"),
    "edge": ("Edge", "checks and forwards, keeps what it cannot deliver"),
    "hasura": ("Hasura", "REST endpoint, event trigger, crons"),
    "handlers": ("Handlers", "our code: store, decide, write"),
    "notifications": ("Messages", "Diva's service, tells the staff"),
}
"""The parts in the order of a lead's way, with what each does."""

SWITCHES = {
    "kill": ("Kill switch", "leads are stored and held, no ticket is created"),
    "pause": ("Pause", "leads are stored and wait, nothing is held"),
}
"""By the kind of a switch: its name, and what it does while it is on."""
STATUS = {
    "processed": ("done", "ok"),
    "received": ("waits", "wait"),
    "ingested": ("at work", "wait"),
    "failed": ("failed, tried again", "bad"),
    "dead_letter": ("needs a person", "bad"),
    "skipped_kill_switch": ("held", "held"),
    "skipped_source_disabled": ("held", "held"),
}
AGAIN = {"failed", "dead_letter", "skipped_kill_switch", "skipped_source_disabled"}


def page(live: str, samples: Sequence[Sample], token: str, nonce: str) -> str:
    """Return the whole page; `live` is the part that is loaded again every second."""
    template = HERE / "page.html.j2"
    return render_page(template, live=Markup(live), samples=samples, token=token, nonce=nonce)  # noqa: S704


def _time(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S}" if at else ""
