"""What the rules select is in a scrape of the handlers: each value of a label is one that occurs."""

import pytest

from tests.support.crons import CronHarness
from tests.support.promql import selectors, selectors_of_ranges
from tests.support.promql_metrics import HANDLERS
from tests.support.scrapes import Samples, samples_of, selectors_of_rules, without_series


@pytest.fixture
def harness(cron_harness: CronHarness) -> CronHarness:
    return cron_harness


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
