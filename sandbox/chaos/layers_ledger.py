"""Compare every record of Pancake with events, tickets and cron runs, for `scripts/chaos four_layers`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

_ROWS = """
    SELECT
        id, record_id, date_trunc('milliseconds', modified_on) AS modified_on,
        origin, status, replay_count, created_at
    FROM pancake_webhook_event ORDER BY id
"""
_TICKETS = """
    SELECT a.normalized_phone AS phone, count(*) AS tickets
    FROM ticket AS t JOIN account AS a ON a.id = t.account_id
    WHERE t.source_id = 'ticket_source_pancake' AND t.status IN ('new', 'in_progress')
    GROUP BY a.normalized_phone
"""
_RUNS = "SELECT scheduled_time, outcome FROM pancake_cron_run WHERE name = 'poll_records'"


@dataclass
class LayersLedger:
    """Ids by kind of problem, and how many records each layer stored."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    processed: int = 0
    by_layer: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """The records of a scenario: Pancake's records, the period of deep lag, the answers to each tick."""

    records: Sequence[Mapping[str, Any]]
    deep_lag: tuple[datetime, datetime]
    ticks: Mapping[datetime, Sequence[str]]


def compare(database_url: str, evidence: Evidence) -> LayersLedger:
    """Find lost, duplicated and unexpected records, and cron ticks that worked twice."""
    with psycopg.connect(database_url, row_factory=dict_row) as db_connection:
        rows = db_connection.execute(_ROWS).fetchall()
        tickets = db_connection.execute(_TICKETS).fetchall()
        runs = {row["scheduled_time"] for row in db_connection.execute(_RUNS)}
    ledger = LayersLedger()
    _compare_records(ledger, evidence, rows)
    ledger.duplicated += [
        f"{row['phone']}: {row['tickets']} open tickets" for row in tickets if row["tickets"] > 1
    ]
    if (missing := len(evidence.records) - len(tickets)) > 0:
        ledger.lost.append(f"{missing} customers without an open ticket")
    ledger.duplicated += _ticks_worked_twice(evidence)
    ledger.unexpected += [f"tick {tick} has no cron run" for tick in evidence.ticks if tick not in runs]
    return ledger


def _compare_records(ledger: LayersLedger, evidence: Evidence, rows: Iterable[Mapping[str, Any]]) -> None:
    events_by_record: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        events_by_record.setdefault(row["record_id"], []).append(row)
    layers: Counter[str] = Counter()
    for record in evidence.records:
        newest = _moment(record["modified_on"])
        events = events_by_record.pop(record["id"], [])
        ledger.duplicated += _stored_twice(record["id"], events)
        covering = [row for row in events if row["modified_on"] >= newest]
        if not any(row["status"] == "processed" for row in covering):
            ledger.lost.append(f"{record['id']}: {[row['status'] for row in events]}")
            continue
        ledger.processed += 1
        first = covering[0]
        layers["replay" if first["replay_count"] else first["origin"]] += 1
        if first["origin"] == "reconcile" and not evidence.deep_lag[0] <= newest <= evidence.deep_lag[1]:
            ledger.unexpected.append(f"{record['id']}: reconciliation stored it, polling should have")
    ledger.unexpected += [f"{record_id}: not in Pancake" for record_id in events_by_record]
    ledger.by_layer = dict(sorted(layers.items()))


def _stored_twice(record_id: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """List versions that a layer stored although an earlier event already covered them."""
    return [
        f"{record_id}: {later['origin']} stored a covered version"
        for number, later in enumerate(rows)
        if later["origin"] != "webhook"
        and any(
            earlier["modified_on"] >= later["modified_on"] and earlier["created_at"] < later["created_at"]
            for earlier in rows[:number]
        )
    ]


def _ticks_worked_twice(evidence: Evidence) -> list[str]:
    return [
        f"tick {tick}: worked {answers.count('succeeded')} times"
        for tick, answers in evidence.ticks.items()
        if answers.count("succeeded") > 1
    ]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return moment - timedelta(microseconds=moment.microsecond % 1000)
