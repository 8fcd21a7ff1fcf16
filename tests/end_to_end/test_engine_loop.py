"""The one loop in which the engine delivers the crons of all applications: genuine order, genuine pauses.

In real time: the engine looks for due events every 10 s, after the slowest call of the round before.
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest

from leads.domain.window import ICT, day_window
from tests.support.end_to_end import EndToEndHarness
from tests.support.fake_services import fixed_engine
from tests.support.waiting import eventually

OURS, NEIGHBOUR = "pancake_reconcile_daily", "neighbour"
EVERY_MINUTE = "* * * * *"
PAUSE = timedelta(seconds=10)
MAX_LATE = timedelta(seconds=20)
TICK_AFTER = timedelta(seconds=3)
"""From the first call to the neighbour's next tick: less than the 4.8 s for which one call reads pages."""
RECORDS, SECONDS_PER_PAGE = 900, 0.6
"""Thirty pages, 18 s of reading. Read in one call they make the neighbour 18 + 10 - 3 = 25 s late."""
CALL_TIMEOUT_SECONDS = 60
"""The engine's limit of a call. The real one, 10 s, would hide a handler that answers late."""
RECONCILED = "SELECT id FROM pancake_cron_run WHERE name = 'reconcile_daily' AND outcome = 'succeeded'"
CALLS = """
    SELECT e.scheduled_time, i.created_at AS ended_at
    FROM hdb_catalog.hdb_cron_events AS e
    JOIN hdb_catalog.hdb_cron_event_invocation_logs AS i ON i.event_id = e.id
    WHERE e.trigger_name = %s
    ORDER BY i.created_at
"""


@pytest.mark.full("half a minute of real time")
def test_a_long_reconciliation_makes_no_minute_cron_of_a_neighbour_late(harness: EndToEndHarness) -> None:
    """The neighbour's second tick comes while the first call of the reconciliation still reads pages."""
    if harness.sandbox is None:
        pytest.skip("needs the clock of the stand-in and a slow Pancake")
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    window = day_window(minute.astimezone(ICT).date() - timedelta(days=1))
    harness.query("UPDATE pancake_connection SET created_at = %s", [window.start])
    faults = f"{harness.sandbox.pancake_url}/control/faults"
    period = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    _post(f"{harness.sandbox.pancake_url}/control/bulk", {"count": RECORDS, **period})
    _post(faults, {"slow_seconds": SECONDS_PER_PAGE})
    ours = _trigger(harness, OURS)
    with fixed_engine({}) as neighbour:
        _set_clock(harness, minute - timedelta(seconds=30))
        theirs = {"name": NEIGHBOUR, "webhook": neighbour, "include_in_metadata": True}
        harness.metadata_api("create_cron_trigger", {**theirs, "schedule": EVERY_MINUTE})
        retries = {**ours["retry_conf"], "timeout_seconds": CALL_TIMEOUT_SECONDS}
        once = {"schedule": f"{minute.minute} {minute.hour} * * *", "retry_conf": retries}
        harness.metadata_api("create_cron_trigger", {**ours, **once, "replace": True})
        try:
            # Both ticks of `minute` are due at once, the neighbour's second one after TICK_AFTER.
            ahead = _set_clock(harness, minute + timedelta(minutes=1) - TICK_AFTER)
            eventually(lambda: len(_calls(harness, NEIGHBOUR)) >= 2, seconds=90)
            _check_second_tick(harness, minute + timedelta(minutes=1), ahead)
            eventually(lambda: len(_calls(harness, OURS)) >= 2, seconds=30)
            httpx.delete(faults).raise_for_status()
            eventually(lambda: harness.query(RECONCILED), seconds=60)
            eventually(lambda: len(_calls(harness, OURS)) >= 3, seconds=30)
        finally:
            httpx.delete(faults).raise_for_status()
            harness.metadata_api("create_cron_trigger", {**ours, "replace": True})
            harness.metadata_api("delete_cron_trigger", {"name": NEIGHBOUR})
    gaps = [later["ended_at"] - call["ended_at"] for call, later in pairwise(_calls(harness, OURS))]
    assert min(gaps) >= PAUSE, gaps


def _check_second_tick(harness: EndToEndHarness, tick: datetime, ahead: timedelta) -> None:
    """The tick came during our first call, and was delivered in the round after it, in time."""
    first_end = _calls(harness, OURS)[0]["ended_at"]
    called = _calls(harness, NEIGHBOUR)[1]
    assert called["scheduled_time"] == tick
    due = tick - ahead
    assert due < first_end, "the tick did not come during the first call"
    assert called["ended_at"] - first_end >= PAUSE
    assert called["ended_at"] - due <= MAX_LATE, called["ended_at"] - due


def _trigger(harness: EndToEndHarness, name: str) -> dict[str, Any]:
    triggers = harness.metadata_api("get_cron_triggers", {})["cron_triggers"]
    return dict(next(each for each in triggers if each["name"] == name))


def _calls(harness: EndToEndHarness, name: str) -> list[dict[str, Any]]:
    """Return the calls of a cron, in the order of their ends: the tick, and the real time of the end."""
    return harness.query(CALLS, [name])


def _set_clock(harness: EndToEndHarness, moment: datetime) -> timedelta:
    """Set the engine's clock, from where it runs on; return by how much it is ahead of the real time."""
    ahead = moment - datetime.now(UTC)
    headers = {"x-hasura-admin-secret": harness.admin_secret}
    _post(f"{harness.hasura_url}/sandbox/clock", {"set": moment.isoformat()}, headers)
    return ahead


def _post(url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    httpx.post(url, json=body, headers=headers, timeout=60).raise_for_status()
