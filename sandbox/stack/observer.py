"""The results of deliveries, from the database and Diva's notification service, as the samples state them."""

from collections import Counter, defaultdict
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from leads.adapters.database import load_queries
from ops.waiting import poll
from sandbox.payloads import Effect
from sandbox.processes import ROOT

STATEMENTS = load_queries(ROOT / "sandbox")
POLL_SECONDS = 0.05
FINAL_STATUSES = ("processed", "dead_letter", "skipped_kill_switch", "skipped_source_disabled")


class Unfinished(Exception):
    """Some events did not reach a final status in time; the message lists them."""


class Observer:
    """Reads the results in one sandbox. Create it before the deliveries: it notes which accounts exist."""

    def __init__(self, database_url: str, notifications_url: str) -> None:
        self._database_url = database_url
        self._notifications_url = notifications_url
        self._accounts = {row["id"] for row in self.query(b"SELECT id::text FROM account")}
        self._contacts = {row["id"] for row in self.query(b"SELECT id::text FROM contact_book")}

    def query(self, statement: bytes) -> list[dict[str, Any]]:
        with psycopg.connect(self._database_url, row_factory=dict_row) as db_connection:
            return db_connection.execute(statement).fetchall()

    def rows(self) -> list[dict[str, Any]]:
        return self.query(STATEMENTS["observer/load_rows"])

    def tickets(self) -> list[dict[str, Any]]:
        """Return the tickets of Pancake leads, with customer, owner and source."""
        return self.query(STATEMENTS["observer/load_tickets"])

    def sent(self) -> dict[int, Counter[str]]:
        """Count the notifications by event id and template.

        Their idempotency keys begin with `<event id>:`.
        """
        by_event: dict[int, Counter[str]] = defaultdict(Counter)
        for notification in httpx.get(f"{self._notifications_url}/sent", timeout=10).json()["sent"]:
            event_id, _, _ = notification["idempotency_key"].partition(":")
            if event_id.isdigit():
                by_event[int(event_id)][notification["template_code"]] += 1
        return by_event

    def wait_final(self, timeout_seconds: float = 30) -> None:
        """Wait until every event has a final status and its notifications are sent.

        Raises Unfinished after `timeout_seconds`.
        """
        left: list[dict[str, Any]] = []
        for _ in poll(timeout_seconds, POLL_SECONDS):
            left = [
                row for row in self.rows() if row["status"] not in FINAL_STATUSES or not row["is_notified"]
            ]
            if not left:
                return
        shown = ", ".join(f"{row['id']} {row['status']} {row['error_code'] or ''}" for row in left[:10])
        raise Unfinished(f"{len(left)} events are not finished after {timeout_seconds:.0f} s: {shown}")

    def effects(self) -> dict[int, Effect]:
        sent = self.sent()
        accounts: set[str] = set()
        contacts = set(self._contacts)
        tickets: set[str] = set()
        effects = {}
        for row in self.rows():
            effects[row["id"]] = Effect(
                row={key: row[key] for key in ("status", "outcome", "error_code") if row[key]},
                phone=row["phone"],
                account=self._account(row["account_id"], accounts),
                contact=_created_or_updated(row["contact_id"], contacts),
                ticket=_created_or_updated(row["ticket_id"], tickets),
                owner=row["owner"] is not None,
                notifications=dict(sent[row["id"]]),
            )
        return effects

    def _account(self, account_id: str | None, seen: set[str]) -> str | None:
        if account_id in self._accounts:
            return account_id
        return {"created": "created", "updated": "matched", None: None}[_created_or_updated(account_id, seen)]


def _created_or_updated(row_id: str | None, seen: set[str]) -> str | None:
    """Return `created` for the first event that names a row, `updated` for later ones."""
    if row_id is None:
        return None
    if row_id in seen:
        return "updated"
    seen.add(row_id)
    return "created"
