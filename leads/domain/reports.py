"""The stored reports of the crons that work per connection: JSON objects.

docs/runbook/crons-and-engine.md explains the keys.

All keys are optional to the type: a connection that failed has `error` and `detail` instead of a result, and
one that ran out of time has a part of it.
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
