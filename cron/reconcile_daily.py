"""Layer 3: compare every record of each closed day with the stored events, insert what is missing, report.

Called by: cron trigger `pancake_reconcile_daily`, daily at 19:00 UTC (02:00 in Vietnam).
"""

from datetime import date
from functools import partial

from leads.adapters.hasura_calls import Answer, CronCall
from leads.domain.day_ledger import is_over
from leads.domain.errors import BadRequest
from leads.runtime import Runtime
from leads.services.cron_work import CronReport, CronRun
from leads.services.reconcile_daily import Reconciliation


async def reconcile_daily(runtime: Runtime, call: CronCall) -> Answer:
    """Answer `{result, report}`; the report holds the ledger of each day, and which days are closed."""
    return await runtime.cron_runs.run(call, partial(reconcile_owed, runtime))


async def reconcile_owed(runtime: Runtime, run: CronRun) -> CronReport:
    """Reconcile the day that the payload names, else the closed days without a succeeded run."""
    reconciliation = Reconciliation(
        runtime.db,
        runtime.pancake,
        runtime.clock,
        runtime.metrics,
        runtime.digester,
        runtime.settings.key_ring,
    )
    return await reconciliation.reconcile(run, _requested(run))


def _requested(run: CronRun) -> list[date]:
    """Return the day that the tick's payload names (`{"day": "2026-05-14"}`), if any. Raises BadRequest."""
    if "day" not in run.payload:
        return []
    day = run.payload["day"]
    if not isinstance(day, str):
        raise BadRequest("payload.day is not a date.")
    try:
        requested = date.fromisoformat(day)
    except ValueError as error:
        raise BadRequest("payload.day is not a date.") from error
    if not is_over(requested, run.now):
        raise BadRequest("payload.day is not over yet in Vietnam.")
    return [requested]
