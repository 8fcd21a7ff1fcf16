"""Notify the managers, once, of each ticket without a first response in time; measure the response times.

Called by: cron trigger `pancake_check_sla`, every 5 minutes.
"""

from datetime import timedelta
from functools import partial

from leads.runtime import Runtime
from leads.services.cron_work import CronReport, CronRun, StepReport, run_steps
from leads.services.outbox import MAX_LOGGED_IDS, SEND_LEASE, note_dropped

MAX_TICKETS_PER_TICK = 200
MAX_RELEASED_PER_TICK = 5000
KPIS = {
    "latency": "kpi/load_latency",
    "success": "kpi/load_success",
    "auto_assign": "kpi/load_auto_assign",
    "intervention": "kpi/load_intervention",
    "response": "kpi/load_response",
    "zero_miss": "kpi/load_zero_miss",
}
"""The statements of the key figures; docs/observability.md explains the columns of their rows."""


async def check_sla(runtime: Runtime, run: CronRun) -> CronReport:
    """Report `late`, `late_not_notified` and the KPIs of a day; a step that fails does not stop the other."""
    steps = (notify_late, measure)
    return await run_steps(run, {step.__name__: partial(step, runtime, run) for step in steps})


async def notify_late(runtime: Runtime, run: CronRun) -> StepReport:
    """Flag late tickets and notify once: the flag and the notification are stored together."""
    released = {"now": run.now, "limit": MAX_RELEASED_PER_TICK}
    await runtime.db.fetch_all("check_sla/stop_watching", released)
    params = {"now": run.now, "limit": MAX_TICKETS_PER_TICK, "lease": SEND_LEASE}
    late = await runtime.db.fetch_all("check_sla/flag_late_tickets", params)
    flagged = [event["id"] for event in late if event["is_flagged"]]
    not_notified = [event["id"] for event in late if not event["is_flagged"]]  # no manager or admin is active
    await runtime.outbox.claim_and_send(flagged, has_time=run.has_time_to_send)
    if not_notified:  # at each tick; a later one notifies those who are active by then
        fields = {
            "name": "sla_missed",
            "reason": "no active staff",
            "count": len(not_notified),
            "event_ids": not_notified[:MAX_LOGGED_IDS],
        }
        note_dropped(runtime.metrics, "notifications dropped", len(not_notified), fields)
    return {"late": len(flagged), "late_not_notified": len(not_notified)}


async def measure(runtime: Runtime, run: CronRun) -> StepReport:
    """Report the key figures of what arrived within the last day."""
    window = {"from": run.now - timedelta(days=1), "to": run.now}
    return {"kpi": {name: await runtime.db.fetch_one(kpi, window) for name, kpi in KPIS.items()}}
