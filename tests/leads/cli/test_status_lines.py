"""What `leads status` reads of the tables, and what it makes of it: level, words, command and cause."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from rich.console import Console

from leads.adapters.db_session import open_session
from leads.cli.metadata.source import REINSTALL
from leads.cli.probes import database as of_database
from leads.cli.probes import engine
from leads.cli.probes.database import open_limited
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
from leads.cli.probes.running import Failure
from leads.cli.status import judging, looking
from leads.cli.status.looking import read_schedules
from leads.cli.status.state import (
    MOST_ROWS,
    ConnectionState,
    LastRuns,
    Queue,
    Roster,
    State,
    Tickets,
    UnsentCount,
    load_state,
)
from leads.cli.status.words import age, count
from leads.services.cron_runs import CRONS
from leads.services.switches import Switch
from leads.services.unassigned_count import UnassignedTickets
from sandbox.postgres.roles import operators_url
from tests.support.breakages import ENDS_WITH_COMMAND
from tests.support.fake_services import edge_status
from tests.support.handlers import DatabaseHarness, seed_connection

NOW = datetime(2026, 5, 14, 9, 31, 7, tzinfo=UTC)
AWAY, REFUSED = Failure("Connection refused"), Failure("password authentication failed", is_refused=True)
CONNECTION = ConnectionState("c1", "Diva", "active", NOW, NOW, NOW - timedelta(seconds=40), 3)
OFF = Switch(
    kind="kill", row_id="all", name=None, pancake_source_id=None, connection=None, is_on=False,
    can_be_on=True, changed_at=None, changed_by=None, person=None, application=None, reason=None,
)  # fmt: skip
STATE = State(
    now=NOW,
    tickets=Tickets(12, 10, 14.0),
    switches=[OFF],
    connections=[CONNECTION],
    queue=[],
    crons=[LastRuns(name, NOW, "succeeded", None, NOW, NOW, NOW) for name in CRONS],
    rosters=[Roster(None, 5, 4)],
    unassigned=UnassignedTickets(0, None),
    unsent=UnsentCount(0, None, 0),
)
"""What is found where every part works."""
EDGE = EdgeLook(0, 0, True, 1, 5.0, (), 0.001)


def level_of(line: Line) -> Level:
    """Return its level; a red line has to end with the command that helps."""
    assert line.level is not Level.RED or ENDS_WITH_COMMAND.search(line.helps), line
    return line.level


@pytest.mark.parametrize(
    ("leads", "tickets", "usual", "level"),
    [
        (12, 0, 14.0, Level.RED), (0, 0, 5.0, Level.RED), (0, 0, 4.9, Level.GREEN),
        (0, 0, None, Level.GREEN), (12, 3, 14.0, Level.YELLOW), (12, 5, 14.0, Level.GREEN),
        (2, 1, 9.0, Level.GREEN),
    ],
)  # fmt: skip
def test_tickets_are_compared_with_what_is_usual(
    leads: int, tickets: int, usual: float | None, level: Level
) -> None:
    line = judging.judge_tickets(replace(STATE, tickets=Tickets(leads, tickets, usual)))
    assert (level_of(line), line.is_symptom) == (level, True)


def test_a_switch_says_since_when_and_by_whom() -> None:
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
    assert level_of(line) is level
    assert bool(line.helps) is (level is not Level.GREEN)
    assert [line.name for line in judging.judge_pancake(STATE, None, 2.0)] == ["Pancake", "breaker"]


def test_what_waits_too_long_is_red_unless_a_switch_lets_it_wait() -> None:
    queue = [Queue("received", 7, NOW - timedelta(minutes=12), 7, 7)]
    line = judging.judge_queue(queue, NOW, is_stopped=False)
    assert (level_of(line), line.text) == (Level.RED, "7 overdue: received 7 (oldest 12 min)")
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
    assert level_of(line) is Level.RED
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


def test_the_call_of_curl_is_shown_in_its_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell that gets a broken line would take the secret for the name of a program, and print it."""
    print_lines([Line("event trigger", Level.RED, "x", REINSTALL)], Console(width=80))
    shown = capsys.readouterr().out.splitlines()[1:]
    assert [line.strip(" →") for line in shown] == REINSTALL.splitlines()
    assert max(map(len, shown)) <= 80


def test_rosters_without_members_are_red_without_duty_yellow() -> None:
    for rosters, level in (
        ([], Level.RED),
        ([Roster(None, 0, 0), Roster("TikTok", 2, 1)], Level.RED),
        ([Roster(None, 3, 0)], Level.YELLOW),
        ([Roster(None, 3, 1)], Level.GREEN),
    ):
        assert level_of(judging.judge_rosters(rosters)) is level


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
        (AWAY, Level.RED, "Connection refused"),
        (None, Level.UNKNOWN, "EDGE_STATUS_URL is not set"),
    ],
)
def test_the_edge_is_judged_by_its_spool_its_paths_and_its_policy(
    look: EdgeLook | Failure | None, level: Level, words: str
) -> None:
    line = judge_edge(look)
    assert (level_of(line), words in line.text) == (level, True), line


