"""The handlers with Pancake's simulator behind them, on a database of the test's own."""

from collections.abc import AsyncIterator

import pytest

from leads.adapters.secrets import KeyRing
from tests.support.crons import CronHarness, running_crons
from tests.support.settings import handler_settings


@pytest.fixture
async def harness(database: str, connection_id: str, key_ring: KeyRing) -> AsyncIterator[CronHarness]:
    async with running_crons(handler_settings(database, key_ring), connection_id) as started:
        yield started
