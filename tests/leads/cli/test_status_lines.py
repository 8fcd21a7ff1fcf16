"""What `leads status` makes of each finding: level, words and the cause."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from leads.cli.metadata.source import REINSTALL
from leads.cli.probes.http_services import (
    MANY_SPOOLED,
    EdgeLook,
    judge_edge,
    judge_handlers,
    look_at_edge,
    look_at_handlers,
)
from leads.cli.probes.lines import Level, Line, find_cause, print_lines, worst
from leads.cli.probes.pancake import KeyLook
from leads.cli.status import judging
from leads.cli.status.looking import read_schedules
from leads.cli.status.state import (
    MOST_ROWS,
    LastRuns,
    Queue,
    Roster,
    Tickets,
    UnsentCount,
)
from leads.cli.status.words import age, count
from leads.services.cron_runs import CRONS
from leads.services.unassigned_count import UnassignedTickets
from tests.support.fake_services import edge_status
from tests.support.status_look import CONNECTION, EDGE, NOW, OFF, STATE


@pytest.mark.parametrize(
    ("leads", "tickets", "usual", "level"),
    [
        (12, 0, 14.0, Level.RED),
        (0, 0, 5.0, Level.RED),
        (0, 0, 4.9, Level.GREEN),
        (0, 0, None, Level.GREEN),
        (12, 3, 14.0, Level.YELLOW),
        (12, 5, 14.0, Level.GREEN),
        (2, 1, 9.0, Level.GREEN),
    ],
)
def test_tickets_are_compared_with_what_is_usual(
    leads: int, tickets: int, usual: float | None, level: Level
) -> None:
    line = judging.judge_tickets(replace(STATE, tickets=Tickets(leads, tickets, usual)))
    assert (line.level, line.is_symptom) == (level, True)


def test_a_switch_says_since_when_and_by_whom() -> None:
    switch = replace(OFF, is_on=True, changed_at=NOW, person="Phạm Thu Trang", reason="doubled tickets")
    (line,) = judging.judge_switches(replace(STATE, switches=[switch]))
    assert line.text.startswith(
        "the kill switch is on since 2026-05-14 09:31 UTC by Phạm Thu Trang (doubled tickets)"
    )
    (line,) = judging.judge_switches(replace(STATE, switches=[replace(switch, changed_at=None)]))
    assert "on since it was set up" in line.text


def test_switches_that_keep_nothing_waiting_say_since_when_and_by_whom_too() -> None:
    changed = replace(OFF, changed_at=NOW, person="Phạm Thu Trang", reason="Tết")
    connection = replace(changed, kind="connection", name="Diva", is_on=True, person=None, changed_by="lan")
    source = replace(changed, kind="source", pancake_source_id="-1")
    sources = [replace(source, name=f"Nguồn {number}", is_on=number != 9) for number in range(1, 11)]
    switches = [OFF, replace(changed, kind="pause"), connection, *sources]
    lines = judging.judge_switches(replace(STATE, switches=switches))
    since = "since 2026-05-14 09:31 UTC by Phạm Thu Trang (Tết)"
    assert [(line.name, line.level) for line in lines] == [
        (name, Level.GREEN) for name in ("kill switch", "pause", "connection", "sources")
    ]
    kill, pause, of_connection, of_sources = (line.text for line in lines)
    assert (kill, pause) == ("off since it was set up", f"off {since}")
    assert of_connection == "Diva is enabled since 2026-05-14 09:31 UTC by lan (Tết)"
    assert of_sources.splitlines()[:2] == [f"Nguồn 9: off {since}", f"Nguồn 1: on {since}"]
    assert of_sources.splitlines()[8:] == ["and 2 more: leads switch list"]


def test_one_disabled_connection_of_two_is_yellow_the_only_one_red() -> None:
    switch = replace(OFF, kind="connection", name="Diva", changed_at=NOW, changed_by="lan")
    disabled = replace(CONNECTION, status="disabled")
    both = replace(STATE, switches=[switch], connections=[disabled, replace(CONNECTION, id="c2")])
    assert [line.level for line in judging.judge_switches(both)] == [Level.YELLOW]
    only = replace(STATE, switches=[switch], connections=[disabled])
    assert [line.level for line in judging.judge_switches(only)] == [Level.RED]
    assert judging.judge_pancake(only, None, None) == []


def test_no_connection_and_no_active_source_are_red() -> None:
    line, _ = judging.judge_switches(replace(STATE, connections=[]))
    assert line.helps == "leads connection create"
    _, line = judging.judge_switches(replace(STATE, connections=[replace(CONNECTION, active_sources=0)]))
    assert (line.name, line.level) == ("sources", Level.RED)


@pytest.mark.parametrize(
    ("status", "key", "level"),
    [
        ("active", KeyLook(True), Level.GREEN),
        ("active", None, Level.GREEN),
        ("active", KeyLook(False, True, "Pancake answered 401."), Level.RED),
        ("active", KeyLook(False, False, "Pancake answered 503."), Level.YELLOW),
        ("key_invalid", None, Level.RED),
        ("key_invalid", KeyLook(True), Level.GREEN),
        ("suspended", KeyLook(True), Level.RED),
        ("outage", None, Level.RED),
        ("silent", KeyLook(True), Level.YELLOW),
    ],
)
def test_a_connection_is_judged_by_its_status_and_by_what_pancake_says_now(
    status: str, key: KeyLook | None, level: Level
) -> None:
    keys: Mapping[str, KeyLook] = {} if key is None else {"c1": key}
    (line,) = judging.judge_pancake(replace(STATE, connections=[replace(CONNECTION, status=status)]), keys, 0)
    assert line.level is level
    assert bool(line.helps) is (level is not Level.GREEN)


def test_an_open_breaker_is_yellow() -> None:
    assert [line.name for line in judging.judge_pancake(STATE, None, 2.0)] == ["Pancake", "breaker"]


def test_what_waits_too_long_is_red_unless_a_switch_lets_it_wait() -> None:
    queue = [Queue("received", 7, NOW - timedelta(minutes=12), 7, 7)]
    line = judging.judge_queue(queue, NOW, is_stopped=False)
    assert (line.level, line.text) == (Level.RED, "7 overdue: received 7 (oldest 12 min)")
    assert judging.judge_queue(queue, NOW, is_stopped=True).level is Level.GREEN
    held = [Queue("skipped_source_disabled", MOST_ROWS, NOW, 0, 7)]
    line = judging.judge_queue(held, NOW, is_stopped=False)
    assert (line.level, line.helps) == (
        Level.YELLOW, "leads replay --status skipped_source_disabled --dry-run",
    )  # fmt: skip
    assert "10000 or more" in line.text


def test_late_crons_are_named_with_the_last_error() -> None:
    old = NOW - timedelta(hours=3)
    failed = LastRuns("poll_records", NOW, "failed", "Pancake answered 401.", old, old, old)
    crons = [failed if each.name == failed.name else each for each in STATE.crons]
    line = judging.judge_crons(replace(STATE, crons=crons), read_schedules())
    assert line.text == "poll_records is late: it succeeded 3 h ago (Pancake answered 401.)"
    assert line.helps == "leads cron run poll_records"
    never = [LastRuns(name, None, None, None, None, None, None) for name in CRONS]
    line = judging.judge_crons(replace(STATE, crons=never), read_schedules())
    assert line.text.endswith("is late: it never succeeded; 6 more are late")
    assert line.helps.startswith("Hasura does not reach the handlers")


def test_a_daily_cron_that_was_never_due_is_not_late() -> None:
    """On the day of the installation: the others have run since then."""
    schedules, names = read_schedules(), ("purge_events", "reconcile_daily")
    for hours, level in ((1, Level.GREEN), (30, Level.RED)):
        first = NOW - timedelta(hours=hours)
        crons = [
            replace(each, first_tick=first, succeeded_tick=None, succeeded_at=None)
            if each.name in names
            else replace(each, first_tick=first)
            for each in STATE.crons
        ]
        line = judging.judge_crons(replace(STATE, crons=crons), schedules)
        assert line.level is level, line
        assert (
            level is Level.RED or line.text == "5 succeeded in time, the first ticks of 2 are still to come"
        )


def test_a_call_of_leads_in_what_helps_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    command = "leads replay --status skipped_source_disabled --drain"
    line = Line("sources", Level.RED, "x", f"leads switch source NAME on --reason TEXT; then {command}")
    print_lines([line], Console(width=80))
    shown = capsys.readouterr().out
    assert command in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_call_of_curl_is_shown_in_its_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell that gets a broken line would take the secret for the name of a program, and print it."""
    print_lines([Line("event trigger", Level.RED, "x", REINSTALL)], Console(width=80))
    shown = capsys.readouterr().out.splitlines()[1:]
    assert [line.strip(" →") for line in shown] == REINSTALL.splitlines()
    assert max(map(len, shown)) <= 80


