"""What the rules select is in a scrape of the handlers: each value of a label is one that occurs."""

from collections.abc import AsyncIterator

import pytest

from leads.adapters.secrets import KeyRing
from tests.support.crons import CronHarness, running_crons
from tests.support.promql import selectors, selectors_of_ranges
from tests.support.promql_metrics import HANDLERS
from tests.support.scrapes import Samples, samples_of, selectors_of_rules, without_series
from tests.support.settings import handler_settings


@pytest.fixture
async def harness(database: str, connection_id: str, key_ring: KeyRing) -> AsyncIterator[CronHarness]:
    async with running_crons(handler_settings(database, key_ring), connection_id) as started:
        yield started


async def scraped(harness: CronHarness) -> Samples:
    return samples_of((await harness.client.get("/metrics")).text)


async def test_every_selector_under_a_rate_finds_a_series_of_an_idle_process(harness: CronHarness) -> None:
    """increase() does not see the first event of a series that appears with it."""
    wanted = list(selectors_of_rules(HANDLERS, selectors_of_ranges))
    assert len(wanted) > 20
    assert without_series(wanted, await scraped(harness)) == []


async def test_every_selector_of_a_rule_finds_a_series(harness: CronHarness) -> None:
    """An alert on a status or a window that does not exist would never fire."""
    wanted = list(selectors_of_rules(HANDLERS, selectors))
    assert len(wanted) > 50
    await harness.process_lead()
    unreadable = {"trigger": {"name": "pancake_webhook_event_status_update"}, "event": {}}
    await harness.client.post("/events/process_record", json=unreadable, headers=harness.headers)
    await harness.run("sync_sources")
    await harness.run("reconcile_daily")
    await harness.scrape("pancake_unassigned_tickets")
    assert without_series(wanted, await scraped(harness)) == []
