"""`leads status`: one screen, its cause, its exit code; `leads doctor`: each failure is a line with its fix.

What does not answer is a red line within 3 s. Then what `leads status` reads of the tables, and what it makes
of it: level, words, command and cause. tests/end_to_end/test_operators.py breaks a whole system; the golden
outputs show each service that is away or refuses.
"""

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import psycopg
import pytest
from rich.console import Console
from typer import testing
from typer.testing import CliRunner

from leads.services.cron_runs import CRONS
from leads.services.late_owners import UnassignedTickets
from ops.checks import model
from ops.checks.database import (
    MOST_ROWS,
    ConnectionState,
    DatabaseLook,
    LastRuns,
    LockWait,
    Queue,
    Roster,
    Server,
    State,
    Tickets,
    UnsentCount,
    load_state,
    read_blocker,
    read_lock_wait,
    read_server,
    read_state,
)
from ops.checks.edge import MANY_SPOOLED, EdgeLook, look_at_edge, read_edge
from ops.checks.engine import (
    EngineLook,
    Metadata,
    read_clock,
    read_configuration,
    read_inconsistencies,
    read_metadata,
    read_schedule,
    read_sql_triggers,
    read_version,
)
from ops.checks.handlers import (
    Call,
    HandlersLook,
    TokenLook,
    look_at_handlers,
    read_calls,
    read_handlers,
    read_token,
)
from ops.checks.leads import KeyLook, read_keys
from ops.checks.model import (
    Asked,
    Check,
    Facts,
    Finding,
    Level,
    NotRead,
    Reader,
    Result,
    When,
    find_cause,
    judge,
    worst,
)
from ops.checks.screen import COMMAND, print_look
from ops.checks.services import Services, open_limited
from ops.checks.table import BY_ID, CHECKS
from ops.checks.wording import age, count
from ops.cli import app
from ops.clients import plain_http
from ops.clients.db_session import open_session
from ops.clients.plain_http import HttpAnswer, NoAnswer
from ops.daily.token import NAMESPACE
from ops.metadata.engine import Engine
from ops.settings import VARIABLES, read_operator_settings
from ops.switches import Switch
from sandbox.postgres.database import GRANTS, operators_url
from sandbox.processes import ROOT
from scripts.check_tree import fault
from tests.support.breakages import ENDS_WITH_COMMAND
from tests.support.fake_services import edge_status, scripted_server, silent_server
from tests.support.handlers import DatabaseHarness, seed_connection
from tests.support.metadata import SECRET, Shared, running_shared_engine

CLOSED = "http://127.0.0.1:9"
DATABASE_AWAY = "postgresql://127.0.0.1:9/diva"
KEY = "key-of-the-test-with-32-characters"
FINE = {"hasura": True, "consistent": True, "allow_list": True, "notifications": True}
NOW = datetime(2026, 5, 14, 9, 31, 7, tzinfo=UTC)
AWAY = NotRead("Connection refused")
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
SERVER = Server("17.2", NOW, "operator", [], [])
LOOK = DatabaseLook(SERVER, 0.01, NOW)
TRIGGER = {"name": "status", "definition": {"insert": {}}}
READERS: dict[str, Any] = {
    "server": read_server, "state": read_state, "blocker": read_blocker, "lock_wait": read_lock_wait,
    "edge": read_edge, "handlers": read_handlers, "keys": read_keys, "token": read_token, "clock": read_clock,
    "version": read_version, "metadata": read_metadata, "sql_triggers": read_sql_triggers,
    "configuration": read_configuration, "inconsistencies": read_inconsistencies,
    "schedule": read_schedule, "calls": read_calls,
}  # fmt: skip
KNOWN: dict[Any, Any] = {
    read_server: LOOK, read_state: STATE, read_blocker: None, read_lock_wait: None, read_edge: EDGE,
    read_handlers: AWAY, read_calls: [], read_keys: {"c1": KeyLook("Diva", True)},
    read_version: EngineLook("v2.50.6", 0.01),
}  # fmt: skip
"""What readers read where every part works."""


def run(verb: str, *options: str, **variables: str) -> testing.Result:
    result = CliRunner().invoke(app, [verb, *options], env={**dict.fromkeys(VARIABLES, ""), **variables})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def status(database_url: str, hasura_url: str, *options: str, **variables: str) -> testing.Result:
    services = {"DATABASE_URL": database_url, "HASURA_URL": hasura_url, "HASURA_ADMIN_SECRET": SECRET}
    return run("status", *options, **services, **variables)


def look(database_url: str, hasura_url: str, **variables: str) -> dict[str, Any]:
    """Return what `leads status` finds, with its findings by their check."""
    result = status(database_url, hasura_url, "--json", **variables)
    found: dict[str, Any] = json.loads(result.stdout)
    is_asked = any(each["level"] == "green" for each in found["findings"])
    assert result.exit_code == (3 if not is_asked else int(found["level"] != "green"))
    return found | {"findings": {each["check"]: each for each in found["findings"]}}


def red(findings: dict[str, dict[str, Any]]) -> set[str]:
    """Return the checks that are red, and that no other explains."""
    return {name for name, each in findings.items() if each["level"] == "red" and not each["because_of"]}


