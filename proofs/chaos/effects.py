"""The effects of leads, as ids that the checker compares: read from the database and the notifications sent.

| effect | ids |
|---|---|
| event | `<record>@<modified_on> <status>` |
| customer | `account <phone>`, `contact <phone>` |
| ticket | `<record> <name>` of each ticket, `assignment <number> of <staff>` of each that has an owner |
| notification | `<record>@<modified_on> <template>`; of a cron run its key without its time |
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from proofs.chaos.checker import EFFECTS, Verdicts, check

FINAL_STATUSES = ("processed", "dead_letter", "skipped_kill_switch", "skipped_source_disabled")
_KEY_TIME = re.compile(r":\d{4}-\d\d-\d\d(T[\d:.]+(\+00:00|Z)?)?$")
"""The end of an idempotency key of a cron run: a day, or a scheduled time."""
_NEW_SOURCE = re.compile(r"^(new_source:[^:]+):.*")
"""Ends with the id of a row, which differs in each run."""

_EVENTS = """
    SELECT
        e.id, e.record_id, e.status,
        to_char(e.modified_on AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') AS modified_on
    FROM pancake_webhook_event AS e
"""
_CUSTOMERS = """
    SELECT 'account ' || a.normalized_phone AS id
    FROM account AS a WHERE a.pancake_metadata IS NOT NULL AND a.deleted_at IS NULL
    UNION ALL
    SELECT 'contact ' || c.primary_phone FROM contact_book AS c
    WHERE EXISTS (SELECT FROM pancake_webhook_event AS e WHERE e.normalized_phone = c.primary_phone)
"""
_TICKETS = """
    SELECT
        t.data -> 'pancake' ->> 'record_id' AS record_id, t.data -> 'pancake' ->> 'name' AS name,
        t.assignee_id::text AS owner
    FROM ticket AS t WHERE t.source_id = 'ticket_source_pancake'
"""
_ASSIGNED = """
    SELECT r.staff_id::text AS owner, sum(r.total_assigned)::integer AS assigned
    FROM pancake_assignee AS r GROUP BY r.staff_id
"""
_UNFINISHED = """
    SELECT count(*) AS number FROM pancake_webhook_event AS e
    WHERE
        e.status <> ALL (%s)
        OR (e.notified_at IS NULL AND e.notify_given_up_at IS NULL AND e.notifications <> '[]'::jsonb)
"""

Ids = dict[str, list[str]]
"""The ids of each of EFFECTS."""


def count_unfinished(database_url: str) -> int:
    """Count the events without a final status, or with notifications to send."""
    (row,) = _read(database_url, (_UNFINISHED, [list(FINAL_STATUSES)]))[0]
    return int(row["number"])


def observe(database_url: str, sent: Iterable[Mapping[str, Any]]) -> Ids:
    """Return the ids of all effects; `sent` are the notifications that the service accepted."""
    events, customers, tickets = _read(database_url, (_EVENTS, []), (_CUSTOMERS, []), (_TICKETS, []))
    (counters,) = _read(database_url, (_ASSIGNED, []))
    versions = {str(row["id"]): f"{row['record_id']}@{row['modified_on']}" for row in events}
    return {
        "event": [f"{versions[str(row['id'])]} {row['status']}" for row in events],
        "customer": [row["id"] for row in customers],
        "ticket": [
            *(f"{row['record_id']} {row['name']}" for row in tickets),
            *_assignments({row["owner"]: row["assigned"] for row in counters}),
        ],
        "notification": [_notification_id(each, versions) for each in sent],
    }


def expected_assignments(database_url: str) -> list[str]:
    """Return the ids of the assignments that the rosters have to count: one for each ticket."""
    (tickets,) = _read(database_url, (_TICKETS, []))
    return _assignments(Counter(row["owner"] for row in tickets if row["owner"] is not None))


def check_effects(attempted: Ids, acknowledged: Ids, observed: Ids) -> Verdicts:
    """Check each of EFFECTS."""
    return Verdicts(
        {effect: check(attempted[effect], acknowledged[effect], observed[effect]) for effect in EFFECTS}
    )


def _assignments(tickets_by_owner: Mapping[str, int]) -> list[str]:
    return [
        f"assignment {number} of {owner}"
        for owner, tickets in tickets_by_owner.items()
        for number in range(1, tickets + 1)
    ]


def _notification_id(notification: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    key = str(notification["idempotency_key"])
    version = versions.get(key.partition(":")[0])
    if version:
        return f"{version} {notification['template_code']}"
    if new_source := _NEW_SOURCE.match(key):
        return f"{new_source[1]} {notification['data']['detail']}"
    return _KEY_TIME.sub("", key)


def _read(database_url: str, *statements: tuple[str, Sequence[object]]) -> list[list[dict[str, Any]]]:
    """Return the rows of each statement."""
    with psycopg.connect(database_url, row_factory=dict_row) as db_connection:
        return [
            db_connection.execute(statement.encode(), values).fetchall() for statement, values in statements
        ]
