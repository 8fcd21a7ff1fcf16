"""Pictures of the dashboard from the answers of a Prometheus that a test gives."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import nan
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from typer.testing import CliRunner

from leads.cli.plot.panels import Limit
from leads.cli.plot.units import Unit
from sandbox.dashboard import __main__ as command
from sandbox.dashboard import source
from sandbox.dashboard.grafana import TARGET
from sandbox.dashboard.pictures import PAPER, SCREEN, View, draw_panel, draw_row, draw_sections, rows
from sandbox.dashboard.source import DrawnLimit, Kind, PanelSource, Section, read_dashboard
from sandbox.incidents.queries import Queries, Series

SINCE = datetime(2026, 5, 14, 3, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=1)
SVG = "{http://www.w3.org/2000/svg}"


class Answers(Queries):
    """Gives the same series to every query: labels and values, one value a minute."""

    def __init__(self, series: Sequence[tuple[Mapping[str, str], Sequence[float]]]) -> None:
        self._found = [
            Series(
                labels, [(SINCE + timedelta(minutes=minute), value) for minute, value in enumerate(values)]
            )
            for labels, values in series
        ]

    def at(self, expression: str, moment: datetime) -> list[Series]:
        return [Series(series.labels, series.points[-1:]) for series in self._found]

    def between(self, expression: str, since: datetime, until: datetime, step_seconds: float) -> list[Series]:
        return self._found


def panel(kind: Kind, legend: str, width: int = 12, limits: tuple[DrawnLimit, ...] = ()) -> PanelSource:
    return PanelSource(
        title="Panel", description="d", kind=kind, unit=Unit.COUNT, queries={legend: "x"}, limits=limits,
        width=width, height=8, is_cut=False, is_stepped=False, no_value="chưa có",
    )  # fmt: skip


def texts(drawn: PanelSource, *series: tuple[Mapping[str, str], Sequence[float]]) -> list[str]:
    svg = draw_panel(drawn, View(Answers(series), SINCE, UNTIL), 600, 260)
    return [element.text or "" for element in fromstring(svg).iter(f"{SVG}text")]


def test_a_label_that_all_series_share_is_left_out_beside_other_words() -> None:
    series = [({"status": status, "connection": "c1"}, [1.0]) for status in ("active", "silent")]
    for legend, names in (
        ("{{status}} {{connection}}", {"active", "silent"}),
        ("now {{connection}}", {"now"}),
        ("{{connection}}", {"c1"}),
    ):
        assert names <= set(texts(panel("states", legend), *series))


def test_a_histogram_is_shown_by_bucket_and_not_cumulative() -> None:
    buckets = [
        ({"le": le}, [value]) for le, value in (("0.1", 0.0), ("1.0", 4.0), ("10.0", 4.0), ("+Inf", 5.0))
    ]
    found = texts(panel("heatmap", "{{le}}"), *buckets)
    assert [text for text in found if text.startswith("≤")] == ["≤ ∞", "≤ 10 s", "≤ 1 s"]
    assert {"4", "1", "0"} <= set(found)


def test_bars_are_sorted_and_a_broken_limit_is_seen() -> None:
    limit = DrawnLimit(Limit(2, ">", "at most 2"), None)
    drawn = panel("bars", "{{name}}", limits=(limit,))
    found = texts(drawn, ({"name": "low"}, [1.0]), ({"name": "high"}, [3.0]))
    assert found.index("high") < found.index("low")
    assert "at most 2" in found


def test_no_answer_is_no_value() -> None:
    kinds: tuple[Kind, ...] = ("stat", "bars", "time_series", "heatmap", "states")
    assert [kind for kind in kinds if "chưa có" not in texts(panel(kind, "{{le}}"))] == []


def test_panels_take_half_of_the_paper_or_all_of_it() -> None:
    section = Section("s", tuple(panel("stat", "x", width) for width in (6, 6, 12, 18, 6)))
    assert [[each.width for each in row] for row in rows(section, SCREEN)] == [[6, 6, 12], [18, 6]]
    assert [[each.width for each in row] for row in rows(section, PAPER)] == [[6, 6], [12], [18], [6]]
    svg = draw_row(rows(section, PAPER)[0], View(Answers([]), SINCE, UNTIL), PAPER)
    assert re.findall(r'<svg x="(\d+)"', svg) == ["0", "360"]


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


def test_the_key_figures_are_one_picture() -> None:
    files = command._files(read_dashboard())
    assert len(files["kpi"]) == 5
    assert set(files) - {"kpi"} == {
        "traffic", "recovery-layers", "queues", "crons", "connection", "resources",
    }  # fmt: skip


def test_without_prometheus_the_command_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.incidents.prometheus.which", lambda program: None)
    done = CliRunner().invoke(command.app, ["pictures", "/nonexistent"])
    assert done.exit_code == 2
    assert "apt-get install prometheus" in done.output


FIELDS = "title: A, description: d, unit: s, queries: {a: b}, width: 6"


@pytest.mark.parametrize(
    ("panel", "said"),
    [
        ("{title: A, unit: s, queries: {a: b}, width: 6}", "A: misses description"),
        (f"{{{FIELDS}, hight: 3}}", "A: unknown fields hight"),
        (f"{{{FIELDS.replace('unit: s', 'unit: km')}}}", "'km' is not a valid Unit"),
        (f"{{{FIELDS}, kind: pie}}", "A: kind pie is none of"),
        ("[", "while parsing a flow sequence"),
    ],
)
def test_a_wrong_source_is_named_and_nothing_is_written(
    panel: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "panels.yaml"
    path.write_text(f"uid: u\ntitle: t\ndescription: d\nsections: [{{title: s, panels: [{panel}]}}]\n")
    monkeypatch.setattr(source, "SOURCE", path)
    before = TARGET.read_bytes()
    done = CliRunner().invoke(command.app, ["json"])
    assert done.exit_code == 2
    assert said in done.output
    assert TARGET.read_bytes() == before
