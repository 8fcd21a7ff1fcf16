"""The handlers with Pancake's simulator behind them, on a database of the test's own."""

from collections.abc import AsyncIterator
from datetime import date, datetime, time, timedelta

import pytest

from leads.adapters.secrets import KeyRing
from leads.domain.window import ICT, day_window
from tests.support.crons import CronHarness, running_crons
from tests.support.settings import handler_settings


@pytest.fixture
async def harness(database: str, connection_id: str, key_ring: KeyRing) -> AsyncIterator[CronHarness]:
    async with running_crons(handler_settings(database, key_ring), connection_id) as started:
        yield started


@pytest.fixture
def day(harness: CronHarness) -> date:
    """Yesterday in ICT. The connection exists since then; the clock is past 02:00."""
    tomorrow = datetime.combine(harness.clock.now().astimezone(ICT).date() + timedelta(days=1), time(2), ICT)
    harness.clock.ahead += tomorrow - harness.clock.now()
    found = (harness.clock.now().astimezone(ICT) - timedelta(days=1)).date()
    harness.sql("UPDATE pancake_connection SET created_at = %s", day_window(found).start)
    return found
