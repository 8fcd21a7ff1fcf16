"""The handlers with Pancake's simulator behind them."""

from datetime import date, datetime, time, timedelta

import pytest

from leads.adapters.secrets import KeyRing
from leads.domain.body import ICT
from leads.domain.day_ledger import day_window
from tests.support.crons import SAME_API_URL, CronHarness, add_connection


@pytest.fixture
def harness(cron_harness: CronHarness) -> CronHarness:
    return cron_harness


@pytest.fixture
def day(harness: CronHarness) -> date:
    """Yesterday in ICT. The connection exists since then; the clock is past 02:00."""
    tomorrow = datetime.combine(harness.clock.now().astimezone(ICT).date() + timedelta(days=1), time(2), ICT)
    harness.clock.ahead += tomorrow - harness.clock.now()
    found = (harness.clock.now().astimezone(ICT) - timedelta(days=1)).date()
    harness.sql("UPDATE pancake_connection SET created_at = %s", day_window(found).start)
    return found


@pytest.fixture
def other_connection(harness: CronHarness, key_ring: KeyRing) -> str:
    """Id of a second connection, sorted before the first one, that lists the same records."""
    other = "00000000-0000-4000-8000-000000000000"
    add_connection(harness, key_ring, other, SAME_API_URL, workspace_id=123)
    harness.sql(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)"
        " SELECT %s, pancake_source_id, name, is_active FROM pancake_source",
        other,
    )
    return other
