"""Pictures of the dashboard from the answers of a Prometheus that a test gives."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import nan
from xml.etree.ElementTree import fromstring

from proofs.dashboard.pictures import PAPER, SCREEN, View, draw_panel, draw_sections
from proofs.dashboard.source import Kind, PanelSource, read_dashboard
from proofs.plot.units import Unit
from sandbox.monitoring.servers import Queries, Series

SINCE = datetime(2026, 5, 14, 3, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=1)
SVG = "{http://www.w3.org/2000/svg}"


Given = tuple[Mapping[str, str], Sequence[float]]
"""Labels of a series and its values, one a minute."""


class Answers(Queries):
    """Gives the same series to every query."""

    def __init__(self, given: Sequence[Given]) -> None:
        moments = [SINCE + timedelta(minutes=minute) for minute in range(60)]
        self._found = [Series(labels, [*zip(moments, values, strict=False)]) for labels, values in given]

    def at(self, expression: str, moment: datetime) -> list[Series]:
        return [Series(series.labels, series.points[-1:]) for series in self._found]

    def between(self, expression: str, since: datetime, until: datetime, step_seconds: float) -> list[Series]:
        return self._found


def panel(kind: Kind) -> PanelSource:
    return PanelSource(
        title="Panel", description="d", kind=kind, unit=Unit.COUNT, queries={"{{le}}": "x"}, limits=(),
        width=12, height=8, is_cut=False, is_stepped=False, no_value="chưa có",
    )  # fmt: skip


def texts(kind: Kind, *series: Given) -> list[str]:
    svg = draw_panel(panel(kind), View(Answers(series), SINCE, UNTIL), 600, 260)
    return [element.text or "" for element in fromstring(svg).iter(f"{SVG}text")]


def test_a_histogram_is_shown_by_bucket_and_not_cumulative() -> None:
    counts = {"0.1": 0.0, "1.0": 4.0, "10.0": 4.0, "+Inf": 5.0}
    found = texts("heatmap", *(({"le": le}, [count]) for le, count in counts.items()))
    assert [text for text in found if text.startswith("≤")] == ["≤ ∞", "≤ 10 s", "≤ 1 s"]
    assert {"4", "1", "0"} <= set(found)


def test_no_answer_is_no_value() -> None:
    kinds: tuple[Kind, ...] = ("stat", "bars", "time_series", "heatmap", "states")
    assert [kind for kind in kinds if "chưa có" not in texts(kind)] == []


def test_every_section_can_be_drawn_within_its_width() -> None:
    dashboard = read_dashboard()
    series = [({"le": le, "name": "x"}, [0.0, value, nan]) for le, value in (("0.1", 1.0), ("+Inf", 3.0))]
    for layout in (SCREEN, PAPER):
        root = fromstring(draw_sections(dashboard.sections, View(Answers(series), SINCE, UNTIL), layout))
        titles = [element.text for element in root.iter(f"{SVG}title")]
        assert {panel.title for panel in dashboard.panels} <= set(titles)
        for drawn in root.findall(f"{SVG}svg"):
            assert float(drawn.get("x", "")) + float(drawn.get("width", "")) <= layout.width
            assert float(drawn.get("y", "")) + float(drawn.get("height", "")) <= float(root.get("height", ""))
