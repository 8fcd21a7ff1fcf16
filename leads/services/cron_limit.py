"""Cut off a run of a cron whose time is over."""

import asyncio
import json
from zlib import crc32

from leads.services.cron_errors import RunStuck
from leads.services.cron_work import CronReport, CronRun, CronWork


async def do_until(at: float, run: CronRun, work: CronWork) -> CronReport:
    """Do the work until `at`, a time of the event loop.

    At each `await` of the work, what it keeps in the run's state has to be what is done.
    Returns an unfinished report if it was cut off. Raises RunStuck if it had achieved nothing.
    """
    before = _digest(run.state)
    cut_off = asyncio.timeout_at(at)
    try:
        async with cut_off:
            return await work(run)
    except TimeoutError as error:
        if not cut_off.expired():
            raise
        if _digest(run.state) == before:
            raise RunStuck from error
    return CronReport({}, unfinished=True)


def _digest(state: dict[str, object]) -> int:
    """The database gives the keys of a stored state back in another order."""
    return crc32(json.dumps(state, default=str, sort_keys=True).encode())
