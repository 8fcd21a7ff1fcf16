"""The effects that every record of Pancake must have after `scripts/chaos four_layers` or `day`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from proofs.chaos.checker import Verdict, Verdicts, check
from proofs.chaos.effects import Ids, expected_assignments, observe
from proofs.chaos.stream_effects import NEW_LEAD, of_new_leads

_ROWS = """
    SELECT
        id, record_id, date_trunc('milliseconds', modified_on) AS modified_on, normalized_phone AS phone,
        origin, status, replay_count, created_at
    FROM pancake_webhook_event ORDER BY id
"""
_TICKETS = """
    SELECT a.normalized_phone AS phone
    FROM ticket AS t JOIN account AS a ON a.id = t.account_id
    WHERE t.source_id = 'ticket_source_pancake' AND t.status IN ('new', 'in_progress')
"""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """Pancake's records, the period of deep lag, the notifications that were sent."""

    records: Sequence[Mapping[str, Any]]
    deep_lag: tuple[datetime, datetime]
    sent: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Stored:
    """The rows of events, the phones of open tickets, all effects, and the assignments that tickets show."""

    rows: Sequence[Row]
    tickets: Sequence[str]
    observed: Ids
    assignments: Sequence[str]


@dataclass(frozen=True)
class LayersResult:
    """The verdict on each effect; and how many records each layer stored."""

    verdicts: Verdicts
    by_layer: Mapping[str, int]


def check_layers(database_url: str, evidence: Evidence) -> LayersResult:
    """Read what is stored, and judge it."""
    with psycopg.connect(database_url, row_factory=dict_row) as db_connection:
        rows = db_connection.execute(_ROWS).fetchall()
        tickets = [row["phone"] for row in db_connection.execute(_TICKETS)]
    observed = observe(database_url, evidence.sent)
    return judge(evidence, Stored(rows, tickets, observed, expected_assignments(database_url)))


def judge(evidence: Evidence, stored: Stored) -> LayersResult:
    """Judge whether each record was processed and has one customer, one open ticket and one notification.

    All are acknowledged: Pancake's lists show every record, so none may be missing.
    """
    events: dict[str, list[Row]] = {}
    for row in stored.rows:
        events.setdefault(row["record_id"], []).append(row)
    covering = {record["id"]: _covering(record, events.get(record["id"], [])) for record in evidence.records}
    done = {record_id: found for record_id, found in covering.items() if found is not None}
    phones = {found["phone"] for found in done.values()}
    assigned = [id_ for id_ in stored.observed["ticket"] if id_.startswith("assignment ")]
    verdicts = {
        "event": _complete(covering, _observed_records(evidence, events, done)),
        "customer": _complete(
            (f"{kind} {phone}" for kind in ("account", "contact") for phone in phones),
            stored.observed["customer"],
        ),
        "ticket": _complete([*phones, *stored.assignments], [*stored.tickets, *assigned]),
        "notification": _complete(
            (f"{record_id} {NEW_LEAD}" for record_id in covering),
            of_new_leads(stored.observed["notification"]),
        ),
    }
    layers = Counter("replay" if row["replay_count"] else row["origin"] for row in done.values())
    return LayersResult(Verdicts(verdicts), dict(sorted(layers.items())))


def _complete(ids: Iterable[str], observed: Iterable[str]) -> Verdict:
    attempted = list(ids)
    return check(attempted, attempted, observed)


def _covering(record: Mapping[str, Any], rows: Sequence[Row]) -> Row | None:
    """Return the first event that covers the newest version of a record, if one of them was processed."""
    newest = _moment(record["modified_on"])
    covering = [row for row in rows if row["modified_on"] >= newest]
    return covering[0] if any(row["status"] == "processed" for row in covering) else None


def _observed_records(
    evidence: Evidence, events: Mapping[str, Sequence[Row]], done: Mapping[str, Row]
) -> Iterable[str]:
    """Yield each processed record, and again for each version that a layer stored although it was covered.

    A record has another id if reconciliation stored it and polling should have, or if Pancake lacks it.
    """
    known = {record["id"] for record in evidence.records}
    yield from done
    for record_id, rows in events.items():
        if record_id not in known:
            yield record_id
        yield from [record_id] * _count_stored_twice(rows)
    for record_id, row in done.items():
        in_deep_lag = evidence.deep_lag[0] <= row["modified_on"] <= evidence.deep_lag[1]
        if row["origin"] == "reconcile" and not in_deep_lag:
            yield f"{record_id} stored by reconciliation, polling should have"


def _count_stored_twice(rows: Sequence[Row]) -> int:
    return sum(
        later["origin"] != "webhook"
        and any(
            earlier["modified_on"] >= later["modified_on"] and earlier["created_at"] < later["created_at"]
            for earlier in rows[:number]
        )
        for number, later in enumerate(rows)
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return moment - timedelta(microseconds=moment.microsecond % 1000)
