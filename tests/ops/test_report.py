"""`leads report`: the figures of a period in each form, the same as the key figures, no formula in a CSV.

And the chart of a key figure, by day.
"""

import csv
import io
import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from unicodedata import normalize
from uuid import uuid4
from xml.etree.ElementTree import fromstring

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from typer.testing import Result

from leads.domain.body import ICT
from leads.domain.lead_list import FIGURES, choose_names
from ops.clients.db_session import QUERIES
from ops.daily.report import ALONE, FIGURE_NAMES, SUMS, ends_of, read_period
from ops.failures import WrongUsage
from ops.golive.criterion import find_criterion
from ops.golive.report import draw, value_ticks
from sandbox.postgres.plans import nodes
from tests.support.end_to_end import DRIVER, browsing
from tests.support.operators import document, leads, operators_of
from tests.support.stored_rows import FROM, HANH, KHOA, NOON, TO, Figures, insert_tickets

DAY = ("--since", "2026-05-14", "--until", "2026-05-14")
FORMULA = "=HYPERLINK(1)"
GOLDEN = Path(__file__).parent / "golden" / "vi" / "report.txt"
GOLDEN_LIST = GOLDEN.with_name("list.txt")


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
    return leads("report", *arguments, DATABASE_URL=operators_of(figures.connection), COLUMNS="80")


def of_day(figures: Figures) -> dict[str, Any]:
    return dict(document(run(figures, *DAY, "--json")))


def test_the_figures_of_each_source_and_of_all(seeded: Figures) -> None:
    """The tickets are of 19:00 in Vietnam, a quarter of an hour before the business hours end."""
    seeded.connection.execute("SET session_replication_role = DEFAULT")
    seeded.connection.execute("UPDATE view_pancake_setting SET business_hours = 'mon-sun 08:00-19:15'")
    found = of_day(seeded)
    facebook, other = found["sources"]
    names = (
        "leads", "tickets", "held", "bad_phone", "missed_by_webhook", "unassigned", "changed", "unanswered",
    )  # fmt: skip
    assert [facebook[name] for name in names] == [4, 3, 1, 0, 0, 0, 1, 1]
    assert [other[name] for name in names] == [2, 1, 0, 1, 1, 1, 0, 0]
    assert [found["total"][name] for name in names] == [6, 4, 1, 1, 1, 1, 1, 1]
    assert (facebook["source"], facebook["response_p50_minutes"]) == ("Facebook", 15), "of the answered"
    assert facebook["response_p50_business_minutes"] == 12.5
    assert (other["response_p95_minutes"], other["response_p95_business_minutes"]) == (90, 15)
    response = seeded.of("kpi/load_response")
    assert (response["p50_minutes"], response["p50_business_minutes"]) == (55, 15), "one waits"


def test_a_source_without_a_name_adds_no_line(figures: Figures) -> None:
    """Its id is text of a lead."""
    figures.event("skipped_kill_switch", source_ids=["8\nall sources\n  leads      9 = 9"])
    lines = run(figures, *DAY).stdout.splitlines()
    assert [line for line in lines if line.startswith(("all sources", "  leads"))] == [
        "all sources", "  leads     1 = held 1", "  leads     1 = held 1",
    ]  # fmt: skip


SOURCE_IDS: tuple[list[str], ...] = ([], ["-1"], ["9", "-1"], ["-5"])
OWNERS = (None, HANH, KHOA)
DEAD = ("invalid_phone", "invalid_phone", "missing_record_id", "too_deep", "erased", "internal", "test_ping")
OUTCOMES = ("ticket_updated", "contact_updated", "record_deleted", "stale", "no_change")
HELD = ("skipped_kill_switch", "skipped_source_disabled")
HELD_BY: tuple[dict[str, str], ...] = ({}, {"held_by": "connection_disabled"}, {"held_by": "source_unknown"})
HAND_WRITTEN = Path("tests/support/report_by_hand.sql").read_bytes()


