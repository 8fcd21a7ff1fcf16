"""Images of figures over time: well-formed, harmless, and readable without colours."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree.ElementTree import Element, fromstring

from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.plot.draw import draw
from proofs.plot.panels import Bar, Bars, Heatmap, Limit, Line, Point, Stat, TimeSeries
from proofs.plot.units import Unit

SVG = "{http://www.w3.org/2000/svg}"
SINCE = datetime(2026, 5, 13, 17, 0, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=1)
TARGET = Limit(30, ">", "target: at most 30 s")
HOSTILE = "</text><script>alert(1)</script>&\"'\x00\u202e\x1b[31m"


def points(*values: float | None) -> list[Point]:
    return [(SINCE + timedelta(minutes=number), value) for number, value in enumerate(values)]


def series(*lines: Line, title: str = "Latency") -> TimeSeries:
    return TimeSeries(
        title=title, description="How long.", unit=Unit.SECONDS, limits=[TARGET],
        since=SINCE, until=UNTIL, lines=lines, step_seconds=60,
    )  # fmt: skip


def stat(value: float | None) -> Stat:
    return Stat(title="p95", description="d", unit=Unit.SECONDS, limits=[TARGET], value=value)


def bars(**values: float | None) -> Bars:
    shown_bars = [Bar(name, value) for name, value in values.items()]
    return Bars(title="t", description="d", unit=Unit.SECONDS, limits=[TARGET], bars=shown_bars)


def heatmap(*rows: Line) -> Heatmap:
    times: dict[str, Any] = {"since": SINCE, "until": UNTIL, "step_seconds": 3600}
    return Heatmap(title="t", description="d", unit=Unit.COUNT, rows=rows, **times)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in fromstring(svg).iter(f"{SVG}text")]


def found(svg: str, tag: str) -> list[Element]:
    return list(fromstring(svg).iter(f"{SVG}{tag}"))


def test_a_broken_limit_is_shown_with_its_figure_and_another_sign() -> None:
    (kept,), (broken,) = found(draw(stat(1)), "path"), found(draw(stat(31)), "path")
    assert kept.get("d") != broken.get("d")
    assert found(draw(stat(None)), "path") == []
    sides = {">": {30.1}, ">=": {30.0, 30.1}, "<": {29.9}, "<=": {29.9, 30.0}}
    for sign, figures in sides.items():
        limit = Limit(30, sign, "x")  # type: ignore[arg-type]
        assert {figure for figure in (29.9, 30.0, 30.1) if limit.is_broken_by(figure)} == figures


def test_missing_values_are_named_and_no_cells() -> None:
    for panel in (series(), stat(None), stat(math.nan), bars(), bars(a=None), heatmap()):
        assert "no data" in texts(draw(panel))
    hours = [(SINCE + timedelta(hours=hour), value) for hour, value in enumerate((1, 1, 1, 2, 2, None, 2))]
    hours = [(SINCE - timedelta(hours=1), 2), *hours, (UNTIL, 2)]  # two are outside
    white_and_frame, key, cells = 2, 2, 3  # equal values that follow each other are one
    assert len(found(draw(heatmap(Line("a", hours))), "rect")) == white_and_frame + key + cells


def test_a_name_cannot_add_elements() -> None:
    line = Line(HOSTILE, points(1))
    for panel in (series(line, title=HOSTILE), bars(**{HOSTILE: 1}), heatmap(line)):
        svg = draw(panel)
        assert found(svg, "script") == []
        assert "\u202e" not in svg


VALUES = st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), max_size=30)


@given(VALUES, st.sampled_from(list(Unit)), st.integers(160, 1200))
@settings(max_examples=40, deadline=None)
def test_any_values_give_a_well_formed_image(values: list[float | None], unit: Unit, width: int) -> None:
    line = Line("a", points(*values))
    first = (values or [None])[0]
    one = Stat(title="t", description="d", unit=unit, value=first, line=line)
    many = Bars(title="t", description="d", unit=unit, bars=[Bar("a", value) for value in values])
    for panel in (series(line), heatmap(line), one, many):
        svg = draw(panel, width)
        fromstring(svg)
        assert not re.search(r"\b(nan|inf)\b", svg.partition("</desc>")[2])
