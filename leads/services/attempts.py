"""One attempt at a claimed event, settled whatever happens: done, to be tried again, or given up.

Losing against a concurrent transaction is repeated twice at once. After that, and for everything else,
the row says what went wrong and only retry_failed brings it back: Hasura is told 200.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Row, Transaction
from leads.adapters.logs import LOGGER, describe
from leads.domain.errors import Contended, Final, IntegrationError

Result = TypeVar("Result")
TRIES = 3
WORK_SECONDS = 20.0
"""All tries together, well within the 30 s that Hasura waits and the lease of a claim."""

CLAIM_LEASE = timedelta(seconds=60)
"""How long a claimed event is left to its handler; the database refuses to take it back earlier."""

Backoff = Callable[[int, float], timedelta | None]
"""Wait after so many attempts, given a jitter in [-1, 1]; None after the last."""


async def settle(
    db: Database,
    clock: Clock,
    claim: Row,
    backoff: Backoff,
    work: Callable[[], Awaitable[Result]],
    seconds: float = WORK_SECONDS,
) -> Result | None:
    """Do the work of a claim within so many seconds; None means that it failed and the row was marked.

    Raises DatabaseUnavailable if not even that could be written: the lease then brings the row back.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _attempt(work)
    except TimeoutError:
        await _mark(db, clock, claim, Contended(f"The work took longer than {seconds:g} s."), backoff)
    except Exception as error:  # noqa: BLE001 - the row is marked failed with the trace's digest
        await _mark(db, clock, claim, error, backoff)
    return None


async def _attempt(work: Callable[[], Awaitable[Result]]) -> Result:
    for _ in range(TRIES - 1):
        try:
            return await work()
        except Contended:
            continue
    return await work()


async def rehearse(transaction: Transaction, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """One attempt inside a dry run: what `work` gives, or what the row would say had it failed.

    Raises Contended, which is no property of the event.
    """
    try:
        async with transaction.savepoint():
            return await work()
    except Contended:
        raise
    except Exception as error:  # noqa: BLE001 - told to whoever asked for the dry run, and logged
        _log_fault(error, None)
        return {"result": "dead_letter" if isinstance(error, Final) else "failed", **_failure(error)}


async def _mark(db: Database, clock: Clock, claim: Row, error: Exception, backoff: Backoff) -> None:
    about: dict[str, Any] = {} if isinstance(error, IntegrationError) else describe(error)
    delay = None if isinstance(error, Final) else backoff(claim["attempts"], clock.jitter())
    await db.fetch_all(
        "process_record/fail_event",
        {
            "id": claim["id"],
            "claim_id": claim["claim_id"],
            "next_attempt_at": clock.now() + delay if delay else None,
            "evidence": json.dumps({"error": about}),
            **_failure(error),
        },
    )
    _log_fault(error, claim["id"])


def _failure(error: Exception) -> dict[str, str]:
    """What a row says of an attempt that failed: error_code and error_detail."""
    if isinstance(error, IntegrationError):
        return {"error_code": error.code, "error_detail": str(error)}
    about = describe(error)
    return {"error_code": "internal", "error_detail": f"{about['error']}, digest {about['digest']}"}


def _log_fault(error: Exception, event_id: int | None) -> None:
    if not isinstance(error, IntegrationError):
        LOGGER.error(
            "an event failed by a fault of ours", exc_info=error, extra={"fields": {"event_id": event_id}}
        )
