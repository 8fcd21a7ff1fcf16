"""The dashboard of Grafana: written from its source, complete, with the limits of the alerts."""

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from sandbox.dashboard.grafana import TARGET, json_model
from sandbox.dashboard.source import GRAFANA, read_dashboard
from tests.support.monitoring import ROOT, alerts

DASHBOARD = read_dashboard()
MODEL: dict[str, Any] = json.loads(TARGET.read_text("utf-8"))
PANELS = [panel for panel in MODEL["panels"] if panel["type"] != "row"]
ALERTS = {rule["alert"]: rule["expr"] for rule in alerts()}
TARGETS = {
    ("KPI 1", 30.0), ("KPI 2", 1800.0), ("KPI 3", 0.9), ("KPI 3", 0.2), ("KPI 4", 0.995),
    ("KPI 5", 1.0), ("KPI 5", 5.0),
}  # fmt: skip
"""Of the go-live checklist, in seconds and shares; zero-miss is broken from 1 on."""
COMPARISON = re.compile(r"(>=|<=|==|>|<)(?: on \([^)]*\) group_left \(\))? \(?([\d.]+)")
SAME = {(">", 0.0): (">=", 1.0), ("==", 0.0): ("<", 1.0)}
"""Of whole numbers."""


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


def test_a_panel_has_its_texts_its_unit_and_the_datasource_that_is_chosen() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert len(panel["description"]) > 20
        assert panel["fieldConfig"]["defaults"]["unit"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    (variable,) = MODEL["templating"]["list"]
    assert [variable[key] for key in ("name", "type", "query")] == ["datasource", "datasource", "prometheus"]


def test_every_panel_has_an_id_and_a_place_that_no_other_has() -> None:
    panels = MODEL["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert 0 <= panel["gridPos"]["x"] < panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart_x or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


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


def test_a_limit_is_drawn_in_grafana(subtests: pytest.Subtests) -> None:
    for panel in [panel for panel in DASHBOARD.panels if panel.limits]:
        with subtests.test(panel.title):
            (drawn,) = panel.limits
            (found,) = [each for each in PANELS if each["title"] == panel.title]
            defaults = found["fieldConfig"]["defaults"]
            steps = defaults["thresholds"]["steps"]
            good, bad = steps if drawn.limit.is_upper else steps[::-1]
            assert bad["color"] == "red"
            assert good["color"] in ("green", "transparent")
            assert steps[1]["value"] == drawn.limit.value
            assert drawn.limit.label in found["description"]
            if panel.kind == "time_series":
                assert defaults["custom"]["thresholdsStyle"]["mode"] == "dashed+area"


def test_grafana_is_given_the_datasource_and_the_folder_of_the_dashboard() -> None:
    provisioned = GRAFANA / "provisioning"
    (source,) = yaml.safe_load((provisioned / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    scrape = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == scrape["scrape_interval"]
    (provider,) = yaml.safe_load((provisioned / "dashboards" / "pancake.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert provider["allowUiUpdates"] is False
