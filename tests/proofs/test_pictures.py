"""Pictures of the dashboard from answers that a test gives: well-formed, harmless, complete."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf, nan
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.dashboard.panels import PAPER, SCREEN, Drawn, View, draw_rows, draw_sections, read_dashboard
from proofs.pictures import Box, Limit, Line, Panel, draw_lines, new_figure, shown, svg
from sandbox.monitoring.servers import Queries, Series

SINCE = datetime(2026, 5, 14, 3, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=1)
KINDS = ("stat", "bargauge", "timeseries", "heatmap", "state-timeline")
HOSTILE = "</text><script>alert(1)</script>&\"'$x^2$\x00\u202e\x1b[31m"


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


def texts(kind: str, *series: Given, title: str = "Panel", unit: str = "short") -> list[str]:
    """Return the texts of a panel, whose SVG is well-formed."""
    panel = Panel(title=title, unit=unit, limit=Limit(30, True, "at most 30"), nothing="chưa có")
    drawn = Drawn(panel, "d", kind, {"{{le}}": "x"}, 12, 8, ())
    text = draw_rows([[drawn]], View(Answers(series), SINCE, UNTIL), SCREEN)
    assert "<script" not in text
    return ["".join(each.itertext()) for each in fromstring(text).iter("{http://www.w3.org/2000/svg}text")]


def test_a_histogram_is_shown_by_bucket_and_not_cumulative() -> None:
    counts = {"0.1": 0.0, "1.0": 4.0, "10.0": 4.0, "+Inf": 5.0}
    found = texts("heatmap", *(({"le": le}, [count] * 60) for le, count in counts.items()))
    assert [text for text in found if text.startswith("≤")] == ["≤ ∞", "≤ 10 s", "≤ 1 s"]
    assert {"4", "1", "0"} <= set(found)


def test_no_answer_is_no_value() -> None:
    assert [kind for kind in KINDS if "chưa có" not in texts(kind)] == []
    assert [kind for kind in KINDS if "chưa có" not in texts(kind, ({"le": "1"}, [nan, inf]))] == ["heatmap"]


def test_a_limit_is_named_and_broken_by_figures_on_its_side() -> None:
    assert all("at most 30" in texts(kind, ({"le": "1"}, [31.0])) for kind in KINDS[:3])
    assert [Limit(30, True, "x").is_broken_by(figure) for figure in (29.9, 30, 30.1)] == [False, True, True]
    assert [Limit(30, False, "x").is_broken_by(figure) for figure in (29.9, 30, 30.1)] == [True, False, False]


def test_a_name_cannot_add_elements(subtests: pytest.Subtests) -> None:
    for kind in ("stat", "bargauge", "timeseries", "state-timeline"):
        with subtests.test(kind=kind):
            found = texts(kind, ({"le": HOSTILE}, [1.0, 2.0]), title=HOSTILE)
            assert any("</text><script>" in text for text in found)
            assert not any(character in "".join(found) for character in "\x00\u202e\x1b")


def test_a_value_has_its_unit_and_three_digits() -> None:
    cases = {
        ("s", 0.0): "0 s", ("s", 0.0123): "12.3 ms", ("s", 90.0): "1.5 min", ("s", 86400.0 * 2): "2 d",
        ("percentunit", 0.99951): "99.951 %", ("percentunit", 1.0): "100 %", ("percentunit", 0.2): "20 %",
        ("bytes", 2.0**28): "256 MiB", ("bytes", 0.0): "0 B", ("reqps", 12.345): "12.3/s",
        ("short", 0.0): "0", ("short", 1234.0): "1,234", ("short", 12_345.0): "12.3 k", ("short", nan): "–",
    }  # fmt: skip
    assert {key: shown(key[1], key[0]) for key in cases} == cases


def test_every_section_can_be_drawn_for_a_screen_and_for_paper() -> None:
    _, sections = read_dashboard()
    series = [({"le": le, "name": "x"}, [0.0, value, nan]) for le, value in (("0.1", 1.0), ("+Inf", 3.0))]
    for layout in (SCREEN, PAPER):
        root = fromstring(draw_sections(sections, View(Answers(series), SINCE, UNTIL), layout))
        found = {"".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")}
        assert {section.title for section in sections} <= found
        whole = {drawn.panel.title for section in sections for drawn in section.panels}
        assert all(any(title.startswith(text.rstrip("…")) for text in found if text) for title in whole)
        assert float(root.get("width", "").removesuffix("pt")) == layout.width * 0.75


@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), max_size=30),
    st.sampled_from(["short", "percentunit", "s", "bytes", "reqps"]),
    st.integers(160, 1200),
)
@settings(max_examples=15, deadline=None)
def test_any_values_give_a_well_formed_image(values: list[float | None], unit: str, width: int) -> None:
    figure = new_figure(width, 260)
    points = [(SINCE + timedelta(minutes=number), value) for number, value in enumerate(values)]
    lines = [Line("a", points), Line("b", points[:1])]
    draw_lines(Box(figure, 0, 0, width, 260), Panel(title="t", unit=unit), lines, SINCE, UNTIL, 60)
    text = svg(figure, "d")
    fromstring(text)
    assert not re.search(r">[^<]*\b(nan|inf)\b", text.partition("</defs>")[2])
