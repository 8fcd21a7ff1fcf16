"""`leads status`: one screen, its cause, its exit code; `leads doctor`: each failure is a line with its fix.

What does not answer is a red line within 3 s. tests/end_to_end/test_operators.py breaks a whole system; the
golden outputs show each service that is away or refuses.
"""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner, Result

from leads.adapters.variables import VARIABLES
from leads.cli.__main__ import app
from leads.cli.doctor.checks import PREFLIGHT, TokenLook, judge_clocks, judge_token
from leads.cli.metadata.engine import Engine
from leads.cli.probes.database import DatabaseLook, Server
from leads.cli.probes.lines import Level
from leads.cli.probes.running import Failure
from leads.cli.token import NAMESPACE
from sandbox.postgres.roles import operators_url
from tests.support.fake_services import scripted_server, silent_port
from tests.support.handlers import seed_connection
from tests.support.metadata import SECRET, Shared, running_shared_engine

GREEN, YELLOW, RED = 0, 1, 2
CLOSED = "http://127.0.0.1:9"
DATABASE_AWAY = "postgresql://127.0.0.1:9/diva"
KEY = "key-of-the-test-with-32-characters"
NOW = datetime(2026, 5, 14, 9, 30, tzinfo=UTC)
FINE = {"hasura": True, "consistent": True, "allow_list": True, "notifications": True}


def run(verb: str, *options: str, **variables: str) -> Result:
    result = CliRunner().invoke(app, [verb, *options], env={**dict.fromkeys(VARIABLES, ""), **variables})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def status(database_url: str, hasura_url: str, *options: str, **variables: str) -> Result:
    return run(
        "status", *options,
        DATABASE_URL=database_url, HASURA_URL=hasura_url, HASURA_ADMIN_SECRET=SECRET, **variables,
    )  # fmt: skip


def look(database_url: str, hasura_url: str, **variables: str) -> dict[str, Any]:
    """Return what `leads status` finds, with its lines by name."""
    result = status(database_url, hasura_url, "--json", **variables)
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == {"green": GREEN, "yellow": YELLOW, "red": RED}[found["level"]]
    return found | {"lines": {line["name"]: line for line in found["lines"]}}


def red(found: dict[str, Any]) -> set[str]:
    """Return the red lines that are no symptoms."""
    return {
        name for name, line in found["lines"].items() if line["level"] == "red" and not line["is_symptom"]
    }


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


def test_what_a_step_of_the_metadata_would_refuse_is_a_line_with_its_fix(
    engine: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        services = {
            "HANDLERS_URL": web, "EDGE_STATUS_URL": web, "ENCRYPTION_KEYS": f"k1:{'A' * 43}=",
        }  # fmt: skip
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


@pytest.mark.parametrize(
    ("given", "found", "level", "words"),
    [
        ("no token", ("", FINE), Level.RED, "is not a JWT"),
        (token(), ("invalid-jwt", FINE), Level.RED, "refuses HASURA_SERVICE_TOKEN (invalid-jwt)"),
        (token("pancake_edge"), ("", FINE), Level.RED, "is of role pancake_edge, not pancake_service"),
        (token(), ("", {**FINE, "allow_list": False}), Level.RED, "the allow list stops"),
        (token(), ("", {**FINE, "notifications": False}), Level.RED, "may not call sendNotifications"),
        (token(days=3), ("", FINE), Level.YELLOW, "ends in 3 days"),
        (token(), ("", FINE), Level.GREEN, "for 60 days more"),
        (token(), None, Level.UNKNOWN, "HASURA_SERVICE_TOKEN is not set"),
    ],
)
def test_the_token_of_the_handlers_is_judged_by_role_engine_and_end(
    given: str, found: TokenLook | None, level: Level, words: str
) -> None:
    line = judge_token(given, found, NOW)
    assert (line.level, words in line.text) == (level, True), line


def test_a_clock_that_differs_is_named() -> None:
    for seconds, level in ((0, Level.GREEN), (40, Level.RED), (-40, Level.RED)):
        server = Server("17.2", NOW + timedelta(seconds=seconds), "diva", [], [])
        line = judge_clocks(DatabaseLook(server, None, 0.01, NOW), {"Hasura": None})
        assert (line.level, "database is 40 s" in line.text) == (level, level is Level.RED)
        line = judge_clocks(Failure("away"), {"the edge": datetime.now(UTC) + timedelta(seconds=seconds)})
        assert line.level is level
