"""Whether a run of a cron has time for a call of sendNotifications."""

from leads.services.cron_work import CronRun

SECONDS_LEFT_TO_SEND = 3.7
"""A call takes up to 5 s (SEND_TIMEOUT_SECONDS). A run is cut off 1.6 s after `seconds_left` is 0, and a call
that is cut off counts as one without an answer, which may disturb a person twice.
"""


def has_time_to_send(run: CronRun) -> bool:
    return run.seconds_left() >= SECONDS_LEFT_TO_SEND