def examine(*, code: int, **variables: str) -> dict[str, dict[str, Any]]:
    """Return the findings of `leads doctor` by their check; of several of one check the first."""
    result = run("doctor", "--json", **{"HASURA_ADMIN_SECRET": SECRET} | variables)
    assert result.exit_code == code, result.output
    found: dict[str, dict[str, Any]] = {}
    for finding in json.loads(result.stdout)["findings"]:
        found.setdefault(finding["check"], finding)
    return found


def ask(name: str, **values: Any) -> list[Finding]:
    """Return what a check finds in these values: what is green, but for the readers that are named."""
    facts = Facts(KNOWN | {READERS[reader]: value for reader, value in values.items()})
    (result,) = judge([(Asked(BY_ID[name]), True)], facts)
    for found in result.findings:
        assert found.level is not Level.RED or ENDS_WITH_COMMAND.search(found.cure), found
        assert_commands_exist(found.cure)
    return list(result.findings)


def assert_commands_exist(cure: str) -> None:
    for command in COMMAND.findall(cure):
        assert fault(command.removeprefix("leads ")) is None, command


def level_of(name: str, **values: Any) -> Level:
    return max(found.level for found in ask(name, **values))


def token(role: str = "pancake_service", days: int = 60) -> str:
    end = datetime.now(UTC) + timedelta(days=days, minutes=1)
    claims = {NAMESPACE: {"x-hasura-default-role": role}, "exp": end.timestamp()}
    return jwt.encode(claims, KEY, algorithm="HS256")