def test_the_answers_of_the_edge_are_read() -> None:
    with edge_status(spooled=7, quarantined=2, skipped="handlers", policy_age_seconds=None) as url:
        found = look_at_edge(url)
    assert replace(found, seconds=0.0, date=None) == EdgeLook(7, 2, True, 1, None, ("handlers",), 0.0)
    assert found.date is not None
    assert abs(found.date - datetime.now(UTC)) < timedelta(seconds=5)


def test_the_handlers_are_judged_by_what_they_reach() -> None:
    with edge_status() as url:  # any server with /healthz and /metrics
        look = look_at_handlers(url)
    assert look.ready is None
    for database, notifications, level in (
        (True, True, Level.GREEN), (False, None, Level.RED), (True, False, Level.RED),
    ):  # fmt: skip
        ready = {"database": database, "notifications": notifications}
        assert level_of(judge_handlers(replace(look, ready=ready))) is level
    assert level_of(judge_handlers(look)) is Level.GREEN
    assert level_of(judge_handlers(AWAY)) is Level.RED


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


SERVER = of_database.Server("17.2", NOW, "operator", [], [])
LOOK = of_database.DatabaseLook(SERVER, None, 0.01, NOW)
WAIT = of_database.LockWait(1, 17, NOW.replace(hour=1), 18, "psql")
PIECES = engine.Pieces(2, [], [], [])
ENGINE = engine.EngineLook(("v2.50.6", 0.01), PIECES, [], {"is_allow_list_enabled": True}, [], {"poll": 5})
TRIGGER = "the SQL trigger x is missing on table public.y: its rows make no event. {}"


def database_lines() -> Iterator[Line]:
    for look in (
        AWAY,
        REFUSED,
        replace(LOOK, server=replace(SERVER, missing=["app_setting"])),
        replace(LOOK, server=replace(SERVER, refused=["app_setting"])),
        replace(LOOK, lock_wait=WAIT),
    ):
        yield of_database.judge_database(look)
    yield looking._judge_both(LOOK, AWAY, None)
    yield looking._judge_both(LOOK, AWAY, WAIT)


def engine_lines() -> Iterator[Line]:
    drifted = replace(PIECES, differences=["table public.y differs: event_triggers"])
    for look in (
        replace(ENGINE, version=AWAY),
        replace(ENGINE, version=REFUSED),
        replace(ENGINE, pieces=AWAY),
        replace(ENGINE, pieces=REFUSED),
        replace(ENGINE, pieces=replace(PIECES, missing=[("allow-list entry", "pancake")], permission=["x"])),
        replace(ENGINE, pieces=drifted, triggers=[TRIGGER.format("Install it")], inconsistencies=["x"]),
        replace(ENGINE, triggers=[TRIGGER.format(REINSTALL)], crons={"poll": 0}),
    ):
        yield from engine.judge_engine(look)


def test_every_kind_of_red_line_ends_with_the_command_that_helps(subtests: pytest.Subtests) -> None:
    """Of database and engine; tests/end_to_end/test_operators.py has the switches and the crons."""
    red = set()
    for line in (*database_lines(), *engine_lines()):
        with subtests.test(line.name, helps=line.helps):
            red |= {line.name} if level_of(line) is Level.RED else set()
    assert red == {
        *("database", "Hasura", "metadata", "event trigger", "allow list", "consistency", "schedule"),
        "notifications",
    }


THIS_HOUR = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
Read = Callable[[], State]


@pytest.fixture
def harness(database: str) -> Iterator[DatabaseHarness]:
    """The database with a connection."""
    seed_connection(database)
    with open_session(database, "test") as session:
        yield DatabaseHarness(session)


@pytest.fixture
def read(database: str, harness: DatabaseHarness) -> Read:
    """Read the state as the operators may, in this hour."""
    return lambda: load_state(operators_url(database), THIS_HOUR)


