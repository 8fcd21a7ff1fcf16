"""Notify the managers, once, of each late ticket, and each morning of what needs them; measure responses.

Called by: cron trigger `pancake_check_sla`, every 5 minutes.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial

from leads.runtime import Runtime
from leads.services.cron_work import AdminNotice, CronReport, CronRun, StepReport, run_steps
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
    """Report what each step reports; one that fails does not stop the others."""
    steps = (notify_late, measure, load_morning_message)
    report = await run_steps(run, {step.__name__: partial(step, runtime, run) for step in steps})
    return report if report.unfinished else replace(report, notices=_notices(report.body))


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


async def load_morning_message(runtime: Runtime, run: CronRun) -> StepReport:
    """Report `morning_message` once a day, after the time of the setting."""
    row = await runtime.db.fetch_one("check_sla/load_morning_message", {"now": run.now})
    return {"morning_message": row} if row else {}


def _notices(body: StepReport) -> tuple[AdminNotice, ...]:
    """Return the morning message. Its key is its day: the service sends it once, also if this is repeated."""
    if not isinstance(row := body.get("morning_message"), Mapping):
        return ()
    key = f"morning_message:{row['today']}"
    return (AdminNotice(key, "morning_message", row["detail"], row, is_for_managers=True),)