def fill(figures: Figures, leads: int = 2000) -> None:
    """Insert leads with every outcome, most of noon's day, some of the days before and after it."""
    rng = random.Random(29)
    kinds = ("ticket", "ticket", "ticket", "done", "done", "held", "dead", "failed", "received")
    moments = (NOON, NOON, NOON, FROM - timedelta(days=2), TO)
    for number in range(leads):
        for time in sorted(rng.choices(moments, k=rng.choice((1, 1, 2, 3)))):
            kind = rng.choice(kinds)
            made: dict[str, Any] = {
                "record_id": f"random-{number}", "source_ids": rng.choice(SOURCE_IDS), "created_at": time,
                "origin": rng.choice(("webhook", "webhook", "poll", "reconcile")), "applied_at": time,
                "table_name": rng.choice((None, "lead", "lead")),
            }  # fmt: skip
            if kind == "ticket" and rng.random() < 0.97:
                status = rng.choice(("new", "new", "in_progress", "done", "cancelled"))
                response = rng.choice((None, 0.5, 12, 300.25, 800))
                figures.ticket(rng.choice(OWNERS), rng.choice(OWNERS), response, status, **made)
            elif kind == "ticket":  # deleted in Diva
                figures.event(outcome="ticket_created", ticket_id=uuid4(), **made)
            elif kind == "done":
                figures.event(outcome=rng.choice(OUTCOMES), **made)
            elif kind == "held":
                held_by = Jsonb(rng.choice(HELD_BY))
                figures.event(rng.choice(HELD), evidence=held_by, **made | {"applied_at": None})
            elif kind == "dead":
                code, error = rng.choice(DEAD), rng.choice(({}, {"no_phone": True}))
                made |= {"evidence": Jsonb({"error": error}), "applied_at": None}
                if code in ("missing_record_id", "test_ping"):
                    made["record_id"] = None
                figures.event("dead_letter", error_code=code, **made)
            else:
                figures.event(kind, **made | {"applied_at": None})
    figures.event(table_name="contact")
    figures.event("dead_letter", error_code="internal", table_name="account")
    figures.connection.execute("ANALYZE pancake_webhook_event, ticket")  # without it a read takes 3 s


def test_every_figure_is_that_of_sql_written_by_hand_and_every_sum_closes(figures: Figures) -> None:
    """So are those of each source and of its owners, the list of each figure, and the key figures."""
    fill(figures)
    db, window = figures.connection, {"from": FROM, "to": TO}
    db.execute("SET session_replication_role = DEFAULT")
    db.execute("UPDATE view_pancake_setting SET business_hours = 'mon-sun 08:00-19:15'")
    rows = db.execute("SELECT * FROM pancake_report_source(%(from)s, %(to)s)", window).fetchall()
    (total,) = [row for row in rows if row["source_id"] is None]
    owners = db.execute("SELECT * FROM pancake_report_owner(%(from)s, %(to)s)", window).fetchall()
    assert set(FIGURES) == FIGURE_NAMES.keys()
    assert set(FIGURES) == {*ALONE, *(name for whole, parts in SUMS for name in (whole, *parts))}
    for row in rows:
        source = row["source_id"]
        (by_hand,) = db.execute(HAND_WRITTEN, window | {"source": source}).fetchall()
        ids, of_owners = by_hand.pop("ids"), by_hand.pop("owners")
        assert {name: row[name] for name in by_hand} == by_hand, source
        assert row is not total or all(by_hand.values()), by_hand
        assert by_hand.keys() >= set(FIGURES)
        of_source = {each["owner_id"]: each for each in owners if each["source_id"] == source}
        counted = {key: {name: each[name] for name in of_owners[key]} for key, each in of_source.items()}
        assert counted == of_owners, source
        for whole, parts in SUMS:
            assert row[whole] == sum(row[name] for name in parts), (source, whole)
        for name in FIGURES:
            asked = {"figure": name, "source": source, "owner": None, "limit": 1000} | window
            (found,) = db.execute(QUERIES["list_leads/list_leads"], choose_names(asked, [])).fetchall()
            listed_ids = [lead["event_id"] for lead in found["leads"]]
            assert (found["count"], len(listed_ids)) == (row[name], min(row[name], 1000)), (source, name)
            assert listed_ids == ids.get(name, listed_ids)[:1000], (source, name)
    for name in FIGURES:
        assert total[name] == sum(row[name] for row in rows if row is not total)
    auto, response = figures.of("kpi/load_auto_assign"), figures.of("kpi/load_response")
    assert (total["tickets"], total["kept"]) == (auto["tickets"], auto["correct"])
    assert total["unanswered"] + total["closed_unanswered"] == response["unanswered"]