def test_rosters_without_members_are_red_without_duty_yellow() -> None:
    assert judging.judge_rosters([Roster(None, 0, 0), Roster("TikTok", 2, 1)]).level is Level.RED
    assert judging.judge_rosters([Roster(None, 3, 0)]).level is Level.YELLOW
    assert judging.judge_rosters([Roster(None, 3, 1)]).level is Level.GREEN


def test_unsent_and_unassigned_are_yellow() -> None:
    assert judging.judge_unsent(UnsentCount(3, NOW - timedelta(minutes=5), 0), NOW).level is Level.GREEN
    assert judging.judge_unsent(UnsentCount(3, NOW - timedelta(minutes=11), 0), NOW).level is Level.YELLOW
    assert judging.judge_unsent(UnsentCount(0, None, 2), NOW).level is Level.YELLOW
    unassigned = replace(STATE, unassigned=UnassignedTickets(2, NOW - timedelta(hours=5)))
    assert judging.judge_unassigned(unassigned).text.endswith("have no owner, the oldest for 5 h")


@pytest.mark.parametrize(
    ("look", "level", "words"),
    [
        (EDGE, Level.GREEN, "nothing waits"),
        (replace(EDGE, spooled=3), Level.YELLOW, "3 deliveries wait"),
        (replace(EDGE, quarantined=1), Level.YELLOW, "1 in quarantine"),
        (replace(EDGE, spooled=MANY_SPOOLED, skipped=("hasura",)), Level.RED, "skips the path to hasura"),
        (replace(EDGE, skipped=("hasura", "handlers")), Level.RED, "hasura, handlers"),
        (replace(EDGE, is_writable=False), Level.RED, "cannot be written"),
        (replace(EDGE, connections=0), Level.RED, "no policy"),
        (replace(EDGE, policy_age_seconds=400.0), Level.YELLOW, "400 s old"),
        (None, Level.UNKNOWN, "EDGE_STATUS_URL is not set"),
    ],
)
def test_the_edge_is_judged_by_its_spool_its_paths_and_its_policy(
    look: EdgeLook | None, level: Level, words: str
) -> None:
    line = judge_edge(look)
    assert (line.level, words in line.text) == (level, True), line


