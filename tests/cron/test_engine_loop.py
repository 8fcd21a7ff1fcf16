"""What our crons do to those of others: Hasura delivers all of them in one loop."""

from datetime import date, timedelta
from itertools import pairwise

from leads.domain.window import day_window
from leads.services.cron_work import ANSWER_WITHIN_SECONDS
from tests.support.crons import CronHarness

ENGINE_SLEEP_SECONDS = 10
"""After each round, which ends with its slowest call (Eventing/ScheduledTrigger)."""
MAX_SECONDS_LATE = 20
SECONDS_PER_PAGE = 0.6
RECORDS = 900


async def test_a_long_reconciliation_makes_no_cron_of_a_neighbour_late(
    harness: CronHarness, day: date
) -> None:
    """A tick waits at most from the start of one round to the start of the next. Without limit of a call
    this reconciliation takes 18 s at once.
    """
    window = day_window(day)
    harness.pancake.bulk(RECORDS, window.start, window.end)
    harness.pancake.faults.slow_seconds = SECONDS_PER_PAGE
    harness.runtime.cron_runs.answer_within_seconds = ANSWER_WITHIN_SECONDS
    due = harness.clock.now()
    rounds, statuses = [due], [0]
    while statuses[-1] != 200:
        answer = await harness.tick("reconcile_daily", due)
        statuses.append(answer.status_code)
        assert answer.status_code == 200 or answer.headers["Retry-After"] == "1", answer.text
        harness.move_clock(seconds=ENGINE_SLEEP_SECONDS)
        rounds.append(harness.clock.now())
    late = max(after - before for before, after in pairwise(rounds))
    assert late <= timedelta(seconds=MAX_SECONDS_LATE)
    assert len(rounds) > 3
    (report,) = harness.last_run("reconcile_daily")["report"]["days"]
    assert (report["expected"], len(report["found_missing"])) == (RECORDS, RECORDS)