@pytest.fixture(scope="module")
def engine(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """An engine before step 9a, whose allow list is on."""
    folder = tmp_path_factory.mktemp("backups")
    seed_connection(module_database)
    with running_shared_engine(module_database, folder, HASURA_GRAPHQL_ENABLE_ALLOWLIST="true") as running:
        yield running


def test_before_the_migrations_both_say_so(engine: Shared, diva_database: str) -> None:
    line = look(diva_database, CLOSED)["findings"]["tables"]
    assert line["text"].startswith("tables are missing: integration_change, pancake_assignee")
    before = examine(code=1, DATABASE_URL=diva_database, HASURA_URL=engine.url)["tables"]
    assert before["text"].startswith("tables are missing: ")
    assert before["cure"].startswith("Apply the migrations (docs/runbook/install.md, step 4): ")


def test_what_9a_would_refuse_is_a_line_with_its_fix(engine: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"DATABASE_URL": operators_url(engine.database_url), "HASURA_URL": engine.url}
    right = "INSERT ON hdb_catalog.event_log {} pancake_handlers"
    monkeypatch.setattr(Engine, "missing_variables", lambda *_: ["HANDLER_SECRET"])
    with engine.changed(f"REVOKE {right.format('FROM')}", f"GRANT {right.format('TO')}"):
        found = examine(code=1, **given)
        refused = engine.run("9a", code=1)
    assert red(found) == {"variables", "store-lead", "role-rights"}
    assert found["variables"]["text"].startswith("the engine has no environment variable HANDLER_SECRET")
    assert found["store-lead"]["cure"].endswith("psql -f deploy/postgres/grant_roles.sql")
    assert all(found[name]["text"] in refused for name in ("variables", "store-lead"))


@pytest.mark.serial
def test_what_never_answers_is_red_within_three_seconds() -> None:
    with silent_server() as silent:
        web, database = silent.url, f"postgresql://127.0.0.1:{silent.port}/diva"
        services = {"HANDLERS_URL": web, "EDGE_STATUS_URL": web, "ENCRYPTION_KEYS": f"k1:{'A' * 43}="}
        started = time.monotonic()
        found = look(database, web, **services)
        assert time.monotonic() - started < 3
        secrets = {"HASURA_SERVICE_TOKEN": token(), "HANDLER_SECRET": KEY}
        started = time.monotonic()
        lines = examine(code=1, DATABASE_URL=database, HASURA_URL=web, **services, **secrets)
        assert time.monotonic() - started < 3
    away = {"database", "hasura", "edge"}
    assert (red(found["findings"]), found["cause"]["check"]) == (away, "database")
    assert red(lines) == away
    assert all(lines[name]["cure"] for name in away)


@pytest.mark.serial
def test_a_locked_table_is_red_within_three_seconds(database: str) -> None:
    with psycopg.connect(database, application_name="forgotten psql") as db:
        db.execute("LOCK TABLE pancake_webhook_event")
        started = time.monotonic()
        found = look(operators_url(database), CLOSED)
        assert time.monotonic() - started < 3
    assert "forgotten psql" in found["findings"]["tables"]["text"]


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
    assert line["cure"].startswith("Give it the base URL of Hasura")


def test_the_secret_of_the_handlers_is_tried_without_running_a_cron(subtests: pytest.Subtests) -> None:
    for answer, level in ((401, "red"), (400, "green")):
        with subtests.test(answer=answer, level=level):
            with scripted_server((answer, {}, {"message": "…"})) as handlers:
                given = {"HANDLERS_URL": handlers.url, "HANDLER_SECRET": KEY}
                found = examine(code=1, DATABASE_URL=DATABASE_AWAY, HASURA_URL=CLOSED, **given)
            assert found["secret"]["level"] == level
            (call,) = [request for request, _ in handlers.log if request.method == "POST"]
            assert call.get_json()["name"] == "leads_doctor"


def test_the_token_of_the_handlers_is_judged_by_role_engine_and_end(subtests: pytest.Subtests) -> None:
    for given, refusal, state, level, words in (
        ("no token", "", FINE, Level.RED, "is not a JWT"),
        (token(), "invalid-jwt", FINE, Level.RED, "refuses HASURA_SERVICE_TOKEN (invalid-jwt)"),
        (token("pancake_edge"), "", FINE, Level.RED, "is of role pancake_edge, not pancake_service"),
        (token(days=3), "", FINE, Level.YELLOW, "ends in 3 days"),
        (token(), "", FINE, Level.GREEN, "for 60 days more"),
    ):
        with subtests.test(given=given, refusal=refusal):
            (found,) = ask("token", token=TokenLook(given, refusal, state))
            assert (found.level, words in found.text) == (level, True), found
    unset = NotRead("X is not set", variable="HASURA_SERVICE_TOKEN")
    assert ask("token", token=unset)[0].level is Level.UNKNOWN
    for name, words in (("allow_list", "the allow list stops"), ("notifications", "may not call")):
        (found,) = ask("token-call", token=TokenLook(token(), "", {**FINE, name: False}))
        assert (found.level, words in found.text) == (Level.RED, True)
    assert level_of("token-call", token=TokenLook(token(), "", FINE)) is Level.GREEN


def test_a_clock_that_differs_is_named(subtests: pytest.Subtests) -> None:
    for seconds, level in ((0, Level.GREEN), (40, Level.RED), (-40, Level.RED)):
        with subtests.test(seconds=seconds, level=level):
            server = replace(SERVER, now=NOW + timedelta(seconds=seconds))
            (found,) = ask("clocks", server=replace(LOOK, server=server), clock=None)
            assert (found.level, "database is 40 s" in found.text) == (level, level is Level.RED)
            edge = replace(EDGE, date=datetime.now(UTC) + timedelta(seconds=seconds))
            assert level_of("clocks", server=AWAY, clock=AWAY, edge=edge) is level
    assert level_of("clocks", server=AWAY, clock=AWAY) is Level.UNKNOWN
    others = datetime.now(UTC) - timedelta(minutes=10)
    late = replace(LOOK, server=replace(SERVER, now=NOW - timedelta(minutes=10)))
    (found,) = ask("clocks", server=late, clock=others, edge=EDGE)
    assert found.level is Level.YELLOW
    assert found.text == "the clock of this machine is 600 s ahead of those of database, Hasura"


def test_tickets_are_compared_with_what_is_usual(subtests: pytest.Subtests) -> None:
    for tickets, level in (
        (Tickets(12, 0, 14.0), Level.RED), (Tickets(0, 0, 5.0), Level.RED),
        (Tickets(0, 0, 4.9), Level.GREEN), (Tickets(0, 0, None), Level.GREEN),
        (Tickets(12, 3, 14.0), Level.YELLOW), (Tickets(12, 5, 14.0), Level.GREEN),
        (Tickets(2, 1, 9.0), Level.GREEN),
    ):  # fmt: skip
        with subtests.test(tickets=tickets, level=level):
            assert level_of("tickets", state=replace(STATE, tickets=tickets)) is level


def test_no_new_ticket_is_not_red_while_or_after_an_outage_is_made_good() -> None:
    none = replace(STATE, tickets=Tickets(0, 0, 14.0, drained_at=NOW - timedelta(seconds=20)))
    (found,) = ask("tickets", state=none)
    assert (found.level, "a backlog is being processed first" in found.text) == (Level.YELLOW, True)
    for minutes, level in ((9, Level.YELLOW), (11, Level.RED)):
        recovered_at = NOW - timedelta(minutes=minutes)
        crons = [replace(each, recovered_at=recovered_at) for each in STATE.crons]
        (found,) = ask("tickets", state=replace(STATE, tickets=Tickets(0, 0, 14.0), crons=crons))
        assert (found.level, f"over since {recovered_at:%H:%M} UTC" in found.text) == (level, minutes == 9)


def test_leads_that_fail_come_first_with_their_reason(subtests: pytest.Subtests) -> None:
    failing = replace(
        STATE.tickets, tickets=0, leads=2, held=1, failing=2, tries=3, reason="internal: UndefinedTable",
        failed_id=17, failed_at=NOW - timedelta(minutes=1),
    )  # fmt: skip
    for processed_at, tries, level in (
        (None, 3, Level.RED), (NOW - timedelta(minutes=5), 3, Level.RED), (None, 1, Level.YELLOW),
        (NOW, 3, Level.YELLOW),
    ):  # fmt: skip
        with subtests.test(processed_at=processed_at, tries=tries):
            tickets = replace(failing, processed_at=processed_at, tries=tries)
            (found,) = ask("tickets", state=replace(STATE, tickets=tickets))
            assert found.level is level
            assert found.text.startswith(
                "2 leads failed (internal: UndefinedTable); 0 new in 10 min of 2 leads"
            )
            assert ("the last failed at 09:30 UTC, others are processed since" in found.text) == (
                processed_at == NOW
            )
            assert found.cure == "Read why, and what helps: leads trace 17"


def test_a_switch_says_since_when_and_by_whom() -> None:
    changed = replace(OFF, changed_at=NOW, person="Phạm Thu Trang", reason="Tết\ngreen")
    connection = replace(changed, kind="connection", name="Diva", is_on=True, person=None, changed_by="lan")
    source = replace(changed, kind="source", pancake_source_id="-1")
    sources = [replace(source, name=f"Nguồn {number}", is_on=number != 9) for number in range(1, 11)]
    state = replace(STATE, switches=[OFF, replace(changed, kind="pause"), connection, *sources])
    names = ("kill-switch", "pause", "connection", "sources")
    findings = [found for name in names for found in ask(name, state=state)]
    assert {found.level for found in findings} == {Level.GREEN}
    since = "since 2026-05-14 09:31 UTC by Phạm Thu Trang (Tết\\ngreen)"
    kill, pause, of_connection, of_sources = (found.text for found in findings)
    assert (kill, pause) == ("off since it was set up", f"off {since}")
    assert of_connection == "Diva is enabled since 2026-05-14 09:31 UTC by lan (Tết\\ngreen)"
    assert of_sources.splitlines()[:2] == [f"Nguồn 9: off {since}", f"Nguồn 1: on {since}"]
    assert of_sources.splitlines()[8:] == ["and 2 more: leads switch list"]


def test_a_pause_is_yellow_with_who_and_since() -> None:
    pause = replace(OFF, kind="pause", is_on=True, changed_at=NOW, person="Lan", reason="Tết")
    (found,) = ask("pause", state=replace(STATE, switches=[OFF, pause]))
    assert found.level is Level.YELLOW
    assert found.text == "processing is paused since 2026-05-14 09:31 UTC by Lan (Tết): leads wait"
    assert found.cure == "leads switch pause off --reason TEXT"


def test_one_disabled_connection_of_two_is_yellow_the_only_one_red() -> None:
    switch = replace(OFF, kind="connection", name="Diva", changed_at=NOW, changed_by="lan")
    disabled = replace(CONNECTION, status="disabled")
    both = replace(STATE, switches=[switch], connections=[disabled, replace(CONNECTION, id="c2")])
    only = replace(both, connections=[disabled])
    none = replace(STATE, connections=[])
    levels = [level_of("connection", state=state) for state in (both, only, none)]
    assert levels == [Level.YELLOW, Level.RED, Level.RED]
    assert [found.text for found in ask("webhook", state=only)] == ["no connection is in use"]


def test_a_connection_is_judged_by_its_status_and_by_what_pancake_says_now(subtests: pytest.Subtests) -> None:
    for status, key, of_key, of_webhook in (
        ("active", KeyLook("Diva", True), Level.GREEN, Level.GREEN),
        ("active", KeyLook("Diva", False, True, "Pancake answered 401."), Level.RED, Level.GREEN),
        ("active", KeyLook("Diva", False, False, "Pancake answered 503."), Level.YELLOW, Level.GREEN),
        ("key_invalid", None, Level.UNKNOWN, Level.RED),
        ("key_invalid", KeyLook("Diva", True), Level.GREEN, Level.YELLOW),
        ("suspended", KeyLook("Diva", True), Level.GREEN, Level.RED),
        ("outage", None, Level.UNKNOWN, Level.RED),
        ("silent", KeyLook("Diva", True), Level.GREEN, Level.YELLOW),
    ):
        with subtests.test(status=status, key=key):
            keys = AWAY if key is None else {"c1": key}
            state = replace(STATE, connections=[replace(CONNECTION, status=status)])
            levels = level_of("api-key", state=state, keys=keys), level_of("webhook", state=state, keys=keys)
            assert levels == (of_key, of_webhook)
    assert level_of("breaker", handlers=replace(handlers(), breaker=2.0)) is Level.YELLOW


def test_every_refused_key_is_named_with_its_connection() -> None:
    refused = KeyLook("Diva Hà Nội", False, True, "Pancake answered 401.")
    keys = {"c1": refused, "c2": KeyLook("Diva", True), "c3": replace(refused, name="Diva Hue")}
    red = [found for found in ask("api-key", keys=keys) if found.level is Level.RED]
    assert [found.about for found in red] == ["Diva Hà Nội", "Diva Hue"]
    several = replace(STATE, connections=[CONNECTION, replace(CONNECTION, id="c2")])
    first = next(found for found in ask("api-key", keys=keys, state=several) if found.level is Level.RED)
    assert "leads connection set-api-key --connection 'Diva Hà Nội'; then leads cron run" in first.cure
    assert all(found.text.startswith(f"{found.about}: the API key does not work") for found in red)


def test_what_waits_too_long_is_red_unless_a_switch_lets_it_wait() -> None:
    late = replace(STATE, queue=[Queue("received", 7, NOW - timedelta(minutes=12), 7, 7)])
    (found,) = ask("queue", state=late)
    assert (found.level, found.text) == (Level.RED, "7 overdue: received 7 (oldest 12 min)")
    for kind in ("kill", "pause"):
        assert level_of("queue", state=replace(late, switches=[replace(OFF, kind=kind, is_on=True)])) is (
            Level.GREEN
        )
    for seconds, level in ((40, Level.YELLOW), (70, Level.RED)):
        drained_at = NOW - timedelta(seconds=seconds)
        drains = replace(late, tickets=replace(late.tickets, drained_at=drained_at))
        assert level_of("queue", state=drains) is level
    held = replace(STATE, queue=[Queue("skipped_source_disabled", MOST_ROWS, NOW, 0, 7)])
    (found,) = ask("queue", state=held)
    assert (found.level, "10000 or more" in found.text) == (Level.YELLOW, True)
    assert found.cure == "leads replay --status skipped_source_disabled --dry-run"


def test_late_crons_are_named_with_the_last_error() -> None:
    old = NOW - timedelta(hours=3)
    failed = LastRuns("poll_records", NOW, "failed", "Pancake answered 401.", old, old, old)
    crons = [failed if each.name == failed.name else each for each in STATE.crons]
    (found,) = ask("crons", state=replace(STATE, crons=crons))
    assert found.text == "poll_records is late: it succeeded 3 h ago (Pancake answered 401.)"
    assert found.cure == "leads cron run poll_records"
    one_more = [replace(each, succeeded_tick=old) if each.name == "check_sla" else each for each in crons]
    assert ask("crons", state=replace(STATE, crons=one_more))[0].text.endswith("; 1 more is late")
    never = [LastRuns(name, None, None, None, None, None, old - timedelta(days=2)) for name in CRONS]
    (found,) = ask("crons", state=replace(STATE, crons=never))
    assert found.level is Level.RED
    assert found.text.endswith("is late: it never succeeded; 6 more are late")
    assert found.cure.startswith("Hasura does not reach the handlers")


def test_a_daily_cron_that_was_never_due_is_not_late() -> None:
    """On the day of the installation: the others have run since then."""
    names = ("purge_events", "reconcile_daily")
    for hours, level in ((1, Level.GREEN), (30, Level.RED)):
        first = NOW - timedelta(hours=hours)
        crons = [replace(each, first_tick=first) for each in STATE.crons]
        never: dict[str, Any] = {"succeeded_tick": None, "succeeded_at": None}
        crons = [replace(each, **never) if each.name in names else each for each in crons]
        (found,) = ask("crons", state=replace(STATE, crons=crons))
        assert found.level is level, found
        assert level is Level.RED or found.text == (
            "5 succeeded in time, the first ticks of 2 are still to come"
        )


def test_a_cron_that_waits_for_its_tick_after_an_outage_is_not_red(subtests: pytest.Subtests) -> None:
    """At 09:31:07 it is due every five minutes; it succeeded an hour ago."""
    old = NOW - timedelta(hours=1)
    for name, recovered_at, level in (
        ("check_sla", NOW - timedelta(seconds=20), Level.YELLOW),
        ("check_sla", NOW - timedelta(minutes=20), Level.RED),
        ("check_sla", None, Level.RED),
        ("reconcile_daily", NOW - timedelta(seconds=20), Level.RED),
    ):
        with subtests.test(name=name, recovered_at=recovered_at):
            tick = old - timedelta(days=3) if name == "reconcile_daily" else old
            crons = [
                replace(each, succeeded_tick=tick if each.name == name else NOW, recovered_at=recovered_at)
                for each in STATE.crons
            ]
            (found,) = ask("crons", state=replace(STATE, crons=crons))
            assert found.level is level, found
            assert level is Level.RED or found.text == (
                "1 cron missed ticks; they are answered again since 09:30, and all are due until 09:35 UTC"
            )


def test_before_the_first_tick_no_cron_is_late() -> None:
    for first_tick, level in ((None, Level.GREEN), (NOW - timedelta(seconds=40), Level.GREEN)):
        crons = [LastRuns(name, None, None, None, None, None, first_tick) for name in CRONS]
        assert level_of("crons", state=replace(STATE, crons=crons)) is level


def test_how_the_handlers_answer_hasura_is_judged_by_its_last_calls(subtests: pytest.Subtests) -> None:
    started = replace(handlers(), started_at=NOW)
    for calls, look, level, words in (
        ([], AWAY, Level.GREEN, "nothing yet"),
        ([Call(200, NOW), Call(401, NOW)], AWAY, Level.GREEN, "answered at 09:31:07"),
        ([Call(503, NOW)], AWAY, Level.GREEN, "answered"),
        ([Call(401, NOW)], AWAY, Level.RED, "another HANDLER_SECRET"),
        ([Call(None, NOW), Call(200, NOW)], AWAY, Level.YELLOW, "did not reach"),
        ([Call(None, NOW), Call(None, NOW)], AWAY, Level.RED, "did not reach"),
        ([Call(None, NOW - timedelta(seconds=9))] * 2, started, Level.GREEN, "started after the last call"),
    ):
        with subtests.test(calls=calls):
            (found,) = ask("calls", calls=calls, handlers=look)
            assert (found.level, words in found.text) == (level, True), found


def test_a_database_that_takes_no_writes_is_red() -> None:
    standby = replace(LOOK, server=replace(SERVER, read_only="it is a standby"))
    assert ask("database", server=standby)[0].text == "it takes no writes: it is a standby"
    (crowded,) = ask("database", server=NotRead("FATAL: sorry, too many clients already"))
    assert "FROM pg_stat_activity GROUP BY" in crowded.cure


@pytest.mark.own_database
def test_rights_that_are_missing_are_the_cause_in_status_and_doctor(database: str) -> None:
    given = operators_url(database)
    assert look(given, CLOSED)["findings"]["role-rights"]["level"] == "green"
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("REVOKE ALL ON ticket FROM pancake_handlers")
        db.execute("GRANT DELETE ON account TO pancake_handlers")
        findings = look(given, CLOSED)["findings"]
        of_doctor = examine(code=1, DATABASE_URL=given, HASURA_URL=CLOSED)
        db.execute(GRANTS.read_bytes())
    assert findings["role-rights"]["text"].startswith("too much: pancake_handlers DELETE public.account")
    missing = ", ".join(f"pancake_handlers {right} public.ticket" for right in ("INSERT", "SELECT", "UPDATE"))
    assert of_doctor["role-rights"]["text"] == f"missing: {missing}"
    assert findings["role-rights"]["cure"].endswith("psql -f deploy/postgres/grant_roles.sql")


def test_rosters_without_members_are_red_without_duty_yellow() -> None:
    for rosters, level in (
        ([], Level.RED),
        ([Roster(None, 0, 0), Roster("TikTok", 2, 1)], Level.RED),
        ([Roster(None, 3, 0)], Level.YELLOW),
        ([Roster(None, 3, 1)], Level.GREEN),
    ):
        assert level_of("rosters", state=replace(STATE, rosters=rosters)) is level


def test_unsent_and_unassigned_are_yellow() -> None:
    for unsent, level in (
        (UnsentCount(3, NOW - timedelta(seconds=50), 0), Level.GREEN),
        (UnsentCount(3, NOW - timedelta(seconds=70), 0), Level.YELLOW),
        (UnsentCount(0, None, 2), Level.YELLOW),
    ):
        assert level_of("unsent", state=replace(STATE, unsent=unsent)) is level
    refused = replace(STATE, unsent=UnsentCount(1, NOW - timedelta(minutes=2), 0, "refused"))
    for allow_list, notifications, words in (
        (False, None, "the allow list of Hasura stops the call"),
        (True, False, "Hasura does not let pancake_service call"),
        (True, True, "Diva's service of notifications answered with an error"),
        (None, None, "Hasura, or the service behind it, answered with an error"),
    ):
        state = {"database": True, "allow_list": allow_list, "notifications": notifications}
        by_handlers = replace(handlers(), ready=state)
        for found in (
            ask("unsent", state=refused, handlers=by_handlers, token=AWAY),
            ask("unsent", state=refused, token=TokenLook("", "", state)),
        ):
            assert words in found[0].text
    unassigned = replace(STATE, unassigned=UnassignedTickets(2, NOW - timedelta(hours=5)))
    assert ask("unassigned", state=unassigned)[0].text.endswith("have no owner, the oldest for 5 h")
    one = replace(STATE, unassigned=UnassignedTickets(1, NOW - timedelta(hours=5)))
    assert ask("unassigned", state=one)[0].text.startswith("1 open ticket has no owner")


def test_the_edge_is_judged_by_its_spool_its_paths_and_its_policy(subtests: pytest.Subtests) -> None:
    for name, edge, level, words in (
        ("edge", EDGE, Level.GREEN, "it answers"),
        ("edge", replace(EDGE, is_writable=False), Level.RED, "cannot be written"),
        ("edge", AWAY, Level.RED, "Connection refused"),
        ("edge", NotRead("x", variable="EDGE_STATUS_URL"), Level.UNKNOWN, "not looked at"),
        ("spool", EDGE, Level.GREEN, "nothing waits"),
        ("spool", replace(EDGE, spooled=3), Level.YELLOW, "3 deliveries wait"),
        ("spool", replace(EDGE, spooled=1, failures=2), Level.YELLOW, "1 delivery waits on its disk, 2 were"),
        ("spool", replace(EDGE, spooled=MANY_SPOOLED), Level.YELLOW, "it hands over what waits"),
        ("spool", replace(EDGE, quarantined=1), Level.YELLOW, "1 in quarantine"),
        ("spool", replace(EDGE, spooled=MANY_SPOOLED, skipped=("hasura",)), Level.RED, "not reach hasura"),
        ("spool", replace(EDGE, skipped=("hasura", "handlers")), Level.RED, "hasura and handlers"),
        ("spool", replace(EDGE, skipped=("handlers",)), Level.YELLOW, "by handlers, the next one tries it"),
        ("edge-policy", replace(EDGE, connections=0, policy_age_seconds=None), Level.RED, "no policy"),
        ("edge-policy", replace(EDGE, connections=0), Level.GREEN, "it has one"),
        ("edge-tokens", EDGE, Level.GREEN, "the tokens of 1 connection"),
        ("edge-tokens", replace(EDGE, connections=0), Level.RED, "its policy has no connection"),
        ("edge-policy", replace(EDGE, policy_age_seconds=400.0), Level.YELLOW, "400 s old"),
    ):  # fmt: skip
        with subtests.test(name=name, edge=edge):
            (found,) = ask(name, edge=edge)
            assert (found.level, words in found.text) == (level, True), found
    with edge_status(spooled=7, quarantined=2, skipped="handlers", policy_age_seconds=None) as url:
        look = look_at_edge(url)
    assert replace(look, seconds=0.0, date=None) == EdgeLook(7, 2, True, 1, None, ("handlers",), 0.0)
    assert look.date is not None
    assert abs(look.date - datetime.now(UTC)) < timedelta(seconds=5)


def test_handlers_and_edge_that_restart_during_a_look_are_not_down(monkeypatch: pytest.MonkeyPatch) -> None:
    with edge_status() as url:
        monkeypatch.setenv("HANDLERS_URL", url)
        monkeypatch.setenv("EDGE_STATUS_URL", url)
        services = Services(read_operator_settings(may_have=("HANDLERS_URL", "EDGE_STATUS_URL")), "status")
        for module in ("handlers", "edge"):
            answers = itertools.chain((False, True, False), itertools.repeat(True))

            def restarting(*given: Any, answers: Iterator[bool] = answers, **named: Any) -> HttpAnswer:
                if next(answers):
                    return plain_http.ask(*given, **named)
                raise NoAnswer("Connection refused")

            monkeypatch.setattr(f"ops.checks.{module}.ask", restarting)
        assert isinstance(read_handlers(services), HandlersLook)
        assert isinstance(read_edge(services), EdgeLook)


def test_the_handlers_are_judged_by_what_they_reach(subtests: pytest.Subtests) -> None:
    found = handlers()
    assert found.ready is None
    for database, notifications, level in (
        (True, True, Level.GREEN), (False, None, Level.RED), (True, False, Level.RED),
    ):  # fmt: skip
        with subtests.test(database=database, notifications=notifications):
            ready = {"database": database, "notifications": notifications}
            assert level_of("readiness", handlers=replace(found, ready=ready)) is level
    levels = [level_of(name, handlers=found) for name in ("handlers", "readiness")]
    assert levels == [Level.GREEN, Level.UNKNOWN]
    assert level_of("handlers", handlers=AWAY) is Level.RED


def handlers() -> HandlersLook:
    with edge_status() as url:  # any server with /healthz and /metrics
        return look_at_handlers(url)


def check(name: str, *needs: str, is_symptom: bool = False) -> Check:
    return Check(name, "", When.CRITERION, (), lambda *_: (), needs=needs, is_symptom=is_symptom)


def results(*found: tuple[Check, Level]) -> list[Result]:
    """Judge checks that find these levels."""
    asked = [
        (
            Asked(
                replace(
                    each,
                    ask=lambda *_, level=level: [Finding(level, "x", is_read=level is not Level.UNKNOWN)],
                )
            ),
            True,
        )
        for each, level in found
    ]
    return judge(asked, Facts({}))


def test_a_reader_that_hangs_is_late_though_another_check_may_take_minutes() -> None:
    ends = threading.Event()

    def hanging(_: Services) -> None:
        ends.wait(60)

    def quick(_: Services) -> None: ...

    def ask_for(reader: Reader[None]) -> Check:
        return replace(check(reader.__name__), reads=(reader,), ask=lambda facts, _: facts.get(reader) or ())

    table = (replace(ask_for(quick), seconds=600), ask_for(hanging))
    services = Services(read_operator_settings(), "status")
    found, _ = model.look([Asked(each) for each in table], table, services, {}, seconds=0.05)
    ends.set()
    assert [each.level for each in found] == [Level.GREEN, Level.UNKNOWN]


def test_the_cause_is_the_first_of_the_worst_level_that_nothing_explains() -> None:
    first, second, third = check("a"), check("b", "a"), check("c", "b")
    symptom = check("tickets", is_symptom=True)

    def cause(*found: tuple[Check, Level]) -> str | None:
        named = find_cause(results(*found))
        return named and named[0].name

    assert cause((symptom, Level.RED), (first, Level.YELLOW), (second, Level.RED)) == "b"
    assert cause((symptom, Level.RED), (first, Level.YELLOW)) == "tickets"
    assert cause((first, Level.UNKNOWN), (second, Level.GREEN)) is None
    assert worst(results((first, Level.UNKNOWN))) is Level.GREEN
    # What cannot be asked hands the cause on: c is red because of a.
    chain = results((first, Level.RED), (second, Level.UNKNOWN), (third, Level.RED))
    assert [found.because_of for each in chain for found in each.findings] == ["", "a", "a"]
    assert find_cause(chain) == (chain[0], chain[0].findings[0])


def test_below_a_cause_stands_what_it_explains(capsys: pytest.CaptureFixture[str]) -> None:
    found = results(
        (check("a"), Level.RED), (check("b", "a"), Level.UNKNOWN), (check("c", "a"), Level.YELLOW),
        (check("d"), Level.UNKNOWN), (check("e", "a"), Level.UNKNOWN),
    )  # fmt: skip
    print_look(found, Console(width=80), fine="")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert lines == [
        ["red", "a", "x"], ["so", "yellow:", "c:", "x"], ["so", "not", "known:", "b,", "e"],
        ["unknown", "d", "x"],
    ]  # fmt: skip


def test_a_look_fits_on_a_terminal_with_any_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """The worst stand first, behind the result of the last leads."""
    result = replace(check("tickets", "a"), is_result=True, is_symptom=True)
    wide: dict[str, Any] = {
        "cure": f"Mend it: {'word ' * 30}",
        "runbook": "docs/runbook/edge.md#pancakeedgedown",
    }
    many = [(replace(check(f"y{number}"), **wide), Level.YELLOW) for number in range(9)]
    few = [(check(f"u{number}"), Level.UNKNOWN) for number in range(9)]
    unknown = [(check(f"n{number}", "a"), Level.UNKNOWN) for number in range(9)]
    found = results(*many, (replace(check("a"), **wide), Level.RED), *unknown, *few, (result, Level.RED))
    print_look(found, Console(width=80), fine="", shows_all=False)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) <= 23
    assert max(map(len, shown)) <= 80
    assert [line.split()[:2] for line in shown[2:4]] == [["red", "tickets"], ["red", "a"]]
    assert "so not known: 9 checks" in "".join(shown)
    assert shown[-2:] == [
        "7 more to look at; not known: u0, u1, u2, u3, u4 and 4 more; 0 checks green. All",
        "of them: --all",
    ]
    print_look(found, Console(width=80), fine="")
    assert len(capsys.readouterr().out.splitlines()) > 24


