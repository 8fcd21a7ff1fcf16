"""Count and log what could not be sent."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence

from leads.adapters.logs import LOGGER
from leads.adapters.metrics import Metrics
from leads.domain.sending import UNKNOWN
from leads.services.sending.rows import Result, Stored

MAX_LOGGED_IDS = 20


def report_unsent(metrics: Metrics, rows_name: str, results: Sequence[Result[Stored]]) -> None:
    """Count notifications that were not sent; one log line for those deferred, one for those given up."""
    tried = [result for result in results if result.was_tried and result.sending is not None]
    given_up = [result for result in tried if result.sending and result.sending.given_up_at]
    for result in tried:
        is_unknown = result.sending is not None and result.sending.error == UNKNOWN
        metrics.notifications.labels("unknown" if is_unknown else "failed").inc(result.unsent)
    metrics.notifications.labels("given_up").inc(sum(result.unsent for result in given_up))
    deferred = [result for result in tried if result not in given_up]
    _log(logging.WARNING, "notifications deferred", rows_name, deferred)
    _log(logging.ERROR, "notifications given up", rows_name, given_up)


def report_sent(rows_name: str, ids: Collection[int]) -> None:
    """One log line for the rows that are done, when no request of their own says it."""
    if ids:
        fields = {"rows": rows_name, "count": len(ids), "ids": sorted(ids)[:MAX_LOGGED_IDS]}
        LOGGER.info("notifications sent", extra={"fields": fields})


def _log(level: int, message: str, rows_name: str, results: Sequence[Result[Stored]]) -> None:
    if results:
        ids = [result.row.id for result in results]
        reasons = Counter(result.sending.error for result in results if result.sending)
        fields = {"rows": rows_name, "count": len(ids), "ids": ids[:MAX_LOGGED_IDS], "reasons": dict(reasons)}
        LOGGER.log(level, message, extra={"fields": fields})
