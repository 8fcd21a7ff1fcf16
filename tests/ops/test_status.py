"""`leads status`: one screen, its cause, its exit code; `leads doctor`: each failure is a line with its fix.

What does not answer is a red line within 3 s. Then what `leads status` reads of the tables, and what it makes
of it: level, words, command and cause. tests/end_to_end/test_operators.py breaks a whole system; the golden
outputs show each service that is away or refuses.
"""

import itertools
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jwt
import psycopg
import pytest
from psycopg.rows import class_row
from rich.console import Console
from typer import testing
from typer.testing import CliRunner

from leads.adapters.pancake_api import PancakeApi
from leads.domain.errors import PancakeKeyRejected, PancakeUnavailable
from leads.services.cron_runs import CRONS
from leads.services.late_owners import UnassignedTickets
from ops.checks.database import (
    MOST_ROWS,
    ConnectionState,
    LastRuns,
    LockWait,
    Queue,
    Roster,
    Server,
    State,
    Tickets,
    UnsentCount,
    load_state,
)
from ops.checks.edge import MANY_SPOOLED, EdgeLook, Refusals, look_at_edge, read_edge
from ops.checks.engine import EngineLook, Metadata, ask_consistency, ask_schedule
from ops.checks.handlers import (
    RESTARTS,
    UP_SINCE,
    HandlersLook,
    TokenLook,
    look_at_handlers,
    read_handlers,
)
from ops.checks.leads import read_keys
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
    green,
    judge,
    red,
    worst,
    yellow,
)
from ops.checks.rights import NEEDED_SECONDS, STOPS_HANDLERS, RoleSetting
from ops.checks.screen import COMMAND, print_look
from ops.checks.services import Services, open_limited
from ops.checks.table import BY_ID, CHECKS, look_at
from ops.cli import app
from ops.clients import plain_http
from ops.clients.db_session import QUERIES, open_session
from ops.clients.hasura_admin import Engine
from ops.clients.plain_http import HttpAnswer, NoAnswer
from ops.daily.token import NAMESPACE
from ops.output import age, count
from ops.settings import VARIABLES, read_operator_settings
from ops.setup.env_files import KEYS
from ops.switches import SettingProblems, Switch
from sandbox.postgres.database import GRANTS, HANDLERS, OPERATORS, operators_url
from sandbox.processes import ROOT
from scripts.check_tree import fault
from tests.support.breakages import ENDS_WITH_COMMAND
from tests.support.fake_services import edge_status, fake_prometheus, scripted_server, silent_server
from tests.support.handlers import DatabaseHarness, seed_connection
from tests.support.metadata import SECRET, Shared, running_shared_engine
from tests.support.waiting import eventually

