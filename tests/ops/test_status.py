"""`leads status`: one screen, its cause, its exit code; `leads doctor`: each failure is a line with its fix.

What does not answer is a red line within 3 s. Then what `leads status` reads of the tables, and what it makes
of it: level, words, command and cause. tests/end_to_end/test_operators.py breaks a whole system; the golden
outputs show each service that is away or refuses.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import psycopg
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from leads.services.cron_runs import CRONS
from leads.services.late_owners import UnassignedTickets
from ops.cli import app
from ops.clients.db_session import open_session
from ops.daily.token import NAMESPACE
from ops.doctor.checks import PREFLIGHT, judge_clocks, judge_token
from ops.metadata.engine import Engine
from ops.metadata.source import REINSTALL
from ops.probes import database as of_database
from ops.probes import engine as of_engine
from ops.probes.http_services import (
    MANY_SPOOLED,
    EdgeLook,
    judge_edge,
    judge_handlers,
    look_at_edge,
    look_at_handlers,
)
from ops.probes.lines import Level, Line, find_cause, print_lines, worst
from ops.probes.pancake import KeyLook
from ops.probes.running import Failure
from ops.settings import VARIABLES
from ops.status import judging, looking
from ops.status.looking import read_schedules
from ops.status.state import (
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
from ops.status.words import age, count
from ops.switches import Switch
from sandbox.postgres.roles import operators_url
from tests.support.breakages import ENDS_WITH_COMMAND
from tests.support.fake_services import edge_status, scripted_server, silent_port
from tests.support.handlers import DatabaseHarness, seed_connection
from tests.support.metadata import SECRET, Shared, running_shared_engine

GREEN, YELLOW, RED = 0, 1, 2
CLOSED = "http://127.0.0.1:9"
DATABASE_AWAY = "postgresql://127.0.0.1:9/diva"
KEY = "key-of-the-test-with-32-characters"
FINE = {"hasura": True, "consistent": True, "allow_list": True, "notifications": True}
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


def run(verb: str, *options: str, **variables: str) -> Result:
    result = CliRunner().invoke(app, [verb, *options], env={**dict.fromkeys(VARIABLES, ""), **variables})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def status(database_url: str, hasura_url: str, *options: str, **variables: str) -> Result:
    services = {"DATABASE_URL": database_url, "HASURA_URL": hasura_url, "HASURA_ADMIN_SECRET": SECRET}
    return run("status", *options, **services, **variables)


def look(database_url: str, hasura_url: str, **variables: str) -> dict[str, Any]:
    """Return what `leads status` finds, with its lines by name."""
    result = status(database_url, hasura_url, "--json", **variables)
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == {"green": GREEN, "yellow": YELLOW, "red": RED}[found["level"]]
    return found | {"lines": {line["name"]: line for line in found["lines"]}}


def red(found: dict[str, Any]) -> set[str]:
    lines = found["lines"].items()
    return {name for name, line in lines if line["level"] == "red" and not line["is_symptom"]}


def examine(*, code: int, **variables: str) -> dict[str, dict[str, Any]]:
    """Return the lines of `leads doctor` by name; of several with one name the first."""
    result = run("doctor", "--json", **{"HASURA_ADMIN_SECRET": SECRET} | variables)
    assert result.exit_code == code, result.output
    found: dict[str, dict[str, Any]] = {}
    for line in json.loads(result.stdout):
        found.setdefault(line["name"], line)
    return found


def token(role: str = "pancake_service", days: int = 60) -> str:
    claims = {NAMESPACE: {"x-hasura-default-role": role}, "exp": (NOW + timedelta(days=days)).timestamp()}
    return jwt.encode(claims, KEY, algorithm="HS256")


@pytest.fixture(scope="module")
def engine(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """An engine before step 9a, whose allow list is on."""
    folder = tmp_path_factory.mktemp("backups")
    seed_connection(module_database)
    with running_shared_engine(module_database, folder, HASURA_GRAPHQL_ENABLE_ALLOWLIST="true") as running:
        yield running


def test_before_the_migrations_both_say_so(engine: Shared, diva_database: str) -> None:
    line = look(diva_database, CLOSED)["lines"]["database"]
    assert line["text"].startswith("tables are missing: integration_change, pancake_assignee")
    before = examine(code=1, DATABASE_URL=diva_database, HASURA_URL=engine.url)["database"]
    assert before["text"].startswith("tables are missing: ")
    assert before["helps"].startswith("Apply the migrations (docs/runbook/install.md, step 4): ")


def test_what_9a_would_refuse_is_a_line_with_its_fix(engine: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"DATABASE_URL": operators_url(engine.database_url), "HASURA_URL": engine.url}
    right = "INSERT ON hdb_catalog.event_log {} pancake_handlers"
    monkeypatch.setattr(Engine, "missing_variables", lambda *_: ["HANDLER_SECRET"])
    with engine.changed(f"REVOKE {right.format('FROM')}", f"GRANT {right.format('TO')}"):
        found = examine(code=1, **given)
        refused = engine.run("9a", code=1)
    assert {name for name, line in found.items() if line["level"] == "red"} == {"variables", "rights"}
    assert PREFLIGHT.keys() <= found.keys()
    assert found["variables"]["text"].startswith("the engine has no environment variable HANDLER_SECRET")
    assert "run deploy/postgres/grant_roles.sql" in found["rights"]["text"]
    assert all(found[name]["helps"] and found[name]["text"] in refused for name in ("variables", "rights"))


@pytest.mark.serial
def test_what_never_answers_is_red_within_three_seconds() -> None:
    with silent_port() as port:
        web, database = f"http://127.0.0.1:{port}", f"postgresql://127.0.0.1:{port}/diva"
        services = {"HANDLERS_URL": web, "EDGE_STATUS_URL": web, "ENCRYPTION_KEYS": f"k1:{'A' * 43}="}
        started = time.monotonic()
        found = look(database, web, **services)
        assert time.monotonic() - started < 3
        secrets = {"HASURA_SERVICE_TOKEN": token(), "HANDLER_SECRET": KEY}
        started = time.monotonic()
        lines = examine(code=1, DATABASE_URL=database, HASURA_URL=web, **services, **secrets)
        assert time.monotonic() - started < 3
    assert red(found) == {"database", "Hasura", "handlers", "edge"}
    assert found["cause"]["name"] == "database"
    of_doctor = {name: line["helps"] for name, line in lines.items() if line["level"] == "red"}
    assert of_doctor.keys() == {"database", "Hasura", "handlers", "edge"}
    assert all(of_doctor.values())


@pytest.mark.serial
def test_a_locked_table_is_red_within_three_seconds(database: str) -> None:
    with psycopg.connect(database, application_name="forgotten psql") as db:
        db.execute("LOCK TABLE pancake_webhook_event")
        started = time.monotonic()
        found = look(operators_url(database), CLOSED)
        assert time.monotonic() - started < 3
    assert "forgotten psql" in found["lines"]["database"]["text"]


def test_watching_prints_block_after_block_into_a_pipe_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    result = status(DATABASE_AWAY, CLOSED, "--watch")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")
    assert len(re.findall(r"^\S+ \S+ UTC  RED  ", result.stdout, re.MULTILINE)) == 2
    assert waits == [5.0, 5.0]
    refused = status(DATABASE_AWAY, CLOSED, "--watch", "--json")
    assert (refused.exit_code, json.loads(refused.stdout)["exit_code"]) == (2, 2)


def test_for_the_doctor_an_invalid_variable_is_a_line_with_its_fix() -> None:
    line = examine(code=1, HASURA_URL="ftp://x")["environment"]
    assert line["text"] == "HASURA_URL is not an http or https URL"
    assert line["helps"].startswith("Give it the base URL of Hasura")


def test_the_secret_of_the_handlers_is_tried_without_running_a_cron() -> None:
    for answer, level in ((401, "red"), (400, "green")):
        with scripted_server((answer, {}, {"message": "…"})) as handlers:
            given = {"HANDLERS_URL": handlers.url, "HANDLER_SECRET": KEY}
            found = examine(code=1, DATABASE_URL=DATABASE_AWAY, HASURA_URL=CLOSED, **given)
        assert found["secret"]["level"] == level
        (call,) = [request for request, _ in handlers.log if request.method == "POST"]
        assert call.get_json()["name"] == "leads_doctor"


def test_the_token_of_the_handlers_is_judged_by_role_engine_and_end() -> None:
    for given, found, level, words in (
        ("no token", ("", FINE), Level.RED, "is not a JWT"),
        (token(), ("invalid-jwt", FINE), Level.RED, "refuses HASURA_SERVICE_TOKEN (invalid-jwt)"),
        (token("pancake_edge"), ("", FINE), Level.RED, "is of role pancake_edge, not pancake_service"),
        (token(), ("", {**FINE, "allow_list": False}), Level.RED, "the allow list stops"),
        (token(), ("", {**FINE, "notifications": False}), Level.RED, "may not call sendNotifications"),
        (token(days=3), ("", FINE), Level.YELLOW, "ends in 3 days"),
        (token(), ("", FINE), Level.GREEN, "for 60 days more"),
        (token(), None, Level.UNKNOWN, "HASURA_SERVICE_TOKEN is not set"),
    ):
        line = judge_token(given, found, NOW)
        assert (line.level, words in line.text) == (level, True), line


def test_a_clock_that_differs_is_named() -> None:
    for seconds, level in ((0, Level.GREEN), (40, Level.RED), (-40, Level.RED)):
        server = of_database.Server("17.2", NOW + timedelta(seconds=seconds), "diva", [], [])
        line = judge_clocks(of_database.DatabaseLook(server, None, 0.01, NOW), {"Hasura": None})
        assert (line.level, "database is 40 s" in line.text) == (level, level is Level.RED)
        line = judge_clocks(Failure("away"), {"the edge": datetime.now(UTC) + timedelta(seconds=seconds)})
        assert line.level is level


def level_of(line: Line) -> Level:
    """Return its level; a red line has to end with the command that helps."""
    assert line.level is not Level.RED or ENDS_WITH_COMMAND.search(line.helps), line
    return line.level


def test_tickets_are_compared_with_what_is_usual() -> None:
    for tickets, level in (
        (Tickets(12, 0, 14.0), Level.RED), (Tickets(0, 0, 5.0), Level.RED),
        (Tickets(0, 0, 4.9), Level.GREEN), (Tickets(0, 0, None), Level.GREEN),
        (Tickets(12, 3, 14.0), Level.YELLOW), (Tickets(12, 5, 14.0), Level.GREEN),
        (Tickets(2, 1, 9.0), Level.GREEN),
    ):  # fmt: skip
        line = judging.judge_tickets(replace(STATE, tickets=tickets))
        assert (level_of(line), line.is_symptom) == (level, True), tickets


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


def test_a_connection_is_judged_by_its_status_and_by_what_pancake_says_now() -> None:
    for status, key, level in (
        ("active", KeyLook(True), Level.GREEN),
        ("active", None, Level.GREEN),
        ("active", KeyLook(False, True, "Pancake answered 401."), Level.RED),
        ("active", KeyLook(False, False, "Pancake answered 503."), Level.YELLOW),
        ("key_invalid", None, Level.RED),
        ("key_invalid", KeyLook(True), Level.GREEN),
        ("suspended", KeyLook(True), Level.RED),
        ("outage", None, Level.RED),
        ("silent", KeyLook(True), Level.YELLOW),
    ):
        keys = {} if key is None else {"c1": key}
        state = replace(STATE, connections=[replace(CONNECTION, status=status)])
        (line,) = judging.judge_pancake(state, keys, 0)
        assert (level_of(line), bool(line.helps)) == (level, level is not Level.GREEN), (status, key)
    assert [line.name for line in judging.judge_pancake(STATE, None, 2.0)] == ["Pancake", "breaker"]


def test_what_waits_too_long_is_red_unless_a_switch_lets_it_wait() -> None:
    queue = [Queue("received", 7, NOW - timedelta(minutes=12), 7, 7)]
    line = judging.judge_queue(queue, NOW, is_stopped=False)
    assert (level_of(line), line.text) == (Level.RED, "7 overdue: received 7 (oldest 12 min)")
    assert judging.judge_queue(queue, NOW, is_stopped=True).level is Level.GREEN
    held = [Queue("skipped_source_disabled", MOST_ROWS, NOW, 0, 7)]
    line = judging.judge_queue(held, NOW, is_stopped=False)
    assert (line.level, "10000 or more" in line.text) == (Level.YELLOW, True)
    assert line.helps == "leads replay --status skipped_source_disabled --dry-run"


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
        crons = [replace(each, first_tick=first) for each in STATE.crons]
        never: dict[str, Any] = {"succeeded_tick": None, "succeeded_at": None}
        crons = [replace(each, **never) if each.name in names else each for each in crons]
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


def test_the_edge_is_judged_by_its_spool_its_paths_and_its_policy() -> None:
    for judged, level, words in (
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
    ):
        line = judge_edge(judged)
        assert (level_of(line), words in line.text) == (level, True), line
    with edge_status(spooled=7, quarantined=2, skipped="handlers", policy_age_seconds=None) as url:
        found = look_at_edge(url)
    assert replace(found, seconds=0.0, date=None) == EdgeLook(7, 2, True, 1, None, ("handlers",), 0.0)
    assert found.date is not None
    assert abs(found.date - datetime.now(UTC)) < timedelta(seconds=5)


def test_the_handlers_are_judged_by_what_they_reach() -> None:
    with edge_status() as url:  # any server with /healthz and /metrics
        found = look_at_handlers(url)
    assert found.ready is None
    for database, notifications, level in (
        (True, True, Level.GREEN), (False, None, Level.RED), (True, False, Level.RED),
    ):  # fmt: skip
        ready = {"database": database, "notifications": notifications}
        assert level_of(judge_handlers(replace(found, ready=ready))) is level
    assert level_of(judge_handlers(found)) is Level.GREEN
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
PIECES = of_engine.Pieces(2, [], [], [])
ENGINE = of_engine.EngineLook(("v2.50.6", 0.01), PIECES, [], {"is_allow_list_enabled": True}, [], {"poll": 5})


def test_each_other_red_line_ends_with_the_command_that_helps(subtests: pytest.Subtests) -> None:
    """The others: tests/end_to_end/test_operators.py and the golden outputs of a service that is away."""
    unreadable = replace(LOOK, server=replace(SERVER, refused=["app_setting"]))
    unmigrated = replace(LOOK, server=replace(SERVER, missing=["pancake_switch"]))
    missing = replace(PIECES, missing=[("allow-list entry", "pancake")])
    drifted = replace(PIECES, differences=["table public.y differs: event_triggers"])
    engines = (
        replace(ENGINE, version=REFUSED),
        replace(ENGINE, configuration=AWAY),
        replace(ENGINE, pieces=AWAY),
        replace(ENGINE, pieces=missing),
        replace(ENGINE, pieces=drifted, triggers=["a trigger is missing. Install it"], inconsistencies=["x"]),
    )
    red = set()
    for line in (
        of_database.judge_database(unreadable),
        of_database.judge_database(unmigrated),
        looking._judge_both(LOOK, AWAY, None),
        looking._judge_both(LOOK, AWAY, WAIT),
        *(line for each in engines for line in of_engine.judge_engine(each)),
    ):
        with subtests.test(line.name, helps=line.helps):
            red |= {line.name} if level_of(line) is Level.RED else set()
    assert red == {"database", "Hasura", "metadata", "event trigger", "allow list", "consistency"}


THIS_HOUR = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
Read = Callable[[], State]


@pytest.fixture
def harness(database: str) -> Iterator[DatabaseHarness]:
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


def test_the_usual_tickets_are_those_of_this_hour_on_other_days(read: Read, harness: DatabaseHarness) -> None:
    assert read().tickets.usual is None
    add_events(harness, 3, THIS_HOUR - timedelta(minutes=5))
    rejected = {"status": "dead_letter", "outcome": None, "error_code": "x"}
    add_events(harness, 1, THIS_HOUR - timedelta(minutes=4), **rejected)
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
    # A refire does not make an event young, and a replay does.
    fired = open_event | {"status": "received", "received_at": THIS_HOUR}
    add_events(harness, 2, old + timedelta(minutes=1), **fired)
    add_events(harness, 1, old - timedelta(days=1), replayed_at=THIS_HOUR, **fired)
    found = {each.status: each for each in read().queue}
    assert {name: (each.events, each.late, each.last_day) for name, each in found.items()} == {
        "received": (6, 4, 6), "failed": (1, 1, 1), "dead_letter": (1, 0, 0),
    }  # fmt: skip
    assert found["received"].oldest_at == old


def test_the_rosters_are_those_that_active_sources_use(read: Read, harness: DatabaseHarness) -> None:
    assert read().rosters == [Roster(None, 0, 0)]
    harness.fill_roster(3)
    member = "(SELECT min(staff_id::text)::uuid FROM pancake_assignee)"
    harness.sql(f"UPDATE staff SET on_duty = false WHERE id = {member}")
    assert read().rosters == [Roster(None, 3, 2)]
    harness.fill_roster(2, source="-1")
    assert read().rosters == [Roster("Facebook", 2, 2)]
    harness.fill_roster(1, source="-3")  # its source is not active
    assert read().rosters == [Roster("Facebook", 2, 2)]


def test_unsent_notifications_are_counted_until_given_up(read: Read, harness: DatabaseHarness) -> None:
    at = THIS_HOUR - timedelta(minutes=9)
    waiting = {"notifications": '[{"name": "a"}]'}
    given_up = {"notify_given_up_at": THIS_HOUR - timedelta(hours=1), "notify_error": "refused"}
    add_events(harness, 2, at, **waiting)
    add_events(harness, 1, at - timedelta(hours=1), notified_at=THIS_HOUR, **waiting)
    add_events(harness, 1, at - timedelta(hours=2), **given_up, **waiting)
    found = read().unsent
    assert (found.unsent, found.oldest_at, found.given_up) == (2, at, 1)


def test_a_look_changes_nothing(database: str, read: Read) -> None:
    assert read() == read()
    with (
        of_database.open_limited(database, "test") as db,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        db.execute("UPDATE pancake_connection SET name = 'x'")
