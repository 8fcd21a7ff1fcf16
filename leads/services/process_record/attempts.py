"""Attempts at a claimed event. An attempt that fails marks the event failed or dead_letter.

A conflict with a concurrent transaction is retried twice at once. After that, and for any other error, the
answer to Hasura is 200 and only the cron retry_failed brings the event back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Transaction
from leads.adapters.logs import LOGGER, describe
from leads.domain.errors import Contended, Final, IntegrationError
from leads.domain.event_states import DEAD_LETTER, FAILED, delay_after
from leads.services.contention import retry_contended
from leads.services.process_record.claim import Claim, mark_failed

Result = TypeVar("Result")
WORK_TIMEOUT_SECONDS = 20.0
"""For all tries together: less than the 30 s that Hasura waits and the lease of a claim."""
INVALID_CODES = "invalid_"
"""The beginning of the error codes of dead letters that do not count in sql/kpi/load_success.sql."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that failed. `status` is what the event was marked: failed, or dead_letter.

    `is_invalid`: a dead letter because of what it holds, which is no failure of the integration.
    """

    status: str
    error_code: str
    is_invalid: bool = False


async def attempt(
    db: Database,
    clock: Clock,
    claim: Claim,
    work: Callable[[], Awaitable[Result]],
    *,
    timeout_seconds: float = WORK_TIMEOUT_SECONDS,
) -> Result | FailedAttempt:
    """Do the work of a claim, or mark the event and return how.

    Raises DatabaseUnavailable if the event could not be marked: it returns when its lease ends.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await retry_contended(work)
    except TimeoutError:
        error: Exception = Contended(f"The work took longer than {timeout_seconds:g} s.")
    except Exception as caught:  # noqa: BLE001 - the event is marked failed, the trace is logged
        error = caught
    return await _mark_failed(db, clock, claim, error)


async def attempt_dry_run(
    transaction: Transaction, work: Callable[[], Awaitable[dict[str, object]]]
) -> dict[str, object]:
    """One attempt inside a dry run: the result of `work`, or what the event would say had it failed.

    Raises Contended, which depends on other transactions and not on the event.
    """
    try:
        async with transaction.savepoint():
            return await work()
    except Contended:
        raise
    except Exception as error:  # noqa: BLE001 - reported to the caller of the dry run, the trace is logged
        _log_internal_error(error, None)
        code, detail = _code_and_detail(error)
        result = DEAD_LETTER if isinstance(error, Final) else FAILED
        return {"result": result, "error_code": code, "error_detail": detail}


async def _mark_failed(db: Database, clock: Clock, claim: Claim, error: Exception) -> FailedAttempt:
    delay = None if isinstance(error, Final) else delay_after(claim.attempts, clock.jitter())
    code, detail = _code_and_detail(error)
    await mark_failed(
        db,
        claim,
        code,
        detail,
        next_attempt_at=clock.now() + delay if delay else None,
        error={} if isinstance(error, IntegrationError) else describe(error),
    )
    _log_internal_error(error, claim.id)
    is_invalid = isinstance(error, Final) and code.startswith(INVALID_CODES)
    return FailedAttempt(FAILED if delay else DEAD_LETTER, code, is_invalid)


def _code_and_detail(error: Exception) -> tuple[str, str]:
    """Return error_code and error_detail. The text of other libraries' exceptions may quote data."""
    if isinstance(error, IntegrationError):
        return error.code, str(error)
    described = describe(error)
    return "internal", f"{described['error']}, digest {described['digest']}"


def _log_internal_error(error: Exception, event_id: int | None) -> None:
    if not isinstance(error, IntegrationError):
        fields = {"event_id": event_id}
        LOGGER.error("processing failed: internal error", exc_info=error, extra={"fields": fields})