def test_a_report_reads_each_ticket_of_its_period_once(figures: Figures) -> None:
    """Not once for each event, as a nested loop does while the statistics are those of the month before."""
    db = figures.connection
    query = b"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT * FROM pancake_report_row(%s, %s)"
    with db.transaction(force_rollback=True):
        db.execute("SET LOCAL session_replication_role = replica")
        insert_tickets(db, "month", 100, at=FROM - timedelta(days=30))
        db.execute("ANALYZE pancake_webhook_event")
        db.execute("UPDATE pancake_webhook_event SET created_at = %s", [FROM])
        (found,) = psycopg.ClientCursor(db).execute(query, (FROM, TO)).fetchall()
    (row,) = [node for node in nodes(found["QUERY PLAN"][0]["Plan"]) if node.get("Relation Name") == "ticket"]
    assert row["Actual Loops"] == 100


def test_the_morning_message_is_that_of_sql_written_by_hand(figures: Figures) -> None:
    """Of a day with leads, the day after it, after 30 days without any, and of leads without a ticket."""
    fill(figures)
    db = figures.connection
    db.execute("SET session_replication_role = DEFAULT")
    db.execute("UPDATE view_pancake_setting SET morning_message = 'on'")
    for day, has_leads in ((15, True), (16, True), (46, False)):
        begins = datetime(2026, 5, 1, tzinfo=ICT) + timedelta(days=day - 1)
        now = begins + timedelta(hours=8)
        (said,) = db.execute(QUERIES["check_sla/load_morning_message"], {"now": now}).fetchall()
        yesterday, month = (
            db.execute(HAND_WRITTEN, {"from": since, "to": to, "source": None}).fetchall()[0]
            for since, to in ((begins - timedelta(days=1), begins), (begins - timedelta(days=30), now))
        )
        assert (yesterday["leads"] > 0) is has_leads
        came, detail = "không có lead nào", "Không có việc tồn"
        if has_leads:
            leads, tickets, answered = (yesterday[name] for name in ("leads", "tickets", "answered"))
            came = f"{leads} lead, {tickets} ticket mới, đã gọi {answered}/{tickets}"
            hours = (now - month["oldest_unanswered_at"]) // timedelta(hours=1)
            age = f"{hours // 24} ngày" if hours >= 48 else f"{hours} giờ"
            detail = (
                f"Cần làm (30 ngày qua): {month['unanswered']} ticket chưa gọi (lâu nhất {age}),"
                f" {month['unassigned']} ticket chưa có người phụ trách, {month['broken']} lỗi cần xử lý"
            )
        assert (said["came"], said["detail"], said["today"]) == (came, detail, begins.date().isoformat())
    db.execute("DELETE FROM ticket")
    begins = datetime(2026, 5, 15, tzinfo=ICT)
    now = begins + timedelta(hours=8)
    (said,) = db.execute(QUERIES["check_sla/load_morning_message"], {"now": now}).fetchall()
    window = {"from": begins - timedelta(days=1), "to": begins, "source": None}
    (yesterday,) = db.execute(HAND_WRITTEN, window).fetchall()
    assert said["came"] == f"{yesterday['leads']} lead, không có ticket mới"


def test_owners_have_their_share_and_the_roster_its_bound(seeded: Figures) -> None:
    """A member without tickets is listed; a source without a roster has the default one."""
    owners = [each for each in of_day(seeded)["owners"] if each["source_id"] == "-1"]
    shown = [(each["tickets"], round(each["share"], 2), each["changed"], each["weight"]) for each in owners]
    assert shown == [(2, 0.67, 1, 2), (1, 0.33, 0, 1)]
    assert {(each["spread"], each["bound"]) for each in owners} == {(0.5, 1.0)}
    table = run(seeded, *DAY).stdout
    assert all(text in table for text in ("fairness  0.50 of at most 1.00", "Vũ Thị Hạnh"))
    assert max(map(len, table.splitlines())) <= 80
    seeded.connection.execute("INSERT INTO pancake_assignee (staff_id) VALUES (%s)", [HANH])
    (member,) = [each for each in of_day(seeded)["owners"] if each["source_id"] == "9"]
    assert (member["tickets"], member["share"], member["weight"], member["spread"]) == (0, None, 1, None)


