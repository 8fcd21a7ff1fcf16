"""Release work that was not completed: failed events, expired claims, events not fired, unsent notifications.

Called by: cron trigger `pancake_retry_failed`, every minute.
"""

from dataclasses import dataclass
from functools import partial

from leads.adapters.hasura_calls import CronCall
from leads.adapters.http import Answer
from leads.domain.backoff import MAX_ATTEMPTS
from leads.services.cron_work import CronReport, CronRun
from leads.services.outbox import SEND_LEASE
from leads.services.process_record.claim import CLAIM_LEASE
from leads.services.runtime import Runtime
from leads.services.unassigned_tickets import assign_tickets

STOP_AFTER_SECONDS = 40
MAX_ROWS_PER_TICK = 500
"""Of each kind: the backlog of an hour's pause must not be released at once."""
MAX_NOTIFIED_EVENTS_PER_TICK = 200


@dataclass(frozen=True, slots=True)
class ReleasedClaim:
    """A row of retry_failed/release_claims. `status` is received or dead_letter."""

    id: int
    status: str


@dataclass(frozen=True, slots=True)
class UnnotifiedEvent:
    """A row of retry_failed/list_unnotified."""

    id: int


async def retry_failed(runtime: Runtime, call: CronCall) -> Answer:
    """Answer `{result, report}`; the report counts what was released, given up and sent."""
    return await runtime.cron_runs.run(call, partial(release, runtime), stop_after_seconds=STOP_AFTER_SECONDS)


async def release(runtime: Runtime, run: CronRun) -> CronReport:
    """Release events by three rules, then send the notifications that events and cron runs still hold."""
    limits = {"now": run.now, "limit": MAX_ROWS_PER_TICK, "max_attempts": MAX_ATTEMPTS}
    failed = await runtime.db.fetch_all("retry_failed/release_failed", limits)
    claims = await runtime.db.fetch_all(
        "retry_failed/release_claims", limits | {"lease": CLAIM_LEASE}, ReleasedClaim
    )
    refired = await runtime.db.fetch_all("retry_failed/refire_received", limits)
    given_up = sum(claim.status == "dead_letter" for claim in claims)
    return CronReport(
        {
            "failed": len(failed),
            "claims": len(claims) - given_up,
            "dead_letter": given_up,
            "refired": len(refired),
            **await assign_tickets(runtime, run),
            "notified": await _send_notifications_of_events(runtime),
            "runs_notified": await runtime.cron_runs.send_unnotified(run.now, SEND_LEASE),
        }
    )


async def _send_notifications_of_events(runtime: Runtime) -> int:
    unsent = {"limit": MAX_NOTIFIED_EVENTS_PER_TICK, "lease": SEND_LEASE}
    events = await runtime.db.fetch_all("retry_failed/list_unnotified", unsent, UnnotifiedEvent)
    return await runtime.outbox.claim_and_send([event.id for event in events]) if events else 0