def test_the_table_is_in_the_order_of_needs_and_each_check_says_what_helps() -> None:
    seen: set[str] = set()
    for each in CHECKS:
        assert seen.issuperset(each.needs), f"{each.id} needs what stands below it"
        assert each.id not in seen
        seen.add(each.id)
        assert each.question.endswith("?")
        assert ENDS_WITH_COMMAND.search(each.cure), f"{each.id}: {each.cure}"
        assert_commands_exist(f"{each.cure}; {each.refused}")
        page, _, heading = each.runbook.partition("#")
        text = (ROOT / page).read_text("utf-8")
        headings = [re.sub(r"[^a-z0-9 -]", "", line.lower()).strip().replace(" ", "-")
                    for line in re.findall(r"^#+ (.*)", text, re.MULTILINE)]  # fmt: skip
        assert not heading or heading in headings, f"{each.id}: {each.runbook}"


def test_ages_and_counts_are_short() -> None:
    ages = [age(NOW - timedelta(seconds=seconds), NOW) for seconds in (5, 60, 3600, 7200, 100_000, 200_000)]
    assert ages == ["5 s", "1 min", "60 min", "2 h", "27 h", "2 d"]
    assert (count(3, 10), count(10, 10)) == ("3", "10 or more")


def test_a_lock_wait_is_named_with_its_blocker() -> None:
    wait = LockWait(1, 17, 3.0, 18, "psql")
    for seconds, level in ((3.0, Level.YELLOW), (11.0, Level.RED)):
        (found,) = ask("locks", lock_wait=replace(wait, waiting_seconds=seconds))
        assert (found.level, "session 18 (psql) holds it" in found.text) == (level, True)
    (found,) = ask("locks", lock_wait=replace(wait, blocking_pid=0))
    assert "a prepared transaction holds it" in found.text
    assert found.cure == "Roll it back: psql -c 'SELECT gid, prepared, owner FROM pg_prepared_xacts'"
    late = NotRead("a statement did not end within 2 s", is_late=True)
    (found,) = ask("tables", state=late, blocker=wait)
    assert found.text == "they are locked: session 18 (psql) holds the lock"
    (found,) = ask("tables", state=late)
    assert found.text == "they cannot be read: a statement did not end within 2 s"


