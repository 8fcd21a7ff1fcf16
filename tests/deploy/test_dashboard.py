"""The dashboard of Grafana: its queries, and the limits of the alerts."""

import re

import pytest
import yaml

from proofs.dashboard.panels import GRAFANA, read_dashboard
from tests.support.monitoring import ROOT, alerts
from tests.support.promql import faults

_, SECTIONS = read_dashboard()
PANELS = [drawn for section in SECTIONS for drawn in section.panels]
ALERTS = {rule["alert"]: rule["expr"] for rule in alerts()}
TARGETS = {
    ("KPI 1", 30.0), ("KPI 2", 1800.0), ("KPI 3", 0.9), ("KPI 3", 0.2), ("KPI 4", 0.995),
    ("KPI 5", 1.0), ("KPI 5", 5.0),
}  # fmt: skip
"""Of the go-live checklist, in seconds and shares; zero-miss is broken from 1 on."""
COMPARISON = re.compile(r"(>=|<=|==|>|<)(?: on \([^)]*\) group_left \(\))? \(?([\d.]+)")
WHOLE = {(">", "0"): (">=", "1"), ("==", "0"): ("<", "1")}
"""Of whole numbers."""
RANGES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1d"}
"""The shortest that Grafana fills in: __rate_interval is at least four scrapes."""


def test_the_targets_of_the_checklist_are_drawn() -> None:
    drawn = {
        (section.title[:5], each.panel.limit.value)
        for section in SECTIONS[:5]
        for each in section.panels
        if each.panel.limit
    }
    assert drawn == TARGETS


def test_a_limit_has_the_value_of_its_alert_on_the_same_figure(subtests: pytest.Subtests) -> None:
    """A panel links the runbook of the alert that has its limit."""
    linked = [(drawn, drawn.panel.limit, alert) for drawn in PANELS for alert in drawn.alerts]
    assert len(linked) > 15
    for drawn, limit, alert in linked:
        with subtests.test(drawn.panel.title):
            assert limit is not None
            expr = ALERTS[alert]
            compared = [WHOLE.get(each, each) for each in COMPARISON.findall(expr)]
            sides = {(sign in (">", ">="), float(value)) for sign, value in compared}
            assert (limit.is_upper, limit.value) in sides
            figures = {name for query in drawn.queries.values() for name in re.findall(r"pancake_\w+", query)}
            assert figures & set(re.findall(r"pancake_\w+", expr)), figures
    unlinked = [
        d.panel.title for d in PANELS if d.panel.limit and "alert" in d.panel.limit.label and not d.alerts
    ]
    assert unlinked == []


def test_the_query_of_every_panel_is_without_fault() -> None:
    """As Grafana sends it: with ranges, and any value for its own variables."""
    queries = [query for drawn in PANELS for query in drawn.queries.values()]
    assert len(queries) > 30
    for query in queries:
        filled_in = query
        for variable, duration in RANGES.items():
            filled_in = filled_in.replace(variable, duration)
        assert faults(re.sub(r"\$\{?\w+(?::\w+)?\}?", ".*", filled_in)) == [], query


def test_grafana_is_given_the_datasource_and_the_folder_of_the_dashboard() -> None:
    provisioned = GRAFANA / "provisioning"
    (source,) = yaml.safe_load((provisioned / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    scrape = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == scrape["scrape_interval"]
    (provider,) = yaml.safe_load((provisioned / "dashboards" / "pancake.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert provider["allowUiUpdates"] is False
