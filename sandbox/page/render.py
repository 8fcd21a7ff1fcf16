"""The page as HTML, from the newest leads, owners and switches. Every value is escaped."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup
from psycopg import Cursor

from leads.adapters.database import QUERIES
from leads.domain.trace import Search, Story, tell_stories
from leads.domain.trace_event import StoredEvent
from ops.clients.db_session import DbSession, class_row, open_session
from ops.html import render_page
from ops.switches import Switch, list_switches
from sandbox.payloads import Sample
from sandbox.stack.observer import STATEMENTS

HERE = Path(__file__).parent


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
            owners=db.execute(STATEMENTS["page/load_owners"]).fetchall(),
            counts={
                row["status"]: row["number"] for row in db.execute(STATEMENTS["page/count_events"]).fetchall()
            },
            switches=list_switches(db),
        )


def _load_leads(db: DbSession) -> list[Lead]:
    now, rows = datetime.now(UTC), db.execute(STATEMENTS["page/load_newest_leads"]).fetchall()
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


def live_part(view: View, parts: Mapping[str, bool], token: str, note: str = "") -> str:
    """Return the part of the page that changes. `parts`: whether each part runs."""
    counts: Counter[str] = Counter()
    for status, number in sorted(view.counts.items()):
        counts[STATUS[status][0]] += number
    return render_page(
        HERE / "live.html.j2", view=view, parts=parts, token=token, note=note, chain=CHAIN, again=AGAIN,
        switches=SWITCHES, status=STATUS, counts=counts, time=_time,
        has_held=any(number for status, number in view.counts.items() if status.startswith("skipped")),
        most_tickets=max((owner["tickets"] for owner in view.owners), default=0) or 1,
    )  # fmt: skip


def _time(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S}" if at else ""
