"""When notifications that could not be sent are tried again, and when they are given up.

Every wait grows, and every row ends: after a day, after 20 refusals, or after 5 attempts without an answer.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

REFUSED = "refused"
"""The answer was an error. It was not sent."""
UNREACHED = "unreached"
"""The request did not arrive. It was not sent."""
UNKNOWN = "unknown"
"""No answer came in time, or the sender died: it may have been sent."""
NO_RECIPIENTS = "no_recipients"

GIVE_UP_AFTER = timedelta(hours=24)
"""Counted from the first attempt that did not succeed."""
MAX_REFUSALS = 20
MAX_WAIT_AFTER_REFUSAL = timedelta(minutes=90)
"""1 min, 2 min, 4 min … 90 min: 20 refusals take 20 hours, so that a fault of a night can be repaired."""
WAITS_AFTER_UNKNOWN = (timedelta(minutes=2), timedelta(minutes=20), timedelta(hours=2), timedelta(hours=8))
"""Each repeat may be a second message to the same person, so there are four.

They reach over 10 hours: a service that was silent for a night still gets every notification.
"""
MAX_UNKNOWNS = len(WAITS_AFTER_UNKNOWN) + 1
WAITS_AFTER_UNREACHED = (timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=5))
"""The last one repeats. Nothing arrives, so repeats disturb no person, and outages end early."""

MAX_ROWS_PER_CALL = 50
MAX_ROWS_PER_FIRST_REPEAT = 10
"""Of rows without an answer: a service that is slow for each notification may manage fewer in time."""


@dataclass(frozen=True, slots=True)
class RetryState:
    """The attempts to send a row's notifications that did not succeed, and what follows from them.

    `attempts` counts all of them, also those that reached nothing. `next_at` is None if nothing failed yet.
    """

    attempts: int = 0
    refusals: int = 0
    unknowns: int = 0
    unsent_since: datetime | None = None
    next_at: datetime | None = None
    given_up_at: datetime | None = None
    error: str | None = None

    @property
    def is_exhausted(self) -> bool:
        """Whether the senders died so often that another attempt could be one too many."""
        return self.unknowns >= MAX_UNKNOWNS

    def after(self, error: str, now: datetime) -> "RetryState":
        """Return the state after one more attempt ended with this error at `now`."""
        since = self.unsent_since or now
        failed = replace(
            self,
            attempts=self.attempts + 1,
            refusals=self.refusals + (error == REFUSED),
            unknowns=self.unknowns + (error == UNKNOWN),
            unsent_since=since,
            error=error,
        )
        wait = _wait(failed)
        if wait is None or now >= since + GIVE_UP_AFTER:
            return failed.given_up(error, now)
        return replace(failed, next_at=min(now + wait, since + GIVE_UP_AFTER), given_up_at=None)

    def given_up(self, error: str, now: datetime) -> "RetryState":
        return replace(self, error=error, next_at=None, given_up_at=now)


def max_rows_per_call(refusals: int, unknowns: int) -> int:
    """Return how many such rows may share a call: a row that fails alone must not fail others again."""
    if refusals or unknowns > 1:
        return 1
    return MAX_ROWS_PER_FIRST_REPEAT if unknowns else MAX_ROWS_PER_CALL


def _wait(failed: RetryState) -> timedelta | None:
    """Return the wait before the next attempt, None if there is none."""
    if failed.error == REFUSED and failed.refusals < MAX_REFUSALS:
        return min(timedelta(minutes=2 ** (failed.refusals - 1)), MAX_WAIT_AFTER_REFUSAL)
    if failed.error == UNKNOWN and failed.unknowns < MAX_UNKNOWNS:
        return WAITS_AFTER_UNKNOWN[failed.unknowns - 1]
    if failed.error == UNREACHED:
        return WAITS_AFTER_UNREACHED[min(failed.attempts, len(WAITS_AFTER_UNREACHED)) - 1]
    return None
