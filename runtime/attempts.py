"""One attempt at a claimed event, settled whatever happens: done, to be tried again, or given up.

Losing against a concurrent transaction is repeated twice at once. After that, and for everything else,
the row says what went wrong and only retry_failed brings it back: Hasura is told 200.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from domain.errors import Contended, Final, IntegrationError
from runtime.clock import Clock
from runtime.db import Database, Row
from runtime.logs import LOGGER, describe

Result = TypeVar("Result")
TRIES = 3
Backoff = Callable[[int, float], timedelta | None]
"""Wait after so many attempts, given a jitter in [-1, 1]; None after the last."""


async def settle(
    db: Database, clock: Clock, claim: Row, backoff: Backoff, work: Callable[[], Awaitable[Result]]
) -> Result | None:
    """Do the work of a claim; None means that it failed and the row was marked.

    Raises DatabaseUnavailable if not even that could be written: the lease then brings the row back.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return await work()
        except Contended as error:
            if attempt == TRIES:
                await _mark(db, clock, claim, error, backoff)
        except Exception as error:  # noqa: BLE001 - the row is marked failed with the trace's digest
            await _mark(db, clock, claim, error, backoff)
            break
    return None


async def _mark(db: Database, clock: Clock, claim: Row, error: Exception, backoff: Backoff) -> None:
    known = isinstance(error, IntegrationError)
    final = isinstance(error, Final)
    about: dict[str, Any] = {} if known else describe(error)
    delay = None if final else backoff(claim["attempts"], clock.jitter())
    await db.fetch_all(
        "process_record/fail_event",
        {
            "id": claim["id"],
            "claim_id": claim["claim_id"],
            "next_attempt_at": clock.now() + delay if delay else None,
            "error_code": error.code if isinstance(error, IntegrationError) else "internal",
            "error_detail": str(error) if known else f"{about['error']}, digest {about['digest']}",
            "evidence": json.dumps({"error": about}),
        },
    )
    if not known:
        LOGGER.error(
            "an event failed by a fault of ours", exc_info=error, extra={"fields": {"event_id": claim["id"]}}
        )
