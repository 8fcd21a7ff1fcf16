"""The metrics of the handlers are those in the docs."""

import re
from pathlib import Path

from leads.adapters.metrics import (
    CRON_RESULTS,
    EVENT_RESULTS,
    HTTP_CODES,
    NOTIFICATION_RESULTS,
    WEBHOOK_STATUSES,
    Metrics,
)

FLOW = (Path(__file__).parents[3] / "docs" / "flow.md").read_text("utf-8")
PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text("utf-8")


def test_the_documented_series_are_the_series_of_the_handlers() -> None:
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
        if not family.name.startswith("process_")
    }
    assert set(re.findall(r"^\| `(pancake_\w+)", PAGE, re.MULTILINE)) == families


def test_memory_and_cpu_of_the_process_are_shown() -> None:
    """The gate of the third wave reads the memory of each pod."""
    registry = Metrics().registry
    memory = registry.get_sample_value("process_resident_memory_bytes")
    cpu = registry.get_sample_value("process_cpu_seconds_total")
    assert memory is not None
    assert 10 * 2**20 < memory < 4 * 2**30
    assert cpu is not None
    assert cpu > 0


def test_every_result_that_can_occur_is_documented() -> None:
    for result in (*CRON_RESULTS, *NOTIFICATION_RESULTS):
        assert f"`{result}`" in PAGE, result
    for result in (*EVENT_RESULTS, *WEBHOOK_STATUSES):
        assert f"`{result}`" in PAGE + FLOW, result


def test_every_label_of_a_closed_set_begins_at_0() -> None:
    """increase() does not see the first event of a series that appears with it."""
    metrics = Metrics()
    metrics.add_cron("check_sla", 300)
    metrics.add_route("/edge/policy")
    for name, others, label, values in (
        ("pancake_events", {}, "result", EVENT_RESULTS),
        ("pancake_notifications", {}, "result", NOTIFICATION_RESULTS),
        ("pancake_webhook_requests", {}, "status", WEBHOOK_STATUSES),
        ("pancake_webhook_missed", {}, "origin", ("poll", "reconcile")),
        ("pancake_cron_runs", {"name": "check_sla"}, "result", CRON_RESULTS),
        ("pancake_http_requests", {"route": "/edge/policy"}, "code", HTTP_CODES),
    ):
        for value in values:
            labels = {**others, label: value}
            assert metrics.registry.get_sample_value(f"{name}_total", labels) == 0, (name, value)
