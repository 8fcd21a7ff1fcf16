"""Compare every posted version of a lead with the events and tickets in the database."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from sandbox.chaos.stream import LeadVersion

FINAL_STATUSES = ("processed", "dead_letter", "skipped_kill_switch", "skipped_source_disabled")

_ROWS = """
    SELECT record_id, to_char(modified_on AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), status
    FROM pancake_webhook_event
"""
_DUPLICATES = """
    SELECT 'account ' || normalized_phone FROM account WHERE normalized_phone LIKE '+849%'
    GROUP BY normalized_phone HAVING count(*) > 1
    UNION ALL
    SELECT 'ticket of ' || (t.data -> 'pancake' ->> 'record_id') FROM ticket AS t
    WHERE t.source_id = 'ticket_source_pancake'
    GROUP BY t.data -> 'pancake' ->> 'record_id' HAVING count(*) > 1
"""
_TICKETS = """
    SELECT t.data -> 'pancake' ->> 'record_id', t.data -> 'pancake' ->> 'name' FROM ticket AS t
    WHERE t.source_id = 'ticket_source_pancake'
"""
_UNFINISHED = "SELECT count(*) FROM pancake_webhook_event WHERE status <> ALL (%s)"


@dataclass
class Ledger:
    """Ids by kind of problem; a scenario passes if all lists are empty."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    not_newest: list[str] = field(default_factory=list)


def count_unfinished(database_url: str) -> int:
    """Count the events without a final status."""
    with psycopg.connect(database_url) as db_connection:
        row = db_connection.execute(_UNFINISHED, [list(FINAL_STATUSES)]).fetchone()
        assert row is not None
        return int(row[0])


def compare(database_url: str, posted: Sequence[LeadVersion]) -> Ledger:
    """Find lost, duplicated and unfinished versions, and tickets that do not show the newest version.

    A version is lost if no event has its record id and modification time.
    """
    ledger = Ledger()
    with psycopg.connect(database_url) as db_connection:
        rows = db_connection.execute(_ROWS).fetchall()
        ledger.duplicated = [str(row[0]) for row in db_connection.execute(_DUPLICATES)]
        names = {str(record): name for record, name in db_connection.execute(_TICKETS)}
    status_by_version: dict[tuple[str, str], str] = {}
    for record, moment, status in rows:
        if (record, moment) in status_by_version:
            ledger.duplicated.append(f"{record}@{moment}")
        status_by_version[record, moment] = status
    newest: dict[str, LeadVersion] = {}
    for version in posted:
        key = (version.record_id, version.modified_on)
        if key not in status_by_version:
            ledger.lost.append("@".join(key))
        elif status_by_version[key] != "processed":
            ledger.unfinished.append(f"{version.record_id}@{version.modified_on}: {status_by_version[key]}")
        newest[version.record_id] = version
    ledger.not_newest = [
        f"{record}: {names.get(record)} instead of {version.name}"
        for record, version in newest.items()
        if names.get(record) != version.name
    ]
    return ledger
