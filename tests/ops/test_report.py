"""`leads report`: the figures of a period in each form, the same as the key figures, no formula in a CSV.

And the chart of a key figure, by day.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from xml.etree.ElementTree import fromstring

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from typer.testing import CliRunner, Result

from ops.cli import app
from ops.daily.report import read_period
from ops.failures import WrongUsage
from ops.golive.criterion import find_criterion
from ops.golive.line_chart import NOTHING, Unit, draw, shown, value_ticks
from sandbox.postgres.database import operators_url
from tests.support.stored_rows import FROM, HANH, KHOA, TO, Figures

DAY = ("--from", "2026-05-14", "--to", "2026-05-14")
FORMULA = "=HYPERLINK(1)"


@pytest.fixture
def figures(database: str) -> Iterator[Figures]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield Figures(connection)
        connection.execute("ALTER TABLE pancake_webhook_event ENABLE TRIGGER USER")


@pytest.fixture
def seeded(figures: Figures) -> Figures:
    """Two sources: -1 with a roster of two, and one whose name is a formula."""
    db = figures.connection
    db.execute(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name)"
        " VALUES (%(c)s, '-1', 'Facebook'), (%(c)s, '9', %(name)s)",
        {"c": figures.connection_id, "name": FORMULA},
    )
    db.execute(
        "INSERT INTO pancake_assignee (source_id, staff_id, weight, assigned_count, was_available)"
        " SELECT s.id, f.id::uuid, f.weight, f.count, true FROM pancake_source AS s,"
        " (VALUES (%s, 1, 3), (%s, 2, 5)) AS f (id, weight, count) WHERE s.pancake_source_id = '-1'",
        [HANH, KHOA],
    )
    for chosen, owner, response in ((HANH, HANH, 10), (HANH, KHOA, 20), (KHOA, KHOA, None)):
        figures.ticket(chosen, owner, response, source_ids=["-1", "9"])
    figures.ticket(None, None, 90, source_ids=["9"], origin="poll")
    figures.event("skipped_kill_switch", source_ids=["-1"])
    figures.event("skipped_kill_switch", source_ids=["-1"], record_id="record-1")
    figures.event("dead_letter", error_code="invalid_phone", source_ids=["9"])
    figures.event("dead_letter", error_code="invalid_phone", source_ids=["9"], table_name="contact")
    figures.event("dead_letter", error_code="test_ping", record_id=None)
    figures.event(source_ids=["-1"], created_at=TO)
    return figures


def run(figures: Figures, *arguments: str) -> Result:
    info = figures.connection.info
    url = f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}"
    variables = {"DATABASE_URL": operators_url(url), "COLUMNS": "80"}
    return CliRunner().invoke(app, ["report", *arguments], env=variables)


def document(figures: Figures, *arguments: str) -> dict[str, Any]:
    result = run(figures, *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_figures_of_each_source_and_of_all(seeded: Figures) -> None:
    found = document(seeded, *DAY)
    facebook, other = found["sources"]
    names = (
        "leads", "tickets", "held", "no_phone", "missed_by_webhook", "unassigned", "changed", "unanswered",
    )  # fmt: skip
    assert [facebook[name] for name in names] == [4, 3, 1, 0, 0, 0, 1, 1]
    assert [other[name] for name in names] == [2, 1, 0, 1, 1, 1, 0, 0]
    assert [found["total"][name] for name in names] == [6, 4, 1, 1, 1, 1, 1, 1]
    assert (facebook["source"], facebook["response_p50_minutes"]) == ("Facebook", 20)
    assert other["response_p95_minutes"] == other["response_p95_business_minutes"] == 90


def test_the_sum_is_that_of_the_key_figures(seeded: Figures) -> None:
    """In UTC days: the window of the report is the same as that of the figures."""
    of_all = "SELECT * FROM pancake_report_source(%s, %s) WHERE connection IS NULL"
    total = seeded.connection.execute(of_all, [FROM, TO]).fetchone() or {}
    auto, response = seeded.of("kpi/load_auto_assign"), seeded.of("kpi/load_response")
    assert (total["tickets"], total["unassigned"]) == (auto["tickets"], auto["unassigned"])
    assert total["changed"] == seeded.of("kpi/load_intervention")["changed"]
    assert total["unanswered"] == response["unanswered"]
    for name in ("p50_minutes", "p95_minutes", "p50_business_minutes", "p95_business_minutes"):
        assert total[f"response_{name}"] == response[name] is not None
    assert total["held"] <= seeded.of("kpi/load_success")["held"]


def test_owners_have_their_share_and_the_roster_its_bound(seeded: Figures) -> None:
    """A member without tickets is listed; a source without a roster has the default one."""
    owners = [each for each in document(seeded, *DAY)["owners"] if each["source_id"] == "-1"]
    shown = [(each["tickets"], round(each["share"], 2), each["changed"], each["weight"]) for each in owners]
    assert shown == [(2, 0.67, 1, 1), (1, 0.33, 0, 2)]
    assert {(each["spread"], each["bound"]) for each in owners} == {(0.5, 1.0)}
    table = run(seeded, *DAY).stdout
    assert all(text in table for text in ("Facebook: fairness 0.50 of at most 1.00", "Vũ Thị Hạnh"))
    assert max(map(len, table.splitlines())) <= 80
    seeded.connection.execute("INSERT INTO pancake_assignee (staff_id) VALUES (%s)", [HANH])
    (member,) = [each for each in document(seeded, *DAY)["owners"] if each["source_id"] == "9"]
    assert (member["tickets"], member["share"], member["weight"], member["spread"]) == (0, None, 1, None)


def test_without_events_the_report_says_so_in_every_form(figures: Figures) -> None:
    found = document(figures, *DAY)
    assert (found["sources"], found["owners"]) == ([], [])
    assert (found["total"]["leads"], found["total"]["response_p95_minutes"]) == (0, None)
    for form in ("--csv", "--html"):
        assert run(figures, *DAY, form).exit_code == 0


def test_the_csv_has_a_row_for_all_each_source_and_each_owner_and_no_formula(seeded: Figures) -> None:
    result = run(seeded, *DAY, "--csv")
    assert result.stdout.startswith("\ufeffrow,connection,source_id,source,leads")
    rows = list(csv.DictReader(io.StringIO(result.stdout.removeprefix("\ufeff"))))
    assert [row["row"] for row in rows] == ["total", "source", "source", "owner", "owner"]
    assert [row["source_id"] for row in rows] == ["", "'-1", "9", "'-1", "'-1"]
    assert rows[2]["source"] == f"'{FORMULA}"
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_the_page_is_one_file_without_a_script_and_names_are_text_in_it(seeded: Figures) -> None:
    name = "<script>alert(1)</script>\u202e"
    seeded.connection.execute("UPDATE pancake_source SET name = %s WHERE pancake_source_id = '-1'", [name])
    page = run(seeded, *DAY, "--html").stdout
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.findall(r"<script|\u202e|(?:src|href|url)\s*[=(]|@import|https?:", page)
    assert '<meta name="viewport"' in page
    assert "Chia đều: chênh lệch 0.50, tối đa cho phép 1.00" in page


def test_a_wrong_period_is_refused(figures: Figures, subtests: pytest.Subtests) -> None:
    for line, said in (
        ("--csv --json", "Give one of --csv, --html and --json."),
        ("--week 3 --from 2026-05-14", "Give either --week, or --from and --to."),
        ("--to 2026-05-14", "Give --from too"),
        ("--from 2026-05-15 --to 2026-05-14", "--from 2026-05-15 is after --to 2026-05-14."),
        ("--from 2999-01-01", "is after --to"),
        ("--from 2999-01-01 --to 2999-01-02", "has not begun yet in Vietnam"),
    ):
        with subtests.test(line=line, said=said):
            result = run(figures, *line.split())
            assert (result.exit_code, "error" in result.stdout) == (2, "--json" in line)
            assert said in result.stderr


def test_a_period_is_whole_days_in_vietnam_and_ends_now() -> None:
    monday = TO.replace(month=5, day=18)
    assert read_period(None, None, None, monday).first == date(2026, 5, 11)
    late = monday.replace(hour=17)  # the next day in Vietnam
    period = read_period(None, date(2026, 5, 19), None, late)
    assert (period.since, period.until) == (late, late)
    until = read_period(None, date(2026, 5, 1), date(2026, 5, 2), late).until
    assert until.isoformat() == "2026-05-03T00:00:00+07:00"
    # A week is the newest of its number that has begun.
    for week, first in ((21, date(2026, 5, 18)), (22, date(2025, 5, 26)), (53, date(2020, 12, 28))):
        assert read_period(week, None, None, monday).first == first
    with pytest.raises(WrongUsage, match="There is no week 99"):
        read_period(99, None, None, monday)


def chart(*values: float | None, unit: str = "s", title: str = "p95") -> str:
    points = [(FROM + timedelta(days=number), value) for number, value in enumerate(values)]
    return draw(replace(find_criterion("E6-latency"), unit=unit), title, points)


def test_a_line_is_interrupted_at_missing_days_and_every_text_is_escaped() -> None:
    svg = chart(1, 2, None, 3, title="</text><script>\u202e")
    assert (svg.count("<polyline"), svg.count("<circle"), "mục tiêu ≤ 30 s" in svg) == (2, 3, True)
    assert [part for part in ("<script", "\u202e") if part in svg] == []
    assert [NOTHING in each for each in (chart(None), chart(), svg)] == [True, True, False]


def test_a_value_of_a_chart_is_written_with_its_unit() -> None:
    for value, unit, text in (
        (0, Unit.COUNT, "0"), (1234, Unit.COUNT, "1,234"), (0.25, Unit.COUNT, "0.25"),
        (1, Unit.RATIO, "100 %"), (0.9996, Unit.RATIO, "99.96 %"), (0.99999, Unit.RATIO, "99.999 %"),
        (0.5, Unit.RATIO, "50 %"), (0.123, Unit.RATIO, "12.3 %"), (0, Unit.SECONDS, "0 s"),
        (0.0042, Unit.SECONDS, "4.2 ms"), (90, Unit.SECONDS, "1.5 min"), (200_000, Unit.SECONDS, "2.31 d"),
    ):  # fmt: skip
        assert shown(value, unit) == text


@given(st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=5), st.sampled_from(list(Unit)), st.booleans())
@example([6e-8], Unit.COUNT, False)  # far below the step of 1
@settings(deadline=None)
def test_the_axis_of_a_chart_encloses_every_value(values: list[float], unit: Unit, is_cut: bool) -> None:
    ticks = value_ticks(values, unit, 5, is_cut)
    assert 2 <= len(ticks) <= 14
    assert ticks == sorted(ticks)
    margin = 1e-6 * max(1.0, *map(abs, ticks))
    assert all(ticks[0] - margin <= value <= ticks[-1] + margin for value in values)
    fromstring(chart(*values, unit=unit.value))
