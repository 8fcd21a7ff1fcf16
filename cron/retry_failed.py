"""Release work that was not completed: locked or lost events, failed ones, expired claims, notifications.

Called by: cron trigger `pancake_retry_failed`, every minute.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from leads.domain.event_states import CLAIM_LIMITS
from leads.runtime import Runtime
from leads.services import late_owners
from leads.services.cron_runs import CRONS
from leads.services.cron_work import (
    AdminNotice,
    CronReport,
    CronRun,
    Postponed,
    StepReport,
    run_steps,
)
from leads.services.outbox import SEND_LEASE, DueRow, Outbox

MAX_RUNS_PER_TICK = 200
MAX_ROWS_PER_TICK = 500
"""Of each kind: the backlog of an hour's pause must not be released at once."""
EVENT_LOCK_LEASE = timedelta(seconds=12)
"""How long Hasura's event of a row may be locked before it is unlocked, or else its row is fired again.

A delivery claims its row in milliseconds. If the row is still received after this time, the instance that
locked the event died, and no other one takes the event for 30 minutes; or the event waits there or in the
handlers, and its second delivery is answered that there is nothing to do.
"""
NOTIFY_AT_MOST_EVERY = timedelta(hours=1)
"""How often the administrators are notified of what was given up: notifications, and ticks of the crons."""


async def retry_failed(runtime: Runtime, run: CronRun) -> CronReport:
    """Take every step and report its counts; one that fails makes the run fail and stops no other."""
    report = await run_steps(run, {step.__name__: partial(step, runtime, run) for step in STEPS})
    return report if report.unfinished else replace(report, notices=_notices(run, report.body))


async def release_failed(runtime: Runtime, run: CronRun) -> StepReport:
    due = {"now": run.now, "limit": MAX_ROWS_PER_TICK}
    return {"failed": len(await runtime.db.fetch_all("retry_failed/release_failed", due))}


async def release_claims(runtime: Runtime, run: CronRun) -> StepReport:
    expired = {"limit": MAX_ROWS_PER_TICK, **CLAIM_LIMITS}
    claims = await runtime.db.fetch_all("retry_failed/release_claims", expired)
    given_up = sum(claim["status"] == "dead_letter" for claim in claims)
    return {"claims": len(claims) - given_up, "dead_letter": given_up}


async def unlock_events(runtime: Runtime, run: CronRun) -> StepReport:
    (row,) = await runtime.db.fetch_all("retry_failed/unlock_events", {"lease": EVENT_LOCK_LEASE})
    return row


async def refire_received(runtime: Runtime, run: CronRun) -> StepReport:
    stuck = {"limit": MAX_ROWS_PER_TICK, "lease": EVENT_LOCK_LEASE}
    return {"refired": len(await runtime.db.fetch_all("retry_failed/refire_received", stuck))}


async def assign_tickets(runtime: Runtime, run: CronRun) -> StepReport:
    return await late_owners.assign_tickets(runtime.db, runtime.outbox, run)


async def recall_tickets(runtime: Runtime, run: CronRun) -> StepReport:
    return await late_owners.recall_tickets(runtime.db, runtime.outbox, run)


async def tell_of_old_leads(runtime: Runtime, run: CronRun) -> StepReport:
    return await late_owners.tell_of_old_leads(runtime.db, runtime.outbox, run)


async def send_notifications(runtime: Runtime, run: CronRun) -> StepReport:
    due = {"now": run.now, "limit": MAX_ROWS_PER_TICK, "lease": SEND_LEASE}
    events = await runtime.db.fetch_all("outbox/list_unnotified", due, DueRow)
    return {"notified": await _send(runtime.outbox, events, run)}


async def send_notices(runtime: Runtime, run: CronRun) -> StepReport:
    due = {"now": run.now, "limit": MAX_RUNS_PER_TICK, "lease": SEND_LEASE}
    runs = await runtime.db.fetch_all("run_notices/list_unnotified", due, DueRow)
    return {"runs_notified": await _send(runtime.cron_runs.notices, runs, run)}


async def _send(outbox: Outbox, due: Sequence[DueRow], run: CronRun) -> int:
    """Send rows that are due and that no sender has claimed. Raises Postponed without time for a call."""
    if due and not run.has_time_to_send():
        raise Postponed
    return await outbox.send_due(due, run.has_time_to_send)


async def count_given_up(runtime: Runtime, run: CronRun) -> StepReport:
    """Count the notifications given up since the administrators were last notified of it."""
    params = {"now": run.now, "every": NOTIFY_AT_MOST_EVERY}
    row = await runtime.db.fetch_one("retry_failed/count_given_up", params)
    return {"given_up": row} if row else {}


async def count_lost_ticks(runtime: Runtime, run: CronRun) -> StepReport:
    """Count the ticks that Hasura gave up in the last day, of which it says nothing; each once.

    A tick is given up if it could not be delivered within its tolerance, or if its last try failed.
    """
    since = {"now": run.now, "every": NOTIFY_AT_MOST_EVERY}
    (notified,) = await runtime.db.fetch_all("lost_ticks/load_notified_ticks", since)
    triggers = [f"pancake_{name}" for name in CRONS]
    params = {"now": run.now, "triggers": triggers, "notified_until": notified["notified_until"]}
    lost = await runtime.metadata_db.fetch_all("lost_ticks/count_lost_ticks", params)
    ticks = {row["trigger_name"].removeprefix("pancake_"): row["not_notified"] for row in lost}
    counts = {name: count for name, count in ticks.items() if count}
    if not counts or not notified["is_due"]:
        return {}
    return {"lost_ticks": {**counts, "until": max(row["until"] for row in lost).isoformat()}}


STEPS: Sequence[Callable[[Runtime, CronRun], Awaitable[StepReport]]] = (  # first what a crash interrupted
    unlock_events,
    refire_received,
    release_claims,
    release_failed,
    assign_tickets,
    recall_tickets,
    tell_of_old_leads,
    send_notifications,
    send_notices,
    count_given_up,
    count_lost_ticks,
)


def _notices(run: CronRun, body: StepReport) -> tuple[AdminNotice, ...]:
    """Notify the administrators of what was given up, and of waiting tickets that were shared."""
    notices = []
    tick = run.scheduled_time.isoformat()
    if isinstance(shared := body.get("shared"), dict):
        facts = {name: str(shared[name]) for name in ("assigned", "waiting", "kept")}
        number = str(shared["assigned"] + shared["waiting"])
        notices.append(AdminNotice(f"tickets_shared:{tick}", "tickets_shared", number, facts))
    if isinstance(lost := body.get("lost_ticks"), dict):
        detail = ", ".join(f"{name}: {number}" for name, number in lost.items() if name != "until")
        notices.append(AdminNotice(f"cron_ticks_lost:{tick}", "cron_ticks_lost", detail))
    if isinstance(given_up := body.get("given_up"), dict):
        detail = f"events: {given_up['events']}, cron runs: {given_up['runs']}"
        facts = {name: str(given_up[name]) for name in ("events", "runs")}
        notices.append(AdminNotice(f"notifications_given_up:{tick}", "notifications_given_up", detail, facts))
    return tuple(notices)