CLOSED = "http://127.0.0.1:9"
DATABASE_AWAY = "postgresql://127.0.0.1:9/diva"
KEY = "key-of-the-test-with-32-characters"
FINE = {"hasura": True, "consistent": True, "allow_list": True, "notifications": True}
NOW = datetime(2026, 5, 14, 9, 31, 7, tzinfo=UTC)
AWAY = NotRead("Connection refused")
CONNECTION = ConnectionState("c1", "Diva", "active", NOW - timedelta(seconds=40), 3)
OFF = Switch(
    kind="kill", row_id="all", name=None, pancake_source_id=None, connection=None, is_on=False,
    can_be_on=True, changed_at=None, changed_by=None, person=None, application=None, reason=None,
)  # fmt: skip
STATE = State(
    now=NOW,
    tickets=Tickets(12, 10, 14.0),
    settings=SettingProblems([], False, None, None),
    switches=[OFF],
    connections=[CONNECTION],
    queue=[],
    held={},
    crons=[LastRuns(name, NOW, "succeeded", None, NOW, NOW, NOW) for name in CRONS],
    rosters=[Roster(None, 5, 4)],
    unassigned=UnassignedTickets(0, None),
    unsent=UnsentCount(0, None, 0),
)
"""What is found where every part works."""
EDGE = EdgeLook(0, 0, True, 1, 5.0, (), 0.001)
SERVER = Server("17.2", NOW, "operator", [], [], 0.01, NOW)
READERS = {each.__name__.removeprefix("read_"): each for check in CHECKS for each in check.reads}
KNOWN: dict[str, Any] = {
    "server": SERVER, "blocker": None, "lock_wait": None, "edge": EDGE, "handlers": AWAY,
    "calls": [], "keys": {"c1": green("Diva: key accepted", about="Diva")},
    "version": EngineLook("v2.50.6", 0.01), "role_settings": [],
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


def unexplained(findings: dict[str, dict[str, Any]]) -> set[str]:
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
    """Return what a check finds where all is green, but for these readers and fields of the state."""
    (result,) = judge_all([name], **values)
    for found in result.findings:
        assert found.level is not Level.RED or ENDS_WITH_COMMAND.search(found.cure), found
        assert_commands_exist(found.cure)
    return list(result.findings)


def judge_all(names: Collection[str], state: State = STATE, **values: Any) -> list[Result]:
    fields = {name: value for name, value in values.items() if name not in READERS}
    read = KNOWN | {name: value for name, value in values.items() if name in READERS}
    read["state"] = replace(state, **fields) if fields else state
    facts = Facts({READERS[name]: value for name, value in read.items()})
    return judge([Asked(each) for each in CHECKS if each.id in names], facts)


def cause_of(results: Sequence[Result]) -> tuple[Result, Finding]:
    found = find_cause(results)
    assert found is not None
    return found


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
    assert unexplained(found) == {"variables", "store-lead", "role-rights"}
    assert found["variables"]["text"].startswith("the engine has no environment variable HANDLER_SECRET")
    assert found["store-lead"]["cure"].endswith(" -f deploy/postgres/grant_roles.sql")
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
        lines = examine(code=3, DATABASE_URL=database, HASURA_URL=web, **services, **secrets)
        assert time.monotonic() - started < 3
    away = {"database", "hasura", "edge"}
    assert (unexplained(found["findings"]), found["cause"]["check"]) == (away, "database")
    assert unexplained(lines) == away
    assert all(lines[name]["cure"] for name in away)


@pytest.mark.serial
def test_what_refuses_connections_is_looked_at_until_it_could_have_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the look does not end before that: it says what it saw."""
    closed = {"HANDLERS_URL": CLOSED, "EDGE_STATUS_URL": CLOSED}
    asked = mock.Mock(wraps=plain_http.ask)
    monkeypatch.setattr("ops.checks.edge.ask", asked)
    assert "Connection refused" in look(DATABASE_AWAY, CLOSED, **closed)["findings"]["edge"]["text"]
    assert 5 < asked.call_count <= 20, "every 0.1 s, for 1.9 s"


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
    refused = status(DATABASE_AWAY, CLOSED, "--watch", "--all")
    assert (refused.exit_code, "the cause would scroll away" in refused.stderr) == (2, True)


def test_for_the_doctor_an_invalid_variable_is_a_line_with_its_fix() -> None:
    line = examine(code=2, HASURA_URL="ftp://x")["environment"]
    assert line["text"] == "HASURA_URL is not an http or https URL"
    assert line["cure"].startswith("Give it the base URL of Hasura")


def test_the_secret_of_the_handlers_is_tried_without_running_a_cron(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setattr("ops.checks.services.RESTART_SECONDS", 0.0)
    for answer, level in ((401, "red"), (400, "green")):
        with subtests.test(answer=answer, level=level):
            with scripted_server((answer, {}, {"message": "…"})) as handlers:
                given = {"HANDLERS_URL": handlers.url, "HANDLER_SECRET": KEY}
                code = 1 if level == "green" else 3  # nothing else answers
                found = examine(code=code, DATABASE_URL=DATABASE_AWAY, HASURA_URL=CLOSED, **given)
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


def test_a_new_token_goes_into_the_file_that_has_its_variable() -> None:
    for check, variable in (("token", "HASURA_SERVICE_TOKEN"), ("edge-jwt", "HASURA_EDGE_TOKEN")):
        (command,) = COMMAND.findall(BY_ID[check].cure)
        assert variable in KEYS[command.split()[-1]]


def test_a_clock_that_differs_is_named(subtests: pytest.Subtests) -> None:
    for seconds, level in ((0, Level.GREEN), (40, Level.RED), (-40, Level.RED)):
        with subtests.test(seconds=seconds, level=level):
            server = replace(SERVER, now=NOW + timedelta(seconds=seconds))
            (found,) = ask("clocks", server=server, clock=None)
            assert (found.level, "database is 40 s" in found.text) == (level, level is Level.RED)
            edge = replace(EDGE, clock_ahead=timedelta(seconds=seconds))
            assert level_of("clocks", server=AWAY, clock=AWAY, edge=edge) is level
    assert level_of("clocks", server=AWAY, clock=AWAY) is Level.UNKNOWN


def test_tickets_are_compared_with_what_is_usual(subtests: pytest.Subtests) -> None:
    for tickets, level in (
        (Tickets(12, 0, 14.0), Level.RED), (Tickets(1, 0, 5.0), Level.RED),
        # A quiet Sunday, compared with the days of the week before.
        (Tickets(0, 0, 14.0), Level.YELLOW), (Tickets(0, 0, 5.0), Level.YELLOW),
        (Tickets(0, 0, 4.9), Level.GREEN), (Tickets(0, 0, None), Level.GREEN),
        (Tickets(12, 3, 14.0), Level.YELLOW), (Tickets(12, 5, 14.0), Level.GREEN),
        (Tickets(2, 1, 9.0), Level.GREEN),
    ):  # fmt: skip
        with subtests.test(tickets=tickets, level=level):
            assert level_of("tickets", tickets=tickets) is level


def test_no_new_ticket_is_not_red_while_or_after_an_outage_is_made_good() -> None:
    none = replace(STATE, tickets=Tickets(0, 0, 14.0, drained_at=NOW - timedelta(seconds=20)))
    (found,) = ask("tickets", state=none)
    assert (found.level, "a backlog is being processed first" in found.text) == (Level.YELLOW, True)
    for minutes, level in ((9, Level.YELLOW), (11, Level.RED)):
        recovered_at = NOW - timedelta(minutes=minutes)
        crons = [replace(each, recovered_at=recovered_at) for each in STATE.crons]
        (found,) = ask("tickets", tickets=Tickets(3, 0, 14.0), crons=crons)
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
            (found,) = ask("tickets", tickets=tickets)
            assert found.level is level
            text = "2 leads failed (internal: UndefinedTable); 0 new in 10 min of 2 leads"
            assert found.text.startswith(text)
            is_over = "the last failed at 09:30 UTC, others are processed since" in found.text
            helps = "leads replay --status failed" if is_over else "leads trace 17"
            assert (is_over, found.cure.endswith(f": {helps}")) == (processed_at == NOW, True)
    (found,) = ask("tickets", tickets=replace(failing, dead=1))
    assert found.text.startswith("2 leads failed, 1 for the last time (internal")


def test_the_cure_of_leads_that_fail_is_that_of_the_most_frequent_reason(subtests: pytest.Subtests) -> None:
    failing = replace(STATE.tickets, failing=2, tries=3, failed_id=17)
    of_rule = "internal: CheckViolation of ticket.phone_known, digest 0"
    for reason, words, command in (
        ("internal: UndefinedTable, digest 0", "Read why", "leads trace 17"),
        ("internal: InsufficientPrivilege, digest 0", "grant_roles.sql", "leads replay --status failed"),
        (of_rule, "conname = 'phone_known'", "leads replay --status failed"),
        ("contended: The transaction lost.", "end the session under locks", "leads replay --status failed"),
    ):
        with subtests.test(reason):
            (found,) = ask("tickets", tickets=replace(failing, reason=reason))
            assert (words in found.cure, found.cure.endswith(f": {command}")) == (True, True), found.cure
    (found,) = ask("tickets", tickets=replace(failing, dead=2, reason="claim_expired: The handler stopped."))
    assert found.cure.endswith(
        "in their log, then: leads replay --status dead_letter --error-code claim_expired"
    )


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


def test_a_source_that_a_person_switched_off_is_the_cause_and_one_that_was_never_on_is_none() -> None:
    source = replace(OFF, kind="source", row_id="s1", name="TikTok", connection="Diva")
    switched = replace(source, row_id="s2", name="Cộng tác viên", changed_at=NOW, person="Lan", reason="spam")
    elsewhere = replace(source, row_id="s3", is_on=True, changed_at=NOW, connection="Huế")
    queue = [Queue(status="skipped_source_disabled", events=2, oldest_at=NOW, late=0)]
    new = replace(STATE, switches=[OFF, source], queue=queue, held={"s1": 2})
    assert {level_of(name, state=new) for name in ("sources", "queue")} == {Level.GREEN}
    assert ask("sources", state=new)[0].text == "TikTok: off since it was set up; leads held: 2"
    both = replace(new, switches=[OFF, source, switched], held={"s1": 2, "s2": 1})
    for switches, option in ((both.switches, ""), ([*both.switches, elsewhere], " --connection Diva")):
        state = replace(both, switches=switches)
        _, found = cause_of(judge_all(("sources", "queue"), state))
        assert (found.level, found.text) == (
            Level.YELLOW,
            "source Cộng tác viên is off since 2026-05-14 09:31 UTC by Lan (spam); leads held: 1",
        )  # fmt: skip
        (found,) = ask("sources", state=state)
        switch, replay = found.cure.split("; then ")
        assert switch == f"leads switch source 'Cộng tác viên'{option} on --reason fixed"
        assert replay == "leads replay --status skipped_source_disabled --drain"
    assert level_of("sources", state=replace(both, held={})) is Level.GREEN, "it brings no leads"
    on_again = [OFF, source, replace(switched, is_on=True)]
    assert level_of("queue", state=replace(both, switches=on_again)) is Level.YELLOW, "they can be replayed"
    at_once = [replace(switched, row_id="s9"), replace(source, changed_at=NOW)]
    none = replace(both, switches=at_once, connections=[replace(CONNECTION, active_sources=0)])
    assert "leads switch source TikTok on" in ask("sources", state=none)[0].cure, "the last by name"


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
    works = green("Diva: key accepted", about="Diva")
    for status, key, of_key, of_webhook in (
        ("active", works, Level.GREEN, Level.GREEN),
        ("active", red("Pancake answered 401."), Level.RED, Level.GREEN),
        ("active", yellow("Pancake answered 503."), Level.YELLOW, Level.GREEN),
        ("key_invalid", None, Level.UNKNOWN, Level.RED),
        ("key_invalid", works, Level.GREEN, Level.YELLOW),
        ("key_invalid", yellow("Pancake answered 503."), Level.YELLOW, Level.GREEN),
        ("suspended", works, Level.GREEN, Level.RED),
        ("outage", None, Level.UNKNOWN, Level.RED),
        ("outage", yellow("Pancake answered 503."), Level.YELLOW, Level.RED),
        ("outage", works, Level.GREEN, Level.YELLOW),
        ("silent", works, Level.GREEN, Level.YELLOW),
    ):
        with subtests.test(status=status, key=key):
            keys = AWAY if key is None else {"c1": key}
            state = replace(STATE, connections=[replace(CONNECTION, status=status)])
            levels = level_of("api-key", state=state, keys=keys), level_of("webhook", state=state, keys=keys)
            assert levels == (of_key, of_webhook)
    (found,) = ask("webhook", connections=[replace(CONNECTION, status="outage")])
    assert "Pancake answers again" in found.text
    assert found.cure == "leads cron run check_connection"
    assert level_of("breaker", handlers=replace(handlers(), breaker=2.0)) is Level.YELLOW


def test_a_key_is_judged_by_what_pancake_answers(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """With several connections each command names its own. A host that is not listed needs no new key."""
    row = {
        "id": "c1", "name": "Diva Hue", "workspace_id": 607,
        "api_base_url": "https://pancake.example/api",
    }  # fmt: skip
    several = replace(STATE, connections=[CONNECTION, replace(CONNECTION, id="c2")])
    new_key = "leads connection set-api-key --connection 'Diva Hue'; then leads cron run check_connection"
    monkeypatch.setattr("ops.checks.leads.open_sealed", lambda *_: "key")
    fails = "the API key does not work"
    db = mock.Mock()
    settings = SimpleNamespace(key_ring=SimpleNamespace(is_empty=False), pancake_api_hosts=frozenset())
    services: Any = SimpleNamespace(settings=settings, database=lambda: nullcontext(db))
    for sealed, sources, level, text, cure in (
        ("sealed", mock.AsyncMock(), Level.GREEN, "key accepted", ""),
        (None, mock.AsyncMock(), Level.RED, f"{fails}: no API key is set", new_key),
        ("sealed", mock.AsyncMock(side_effect=PancakeKeyRejected("401", status=401)), Level.RED,
         f"{fails}: 401", new_key),
        ("sealed", mock.AsyncMock(side_effect=PancakeUnavailable("503")), Level.YELLOW, "503",
         "leads connection test --connection 'Diva Hue'"),
        ("sealed", PancakeApi.sources, Level.RED,
         f"{fails}: 'https://pancake.example' is not in PANCAKE_API_HOSTS: no API key is sent there.",
         "in the environment of the handlers too, and restart them; then: leads cron run check_connection"),
    ):  # fmt: skip
        monkeypatch.setattr("ops.checks.leads.PancakeApi.sources", sources)
        db.execute().fetchall.return_value = [row | {"api_key_encrypted": sealed}]
        with subtests.test(text):
            (found,) = ask("api-key", keys=read_keys(services), state=several)
            assert (found.level, found.text) == (level, f"Diva Hue: {text}")
            assert found.cure.endswith(cure)


def test_each_key_that_is_refused_is_named() -> None:
    keys = {name: red(f"{name}: the API key does not work", about=name) for name in ("Hue", "Da Nang")}
    assert [found.text for found in ask("api-key", keys=keys)] == [each.text for each in keys.values()]


def test_what_waits_too_long_is_red_unless_a_switch_lets_it_wait() -> None:
    late = replace(STATE, queue=[Queue("received", 7, NOW - timedelta(minutes=12), 7)])
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
    queue = [Queue("skipped_source_disabled", MOST_ROWS, NOW, 0)]
    held = replace(STATE, queue=queue, held={"s1": MOST_ROWS})
    (found,) = ask("queue", state=held)
    assert (found.level, "10000 or more" in found.text) == (Level.YELLOW, True)
    assert found.cure == "leads replay --status skipped_source_disabled --dry-run"


def runs(*names: str, **fields: Any) -> list[LastRuns]:
    """Return the runs of all crons; those of these names, or all without one, with other fields."""
    return [replace(each, **fields) if each.name in names or not names else each for each in STATE.crons]


NEVER: dict[str, Any] = {"succeeded_tick": None, "succeeded_at": None}


def test_late_crons_are_named_with_the_last_error() -> None:
    old = NOW - timedelta(hours=3)
    late: dict[str, Any] = {
        "last_outcome": "failed", "last_error": "Pancake answered 401.", "succeeded_tick": old,
        "succeeded_at": old, "first_tick": old,
    }  # fmt: skip
    (found,) = ask("crons", crons=runs("poll_records", **late))
    assert found.text == "poll_records is late: it succeeded 3 h ago (Pancake answered 401.)"
    assert found.cure == "leads cron run poll_records"
    assert ask("crons", crons=runs("poll_records", "check_sla", **late))[0].text.endswith("; 1 more is late")
    (found,) = ask("crons", crons=runs(**NEVER, first_tick=old - timedelta(days=2)))
    assert found.level is Level.RED
    assert found.text.endswith("is late: it never succeeded; 6 more are late")
    assert found.cure.startswith("Hasura does not reach the handlers")


def test_a_cron_that_was_never_due_is_not_late() -> None:
    """On the day of the installation, or in its first minute: the others have run since then, or none has."""
    daily, never = ("purge_events", "reconcile_daily"), "7 are still to come"
    for names, first, level, words in (
        (daily, NOW - timedelta(hours=1), Level.GREEN, "5 succeeded in time, the first ticks of 2 are"),
        (daily, NOW - timedelta(hours=30), Level.RED, "it never succeeded"),
        ((), None, Level.GREEN, never),
        ((), NOW - timedelta(seconds=40), Level.GREEN, never),
    ):
        (found,) = ask("crons", crons=runs(*names, **NEVER, first_tick=first))
        assert (found.level, words in found.text) == (level, True), found


def test_a_cron_that_waits_for_its_tick_after_an_outage_is_not_red(subtests: pytest.Subtests) -> None:
    """At 09:31:07 it is due every five minutes; it succeeded an hour ago."""
    for name, tick, recovered_at, level in (
        ("check_sla", NOW - timedelta(hours=1), NOW - timedelta(seconds=20), Level.YELLOW),
        ("check_sla", NOW - timedelta(hours=1), NOW - timedelta(minutes=20), Level.RED),
        ("check_sla", NOW - timedelta(hours=1), None, Level.RED),
        ("reconcile_daily", NOW - timedelta(days=3), NOW - timedelta(seconds=20), Level.RED),
    ):
        with subtests.test(name=name, recovered_at=recovered_at):
            (found,) = ask("crons", crons=runs(name, succeeded_tick=tick, recovered_at=recovered_at))
            assert found.level is level, found
            assert level is Level.RED or found.text == (
                "1 cron missed ticks; they are answered again since 09:30, and all are due until 09:35 UTC"
            )
    hour_ago = NOW - timedelta(hours=1)
    for name, seconds, recovered_at, level in (
        ("retry_failed", 40, None, Level.YELLOW), ("retry_failed", 40, hour_ago, Level.YELLOW),
        ("retry_failed", 600, None, Level.RED), ("reconcile_daily", 40, None, Level.RED),
    ):  # fmt: skip
        with subtests.test("the handlers started", name=name, seconds=seconds, recovered_at=recovered_at):
            started = replace(handlers(), started_at=NOW - timedelta(seconds=seconds))
            late = runs(name, succeeded_tick=NOW - timedelta(days=3), recovered_at=recovered_at)
            (found,) = ask("crons", crons=late, handlers=started)
            assert (found.level, "answered again since 09:30" in found.text) == (level, level is Level.YELLOW)


def test_a_fault_that_lasts_is_the_cause_of_late_crons_and_of_what_waits(subtests: pytest.Subtests) -> None:
    old = NOW - timedelta(hours=1)
    lasting = replace(
        STATE, crons=runs(succeeded_tick=old, succeeded_at=old), queue=[Queue("received", 7, old, 7)],
        tickets=Tickets(12, 0, 14.0), unsent=UnsentCount(1, old, 0),
    )  # fmt: skip
    skipping = replace(EDGE, spooled=3, skipped=("hasura", "handlers"))
    of_leads = {"crons", "queue", "tickets"}
    of_all = {*of_leads, "spool", "unsent"}
    wiped = Metadata({}, {}, {"sources": [{"name": "default", "tables": [{"table": "pancake_switch"}]}]})
    stopped = replace(
        wiped, own={"sources": [{"name": "default"}], "query_collections": [{"name": "pancake"}]}
    )
    read_only = RoleSetting("diva_handlers", "handlers", "default_transaction_read_only", "on", True, False)
    for cause, values, explained in (
        ("database", {"server": replace(SERVER, disk_full="No space left on device")}, of_all),
        ("database", {"server": replace(SERVER, read_only="it is a standby")}, of_all),
        ("tables", {"server": replace(SERVER, refused=["app_setting"])}, of_all),
        ("metadata", {"metadata": wiped}, of_leads),
        ("allow-list", {"metadata": stopped, "configuration": {"is_allow_list_enabled": True}},
         {"spool", "unsent"}),
        ("role-settings", {"role_settings": [read_only]}, {*of_leads, "spool"}),
        ("calls", {"calls": [(401, NOW)]}, {*of_leads, "spool"}),
        ("webhook", {"connections": [replace(CONNECTION, status="outage")], "keys": {}, "edge": EDGE},
         of_leads),
    ):  # fmt: skip
        with subtests.test(cause):
            results = judge_all({cause, *of_all}, lasting, **{"edge": skipping, **values})
            found = {each.name: each.findings[0].because_of for each in results}
            assert {name for name, because_of in found.items() if because_of == cause} == explained
            assert cause_of(results)[0].name == cause


def test_how_the_handlers_answer_hasura_is_judged_by_its_last_calls(subtests: pytest.Subtests) -> None:
    started = replace(handlers(), started_at=NOW)
    for calls, look, level, words in (
        ([], AWAY, Level.GREEN, "nothing yet"),
        ([(200, NOW), (401, NOW)], AWAY, Level.GREEN, "answered at 09:31:07"),
        ([(503, NOW)], AWAY, Level.GREEN, "answered"),
        ([(401, NOW)], AWAY, Level.RED, "another HANDLER_SECRET"),
        ([(None, NOW), (200, NOW)], AWAY, Level.YELLOW, "did not reach"),
        ([(None, NOW), (None, NOW)], AWAY, Level.RED, "did not reach"),
        ([(None, NOW - timedelta(seconds=9))] * 2, started, Level.GREEN, "started after the last call"),
    ):
        with subtests.test(calls=calls):
            (found,) = ask("calls", calls=calls, handlers=look)
            assert (found.level, words in found.text) == (level, True), found


def test_a_database_that_takes_no_writes_is_red() -> None:
    standby = replace(SERVER, read_only="it is a standby")
    assert ask("database", server=standby)[0].text == "it takes no writes: it is a standby"
    (crowded,) = ask("database", server=NotRead("FATAL: sorry, too many clients already"))
    assert "FROM pg_stat_activity GROUP BY" in crowded.cure


@pytest.mark.own_database
def test_row_security_that_keeps_rows_from_our_roles_is_named_with_its_table(
    database: str, subtests: pytest.Subtests
) -> None:
    given, end = operators_url(database), "DROP POLICY IF EXISTS {0} ON account"
    both = "pancake_handlers, pancake_operators"
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("ALTER TABLE account ENABLE ROW LEVEL SECURITY")
        for policy, level, text in (
            ("TO pancake_handlers USING (true)", "yellow", "may keep rows from pancake_operators"),
            ("FOR SELECT USING (true)", "red", f"lets no row pass to {both}"),
            ("USING (deleted_at IS NULL)", "yellow", f"may keep rows from {both}"),
            ("USING (true) WITH CHECK (true)", "green", "have their rights"),
        ):
            with subtests.test(policy):
                db.execute(f"CREATE POLICY of_diva ON account {policy}".encode())
                found = look(given, CLOSED)["findings"]["role-rights"]
                assert (found["level"], text in found["text"]) == (level, True), found
                if level != "green":
                    assert found["text"].startswith("row level security of public.account ")
                    (statement,) = re.findall(r"-c '(CREATE POLICY .*)'$", found["cure"])
                    db.execute(statement.encode())
                    assert look(given, CLOSED)["findings"]["role-rights"]["level"] == "green"
                db.execute(f"{end.format('of_diva')}; {end.format('pancake')}".encode())


@pytest.mark.own_database
@pytest.mark.usefixtures("engine_tables")
def test_a_log_of_events_that_the_roles_may_write_freely_is_named(database: str) -> None:
    given = operators_url(database)
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(GRANTS.read_bytes())
        before = look(given, CLOSED)["findings"]["role-rights"]
        db.execute("DROP POLICY pancake_events_of_their_writes ON hdb_catalog.event_log")
        found = look(given, CLOSED)["findings"]["role-rights"]
    assert (before["level"], found["level"]) == ("green", "yellow")
    for role in ("pancake_handlers", "pancake_operators"):
        of_log = f"{role} INSERT hdb_catalog.event_log of any event: it has no row level security"
        assert of_log in found["text"], found


def test_a_setting_of_a_role_is_named_with_the_command_that_takes_it_out(
    database: str, subtests: pytest.Subtests
) -> None:
    """Of the roles of this test alone: a role is known to all databases of the server."""
    failing = replace(STATE, tickets=replace(STATE.tickets, failing=1))
    with psycopg.connect(database) as db:
        name = db.info.dbname
        for role, of in (("own_handlers", HANDLERS), ("own_operators", OPERATORS)):
            db.execute(f"CREATE ROLE {role} LOGIN IN ROLE {of}".encode())
        for setting, of, level, while_leads_fail, text in (
            ("statement_timeout = '2ms'", "ROLE own_handlers", Level.YELLOW, Level.YELLOW,
             "own_handlers, the login of handlers: statement_timeout is 2ms, 10 s are needed"),
            ("lock_timeout = 100", f"ROLE own_handlers IN DATABASE {name}", Level.YELLOW, Level.YELLOW,
             "own_handlers, the login of handlers: lock_timeout is 100, 5 s are needed"),
            ("default_transaction_read_only = true", "ROLE own_handlers", Level.RED, Level.RED,
             "own_handlers, the login of handlers: default_transaction_read_only is true"),
            ("row_security = NO", "ROLE own_handlers", Level.RED, Level.RED,
             "own_handlers, the login of handlers: row_security is no"),
            ("row_security = yes", "ROLE own_handlers", Level.GREEN, Level.GREEN, "none stops them"),
            ("default_transaction_read_only = on", "ROLE own_operators", Level.YELLOW, Level.YELLOW,
             "own_operators, the login of operators: default_transaction_read_only is on"),
            ("search_path = others", f"DATABASE {name}", Level.YELLOW, Level.RED,
             "own_handlers, the login of handlers: search_path is others, without public"),
            ("statement_timeout = '30s'", "ROLE own_handlers", Level.GREEN, Level.GREEN, "none stops them"),
            ("work_mem = '1MB'", "ROLE own_handlers", Level.GREEN, Level.GREEN, "none stops them"),
        ):  # fmt: skip
            with subtests.test(setting, of=of), db.transaction(force_rollback=True):
                db.execute(f"ALTER {of} SET {setting}".encode())
                own = own_settings(db)
                found = ask("role-settings", role_settings=own)[0]
                assert (found.level, found.text) == (level, text)
                assert ask("role-settings", role_settings=own, state=failing)[0].level is while_leads_fail
                if level is not Level.GREEN:
                    (reset,) = re.findall(
                        r"psql -c '(ALTER .*?)' -c 'SELECT pg_terminate_backend", found.cure
                    )
                    db.execute(reset.replace(f'"{SERVER.name}"', name).encode())
                    assert not own_settings(db)
        db.rollback()


def test_a_limit_of_connections_is_named_and_red_where_all_are_in_use(
    database: str, subtests: pytest.Subtests
) -> None:
    with psycopg.connect(database) as db:
        name = db.info.dbname
        db.execute(f"CREATE ROLE own_handlers LOGIN IN ROLE {HANDLERS}".encode())
        for of, most, sessions, level, text in (
            ("ROLE own_handlers", 0, 0, Level.RED, "CONNECTION LIMIT is 0, 10 are needed"),
            ("ROLE own_handlers", 2, 0, Level.RED, "CONNECTION LIMIT is 2, 10 are needed"),
            ("ROLE own_handlers", 5, 4, Level.YELLOW, "CONNECTION LIMIT is 5, 10 are needed"),
            ("ROLE own_handlers", 5, 5, Level.RED, "CONNECTION LIMIT is 5, 10 are needed"),
            ("ROLE own_handlers", 20, 19, Level.GREEN, "none stops them"),
            ("ROLE own_handlers", 20, 20, Level.RED, "CONNECTION LIMIT is 20, and all are in use"),
            (f"DATABASE {name}", 1, 1, Level.RED, "CONNECTION LIMIT is 1, 10 are needed"),
        ):
            with subtests.test(of, most=most, sessions=sessions), db.transaction(force_rollback=True):
                db.execute(f"ALTER {of} CONNECTION LIMIT {most}".encode())
                (own,) = own_settings(db)
                (found,) = ask("role-settings", role_settings=[replace(own, sessions=sessions)])
                assert (found.level, text in found.text) == (level, True), found
                assert (own.sessions > 0) == own.is_of_database
                if level is not Level.GREEN:
                    (reset,) = re.findall(r"psql -c '(ALTER .*? CONNECTION LIMIT -1)'$", found.cure)
                    db.execute(reset.replace(f'"{SERVER.name}"', name).encode())
                    assert not own_settings(db)
        db.rollback()


def own_settings(db: psycopg.Connection[Any]) -> list[RoleSetting]:
    """Return the settings of the roles of a test."""
    with db.cursor(row_factory=class_row(RoleSetting)) as cursor:
        params = {"names": list(NEEDED_SECONDS | STOPS_HANDLERS | {"search_path": ""})}
        rows = cursor.execute(QUERIES["probes/list_role_settings"], params).fetchall()
    return [each for each in rows if each.login.startswith("own_")]


def test_one_source_opens_the_pilot_and_the_command_names_those_that_are_there() -> None:
    names = ["Cộng tác viên", "Zalo"]
    listed = [replace(OFF, kind="source", name=name) for name in names]
    for active, command in (
        ([], "leads switch source 'Cộng tác viên' on --reason go-live"),
        (["TikTok", *names], "leads switch source 'Cộng tác viên' Zalo off --reason go-live"),
    ):
        row = {"is_held": False, "is_paused": False, "active": active}
        (found,) = ask("opening", opening=(row, listed))
        assert found.cure.endswith(f": {command}")
    (found,) = ask("before-opening", opening=(row | {"is_held": True}, listed))
    assert found.cure.endswith(f": {command}")


def test_rosters_without_members_are_red_without_duty_yellow() -> None:
    for rosters, level in (
        ([], Level.RED),
        ([Roster(None, 0, 0), Roster("TikTok", 2, 1)], Level.RED),
        ([Roster(None, 3, 0)], Level.YELLOW),
        ([Roster(None, 3, 1, ["daily_cap"])], Level.YELLOW),
        ([Roster(None, 3, 1)], Level.GREEN),
    ):
        assert level_of("rosters", rosters=rosters) is level


def test_unsent_and_unassigned_are_yellow() -> None:
    for unsent, level in (
        (UnsentCount(3, NOW - timedelta(seconds=50), 0), Level.GREEN),
        (UnsentCount(1, NOW - timedelta(seconds=5), 0, "refused"), Level.YELLOW),
        (UnsentCount(3, NOW - timedelta(seconds=70), 0), Level.YELLOW),
        (UnsentCount(0, None, 2, given_up_at=NOW), Level.YELLOW),
    ):
        assert level_of("unsent", unsent=unsent, token=AWAY) is level
    refused = replace(STATE, unsent=UnsentCount(1, NOW - timedelta(minutes=2), 0, "refused"))
    for allow_list, notifications, words in (
        (False, None, "the allow list of Hasura stops the call"),
        (True, False, "Hasura does not let pancake_service call"),
        (True, True, "Diva's service of notifications answered with an error"),
        (None, None, "Hasura, or the service behind it, answered with an error"),
    ):
        state = {"database": True, "allow_list": allow_list, "notifications": notifications}
        by_handlers = replace(handlers(), ready=state)
        for values in ({"handlers": by_handlers, "token": AWAY}, {"token": TokenLook("", "", state)}):
            assert words in ask("unsent", state=refused, **values)[0].text
    for tickets, text in ((2, "2 open tickets have no owner"), (1, "1 open ticket has no owner")):
        (found,) = ask("unassigned", unassigned=UnassignedTickets(tickets, NOW - timedelta(hours=5)))
        assert found.text == f"{text}, the oldest for 5 h"


def test_the_edge_is_judged_by_its_spool_its_paths_and_its_policy(subtests: pytest.Subtests) -> None:
    """tests/support/breakages.py has a full disk, a spool that grows, a wrong resolver and an old policy."""
    both = ("hasura", "handlers")
    for name, fields, level, words in (
        ("edge", {}, Level.GREEN, "it answers"),
        ("spool", {}, Level.GREEN, "nothing waits"),
        ("spool", {"spooled": 3}, Level.YELLOW, "3 deliveries wait"),
        ("spool", {"spooled": 1, "failures": 2}, Level.YELLOW, "1 delivery waits on its disk, 2 were"),
        ("spool", {"spooled": MANY_SPOOLED}, Level.YELLOW, "it hands over what waits"),
        ("spool", {"quarantined": 1}, Level.YELLOW, "1 in quarantine"),
        ("spool", {"spooled": MANY_SPOOLED, "skipped": ("hasura",)}, Level.RED, "not reach hasura"),
        ("spool", {"skipped": ("handlers",)}, Level.YELLOW, "by handlers, the next one tries it"),
        ("spool", {"skipped": both, "failed_with": {"hasura": 400, "handlers": 503}}, Level.RED,
         "not taken: hasura answers HTTP 400, handlers answers HTTP 503"),
        ("spool", {"skipped": both, "failed_with": {"hasura": 0, "handlers": 503}}, Level.RED,
         "not taken: hasura does not answer, handlers answers HTTP 503"),
        ("spool", {"spooled": 640, "skipped": both, "delivered_seconds": 0.0}, Level.YELLOW,
         "640 deliveries wait on its disk, it hands over what waits"),
        ("edge-policy", {"connections": 0, "policy_age_seconds": None}, Level.RED, "no policy"),
        ("edge-policy", {"connections": 0}, Level.GREEN, "it has one"),
        ("edge-tokens", {}, Level.GREEN, "the tokens of 1 connection"),
        ("edge-tokens", {"connections": 0, "unknown_tokens": 3, "unknown_token_seconds": 1.0}, Level.RED,
         "its policy has no connection"),
    ):  # fmt: skip
        with subtests.test(name, fields=fields):
            (found,) = ask(name, edge=replace(EDGE, **fields))
            assert (found.level, words in found.text) == (level, True), found
    for days, level, words in (
        (-1, Level.RED, "has ended"), (3, Level.YELLOW, "ends in 3 days"), (60, Level.GREEN, "60 days more"),
    ):  # fmt: skip
        with subtests.test(days=days), edge_status(token_days=days, skipped="hasura", spooled=3) as url:
            token, spool = judge_all(("edge-jwt", "spool"), edge=look_at_edge(url))
            assert (token.level, words in token.findings[0].text) == (level, True)
            assert spool.findings[0].because_of == ("edge-jwt" if level is Level.RED else "")
    assert level_of("edge-jwt", edge=EDGE) is Level.GREEN
    spare = replace(EDGE, skipped=("handlers",))
    for edge, ready, level in (
        (spare, True, Level.GREEN), (spare, False, Level.YELLOW),
        (replace(spare, spooled=1), True, Level.YELLOW),
        (replace(spare, policy_age_seconds=400.0), True, Level.YELLOW),
    ):  # fmt: skip
        with subtests.test(edge=edge, ready=ready):
            reached = replace(handlers(), ready={"database": ready})
            assert level_of("spool", edge=edge, handlers=reached) is level
    with edge_status(
        spooled=7, quarantined=2, skipped="handlers", policy_age_seconds=None, unknown_tokens=3,
        unknown_token_seconds=4.5,
        refused={"c1": {"deliveries": 2, "outcome": "ip_not_allowed", "seconds": 3.5, "new": 1}},
        delivered_seconds=8.5,
    ) as url:  # fmt: skip
        look = look_at_edge(url)
    assert replace(look, seconds=0.0, clock_ahead=None, token_ends=0) == EdgeLook(
        7, 2, True, 1, None, ("handlers",), 0.0, unknown_tokens=3, unknown_token_seconds=4.5,
        delivered_seconds=8.5, refused={"c1": Refusals(2, "ip_not_allowed", 3.5)},
    )  # fmt: skip
    assert look.clock_ahead is not None
    assert abs(look.clock_ahead) < timedelta(seconds=5)


def test_unknown_tokens_are_named_with_the_connections_that_brought_nothing_since(
    subtests: pytest.Subtests,
) -> None:
    (one,) = STATE.connections
    for unknown, minutes, status, level in (
        (0, 5, "active", Level.GREEN),
        (1, 5, "active", Level.GREEN),
        (2, 5, "active", Level.YELLOW),
        (2, None, "active", Level.YELLOW),
        (2, 1, "active", Level.GREEN),
        (2, 5, "disabled", Level.GREEN),
        (12, 5, "silent", Level.RED),
        (12, 5, "suspended", Level.YELLOW),
        (12, 5, "key_invalid", Level.GREEN),
        (12, 5, "outage", Level.GREEN),
    ):
        with subtests.test(unknown=unknown, minutes=minutes, status=status):
            came = None if minutes is None else NOW - timedelta(minutes=minutes)
            state = replace(STATE, connections=[replace(one, status=status, last_webhook_at=came)])
            edge = replace(EDGE, unknown_tokens=unknown, unknown_token_seconds=120.0 if unknown else None)
            (found,) = ask("edge-tokens", edge=edge, state=state)
            assert found.level is level, found
            assert (one.name in found.text, "leads connection status" in found.cure) == (
                level is not Level.GREEN,
            ) * 2
    silent = replace(STATE, connections=[replace(one, status="silent", last_webhook_at=None)])
    edge = replace(EDGE, unknown_tokens=2, unknown_token_seconds=120.0)
    for key, first in ((green("works"), "edge-tokens"), (red("refused"), "api-key")):
        ids = ("edge-policy", "edge-tokens", "api-key", "webhook")
        assert cause_of(judge_all(ids, state=silent, edge=edge, keys={one.id: key}))[0].name == first


def test_deliveries_that_the_edge_refuses_are_named_until_one_comes_or_the_mode_changes(
    subtests: pytest.Subtests,
) -> None:
    (one,) = STATE.connections
    enforced = replace(one, allowlist_mode="enforce", last_webhook_at=NOW - timedelta(minutes=5))
    silent = replace(enforced, last_webhook_at=None)
    for deliveries, outcome, connection, words in (
        (2, "ip_not_allowed", enforced, "allowlist: 2 in 30 min, the last 120 s ago"),
        (2, "ip_not_allowed", silent, "their address is not in its allowlist"),
        (1, "ip_not_allowed", enforced, ""),
        (2, "ip_not_allowed", replace(enforced, last_webhook_at=NOW - timedelta(minutes=1)), ""),
        (2, "ip_not_allowed", replace(enforced, allowlist_mode="monitor"), ""),
        (2, "secret_invalid", enforced, ""),
        (2, "secret_invalid", replace(silent, signature_mode="enforce"), "its header secret"),
        (2, "something_new", enforced, ""),
    ):
        with subtests.test(deliveries=deliveries, outcome=outcome, connection=connection):
            edge = replace(EDGE, refused={one.id: Refusals(deliveries, outcome, 120.0)})
            (found,) = ask("webhook", edge=edge, state=replace(STATE, connections=[connection]))
            assert (found.level is Level.RED, words in found.text) == (bool(words), True), found
            assert (f"_mode = $$monitor$$ WHERE id = $${one.id}$$" in found.cure) == bool(words)


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


def test_handlers_that_restarted_and_stay_up_are_yellow_with_the_end(subtests: pytest.Subtests) -> None:
    now = datetime.now(UTC)
    for restarts, up_since, level in (
        (["2"], None, Level.GREEN),
        (["3"], [], Level.RED),
        (["3"], [now - timedelta(seconds=70)], Level.RED),
        (["3"], [now - timedelta(minutes=3)], Level.YELLOW),
    ):
        with subtests.test(restarts=restarts, up_since=up_since), fake_prometheus() as prometheus:
            prometheus.values[RESTARTS] = restarts
            if up_since is not None:
                prometheus.values[UP_SINCE] = [str(each.timestamp()) for each in up_since]
            services = Services(
                replace(read_operator_settings(may_have=()), prometheus_url=prometheus.url), "status"
            )
            found = next(iter(BY_ID["restarts"].reads[0](services)), green("none"))
            assert found.level is level, found
            if level is Level.YELLOW and up_since:
                assert found.text == (
                    f"they restarted 3 times in 15 min; it is over since {up_since[0]:%H:%M} UTC"
                )


def handlers() -> HandlersLook:
    with edge_status() as url:  # any server with /healthz and /metrics
        return look_at_handlers(url)


def check(name: str, *needs: str, is_symptom: bool = False) -> Check:
    return Check(name, "", When.CRITERION, (), lambda *_: (), needs=needs, is_symptom=is_symptom)


def results(*found: tuple[Check, Level]) -> list[Result]:
    """Judge checks that find these levels."""
    asked = []
    for each, level in found:
        finding = Finding(level, "x", is_read=level is not Level.UNKNOWN)
        asked.append(Asked(replace(each, ask=lambda *_, finding=finding: [finding])))
    return judge(asked, Facts({}))


def test_a_reader_that_hangs_is_late_though_another_check_may_take_minutes() -> None:
    ends = threading.Event()

    def hanging(_: Services) -> None:
        ends.wait(60)

    def quick(_: Services) -> None: ...

    def ask_for(reader: Reader[None]) -> Check:
        return replace(check(reader.__name__), reads=(reader,), ask=lambda facts, _: facts.get(reader) or ())

    table = (replace(ask_for(quick), seconds=600), replace(ask_for(hanging), seconds=0))
    services = Services(read_operator_settings(), "status")
    found = look_at([Asked(each) for each in table], services, seconds=0.05, table=table)
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


def test_a_call_of_psql_with_a_file_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    command = f"psql -h db.internal -p 5432 -d diva -f /{'folder/' * 9}grant_roles.sql"
    wide = replace(check("a"), cure=f"Log in as the owner: {command}")
    print_look(results((wide, Level.RED)), Console(width=80), fine="")
    assert command in [line.strip() for line in capsys.readouterr().out.splitlines()]


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
    wait = LockWait(1, 3.0, 18, "psql")
    contended = replace(STATE, tickets=replace(STATE.tickets, failing=1, tries=2, reason="contended"))
    for changed, state, level in (
        ({}, STATE, Level.YELLOW), ({}, contended, Level.RED), ({"waiting_seconds": 11.0}, STATE, Level.RED),
        ({"blocking_state": "idle in transaction", "blocking_seconds": 12.0}, STATE, Level.RED),
        ({"blocking_state": "active", "blocking_seconds": 12.0}, STATE, Level.YELLOW),
    ):  # fmt: skip
        (found,) = ask("locks", lock_wait=replace(wait, **changed), state=state)
        assert (found.level, found.text.startswith("session 18 (psql)")) == (level, True)
        assert found.cure.endswith(": psql -c 'SELECT pg_terminate_backend(18)'")
    idle = LockWait(6, 3.0, 18, "psql", "postgres", "idle in transaction", 112.0)
    (found,) = ask("locks", lock_wait=idle)
    assert found.text == (
        "session 18 (psql, postgres), idle in transaction for 112 s, blocks 6 sessions, for up to 3 s"
    )
    locks, tickets = judge_all(("locks", "tickets"), state=contended, lock_wait=wait)
    assert (locks.level, tickets.findings[0].because_of) == (Level.RED, "locks")
    (found,) = ask("locks", lock_wait=replace(wait, blocking_pid=0))
    assert found.text.startswith("a prepared transaction blocks 1 session")
    assert found.cure.startswith("Roll it back: psql -c 'SELECT gid, prepared, owner")
    late = NotRead("a statement did not end within 2 s")
    (found,) = ask("tables", state=late, blocker=wait)
    assert found.text == "they are locked: session 18 (psql) holds the lock"
    (found,) = ask("tables", state=late)
    assert found.text == "they cannot be read: a statement did not end within 2 s"


@pytest.mark.serial
def test_the_root_of_a_chain_of_waits_is_named_not_a_session_that_waits_too(database: str) -> None:
    root, middle, last = (
        psycopg.connect(database, application_name=name) for name in ("dbeaver", "middle", "last")
    )
    root.execute("SELECT pg_advisory_xact_lock(1)")
    middle.execute("SELECT pg_advisory_xact_lock(2)")

    def waits() -> list[dict[str, Any]]:
        with open_session(database, "test") as db:
            return db.execute(QUERIES["probes/find_lock_wait"], {"least": timedelta(0)}).fetchall()

    def is_blocking(sessions: int) -> bool:
        return [each["sessions"] for each in waits()] == [sessions]

    # The one that waits longest waits for the middle one.
    with root, middle, last, ThreadPoolExecutor() as threads:
        for count_waiting, (session, lock) in enumerate(((last, 2), (middle, 1)), start=1):
            threads.submit(session.execute, f"SELECT pg_advisory_xact_lock({lock})")
            eventually(partial(is_blocking, count_waiting))
        (found,) = waits()
        for session in (last, middle):
            session.cancel()
        named = (root.info.backend_pid, "dbeaver", root.info.user, "idle in transaction")
    assert (found["blocking_pid"], found["blocking_application"]) == named[:2]
    assert (found["blocking_role"], found["blocking_state"]) == named[2:]
    assert found["blocking_seconds"] > found["waiting_seconds"] > 0


def test_the_version_of_the_engine_has_a_lower_and_an_upper_bound_everywhere() -> None:
    for version, level in (
        ("v2.50.5", Level.RED), ("v2.50.6", Level.GREEN), ("v2.50.9", Level.GREEN),
        ("v2.51.0", Level.YELLOW), ("dev-12", Level.RED),
    ):  # fmt: skip
        assert level_of("engine-version", version=EngineLook(version, 0.01)) is level
    assert When.BOTH | When.APPLY in BY_ID["engine-version"].when


def test_each_other_red_finding_ends_with_the_command_that_helps() -> None:
    """The others: tests/end_to_end/test_operators.py and the golden outputs of a service that is away."""
    assert level_of("tables", server=replace(SERVER, refused=["app_setting"])) is Level.RED
    assert level_of("hasura", version=NotRead("refused", is_refused=True)) is Level.RED
    engine = SimpleNamespace(
        inconsistencies=lambda: {"a": "b"}, future_events=lambda _: {"poll_records": 0, "check_sla": None}
    )
    services: Any = SimpleNamespace(engine=engine, own={"cron_triggers": []})
    for asked in (ask_consistency, ask_schedule):
        assert [found.level for found in asked(services)] == [Level.RED]


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


def test_a_round_trip_that_fails_prints_nothing_besides_what_the_command_says(
    database: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As before the deployment, where neither tables nor rights are there."""
    monkeypatch.setattr(logging.root, "handlers", [])
    with open_session(database, "test") as db:
        db.execute("SET ROLE pg_monitor")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            load_state(db, THIS_HOUR)
    assert capfd.readouterr().err == ""


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
    assert {name: (each.events, each.late) for name, each in found.items()} == {
        "received": (6, 4), "failed": (1, 1), "dead_letter": (1, 0),
    }  # fmt: skip
    assert found["received"].oldest_at == old


def test_held_leads_are_counted_by_source(read: Read, harness: DatabaseHarness) -> None:
    held = {"status": "skipped_source_disabled", "outcome": None, "processed_at": None}
    add_events(harness, 2, THIS_HOUR - timedelta(minutes=2), source_ids=["-3"], **held)
    add_events(harness, 1, THIS_HOUR - timedelta(minutes=1), source_ids=["-1", "-3", "x"], **held)
    found = read()
    ids = {each.pancake_source_id: each.row_id for each in found.switches if each.kind == "source"}
    assert found.held == {ids["-1"]: 1, ids["-3"]: 3}
    assert level_of("queue", state=found) is Level.YELLOW, "one source has been on"


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
    today = f"'{THIS_HOUR.isoformat()}'::timestamptz AT TIME ZONE 'Asia/Ho_Chi_Minh'"
    harness.sql(
        f"UPDATE pancake_assignee SET assigned_today = 4, assigned_on = ({today})::date, daily_cap = 5"
    )
    assert read().rosters == [Roster("Facebook", 2, 2)]
    harness.sql(f"UPDATE pancake_assignee SET daily_cap = 4 WHERE staff_id = {member}")
    assert read().rosters == [Roster("Facebook", 2, 2)]
    harness.sql("UPDATE pancake_assignee SET daily_cap = 4")
    (found,) = ask("rosters", rosters=read().rosters)
    assert found.text == "all members on duty reached their daily cap: Facebook; new tickets get no owner"
    assert found.cure.endswith("leads history --of roster")


def test_settings_that_were_lost_are_the_cause_and_come_back_as_the_page_says(
    read: Read, harness: DatabaseHarness
) -> None:
    def named() -> tuple[Level, str]:
        results = judge_all(("settings", "kill-switch"), state=read())
        cause = find_cause(results)
        return worst(results), f"{cause[0].name}: {cause[1].text}" if cause else ""

    harness.sql("UPDATE view_pancake_setting SET kill_switch = false, sla_minutes = 7")
    before = harness.sql("SELECT app_settings FROM app_setting")
    assert named() == (Level.GREEN, "")
    harness.sql("UPDATE app_setting SET app_settings = app_settings - 'pancake_integration'")
    level, text = named()
    assert level is Level.RED
    by = r"at \d{4}-\d\d-\d\d \d\d:\d\d UTC \(by \w+\)"
    assert re.fullmatch(f"settings: all settings were lost {by}: every lead is held", text)
    page = (ROOT / "docs" / "runbook" / "leads-and-tickets.md").read_text("utf-8")
    statement = page.partition("## Settings that were lost\n")[2].partition("```sql\n")[2].partition("```")[0]
    harness.sql(statement)
    after = harness.sql("SELECT app_settings FROM app_setting")
    of_trigger = ("changed_at", "changed_by")
    for rows in (before, after):
        for name in of_trigger:
            rows[0]["app_settings"]["pancake_integration"].pop(name, None)
    assert (after, named()) == (before, (Level.GREEN, ""))
    for name, level, what in (
        ("sla_minutes", Level.YELLOW, "; their defaults are used"),
        ("kill_switch", Level.RED, ": every lead is held"),
    ):
        harness.sql(
            "UPDATE app_setting SET app_settings"
            f" = jsonb_set(app_settings, '{{pancake_integration,{name}}}', '-1')"
        )
        found_level, text = named()
        assert (found_level, text.endswith(what), name in text) == (level, True, True), text


def test_unsent_notifications_are_counted_until_given_up(read: Read, harness: DatabaseHarness) -> None:
    at = THIS_HOUR - timedelta(minutes=9)
    waiting = {"notifications": '[{"name": "a"}]'}
    given_up = {"notify_given_up_at": THIS_HOUR - timedelta(hours=1), "notify_error": "refused"}
    add_events(harness, 2, at, **waiting)
    add_events(harness, 1, at - timedelta(hours=1), notified_at=THIS_HOUR, **waiting)
    add_events(harness, 1, at - timedelta(hours=2), **given_up, **waiting)
    found = read().unsent
    assert (found.unsent, found.oldest_at, found.given_up) == (2, at, 1)
    given_up_at = given_up["notify_given_up_at"]
    assert found.given_up_at == given_up_at
    assert ask("unsent", state=read())[0].text.endswith(
        f"1 given up in the last day, the last at {given_up_at:%H:%M} UTC"
    )


def test_a_look_changes_nothing(database: str, read: Read) -> None:
    assert read() == read()
    with open_limited(database, "test") as db, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        db.execute("UPDATE pancake_connection SET name = 'x'")
