"""The status of a connection, judged by two channels: what its webhook brings and what its API answers.

Pancake has no API for the state of a webhook. That Pancake suspended it is inferred: polling keeps finding
records that the webhook should have brought.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

ACTIVE, SILENT, SUSPENDED, OUTAGE, KEY_INVALID = "active", "silent", "suspended", "outage", "key_invalid"
ALIVE, REJECTED, UNAVAILABLE = "alive", "rejected", "unavailable"
SUSPENDED_AFTER_SILENCE = timedelta(minutes=30)
MIN_MISSED_WHEN_SUSPENDED = 10
"""Fewer missed records, or a shorter silence, do not show that Pancake suspended the webhook."""
MAX_AGE_OF_RECENT_WEBHOOK = timedelta(minutes=10)
"""While the API fails, a webhook younger than this shows that Pancake works."""
MIN_FAILED_PROBES_OF_OUTAGE = 2
"""One failed probe may be a short network fault."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of a connection at one moment.

    `probe` is ALIVE, REJECTED or UNAVAILABLE; `failed_probes` counts the consecutive failures, including this
    one. `missed` records were found by polling since the last webhook, the first at `missed_since`.
    """

    probe: str
    failed_probes: int
    last_webhook_at: datetime | None
    missed: int
    missed_since: datetime | None


def judge(status: str, now: datetime, signs: Signs) -> str:
    """Return the status that follows the present one."""
    if signs.probe == REJECTED:
        return KEY_INVALID
    if signs.probe == UNAVAILABLE:
        return _judge_without_api(status, now, signs)
    if not signs.missed or signs.missed_since is None:
        return ACTIVE
    is_long = now - signs.missed_since >= SUSPENDED_AFTER_SILENCE
    return SUSPENDED if is_long and signs.missed >= MIN_MISSED_WHEN_SUSPENDED else SILENT


def _judge_without_api(status: str, now: datetime, signs: Signs) -> str:
    """While the API fails, a recent webhook shows that Pancake works; silence on both is an outage."""
    if signs.last_webhook_at is not None and now - signs.last_webhook_at < MAX_AGE_OF_RECENT_WEBHOOK:
        return status if status == KEY_INVALID else ACTIVE
    return OUTAGE if signs.failed_probes >= MIN_FAILED_PROBES_OF_OUTAGE else status
