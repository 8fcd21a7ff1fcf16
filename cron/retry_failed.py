"""Bring back what was left lying: failed rows, dead claims, rows without an event, unsent notifications.

Called by: cron trigger `pancake_retry_failed`, every minute.
"""

from functools import partial

from leads.services.attempts import CLAIM_LEASE

from leads.adapters.hasura_calls import CronCall
from leads.domain.backoff import MAX_ATTEMPTS
from leads.services.cron_runs import CRONS, Report, Run
from leads.services.outbox import SEND_LEASE
from leads.services.runtime import Answer, Runtime

SECONDS = 40
LIMIT = 500
"""Rows of each kind per tick: an hour of pause must not become a flood."""
NOTIFICATIONS = 200


async def retry_failed(on: Runtime, call: CronCall) -> Answer:
    """Answers `{result, report}`; the report counts what was brought back, given up and sent."""
    return await on.register.run(call, partial(bring_back, on), seconds=SECONDS)


async def bring_back(on: Runtime, run: Run) -> Report:
    """One step for each way in which work can be left lying."""
    params = {"now": run.now, "limit": LIMIT, "max_attempts": MAX_ATTEMPTS}
    failed = await on.db.fetch_all("retry_failed/release_failed", params)
    claims = await on.db.fetch_all("retry_failed/release_claims", params | {"lease": CLAIM_LEASE})
    refired = await on.db.fetch_all("retry_failed/refire_received", params)
    given_up = sum(claim["status"] == "dead_letter" for claim in claims)
    return Report(
        {
            "failed": len(failed),
            "claims": len(claims) - given_up,
            "dead_letter": given_up,
            "refired": len(refired),
            "notified": await _send_event_notifications(on),
            "runs_notified": await _send_run_notifications(on, run),
        }
    )


async def _send_event_notifications(on: Runtime) -> int:
    unsent = {"limit": NOTIFICATIONS, "lease": SEND_LEASE}
    rows = await on.db.fetch_all("retry_failed/list_unnotified", unsent)
    return await on.outbox.send_claimed([row["id"] for row in rows]) if rows else 0


async def _send_run_notifications(on: Runtime, run: Run) -> int:
    unsent = {"now": run.now, "names": list(CRONS), "lease": SEND_LEASE}
    rows = await on.db.fetch_all("cron_runs/list_unnotified", unsent)
    return sum([await on.register.notify(row["id"], row["notifications"]) for row in rows])
