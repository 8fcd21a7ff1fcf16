"""Write the dashboard in Grafana's classic JSON model.

Source: https://grafana.com/docs/grafana/v12.2/dashboards/build-dashboards/view-dashboard-json-model/. Grafana
migrates an older version of the schema when it reads it.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from proofs.dashboard.source import GRAFANA, Dashboard, DrawnLimit, Kind, PanelSource, Section
from proofs.plot.panels import Limit

TARGET = GRAFANA / "dashboards" / "pancake-diva.json"
SCHEMA_VERSION = 39
"""Of Grafana 11."""
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TYPES: dict[Kind, str] = {
    "stat": "stat",
    "time_series": "timeseries",
    "bars": "bargauge",
    "heatmap": "heatmap",
    "states": "state-timeline",
}
INSTANT: tuple[Kind, ...] = ("bars",)
"""Kinds that show the last value only."""


def json_model(dashboard: Dashboard) -> str:
    """Return the text of the JSON file."""
    model = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["pancake"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "timezone": "Asia/Ho_Chi_Minh",
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [_datasource_variable()]},
        "annotations": {"list": []},
        "links": [],
        "panels": list(_rows_and_panels(dashboard.sections)),
    }
    return json.dumps(model, ensure_ascii=False, indent=2) + "\n"


def _datasource_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "options": [],
    }


def _rows_and_panels(sections: Sequence[Section]) -> Iterator[dict[str, Any]]:
    """Yield the headings and panels with their places, from left to right, then down."""
    number, y = 0, 0
    for section in sections:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": section.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }
        x, y, height = 0, y + 1, 0
        for panel in section.panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height})
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _panel(panel: PanelSource, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": TYPES[panel.kind],
        "title": panel.title,
        "description": _description(panel),
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": [
            _target(panel, letter, legend, query)
            for letter, (legend, query) in zip("ABCDEF", panel.queries.items(), strict=False)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _description(panel: PanelSource) -> str:
    """Return the description with the limits in words: a colour alone says nothing to some readers."""
    labels = "; ".join(drawn.limit.label for drawn in panel.limits)
    return f"{panel.description} ({labels})" if labels else panel.description


def _target(panel: PanelSource, letter: str, legend: str, query: str) -> dict[str, Any]:
    is_instant = panel.kind in INSTANT
    return {
        "refId": letter,
        "datasource": DATASOURCE,
        "expr": query,
        "legendFormat": legend,
        "format": "heatmap" if panel.kind == "heatmap" else "time_series",
        "instant": is_instant,
        "range": not is_instant,
    }


def _defaults(panel: PanelSource) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": panel.unit.value,
        "color": {"mode": "thresholds" if panel.kind in ("stat", "bars", "states") else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": _steps(panel)},
        "mappings": [],
        "noValue": panel.no_value,
    }
    if panel.kind != "stat" and not panel.is_cut:
        defaults["min"] = 0
    if panel.kind == "time_series":
        defaults["custom"] = _lines(panel)
    if panel.kind == "states":
        defaults["custom"] = {"fillOpacity": 70, "lineWidth": 0}
    return defaults


def _lines(panel: PanelSource) -> dict[str, Any]:
    values = [drawn.limit.value for drawn in panel.limits]
    soft = {"axisSoftMin": min(values), "axisSoftMax": max(values)} if values else {}
    return {
        "drawStyle": "line",
        "lineInterpolation": "stepAfter" if panel.is_stepped else "linear",
        "lineWidth": 2,
        "fillOpacity": 0,
        "showPoints": "auto",
        # A gap in the values is a gap in the line.
        "spanNulls": False,
        "thresholdsStyle": {"mode": "dashed+area" if values else "off"},
        **soft,
    }


def _steps(panel: PanelSource) -> list[dict[str, Any]]:
    """Return the colours from each value on. States are grey at 0 and blue above."""
    if panel.kind == "states":
        return [_step(None, "#8e8e8e"), _step(1, "blue"), _step(2, "red")]
    good = "transparent" if panel.kind == "time_series" else "green" if panel.limits else "blue"
    if not panel.limits:
        return [_step(None, good)]
    (drawn,) = panel.limits
    return _two_steps(drawn, good)


def _two_steps(drawn: DrawnLimit, good: str) -> list[dict[str, Any]]:
    limit: Limit = drawn.limit
    if limit.is_upper:
        return [_step(None, good), _step(limit.value, "red")]
    return [_step(None, "red"), _step(limit.value, good)]


def _step(value: float | None, colour: str) -> dict[str, Any]:
    return {"value": value, "color": colour}


def _options(panel: PanelSource) -> dict[str, Any]:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "stat":
            return {"reduceOptions": last, "colorMode": "value", "graphMode": "area", "textMode": "value"}
        case "bars":
            return {
                "reduceOptions": last,
                "orientation": "horizontal",
                "displayMode": "basic",
                "showUnfilled": True,
            }
        case "heatmap":
            # The buckets come from Prometheus, each with the upper bound of its name.
            return {
                "calculate": False,
                "yAxis": {"unit": "s"},
                "color": {"scheme": "Blues", "mode": "scheme"},
            }
        case "states":
            return {"mergeValues": True, "showValue": "auto", "legend": {"showLegend": False}}
        case "time_series":
            legend = {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["lastNotNull"],
            }
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
