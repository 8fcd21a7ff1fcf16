"""Whether a connection lives, judged by two channels: what its webhook brings and what its API answers.

Pancake has no API for the state of a webhook. That it was suspended is inferred: polling keeps finding what
the webhook should have brought.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

ACTIVE, SILENT, SUSPENDED, OUTAGE, KEY_INVALID = "active", "silent", "suspended", "outage", "key_invalid"
ALIVE, REJECTED, UNAVAILABLE = "alive", "rejected", "unavailable"
SUSPENDED_AFTER = timedelta(minutes=30)
SUSPENDED_MISSES = 10
QUIET_AFTER = timedelta(minutes=10)
"""Without a webhook for that long, the webhook does not vouch for Pancake while the API fails."""
OUTAGE_PROBES = 2
"""One failed probe is a blip."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of a connection at one moment.

    `probe` is alive, rejected or unavailable; `failed_probes` counts the failures in a row, this one
    included. `missed` records were found by polling since the last webhook, the first at `missed_since`.
    """

    probe: str
    failed_probes: int
    last_webhook_at: datetime | None
    missed: int
    missed_since: datetime | None


def judge(before: str, now: datetime, signs: Signs) -> str:
    """The connection's status from now on."""
    if signs.probe == REJECTED:
        return KEY_INVALID
    if signs.probe == UNAVAILABLE:
        return _without_api(before, now, signs)
    if not signs.missed or signs.missed_since is None:
        return ACTIVE
    long = now - signs.missed_since >= SUSPENDED_AFTER
    return SUSPENDED if long and signs.missed >= SUSPENDED_MISSES else SILENT


def _without_api(before: str, now: datetime, signs: Signs) -> str:
    """The API fails: a webhook that still comes is a sign of life, silence on both channels an outage."""
    if signs.last_webhook_at is not None and now - signs.last_webhook_at < QUIET_AFTER:
        return before if before == KEY_INVALID else ACTIVE
    return OUTAGE if signs.failed_probes >= OUTAGE_PROBES else before
