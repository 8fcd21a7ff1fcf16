"""The rules and routes of deploy/, faster by a factor."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.incidents.compression import (
    compress_alertmanager,
    compress_expression,
    compress_prometheus,
    compress_rules,
)
from sandbox.incidents.prometheus import run_promtool
from sandbox.incidents.rules import ALERTMANAGER, load, rule_files
from tests.support.monitoring import needs_monitoring

TARGETS = {
    "pancake_handlers": "127.0.0.1:1",
    "pancake_edge": "127.0.0.1:2",
    "prometheus": "127.0.0.1:3",
    "alertmanager": "127.0.0.1:4",
}


@pytest.mark.parametrize(
    ("expression", "faster"),
    [
        ("increase(x[10m]) >= 3", "increase(x[20000ms]) >= 3"),
        ("time() - max(x > 0) > 600", "time() - max(x > 0) > 20"),
        ("x > 5000", "x > 5000"),
        ("time() - x > 2 * period + 60", "time() - x > 2 * period + 60"),
        ("increase(x[1h]) - sum(pancake_recent_events)", "increase(x[1h]) - sum(pancake_recent_events)"),
    ],
)
def test_ranges_and_limits_are_divided_and_hours_of_the_database_are_not(
    expression: str, faster: str
) -> None:
    assert compress_expression(expression, 30) == faster


@needs_monitoring
def test_prometheus_accepts_what_is_written(tmp_path: Path) -> None:
    for name, document in compress_rules(30).items():
        (tmp_path / name).write_text(yaml.safe_dump(document))
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump(compress_prometheus(30, TARGETS, "127.0.0.1:4")))
    assert "SUCCESS" in run_promtool("check", "config", config)


def test_every_alert_is_kept_with_its_labels_and_a_shorter_time() -> None:
    for path in rule_files():
        before, after = yaml.safe_load(path.read_text()), compress_rules(30)[path.name]
        for old, new in zip(_rules(before), _rules(after), strict=True):
            assert (
                new["labels" if "alert" in new else "record"] == old["labels" if "alert" in old else "record"]
            )
            assert ("for" in old) == ("for" in new)
    documents = compress_rules(30).values()
    written = {rule.get("alert"): rule for document in documents for rule in _rules(document)}
    down, stuck = written["PancakeHandlersDown"], written["PancakeEdgeSpoolStuck"]
    assert (down["for"], down["keep_firing_for"], stuck["for"]) == ("4000ms", "20000ms", "15m")


def test_alertmanager_keeps_routes_and_inhibitions_and_posts_to_loopback() -> None:
    before, after = load(ALERTMANAGER), compress_alertmanager(30, "http://127.0.0.1:5")
    assert after["inhibit_rules"] == before["inhibit_rules"]
    assert [route["matchers"] for route in after["route"]["routes"]] == [
        route["matchers"] for route in before["route"]["routes"]
    ]
    assert after["route"]["group_wait"] == "1000ms"
    assert {receiver["name"]: receiver["webhook_configs"] for receiver in after["receivers"]} == {
        name: [{"url": f"http://127.0.0.1:5/{name}"}] for name in ("pager", "team_channel", "heartbeat")
    }


def _rules(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in document["groups"] for rule in group["rules"]]
