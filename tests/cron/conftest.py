"""The handlers with Pancake's simulator behind them."""

from datetime import date, datetime, time, timedelta

import pytest

from leads.domain.window import ICT, day_window
from tests.support.crons import CronHarness


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
