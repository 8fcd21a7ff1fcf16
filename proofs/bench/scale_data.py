"""The rows of `scripts/bench scale`, and the parameters of a customer in them who writes again."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from cron.retry_failed import MAX_ROWS_PER_TICK
from leads.adapters.database import QUERIES
from leads.domain.event_states import MAX_ATTEMPTS
from leads.domain.versions import MAX_FUTURE
from leads.services.cron_runs import CRONS
from leads.services.ingest_record import MAX_NEW_SOURCES_PER_HOUR
from leads.services.metrics import EVENT_LOGS
from leads.services.outbox import SEND_LEASE
from proofs.bench.environment import analyze, run_script

EVENTS_PER_DAY = 30_000
SOURCES = 40
TELESALES = 60
HISTORY_AGE = timedelta(days=3)
"""The newest event is as old: what the handlers do meanwhile finds the same last days at each size."""


def add_rosters(database_url: str) -> None:
    """Add SOURCES sources to the one connection, with TELESALES members in the roster of each."""
    run_script(database_url, "rosters", sources=SOURCES, telesales=TELESALES)


def add_history(database_url: str, stored: int, events: int, until: datetime) -> None:
    """Add events up to a number, the newest at `until`; `stored` were added before. Both divide by four."""
    params = {"stored": stored, "events": events, "until": until}
    run_script(database_url, "history", per_day=EVENTS_PER_DAY, sources=SOURCES, **params)
    analyze(database_url)


_OTHER_DIGITS = "999000001"
"""Of a phone that no customer of the history has."""
# The values of the events of the record "scale-0" are in history.sql.
_ARRIVE = """
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, arrived_at,
    normalized_phone, source_ids, created_at
)
SELECT
    e.connection_id, e.origin, e.record_id, e.table_name, e.modified_on + interval '1 second', sha256('new'),
    e.payload, 'received', %(at)s, e.normalized_phone, e.source_ids, %(at)s
FROM pancake_webhook_event AS e
WHERE e.record_id = 'scale-0' AND e.outcome = 'no_change'
RETURNING id
"""
_READ = """
SELECT
    e.id, e.claim_id, e.connection_id, e.record_id, e.table_name, e.normalized_phone AS phone, e.source_ids,
    e.ingested_at AS claimed_at, t.id::text AS ticket_id, t.account_id::text, s.id::text AS roster_source_id,
    m.id::text AS chosen, m.staff_id::text AS assignee_id
FROM pancake_webhook_event AS e
INNER JOIN pancake_webhook_event AS f ON f.record_id = e.record_id AND f.outcome = 'ticket_created'
INNER JOIN ticket AS t ON t.id = f.ticket_id
INNER JOIN pancake_source AS s ON s.connection_id = e.connection_id AND s.pancake_source_id = e.source_ids[1]
INNER JOIN pancake_assignee AS m ON m.source_id = s.id
WHERE e.id = %(id)s
LIMIT 1
"""


def claim_event(db: psycopg.Connection[Any], until: datetime) -> dict[str, Any]:
    """Store and claim one more event of the newest customer of a history that ends at `until`.

    Returns its parameters for whichever statement.
    """
    cursor = db.cursor(row_factory=dict_row)
    event = cursor.execute(_ARRIVE, {"at": until + timedelta(seconds=1)}).fetchone()
    cursor.execute(QUERIES["process_record/claim_event"], event)
    lead = cursor.execute(_READ, event).fetchone()
    assert lead is not None
    return _of_processing(lead) | _of_polling(lead, until) | {"from": until - timedelta(days=1), "to": until}


def new_rows(name: str) -> dict[str, str]:
    """Return the parameters with which a statement inserts rows that the history does not have."""
    return {
        "process_record/insert_account": {"account_id": str(uuid4()), "phone": f"+84{_OTHER_DIGITS}"},
        "process_record/insert_ticket": {"ticket_id": str(uuid4())},
    }.get(name, {})


def _of_processing(lead: Mapping[str, Any]) -> dict[str, Any]:
    digits = lead["phone"].removeprefix("+84")
    return {
        **lead,
        "changes": True, "is_applied": True, "outcome": "ticket_updated", "moves": False,
        "evidence": "{}", "notifications": "[]", "metadata": "{}", "data": "{}",
        "title": "Lead", "description": None, "display_name": "Khách", "name": "Khách",
        "email": None, "address": None, "phone_code": "84", "phone_number": f"0{digits}",
        "read_phone_code": "84", "read_phone_number": f"0{digits}", "account_phone": lead["phone"],
        "status": "skipped_kill_switch", "error_code": "internal", "error_detail": "x",
        "connection_ids": [lead["connection_id"]], "table_names": [lead["table_name"]],
        "record_account_id": lead["account_id"], "record_ticket_id": lead["ticket_id"],
        "phones": [lead["phone"]], "stored_digits": [digits, f"0{digits}"], "phone_digests": "{}",
        "own_phones": [f"+84{_OTHER_DIGITS}"], "own_digits": [_OTHER_DIGITS, f"0{_OTHER_DIGITS}"],
        "erasure_digests": ["bench:0123456789abcdef"],
        "assignee_ids": [lead["chosen"]], "assigned_counts": [1], "last_assigned_seqs": [1],
        "was_available": [True],
        "hasura_event_id": str(uuid4()), "tries": 1,
        "ids": [lead["id"]], "claimed_ats": [lead["claimed_at"]],
        "results": json.dumps([{"id": lead["id"], "claimed_at": lead["claimed_at"].isoformat()}]),
    }  # fmt: skip


def _of_polling(lead: Mapping[str, Any], until: datetime) -> dict[str, Any]:
    """And of the other crons, of ingest and of the metrics."""
    delivery = {
        "ordinal": 0, "connection_id": str(lead["connection_id"]), "arrived_at": until.isoformat(),
        "record_id": lead["record_id"], "table_id": lead["table_name"], "modified_at": until.isoformat(),
        "payload_hash": sha256(b"new").hexdigest(), "payload": "{}", "phone": lead["phone"],
        "source_ids": lead["source_ids"], "erasure_digests": [], "undated": "-infinity",
    }  # fmt: skip
    return {
        "origin": "poll", "deliveries": json.dumps([delivery]), "max_new_sources": MAX_NEW_SOURCES_PER_HOUR,
        "record_ids": [lead["record_id"]], "whole": [], "tables": [lead["table_name"]],
        "window_from": until - timedelta(days=1), "window_to": until, "watermark": until,
        "max_future": MAX_FUTURE, "now": until + timedelta(seconds=2), "next_attempt_at": until,
        "limit": MAX_ROWS_PER_TICK, "lease": SEND_LEASE, "max_attempts": MAX_ATTEMPTS,
        "names": list(CRONS), "logs": list(EVENT_LOGS),
    }  # fmt: skip