def test_without_events_the_report_says_so_in_every_form(figures: Figures) -> None:
    found = of_day(figures)
    assert (found["sources"], found["owners"]) == ([], [])
    assert (found["total"]["leads"], found["total"]["response_p95_minutes"]) == (0, None)
    for form in ("--csv", "--html"):
        assert run(figures, *DAY, form).exit_code == 0


def test_the_csv_has_a_row_for_all_each_source_and_each_owner_and_no_formula(seeded: Figures) -> None:
    result = run(seeded, *DAY, "--csv")
    assert result.stdout.startswith("\ufeffrow,connection,source_id,source,leads")
    rows = list(csv.DictReader(io.StringIO(result.stdout.removeprefix("\ufeff"))))
    assert [row["row"] for row in rows] == ["total", "source", "source", *["owner"] * 4]
    assert [row["source_id"] for row in rows] == ["", "'-1", "9", "", "", "'-1", "'-1"]
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
    assert "Chia đều: chênh lệch ticket giữa các thành viên 0,50, tối đa cho phép 1,00" in page


@pytest.mark.skipif(DRIVER is None, reason="chromium and chromium-driver are not installed")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_a_screen_and_a_phone(seeded: Figures, tmp_path: Path, width: int) -> None:
    (tmp_path / "report.html").write_text(run(seeded, *DAY, "--html").stdout, "utf-8")
    with browsing(width, 900) as browser:
        browser.open((tmp_path / "report.html").as_uri())
        assert browser.run("return document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert "Facebook" in browser.run("return document.body.innerText")


def shown_text(page: str) -> str:
    """The text of a page, a line for each block."""
    body = re.sub(r"\s+", " ", page.partition("<body>")[2])
    lines = re.sub(r"</(?:h1|h2|p|li|div|summary)>|<ul[^>]*>|<section>", "\n", body.replace("</dt>", ": "))
    shown = (unescape(re.sub(r"<[^>]*>", "", line)) for line in lines.split("\n"))
    return "\n".join(filter(None, (" ".join(line.split()) for line in shown))) + "\n"


def test_the_page_reads_like_its_golden_file(seeded: Figures) -> None:
    """After a change run this with WRITE_GOLDEN=1, and read it as a sales manager would."""
    db = seeded.connection
    db.execute("UPDATE pancake_source SET name = 'TikTok' WHERE pancake_source_id = '9'")
    seeded.ticket(None, HANH, 45, source_ids=["9"])
    seeded.event("dead_letter", error_code="invalid_phone", evidence=Jsonb({"error": {"no_phone": True}}))
    seeded.event(outcome="ticket_updated", source_ids=["-1"])
    page = re.sub(r"lâu nhất \d+ ngày", "lâu nhất 3 ngày", shown_text(run(seeded, *DAY, "--html").stdout))
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(page, "utf-8")
    assert GOLDEN.read_text("utf-8") == page


def test_a_day_is_its_own_period(figures: Figures) -> None:
    of_day = run(figures, "--day", "2026-05-14", "--json").stdout
    assert of_day == run(figures, "--since", "2026-05-14", "--until", "2026-05-14", "--json").stdout
    assert json.loads(of_day)["period"]["from"] == "2026-05-14"


def test_a_wrong_period_is_refused(figures: Figures, subtests: pytest.Subtests) -> None:
    for line, said in (
        ("--csv --json", "Give one of --csv, --html and --json."),
        ("--week 3 --since 2026-05-14", "Give either --week, or --since and --until."),
        ("--day 2026-05-14 --week 20", "Give either --day, --week, or --since and --until."),
        ("--until 2026-05-14", "Give --since too"),
        ("--since 2026-05-15 --until 2026-05-14", "--since 2026-05-15 is after --until 2026-05-14."),
        ("--since 2999-01-01", "is after --until"),
        ("--since 2999-01-01 --until 2999-01-02", "has not begun yet in Vietnam"),
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
    ends = [ends_of(None, None, day)[1] for day in ("2026-05-02", "9999-12-31")]
    assert ends == ["2026-05-03", "9999-12-31"]
    # A week is the newest of its number that has begun.
    for week, first in ((21, date(2026, 5, 18)), (22, date(2025, 5, 26)), (53, date(2020, 12, 28))):
        assert read_period(week, None, None, monday).first == first
    with pytest.raises(WrongUsage, match="There is no week 99"):
        read_period(99, None, None, monday)


def chart(*values: float | None, **changes: Any) -> str:
    points = [(FROM + timedelta(days=number), value) for number, value in enumerate(values)]
    return draw(replace(find_criterion("E6-latency"), **changes), points, "vi")


def test_a_line_is_interrupted_at_missing_days_and_every_text_is_escaped() -> None:
    svg = chart(1, 2, None, 3, chart={"vi": "</text><script>\u202e"})
    assert (svg.count("<polyline"), svg.count("<circle"), "mục tiêu ≤ 30 giây" in svg) == (2, 3, True)
    assert [part for part in ("<script", "\u202e") if part in svg] == []
    assert ["không có số liệu" in each for each in (chart(None), chart(), svg)] == [True, True, False]


@given(
    st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=5),
    st.sampled_from(["leads", "share", "s"]),
    st.sampled_from([">=", "<="]),
)
@example([6e-8], "leads", "<=")  # far below the step of 1
@settings(deadline=None)
def test_the_axis_of_a_chart_encloses_every_value(values: list[float], unit: str, operator: str) -> None:
    changes: dict[str, Any] = {"unit": unit, "operator": operator}
    ticks = value_ticks(replace(find_criterion("E6-latency"), **changes), values)
    assert 2 <= len(ticks) <= 14
    assert ticks == sorted(ticks)
    margin = 1e-6 * max(1.0, *map(abs, ticks))
    assert all(ticks[0] - margin <= value <= ticks[-1] + margin for value in values)
    fromstring(chart(*values, **changes))


# The list of a figure


def listed(figures: Figures, *arguments: str) -> Result:
    variables = {"DATABASE_URL": operators_of(figures.connection), "COLUMNS": "100"}
    return leads("list", *arguments, "--day", "2026-05-14", **variables)


def test_a_list_names_the_leads_of_a_figure_and_what_can_be_done(seeded: Figures) -> None:
    body = {"data": {"phone_number": "0905 11 12", "name": "Lan"}}
    broken = {"error_code": "invalid_phone", "payload": Jsonb(body), "source_ids": ["-1"]}
    seeded.event("dead_letter", **broken)
    assert json.loads(listed(seeded, "broken", "--json").stdout)["count"] == 0
    result = listed(seeded, "bad_phone")
    assert result.exit_code == 0
    line = r"^ +\d+  14/05 19:00  0905 11 12 · Lan · Facebook · invalid_phone$"
    assert re.search(line, result.stdout, re.M)
    said = r"^bad_phone: 2\n.*within 3 days: 0\nCorrect the phone of one: leads replay \d+ "
    assert re.search(said, result.stderr)
    for arguments, count in (
        (("tickets", "--owner", "Đặng văn khoa"), 2), (("tickets", "--owner", HANH), 1),
        (("tickets", "--source", "facebook"), 3), (("unassigned",), 1), (("held",), 1),
        (("leads", "--limit", "2"), 7),
    ):  # fmt: skip
        found = json.loads(listed(seeded, *arguments, "--json").stdout)
        most = 2 if "--limit" in arguments else 9
        assert (found["count"], len(found["leads"])) == (count, min(count, most))
    for wrong in (("nonsense",), ("held", "--since", "2026-05-01")):
        assert listed(seeded, *wrong).exit_code == 2


def test_a_list_in_vietnamese_reads_like_its_golden_file(seeded: Figures) -> None:
    """A figure by its name in the report, phones as people write them. WRITE_GOLDEN=1 as above."""
    db = seeded.connection
    db.execute("UPDATE pancake_source SET name = 'TikTok' WHERE pancake_source_id = '9'")
    typed = {"phone_number": "0905 11 12", "name": "Trần Thị Lan"}
    seeded.event("dead_letter", error_code="invalid_phone", payload=Jsonb(typed), source_ids=["-1"])
    seeded.event("dead_letter", error_code="internal", payload=Jsonb({"name": "Lê An"}), source_ids=["-1"])
    held_by = Jsonb({"held_by": "source_inactive"})
    seeded.event("skipped_source_disabled", evidence=held_by, source_ids=["9"])
    seeded.ticket(KHOA, KHOA, status="done")
    db.execute(
        "UPDATE pancake_webhook_event SET normalized_phone = '+84903456' || lpad(id::text, 3, '0'), payload"
        " = jsonb_build_object('name', 'Khách ' || id) WHERE error_code IS NULL"
    )
    db.execute(
        "UPDATE ticket SET code = 'TK' || e.id FROM pancake_webhook_event AS e WHERE e.ticket_id = ticket.id"
    )
    shown = []
    for figure in (
        "lead", "chưa có người phụ trách", "chưa gọi", "đóng mà chưa gọi", "đang giữ", "hệ thống tự tìm thấy",
        "số sai", "lỗi cần xử lý",
    ):  # fmt: skip
        result = listed(seeded, figure, "--lang", "vi", "--limit", "10")
        assert result.exit_code == 0, result.output
        said = re.sub(r"đã\s+chờ\s+\d+\s+ngày", "đã chờ 3 ngày", result.stdout + result.stderr)
        shown.append(f"# {figure}\n\n{said}")
    text = "\n".join(shown)
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN_LIST.write_text(text, "utf-8")
    assert GOLDEN_LIST.read_text("utf-8") == text
    assert listed(seeded, "--lang", "fr").exit_code == 2


def test_a_name_is_compared_without_case_and_as_it_is_seen(seeded: Figures) -> None:
    """Vietnamese letters too, in either form of Unicode."""
    seeded.connection.execute(
        "UPDATE staff SET full_name = %s WHERE id = %s", [normalize("NFD", "Nguyễn Thị  Ánh"), HANH]
    )
    (source,) = seeded.connection.execute(
        "UPDATE pancake_source SET name = 'Quảng cáo Đà Nẵng' WHERE pancake_source_id = '-1' RETURNING id"
    ).fetchall()
    for arguments, count in (
        (("--owner", "Nguyễn Thị ÁNH"), 1), (("--owner", normalize("NFD", "NGUYỄN THỊ ÁNH")), 1),
        (("--owner", HANH.upper()), 1), (("--owner", "Nguyen Thi Anh"), 0),
        (("--source", "QUẢNG CÁO đà nẵng"), 3), (("--source", "-1"), 3), (("--source", ""), 0),
        (("--source", str(source["id"]).upper()), 3), (("--source", " \u200b"), 0),
    ):  # fmt: skip
        assert json.loads(listed(seeded, "tickets", *arguments, "--json").stdout)["count"] == count, arguments


def test_a_cell_of_a_list_begins_no_formula_after_a_semicolon_either(figures: Figures) -> None:
    for name in (FORMULA, "a;=1;+2", "\t=3", "-4", "@5", "Lan; Cúc", 'a; "=1', "＝1"):
        body = Jsonb({"name": name})
        figures.event("dead_letter", error_code="invalid_phone", payload=body)
    text = listed(figures, "bad_phone", "--csv").stdout.removeprefix("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["can_be_corrected"] for row in rows} == {"True"}
    shown = [f"'{FORMULA}", "a;'=1;'+2", "'\t=3", "'-4", "'@5", "Lan; Cúc", "a;' \"=1", "'＝1"]
    assert [row["customer"] for row in rows] == shown


def test_tickets_made_by_hand_for_a_phone_of_a_lead_are_counted(figures: Figures) -> None:
    """For three days before and after the lead, each once; tickets of leads do not count, with any source."""
    account = figures.insert("account", display_name="Lan", normalized_phone="+84905111222")["id"]
    for days in (0, 2, 9):
        lead = NOON - timedelta(days=days)
        figures.event(normalized_phone="+84905111222", created_at=lead)
    ticket = {"title": "x", "account_id": account, "created_at": NOON}
    figures.insert("ticket", **ticket, source_id="ticket_source_1")
    figures.insert("ticket", **ticket, source_id="ticket_source_pancake")
    figures.insert("ticket", **ticket, source_id="ticket_source_8", data=Jsonb({"pancake": {}}))
    emptied = figures.insert("ticket", **ticket, source_id="ticket_source_pancake")
    figures.event(ticket_id=emptied["id"], created_at=NOON)
    figures.insert("ticket", **ticket | {"created_at": TO}, source_id="ticket_source_1")
    assert json.loads(listed(figures, "--json").stdout)["made_by_hand"] == 2
    figures.connection.execute("UPDATE pancake_webhook_event SET created_at = %s", [NOON - timedelta(days=4)])
    assert json.loads(listed(figures, "--json").stdout)["made_by_hand"] == 0
