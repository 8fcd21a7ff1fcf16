"""The stored reports of the crons that work per connection: JSON objects (docs/crons.md explains the keys).

All keys are optional to the type: a connection that failed has `error` and `detail` instead of a result, and
one whose work is paused has a part of it.
"""

from datetime import datetime
from typing import TypedDict

MAX_ITEMS_PER_ANSWERED_LIST = 20
"""Answers are logged, here and by Hasura; the stored report has the whole list."""


class ConnectionReport(TypedDict, total=False):
    """What every cron reports of a connection."""

    connection_id: str
    error: str
    detail: str


class PollReport(ConnectionReport, total=False):
    """One poll. `latest`: the poll of the newest window, if that was read too."""

    window: list[str]
    listed: int
    missed: int
    missed_ids: list[str]
    outside: int
    suspects: list[str]
    may_lag: bool
    short_pages: int
    latest: "PollReport"
    ending: str
    trusted: bool
    pages: int


class LedgerEntries(TypedDict, total=False):
    """What a day's ledger counts while the list is read."""

    processed: int
    held: int
    pending: int
    found: int
    sampled: int
    found_missing: list[str]
    left_missing: list[str]
    duplicates: list[str]
    rejected: list[list[str]]
    sample_missing: list[str]
    seconds: float


class DayReport(ConnectionReport, LedgerEntries, total=False):
    """One ICT day: the entries of its ledger, and what was compared when the list was read to its end."""

    day: str
    expected: int
    inserted: int
    superseded: int
    unexpected: list[str]
    unlisted: list[str]
    not_looked_up: int
    pages: int
    short_pages: int
    ending: str
    first_seen: dict[str, int]
    webhook_loss: float


def shorten(body: object) -> object:
    """Return a report as it is answered and logged: long lists as their length, times as text."""
    if isinstance(body, dict):
        return {key: shorten(value) for key, value in body.items()}
    if isinstance(body, datetime):
        return body.isoformat()
    if isinstance(body, (list, tuple)):
        is_short = len(body) <= MAX_ITEMS_PER_ANSWERED_LIST
        return [shorten(item) for item in body] if is_short else f"{len(body)} items"
    return body
