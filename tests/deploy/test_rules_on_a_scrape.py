"""What the rules select is in a scrape of the handlers: each value of a label is one that occurs."""

import re
from collections.abc import AsyncIterator, Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import VectorSelector

from leads.adapters.secrets import KeyRing
from tests.support.alerts import FILES, all_rules
from tests.support.crons import CronHarness, running_crons
from tests.support.promql import fits, selectors
from tests.support.promql_metrics import HANDLERS, SCRAPE_LABELS, Metrics
from tests.support.settings import handler_settings

Samples = Mapping[str, list[Mapping[str, str]]]
"""The labels of the samples by name."""


@pytest.fixture
async def harness(database: str, connection_id: str, key_ring: KeyRing) -> AsyncIterator[CronHarness]:
    async with running_crons(handler_settings(database, key_ring), connection_id) as started:
        yield started


async def scraped(harness: CronHarness) -> Samples:
    """Scrape a process that processed a lead, refused an event, and asked Pancake."""
    await harness.process_lead()
    unreadable = {"trigger": {"name": "pancake_webhook_event_status_update"}, "event": {}}
    await harness.client.post("/events/process_record", json=unreadable, headers=harness.headers)
    await harness.run("sync_sources")
    await harness.run("reconcile_daily")
    await harness.scrape("pancake_unassigned_tickets")
    text = (await harness.client.get("/metrics")).text
    found: dict[str, list[Mapping[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def selects(selector: VectorSelector, labels: Mapping[str, str]) -> bool:
    """Whether a selector takes a sample, by Prometheus' rules."""
    for matcher in selector.matchers.matchers:
        if matcher.name in SCRAPE_LABELS:
            continue
        operator, value = str(matcher.op), labels.get(matcher.name, "")
        is_equal = value == matcher.value
        if operator in ("MatchOp.Re", "MatchOp.NotRe"):
            is_equal = bool(re.fullmatch(matcher.value, value))
        if is_equal == operator.startswith("MatchOp.Not"):
            return False
    return True


async def test_every_selector_of_a_rule_finds_a_series(harness: CronHarness) -> None:
    """An alert on a status or a window that does not exist would never fire."""
    found, known = await scraped(harness), Metrics().by_name
    rules = [rule for name in FILES for rule in all_rules(name)]
    of_handlers = [
        (rule.get("alert") or rule["record"], selector)
        for rule in rules
        for selector in selectors(rule["expr"])
        if any(
            metric.job == HANDLERS and fits(metric, selector) for metric in known.get(selector.name or "", ())
        )
    ]
    assert len(of_handlers) > 50
    assert [
        (name, str(selector))
        for name, selector in of_handlers
        if not any(selects(selector, labels) for labels in found.get(selector.name or "", ()))
    ] == []
