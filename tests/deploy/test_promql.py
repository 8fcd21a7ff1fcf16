"""Every expression of `deploy/`: its metrics and labels exist, and it is right with several processes."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.alerts import FILES, ROOT, alerts, all_rules, recorded, recordings
from tests.support.promql import lint

DASHBOARDS = ROOT / "deploy" / "grafana"
NO_THRESHOLD = {"PancakeWatchdog"}
"""It always fires."""
GRAFANA_RANGES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1d"}
"""The shortest that Grafana fills in: __rate_interval is at least four scrapes."""

RULES = [rule for name in FILES for rule in all_rules(name)]


def name_of(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_the_expression_of_a_rule_is_without_fault(rule: dict[str, Any]) -> None:
    """An alert with a misspelt metric would never fire."""
    has_threshold = "alert" in rule and rule["alert"] not in NO_THRESHOLD
    assert lint().faults(rule["expr"], has_threshold=has_threshold) == []


@pytest.mark.parametrize("rule", alerts(), ids=name_of)
def test_the_texts_of_an_alert_name_labels_that_it_has(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert named <= lint().labels(rule["expr"]) | set(rule["labels"])


def test_each_recorded_series_is_read_by_an_alert_whose_cases_test_it() -> None:
    read = [rule["record"] for alert in alerts() for rule in recordings(alert)]
    assert {rule["record"] for rule in recorded()} == set(read)


def panel_queries() -> Iterator[tuple[str, str]]:
    """The queries of every panel of every dashboard, with where they are."""
    for path in sorted(DASHBOARDS.rglob("*.json")):
        yield from _queries(path.stem, json.loads(path.read_text()))


def _queries(where: str, part: Any) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        title = part.get("title")
        inside = f"{where}/{title}" if isinstance(title, str) and title else where
        if isinstance(part.get("expr"), str):
            yield inside, part["expr"]
        for value in part.values():
            yield from _queries(inside, value)
    elif isinstance(part, list):
        for value in part:
            yield from _queries(where, value)


def filled_in(query: str) -> str:
    """The query as Grafana sends it: with ranges, and any value for its own variables."""
    for variable, duration in GRAFANA_RANGES.items():
        query = query.replace(variable, duration)
    return re.sub(r"\$\{?\w+(?::\w+)?\}?", ".*", query)


def test_the_query_of_every_panel_is_without_fault() -> None:
    found = {
        f"{where}: {query}": faults
        for where, query in panel_queries()
        if (faults := lint().faults(filled_in(query)))
    }
    assert found == {}


def test_the_query_of_a_panel_is_found_wherever_it_is() -> None:
    row = {"title": "Row", "panels": [{"title": "P", "targets": [{"expr": "rate(x[$__rate_interval])"}]}]}
    assert list(_queries("d", {"panels": [row]})) == [("d/Row/P", "rate(x[$__rate_interval])")]
    assert filled_in('rate(x{c=~"$connection",d=~"${d:regex}"}[$__rate_interval])') == (
        'rate(x{c=~".*",d=~".*"}[1m])'
    )


BROKEN = {
    "max without (instance) (pancake_switch_on)": "no comparison",
    "max without (instance) (pancake_switch_on) == bool 1": "no comparison",
    "max(pancake_switch_on) == 1 or max(pancake_switch_on)": "no comparison",
    "time() - max(pancake_switch_changed_timestamp_seconds > 0)": "no comparison",
    "max(pancake_swich_on) == 1": "pancake_swich_on does not exist",
    'max({swich="x"}) == 1': "a selector without a name does not exist",
    'max(pancake_switch_on{swich="x"}) == 1': "pancake_switch_on has no such label or value",
    'sum(rate(pancake_events_total{result="fialed"}[5m])) > 1': (
        "pancake_events_total has no such label or value"
    ),
    'sum(rate(pancake_events_total{result=~"failed|daed"}[5m])) > 1': (
        "pancake_events_total has no such label or value"
    ),
    'sum(rate(pancake_events_total{job="pancake_edge"}[5m])) > 1': (
        "pancake_events_total has no such label or value"
    ),
    'pancake_edge_shed_total{queue="spool"} > 0': "pancake_edge_shed_total has no such label or value",
    "pancake_switch_on == 1": "pancake_switch_on is counted once per process",
    "sum(pancake_unassigned_tickets) > 1": "pancake_unassigned_tickets is counted once per process",
    "max by (instance) (pancake_unassigned_tickets) > 1": (
        "pancake_unassigned_tickets is counted once per process"
    ),
    "increase(pancake_events_total[5m]) > 1": "pancake_events_total is counted once per process",
    "max(rate(pancake_events_total[5m])) > 1": "pancake_events_total is counted once per process",
    "sum(pancake_events_total) > 1": "pancake_events_total is a counter without rate or increase",
    "sum(delta(pancake_events_total[5m])) > 1": "pancake_events_total is a counter without rate or increase",
    "max(rate(pancake_unassigned_tickets[5m])) > 1": "pancake_unassigned_tickets is a gauge under rate",
    "sum(rate(pancake_events_total[29s])) > 1": "29 s are shorter than two scrapes",
    "max_over_time(up[20s:5s]) > 1": "20 s are shorter than two scrapes",
    "max by (swich) (pancake_switch_on) > 1": "grouped by swich, which is not there",
    "up > on (folder) pancake_edge_spool_writable": "matched by folder, which is not there",
    "histogram_quantile(0.9, sum(rate(pancake_event_process_duration_seconds_bucket[5m]))) > 1": (
        "a quantile of le, which is not there"
    ),
}


@pytest.mark.parametrize(("expr", "fault"), BROKEN.items())
def test_each_fault_is_found(expr: str, fault: str) -> None:
    assert lint().faults(expr, has_threshold=True) == [fault]


def test_what_is_not_promql_is_a_fault() -> None:
    (fault,) = lint().faults("sum(rate(")
    assert fault.startswith("is not PromQL: ")


@pytest.mark.parametrize(
    "expr",
    [
        'absent(up{job="pancake_edge"})',
        "time() - max(pancake_switch_changed_timestamp_seconds > 0) > 3",
        "max(pancake_unassigned_tickets) > 1 unless on () max(pancake_switch_on) == 1",
        'sum(increase(pancake_webhook_requests_total{status="received"}[1h])) > 1',
        "increase(pancake_edge_shed_total[1h]) > 1",
    ],
)
def test_what_is_right_has_no_fault(expr: str) -> None:
    assert lint().faults(expr, has_threshold=True) == []


EACH_EDGE = ("connection", "job", "instance")


@pytest.mark.parametrize(
    ("expr", "labels"),
    [
        ("max without (instance) (pancake_switch_on)", {"switch", "job"}),
        ('absent(up{job="x",a=~"b"})', {"job"}),
        ("pancake_edge_budget_used > on (job) group_left () pancake_edge_budget_limit", {*EACH_EDGE}),
        ("pancake_edge_budget_used > on (connection) pancake_edge_budget_limit", {"connection"}),
        (
            "histogram_quantile(0.9, sum by (le, result) (rate(pancake_edge_upstream_seconds_bucket[5m])))",
            {"result"},
        ),
        ("time() - max by (query) (pancake_sql_seconds)", {"query"}),
    ],
)
def test_the_labels_of_a_result(expr: str, labels: set[str]) -> None:
    assert lint().labels(expr) == labels
