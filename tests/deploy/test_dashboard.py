"""The dashboard of Grafana: written from its source, with the limits of the alerts."""

import re

import pytest
import yaml

from proofs.dashboard.grafana import TARGET, json_model
from proofs.dashboard.source import GRAFANA, read_dashboard
from tests.support.monitoring import ROOT, alerts
from tests.support.promql import faults

DASHBOARD = read_dashboard()
ALERTS = {rule["alert"]: rule["expr"] for rule in alerts()}
TARGETS = {
    ("KPI 1", 30.0), ("KPI 2", 1800.0), ("KPI 3", 0.9), ("KPI 3", 0.2), ("KPI 4", 0.995),
    ("KPI 5", 1.0), ("KPI 5", 5.0),
}  # fmt: skip
"""Of the go-live checklist, in seconds and shares; zero-miss is broken from 1 on."""
COMPARISON = re.compile(r"(>=|<=|==|>|<)(?: on \([^)]*\) group_left \(\))? \(?([\d.]+)")
SAME = {(">", 0.0): (">=", 1.0), ("==", 0.0): ("<", 1.0)}
"""Of whole numbers."""
RANGES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1d"}
"""The shortest that Grafana fills in: __rate_interval is at least four scrapes."""


def test_the_file_is_written_from_its_source() -> None:
    assert TARGET.read_text("utf-8") == json_model(DASHBOARD), "run: scripts/dashboard json"


def test_the_targets_of_the_checklist_are_drawn() -> None:
    drawn = {
        (section.title[:5], limit.limit.value)
        for section in DASHBOARD.sections[:5]
        for panel in section.panels
        for limit in panel.limits
    }
    assert drawn == TARGETS


def test_a_limit_has_the_value_of_its_alert_on_the_same_figure(subtests: pytest.Subtests) -> None:
    limits = [(panel, drawn) for panel in DASHBOARD.panels for drawn in panel.limits if drawn.alert]
    assert limits
    for panel, drawn in limits:
        with subtests.test(panel.title):
            expr, limit = ALERTS[drawn.alert], drawn.limit
            compared = [(operator, float(value)) for operator, value in COMPARISON.findall(expr)]
            assert (limit.broken, limit.value) in [SAME.get(each, each) for each in compared]
            figures = {name for query in panel.queries.values() for name in re.findall(r"pancake_\w+", query)}
            assert figures & set(re.findall(r"pancake_\w+", expr)), figures


def test_the_query_of_every_panel_is_without_fault() -> None:
    """As Grafana sends it: with ranges, and any value for its own variables."""
    queries = [query for panel in DASHBOARD.panels for query in panel.queries.values()]
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
