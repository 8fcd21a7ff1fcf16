"""The one loop in which the engine delivers the crons of all applications: genuine order, genuine pauses.

In real time: the engine looks for due events every 10 s, after the slowest call of the round before.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from leads.domain.window import ICT, day_window
from tests.support.end_to_end import EndToEndHarness
from tests.support.fixed_engine import fixed_engine
from tests.support.waiting import eventually

EVERY_MINUTE = "* * * * *"
MAX_SECONDS_LATE = 20
RECORDS, SECONDS_PER_PAGE = 900, 0.6
"""Thirty pages: 18 s of reading, which is more than two calls."""
RECONCILED = "SELECT id FROM pancake_cron_run WHERE name = 'reconcile_daily' AND outcome = 'succeeded'"
CALLS = """
    SELECT e.scheduled_time, extract(epoch FROM i.created_at - e.scheduled_time)::float AS seconds_after
    FROM hdb_catalog.hdb_cron_events AS e
    JOIN hdb_catalog.hdb_cron_event_invocation_logs AS i ON i.event_id = e.id
    WHERE e.trigger_name = %s
    ORDER BY i.created_at
"""


def test_a_long_reconciliation_makes_no_minute_cron_of_a_neighbour_late(harness: EndToEndHarness) -> None:
    """The neighbour's second tick comes while the reconciliation still goes on in calls of at most 8 s."""
    if harness.sandbox is None:
        pytest.skip("needs the clock of the stand-in and a slow Pancake")
    day = (datetime.now(UTC).astimezone(ICT) - timedelta(days=1)).date()
    window = day_window(day)
    harness.query("UPDATE pancake_connection SET created_at = %s", [window.start])
    pancake = harness.sandbox.pancake_url
    period = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    _post(f"{pancake}/control/bulk", {"count": RECORDS, **period})
    _post(f"{pancake}/control/faults", {"slow_seconds": SECONDS_PER_PAGE})
    with fixed_engine({}) as neighbour:
        ours = next(
            each
            for each in harness.metadata_api("get_cron_triggers", {})["cron_triggers"]
            if each["name"] == "pancake_reconcile_daily"
        )
        theirs = {"name": "neighbour", "webhook": neighbour, "include_in_metadata": True}
        harness.metadata_api("create_cron_trigger", {**theirs, "schedule": EVERY_MINUTE})
        harness.metadata_api("create_cron_trigger", {**ours, "schedule": EVERY_MINUTE, "replace": True})
        ahead = _advance_to_the_minute(harness)
        try:
            eventually(lambda: len(harness.query(CALLS, ["neighbour"])) >= 2, seconds=120)
            eventually(lambda: harness.query(RECONCILED), seconds=60)
        finally:
            harness.metadata_api("create_cron_trigger", {**ours, "replace": True})
            harness.metadata_api("delete_cron_trigger", {"name": "neighbour"})
            httpx.delete(f"{pancake}/control/faults").raise_for_status()
    late = [call["seconds_after"] + ahead for call in harness.query(CALLS, ["neighbour"])]
    assert max(late) <= MAX_SECONDS_LATE, late
    calls = harness.query(CALLS, ["pancake_reconcile_daily"])
    assert len(calls) >= 3, calls


def _advance_to_the_minute(harness: EndToEndHarness) -> float:
    """Move the engine's clock to the end of the minute; return the seconds that it is ahead since."""
    seconds = 60 - time.time() % 60
    headers = {"x-hasura-admin-secret": harness.admin_secret}
    _post(f"{harness.hasura_url}/sandbox/clock", {"advance": seconds}, headers)
    return seconds


def _post(url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    httpx.post(url, json=body, headers=headers, timeout=60).raise_for_status()
