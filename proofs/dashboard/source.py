"""Read `deploy/grafana/panels.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from proofs.plot.panels import Limit
from proofs.plot.units import Unit

GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
SOURCE = GRAFANA / "panels.yaml"
NO_VALUE = "no data"
Kind = Literal["stat", "time_series", "bars", "heatmap", "states"]
HEIGHTS: Mapping[Kind, int] = {"stat": 7, "time_series": 8, "bars": 8, "heatmap": 8, "states": 8}
"""By default, in units of Grafana's grid: 30 pixels and the gap between panels."""


@dataclass(frozen=True, slots=True)
class DrawnLimit:
    """A limit, with the alert that has the same value, if there is one."""

    limit: Limit
    alert: str | None


@dataclass(frozen=True, slots=True)
class PanelSource:
    """A panel: `queries` by their legend, `width` of 24 columns, `no_value` is shown without an answer."""

    title: str
    description: str
    kind: Kind
    unit: Unit
    queries: Mapping[str, str]
    limits: tuple[DrawnLimit, ...]
    width: int
    height: int
    is_cut: bool
    is_stepped: bool
    no_value: str


@dataclass(frozen=True, slots=True)
class Section:
    """Panels below one heading."""

    title: str
    panels: tuple[PanelSource, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """All sections."""

    uid: str
    title: str
    description: str
    sections: tuple[Section, ...]

    @property
    def panels(self) -> tuple[PanelSource, ...]:
        return tuple(panel for section in self.sections for panel in section.panels)


def read_dashboard() -> Dashboard:
    """Return the dashboard.

    Raises ValueError or KeyError for a field that is unknown, missing or of a wrong value, or YAMLError.
    """
    document = yaml.safe_load(SOURCE.read_text("utf-8"))
    sections = tuple(
        Section(
            section["title"],
            tuple(_panel(panel, section.get("no_value", NO_VALUE)) for panel in section["panels"]),
        )
        for section in document["sections"]
    )
    return Dashboard(document["uid"], document["title"], document["description"], sections)


def _panel(fields: dict[str, Any], no_value: str) -> PanelSource:
    given = dict(fields)
    title = given.pop("title")
    missing = {"description", "unit", "queries", "width"} - given.keys()
    if missing:
        raise ValueError(f"{title}: misses {', '.join(sorted(missing))}")
    kind: Kind = given.pop("kind", "time_series")
    if kind not in get_args(Kind):
        raise ValueError(f"{title}: kind {kind} is none of {', '.join(get_args(Kind))}")
    panel = PanelSource(
        title=title,
        description=given.pop("description"),
        kind=kind,
        unit=Unit(given.pop("unit")),
        queries={legend: " ".join(query.split()) for legend, query in given.pop("queries").items()},
        limits=tuple(_limit(limit) for limit in given.pop("limits", ())),
        width=given.pop("width"),
        height=given.pop("height", HEIGHTS[kind]),
        is_cut=given.pop("is_cut", False),
        is_stepped=given.pop("is_stepped", False),
        no_value=no_value,
    )
    if given:
        raise ValueError(f"{title}: unknown fields {', '.join(given)}")
    return panel


def _limit(fields: dict[str, Any]) -> DrawnLimit:
    limit = Limit(float(fields["value"]), fields["broken"], fields["label"])
    return DrawnLimit(limit, fields.get("alert"))
