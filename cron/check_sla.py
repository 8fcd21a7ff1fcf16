"""Tell the managers, once, of each ticket without a first response in time; measure the response times.

Called by: cron trigger `pancake_check_sla`, every 5 minutes.
"""

from datetime import timedelta
from functools import partial

from leads.adapters.hasura_calls import CronCall
from leads.services.cron_runs import Report, Run
from leads.services.kpi import load_kpis
from leads.services.outbox import SEND_LEASE
from leads.services.runtime import Answer, Runtime

SECONDS = 40
MINUTES = 5
"""Between two ticks."""
LIMIT = 200
BACK = timedelta(days=3)
"""How long ago the event of a ticket came in, at most, but for what the first tick of an hour looks at."""
BACK_HOURLY = timedelta(days=90)
"""The same for leads that a switch held: longer than payloads are kept by default, none makes a ticket."""


async def check_sla(on: Runtime, call: CronCall) -> Answer:
    """Answers `{result, report}`; the report holds `late` (told now) and the KPIs of a day."""
    return await on.register.run(call, partial(tell_late, on), seconds=SECONDS)


async def tell_late(on: Runtime, run: Run) -> Report:
    """The notification is written together with the mark that it was: never twice, never lost."""
    back = BACK_HOURLY if run.scheduled_time.minute < MINUTES else BACK
    params = {"now": run.now, "limit": LIMIT, "lease": SEND_LEASE, "back": back}
    late = await on.db.fetch_all("check_sla/flag_late_tickets", params)
    if late:
        await on.outbox.send_claimed([row["id"] for row in late])
    kpi = await load_kpis(on.db, run.now - timedelta(days=1), run.now)
    return Report({"late": len(late), "kpi": kpi})
