"""Images of figures over time: well-formed, harmless, and readable without colours."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leads.cli.plot.draw import draw
from leads.cli.plot.panels import Bar, Bars, Heatmap, Limit, Line, Point, Stat, TimeSeries
from leads.cli.plot.scales import time_ticks, value_ticks
from leads.cli.plot.strokes import stroke_of
from leads.cli.plot.units import Unit, shown
from leads.domain.window import ICT

SVG = "{http://www.w3.org/2000/svg}"
SINCE = datetime(2026, 5, 13, 17, 0, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=1)
TARGET = Limit(30, ">", "target: at most 30 s")


def points(*values: float | None) -> list[Point]:
    return [(SINCE + timedelta(minutes=number), value) for number, value in enumerate(values)]


def series(*lines: Line, title: str = "Latency", limits: tuple[Limit, ...] = (TARGET,)) -> TimeSeries:
    return TimeSeries(
        title=title, description="How long.", unit=Unit.SECONDS, limits=limits,
        since=SINCE, until=UNTIL, lines=lines, step_seconds=60,
    )  # fmt: skip


def stat(value: float | None) -> Stat:
    return Stat(title="p95", description="d", unit=Unit.SECONDS, limits=[TARGET], value=value)


def bars(**values: float | None) -> Bars:
    shown_bars = [Bar(name, value) for name, value in values.items()]
    return Bars(title="t", description="d", unit=Unit.SECONDS, limits=[TARGET], bars=shown_bars)


def heatmap(*rows: Line) -> Heatmap:
    return Heatmap(
        title="t", description="d", unit=Unit.COUNT, since=SINCE, until=UNTIL, rows=rows, step_seconds=3600
    )


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in fromstring(svg).iter(f"{SVG}text")]


def found(svg: str, tag: str) -> list[Element]:
    return list(fromstring(svg).iter(f"{SVG}{tag}"))


def test_a_line_is_interrupted_where_values_are_missing() -> None:
    missing = series(Line("a", points(1, 2, None, 3, 4, math.nan, 5, 6)))
    late = series(Line("a", [*points(1, 2), *((at + timedelta(minutes=9), 3.0) for at, _ in points(0, 0))]))
    assert len(found(draw(missing), "polyline")) == 3
    assert len(found(draw(late), "polyline")) == 2


def test_a_single_value_between_gaps_is_a_marker() -> None:
    svg = draw(series(Line("a", points(None, 7, None))))
    assert found(svg, "polyline") == []
    assert len(found(svg, "path")) >= 2, "one in the area, one in the legend"


def test_lines_differ_without_their_colours() -> None:
    looks = [(stroke_of(number).dash, stroke_of(number).marker) for number in range(30)]
    assert len(set(looks)) == 30
    svg = draw(series(*(Line(f"line {number}", points(number, number + 1)) for number in range(30))))
    dashes = {element.get("stroke-dasharray") for element in found(svg, "polyline")}
    assert len(dashes) == 5


def test_every_line_is_in_the_legend_with_its_last_value() -> None:
    svg = draw(series(*(Line(f"line {number}", points(number, number + 1, None)) for number in range(30))))
    assert {f"line {number}: {number + 1} s" for number in range(30)} <= set(texts(svg))


def test_a_limit_is_drawn_within_the_axis_with_its_label() -> None:
    svg = draw(series(Line("a", points(0.2, 0.3))))
    assert TARGET.label in texts(svg)
    assert "30 s" in texts(svg)
    (limit,) = (each for each in found(svg, "line") if each.get("stroke-dasharray") == "2 3")
    assert 36 <= float(limit.get("y1", "0")) < 200


@pytest.mark.parametrize(
    ("broken", "figures"),
    [(">", {30.1}), (">=", {30.0, 30.1}), ("<", {29.9}), ("<=", {29.9, 30.0})],
)
def test_a_limit_is_broken_as_it_says(broken: str, figures: set[float]) -> None:
    limit = Limit(30, broken, "x")  # type: ignore[arg-type]
    assert {figure for figure in (29.9, 30.0, 30.1) if limit.is_broken_by(figure)} == figures


def test_a_broken_limit_has_another_sign_than_a_kept_one() -> None:
    (kept,), (broken,) = found(draw(stat(1)), "path"), found(draw(stat(31)), "path")
    assert kept.get("d") != broken.get("d")
    assert found(draw(stat(None)), "path") == []


@pytest.mark.parametrize("panel", [series(), stat(None), stat(math.nan), bars(), bars(a=None), heatmap()])
def test_missing_values_are_named_not_drawn_as_0(panel: TimeSeries | Stat | Bars | Heatmap) -> None:
    assert "no data" in texts(draw(panel))


def test_a_missing_cell_of_a_heatmap_differs_from_0() -> None:
    known = Line("a", [(SINCE, 0), (SINCE + timedelta(hours=1), 1)])
    zero, missing = (
        draw(heatmap(known, Line("b", [(SINCE, value), *known.points[1:]]))) for value in (0, None)
    )
    assert len(found(missing, "line")) == len(found(zero, "line")) + 1
    assert len(found(missing, "rect")) == len(found(zero, "rect")) - 1


def test_equal_values_of_a_heatmap_that_follow_each_other_are_one_cell() -> None:
    hours = [(SINCE + timedelta(hours=hour), value) for hour, value in enumerate((1, 1, 1, 2, 2, None, 2))]
    boxes = found(draw(heatmap(Line("a", hours))), "rect")
    white_and_frame, key = 2, 2
    assert len(boxes) == white_and_frame + key + 3


def test_readers_who_cannot_see_get_the_title_and_the_values() -> None:
    root = fromstring(draw(series(Line("p95", points(1, 2.5)))))
    assert root.get("role") == "img"
    assert [child.text for child in root[:2]] == ["Latency", "How long. p95: 2.5 s; target: at most 30 s."]


HOSTILE = "</text><script>alert(1)</script>&\"'\x00\u202e\x1b[31m"


@pytest.mark.parametrize(
    "panel",
    [
        series(Line(HOSTILE, points(1)), title=HOSTILE, limits=(Limit(1, ">", HOSTILE),)),
        bars(**{HOSTILE: 1}),
        heatmap(Line(HOSTILE, points(1))),
    ],
)
def test_a_name_cannot_add_elements(panel: TimeSeries | Bars | Heatmap) -> None:
    svg = draw(panel)
    assert found(svg, "script") == []
    assert "\u202e" not in svg


def test_an_image_loads_and_runs_nothing() -> None:
    for panel in (series(Line("a", points(1, 2))), stat(1), bars(a=1), heatmap(Line("a", points(1)))):
        root = fromstring(draw(panel))
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert tags <= {"svg", "title", "desc", "rect", "line", "polyline", "path", "text"}
        names = {name for element in root.iter() for name in element.attrib}
        assert not [name for name in names if name.startswith("on") or "href" in name or name == "style"]


def test_an_image_of_many_points_stays_small_and_keeps_its_peaks() -> None:
    values: list[float | None] = [float(number % 7) for number in range(1440)]
    values[700] = 99.0
    half = timedelta(seconds=1)
    line = [(at + half * number, value) for at, value in points(*values) for number in range(40)]
    svg = draw(series(Line("a", line)))
    assert len(svg) < 60_000
    top = min(float(point.split(",")[1]) for point in found(svg, "polyline")[0].get("points", "").split())
    assert "100 s" in svg or "1.67 min" in svg or "2 min" in svg
    assert top < 90


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, Unit.COUNT, "–"),
        (math.inf, Unit.SECONDS, "–"), (0, Unit.COUNT, "0"), (1234, Unit.COUNT, "1,234"),
        (12345, Unit.COUNT, "12.3 k"), (0.25, Unit.COUNT, "0.25"), (1, Unit.RATIO, "100 %"),
        (0.9996, Unit.RATIO, "99.96 %"), (0.99999, Unit.RATIO, "99.999 %"), (0.5, Unit.RATIO, "50 %"),
        (0.123, Unit.RATIO, "12.3 %"), (0, Unit.SECONDS, "0 s"), (0.0042, Unit.SECONDS, "4.2 ms"),
        (90, Unit.SECONDS, "1.5 min"), (7200, Unit.SECONDS, "2 h"), (200_000, Unit.SECONDS, "2.31 d"),
        (268435456, Unit.BYTES, "256 MiB"), (1.5, Unit.PER_SECOND, "1.5/s"), (-3, Unit.COUNT, "-3"),
    ],
)  # fmt: skip
def test_a_value_is_written_with_its_unit(value: float | None, unit: Unit, text: str) -> None:
    assert shown(value, unit) == text


@given(st.floats(0, 1 - 1e-9))
def test_a_ratio_below_1_is_never_written_as_100_percent(ratio: float) -> None:
    if ratio <= 0.999999:
        assert shown(ratio, Unit.RATIO) != "100 %"


@given(st.lists(st.floats(-1e15, 1e15), max_size=5), st.sampled_from(list(Unit)), st.booleans())
@example([6e-8], Unit.COUNT, False)  # far below the step of 1
@settings(deadline=None)
def test_the_axis_encloses_every_value(values: list[float], unit: Unit, is_cut: bool) -> None:
    ticks = value_ticks(values, unit, 5, is_cut)
    assert 2 <= len(ticks) <= 14
    assert ticks == sorted(ticks)
    margin = 1e-6 * max(1.0, *map(abs, ticks))
    assert all(ticks[0] - margin <= value <= ticks[-1] + margin for value in values)


@pytest.mark.parametrize(
    "length", [timedelta(minutes=3), timedelta(hours=1), timedelta(days=1), timedelta(days=45)]
)
def test_times_are_round_in_the_zone_and_few(length: timedelta) -> None:
    ticks = list(time_ticks(SINCE, SINCE + length, ICT, 7))
    assert 1 <= len(ticks) <= 8
    assert ticks[0] == (SINCE.astimezone(ICT), "00:00" if length <= timedelta(days=1) else "14/05")


@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), max_size=30),
    st.sampled_from(list(Unit)),
    st.integers(160, 1200),
)
@settings(max_examples=40, deadline=None)
def test_any_values_give_a_well_formed_image_within_its_bounds(
    values: list[float | None], unit: Unit, width: int
) -> None:
    line = Line("a", points(*values))
    drawn: list[Callable[[], str]] = [
        lambda: draw(series(line), width),
        lambda: draw(heatmap(line), width),
        lambda: draw(
            Stat(title="t", description="d", unit=unit, value=(values or [None])[0], line=line), width
        ),
        lambda: draw(Bars(title="t", description="d", unit=unit, bars=[Bar("a", v) for v in values]), width),
    ]
    for image in drawn:
        svg = image()
        fromstring(svg)
        assert not re.search(r"\b(nan|inf)\b", svg.partition("</desc>")[2])


@pytest.mark.parametrize(("width", "height"), [(100, 200), (200, 50), (5000, 200)])
def test_an_impossible_size_is_refused(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="pixels"):
        draw(stat(1), width, height)


def test_a_time_without_length_is_refused() -> None:
    panel = TimeSeries(
        title="t", description="d", unit=Unit.COUNT, since=SINCE, until=SINCE, lines=[], step_seconds=1
    )
    with pytest.raises(ValueError, match="before it begins"):
        draw(panel)