def test_the_version_of_the_engine_has_a_lower_and_an_upper_bound_everywhere() -> None:
    for version, level in (
        ("v2.50.5", Level.RED), ("v2.50.6", Level.GREEN), ("v2.50.9", Level.GREEN),
        ("v2.51.0", Level.YELLOW), ("dev-12", Level.RED),
    ):  # fmt: skip
        assert level_of("engine-version", version=EngineLook(version, 0.01)) is level
    assert When.BOTH | When.APPLY in BY_ID["engine-version"].when


def test_each_other_red_finding_ends_with_the_command_that_helps(subtests: pytest.Subtests) -> None:
    """The others: tests/end_to_end/test_operators.py and the golden outputs of a service that is away."""
    table = {"table": "pancake_webhook_event"}
    source = {"name": "default", "tables": [{**table, "event_triggers": [TRIGGER]}]}
    drifted = Metadata({}, {("table", "public.pancake_webhook_event"): table}, {"sources": [source]})
    no_entry = replace(
        drifted, own={"sources": [{"name": "default"}], "query_collections": [{"name": "pancake"}]}
    )
    for name, values in (
        ("tables", {"server": replace(LOOK, server=replace(SERVER, refused=["app_setting"]))}),
        ("tables", {"server": replace(LOOK, server=replace(SERVER, missing=["pancake_switch"]))}),
        ("hasura", {"version": NotRead("refused", is_refused=True)}),
        ("metadata-read", {"metadata": AWAY}),
        ("metadata", {"metadata": replace(drifted, held={})}),
        ("event-trigger", {"metadata": drifted, "sql_triggers": {}}),
        ("drift", {"metadata": drifted}),
        ("allow-list", {"metadata": no_entry, "configuration": {"is_allow_list_enabled": True}}),
        ("consistency", {"inconsistencies": {"a": "b"}}),
        ("schedule", {"schedule": {"poll_records": 0, "check_sla": None}}),
    ):
        with subtests.test(name):
            assert level_of(name, **values) is Level.RED


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

    def load() -> State:
        with open_limited(operators_url(database), "test") as db:
            return load_state(db, THIS_HOUR)

    return load


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


def test_a_backlog_drains_while_events_before_its_oldest_are_processed(
    read: Read, harness: DatabaseHarness
) -> None:
    at, old = THIS_HOUR - timedelta(seconds=9), THIS_HOUR - timedelta(minutes=20)
    assert read().tickets.drained_at is None
    add_events(harness, 3, old, status="received", outcome=None, processed_at=None)
    add_events(harness, 1, old + timedelta(minutes=5), processed_at=at + timedelta(seconds=5))
    assert read().tickets.drained_at is None, "younger ones are processed: the old ones are stuck"
    add_events(harness, 1, old - timedelta(minutes=1), processed_at=at)
    assert read().tickets.drained_at == at


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
    with open_limited(database, "test") as db, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        db.execute("UPDATE pancake_connection SET name = 'x'")
