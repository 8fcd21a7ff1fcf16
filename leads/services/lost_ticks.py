"""Count the ticks that Hasura gave up, so that the administrators are told of them.

A tick is given up if it could not be delivered within its tolerance, or if its last try failed. Hasura says
nothing of it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from leads.runtime import Runtime
from leads.services.cron_runs import CRONS
from leads.services.cron_work import AdminNotice, CronRun

TOLD_AT_MOST_EVERY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Told:
    """The row of lost_ticks/load_told_ticks."""

    told_at: datetime | None
    told_until: datetime | None


@dataclass(frozen=True, slots=True)
class _LostTicks:
    """A row of lost_ticks/count_lost_ticks."""

    trigger_name: str
    untold: int
    until: datetime


async def count_lost_ticks(runtime: Runtime, run: CronRun) -> dict[str, object]:
    """Return the ticks lost in the last day that are to be told: at most once an hour, each once.

    Raises DatabaseUnavailable, also of Hasura's metadata database.
    """
    told = await runtime.db.fetch_one("lost_ticks/load_told_ticks", {"now": run.now}, _Told)
    params = {
        "now": run.now,
        "triggers": [f"pancake_{name}" for name in CRONS],
        "told_until": told.told_until if told else None,
    }
    lost = await runtime.metadata_db.fetch_all("lost_ticks/count_lost_ticks", params, _LostTicks)
    ticks = {row.trigger_name.removeprefix("pancake_"): row for row in lost}
    untold = {name: row.untold for name, row in ticks.items() if row.untold}
    is_told = told and told.told_at and told.told_at > run.now - TOLD_AT_MOST_EVERY
    if not untold or is_told:
        return {}
    return {"lost_ticks": {**untold, "until": max(row.until for row in lost).isoformat()}}


def lost_ticks_notice(run: CronRun, body: dict[str, object]) -> AdminNotice | None:
    """Return the notice for a report that names lost ticks."""
    lost = body.get("lost_ticks")
    if not isinstance(lost, dict):
        return None
    detail = ", ".join(f"{name}: {ticks}" for name, ticks in lost.items() if name != "until")
    return AdminNotice(f"cron_ticks_lost:{run.scheduled_time.isoformat()}", "cron_ticks_lost", detail)