def test_the_answers_of_the_edge_are_read() -> None:
    with edge_status(spooled=7, quarantined=2, skipped="handlers", policy_age_seconds=None) as url:
        found = look_at_edge(url)
    assert replace(found, seconds=0.0, date=None) == EdgeLook(7, 2, True, 1, None, ("handlers",), 0.0)


@pytest.mark.parametrize(
    ("ready", "level"),
    [
        ({"database": True, "notifications": True}, Level.GREEN),
        ({"database": False, "notifications": None}, Level.RED),
        ({"database": True, "notifications": False}, Level.RED),
    ],
)
def test_the_handlers_are_judged_by_what_they_reach(ready: dict[str, bool | None], level: Level) -> None:
    with edge_status() as url:  # any server with /healthz and /metrics
        look = look_at_handlers(url)
    assert look.ready is None
    assert judge_handlers(replace(look, ready=ready)).level is level
    assert judge_handlers(look).level is Level.GREEN


def test_the_cause_is_the_first_of_the_worst_level_that_is_no_symptom() -> None:
    symptom = Line("tickets", Level.RED, "0 new", is_symptom=True)
    yellow, first, second = (Line(name, level, name) for name, level in
                             (("a", Level.YELLOW), ("b", Level.RED), ("c", Level.RED)))  # fmt: skip
    assert find_cause([symptom, yellow, first, second]) == first
    assert find_cause([symptom, yellow]) == symptom
    assert find_cause([Line("x", Level.UNKNOWN, ""), Line("y", Level.GREEN, "")]) is None
    assert worst([Line("x", Level.UNKNOWN, "")]) is Level.GREEN


def test_ages_and_counts_are_short() -> None:
    ages = [age(NOW - timedelta(seconds=seconds), NOW) for seconds in (5, 60, 3600, 7200, 100_000, 200_000)]
    assert ages == ["5 s", "1 min", "60 min", "2 h", "27 h", "2 d"]
    assert (count(3, 10), count(10, 10)) == ("3", "10 or more")