def add_events(harness: DatabaseHarness, number: int, created_at: datetime, **columns: Any) -> None:
    """Add events as they are in these columns; without others they became tickets."""
    values: dict[str, Any] = {
        "status": "processed", "outcome": "ticket_created", "processed_at": created_at,
        "origin": "webhook", "assignee_id": "c0000000-0000-4000-8000-000000000001",
        "received_at": created_at, "created_at": created_at, "arrived_at": created_at,
        **columns,
    }  # fmt: skip
    harness.sql("SET session_replication_role = replica")
    names = ", ".join(values)
    for n in range(number):
        identity = f"{created_at}{columns.get('status')}{n}"
        harness.sql(
            f"INSERT INTO pancake_webhook_event (connection_id, record_id, payload_hash, payload, {names})"
            f" SELECT c.id, %s, sha256(%s::text::bytea), '{{}}', {', '.join(['%s'] * len(values))}"
            " FROM pancake_connection AS c",
            identity, identity, *values.values(),
        )  # fmt: skip
    harness.sql("RESET session_replication_role")


def test_the_usual_tickets_are_those_of_this_hour_on_days_that_had_any(
    read: Read, harness: DatabaseHarness
) -> None:
    assert read().tickets.usual is None
    add_events(harness, 3, THIS_HOUR - timedelta(minutes=5))
    add_events(
        harness, 1, THIS_HOUR - timedelta(minutes=4), status="dead_letter", outcome=None, error_code="x"
    )
    add_events(harness, 9, THIS_HOUR - timedelta(minutes=20))
    add_events(harness, 12, THIS_HOUR - timedelta(days=1, minutes=25))
    add_events(harness, 24, THIS_HOUR - timedelta(days=2) + timedelta(minutes=25))
    add_events(harness, 50, THIS_HOUR - timedelta(days=3, hours=1))
    add_events(harness, 90, THIS_HOUR - timedelta(days=4))
    found = read().tickets
    assert (found.leads, found.tickets) == (4, 3)
    assert found.usual == pytest.approx(24 / 6), "the median of 12, 24 and 90"


def test_the_queue_is_counted_by_status_with_what_is_late(read: Read, harness: DatabaseHarness) -> None:
    open_event = {"outcome": None, "processed_at": None}
    old, new = THIS_HOUR - timedelta(minutes=20), THIS_HOUR - timedelta(minutes=1)
    add_events(harness, 2, old, status="received", **open_event)
    add_events(harness, 1, new, status="received", **open_event)
    add_events(harness, 1, old, status="failed", error_code="x", next_attempt_at=old, **open_event)
    add_events(harness, 1, THIS_HOUR - timedelta(days=2), status="dead_letter", error_code="x", **open_event)
    found = {each.status: each for each in read().queue}
    assert {name: (each.events, each.late, each.last_day) for name, each in found.items()} == {
        "received": (3, 2, 3), "failed": (1, 1, 1), "dead_letter": (1, 0, 0),
    }  # fmt: skip
    assert found["received"].oldest_at == old


def test_a_refire_does_not_make_an_event_young_and_a_replay_does(
    read: Read, harness: DatabaseHarness
) -> None:
    old = THIS_HOUR - timedelta(minutes=20)
    open_event = {"status": "received", "outcome": None, "processed_at": None, "received_at": THIS_HOUR}
    add_events(harness, 1, old, **open_event)
    add_events(harness, 1, old - timedelta(days=1), replayed_at=THIS_HOUR, **open_event)
    (found,) = read().queue
    assert (found.events, found.late, found.oldest_at) == (2, 1, old)


def test_the_rosters_are_those_that_active_sources_use(read: Read, harness: DatabaseHarness) -> None:
    assert read().rosters == [Roster(None, 0, 0)]
    harness.fill_roster(3)
    harness.sql("UPDATE staff SET on_duty = false WHERE id = (SELECT min(staff_id::text)::uuid"
                " FROM pancake_assignee)")  # fmt: skip
    assert read().rosters == [Roster(None, 3, 2)]
    harness.fill_roster(2, source="-1")
    assert read().rosters == [Roster("Facebook", 2, 2)]
    harness.fill_roster(1, source="-3")  # its source is not active
    assert read().rosters == [Roster("Facebook", 2, 2)]


def test_unsent_notifications_are_counted_until_they_are_given_up(
    read: Read, harness: DatabaseHarness
) -> None:
    at = THIS_HOUR - timedelta(minutes=9)
    waiting = {"notifications": '[{"name": "a"}]'}
    add_events(harness, 2, at, **waiting)
    add_events(harness, 1, at - timedelta(hours=1), notified_at=THIS_HOUR, **waiting)
    add_events(
        harness, 1, at - timedelta(hours=2), notify_given_up_at=THIS_HOUR - timedelta(hours=1),
        notify_error="refused", **waiting,
    )  # fmt: skip
    found = read().unsent
    assert (found.unsent, found.oldest_at, found.given_up) == (2, at, 1)


def test_a_look_changes_nothing(database: str, read: Read) -> None:
    assert read() == read()
    with open_limited(database, "test") as db, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        db.execute("UPDATE pancake_connection SET name = 'x'")
