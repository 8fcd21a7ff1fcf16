"""`leads doctor`: each failure is one line with its fix, within 3 s whatever does not answer."""

import json
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from typer.testing import CliRunner, Result

from leads.adapters.variables import VARIABLES
from leads.cli.__main__ import app
from leads.cli.doctor.checks import PREFLIGHT, TokenLook, judge_clocks, judge_token
from leads.cli.probes.database import DatabaseLook, Server
from leads.cli.probes.http_services import look_at_edge
from leads.cli.probes.lines import Level
from leads.cli.probes.running import Failure
from leads.cli.token import NAMESPACE
from sandbox.postgres.roles import operators_url
from tests.support.fake_services import edge_status, fixed_engine
from tests.support.scripted_server import scripted_server
from tests.support.shared_engine import SECRET, Shared, running_shared_engine

pytestmark = pytest.mark.own_database

KEY = "key-of-the-test-with-32-characters"
NOW = datetime(2026, 5, 14, 9, 30, tzinfo=UTC)
FINE = {"hasura": True, "consistent": True, "allow_list": True, "notifications": True}


def run(*options: str, **variables: str) -> Result:
    result = CliRunner().invoke(app, ["doctor", *options], env={**dict.fromkeys(VARIABLES, ""), **variables})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def lines(*, code: int, **variables: str) -> dict[str, dict[str, Any]]:
    """Return the lines by name; of several with one name the first."""
    result = run("--json", **variables)
    assert result.exit_code == code, result.output
    found: dict[str, dict[str, Any]] = {}
    for line in json.loads(result.stdout):
        found.setdefault(line["name"], line)
    return found


def token(role: str = "pancake_service", days: int = 60) -> str:
    claims = {NAMESPACE: {"x-hasura-default-role": role}, "exp": (NOW + timedelta(days=days)).timestamp()}
    return jwt.encode(claims, KEY, algorithm="HS256")


def test_without_an_environment_each_missing_variable_is_a_line_with_its_fix() -> None:
    result = run("--json")
    assert result.exit_code == 1
    assert [(line["text"], line["helps"].split(",")[0]) for line in json.loads(result.stdout)] == [
        ("DATABASE_URL is not set", "Give it the URL of Diva's database"),
        ("HASURA_URL is not set", "Give it the base URL of Hasura"),
        ("HASURA_ADMIN_SECRET is not set", "Give it the admin secret of the engine at HASURA_URL"),
    ]


def test_an_invalid_variable_is_a_line_with_its_fix() -> None:
    line = lines(code=1, HASURA_URL="ftp://x")["environment"]
    assert line["text"] == "HASURA_URL is not an http or https URL"
    assert line["helps"].startswith("Give it the base URL of Hasura")


def test_what_never_answers_takes_three_seconds_at_most() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        found = lines(
            code=1, DATABASE_URL=url.replace("http", "postgresql"), HASURA_URL=url,
            HASURA_ADMIN_SECRET=SECRET, HASURA_SERVICE_TOKEN=token(), HANDLERS_URL=url,
            HANDLER_SECRET=KEY, EDGE_STATUS_URL=url,
            ENCRYPTION_KEYS=f"k1:{'A' * 43}=",
        )  # fmt: skip
        assert time.monotonic() - started < 3
    red = {name for name, line in found.items() if line["level"] == Level.RED}
    assert red == {"database", "Hasura", "handlers", "edge"}
    assert all(line["helps"] for line in found.values() if line["level"] == Level.RED)


def test_before_the_migrations_it_says_so_and_after_them_not(
    shared: Shared, database: str, diva_database: str
) -> None:
    given = {"HASURA_URL": shared.url, "HASURA_ADMIN_SECRET": SECRET}
    before = lines(code=1, DATABASE_URL=diva_database, **given)["database"]
    assert before["text"].startswith("tables are missing: ")
    assert before["helps"].startswith("Apply the migrations (docs/runbook/install.md, step 4): ")
    after = lines(code=0, DATABASE_URL=operators_url(database), **given)
    assert {name: line["level"] for name, line in after.items()} == {
        "environment": "green", "database": "green", "Hasura": "green", "JWT role": "-",
        "handlers": "-", "secret": "-", "edge": "-", "Pancake": "-", "clocks": "green",
        **dict.fromkeys(PREFLIGHT, "green"),
    }  # fmt: skip


def test_a_wrong_admin_secret_is_named_and_not_shown(shared: Shared, database: str) -> None:
    given = {"DATABASE_URL": operators_url(database), "HASURA_URL": shared.url}
    found = lines(code=1, HASURA_ADMIN_SECRET="wrong-secret-of-the-test", **given)
    assert found["metadata"]["helps"] == "Check HASURA_ADMIN_SECRET: leads config show"
    assert "wrong-secret-of-the-test" not in json.dumps(found)


def test_what_a_step_of_the_metadata_would_refuse_is_a_line_with_its_fix(
    database: str, tmp_path: Path
) -> None:
    with (
        running_shared_engine(database, tmp_path, without="HANDLER_SECRET") as engine,
        psycopg.connect(database, autocommit=True) as db,
    ):
        db.execute("REVOKE INSERT ON hdb_catalog.event_log FROM pancake_handlers")
        given = {"HASURA_URL": engine.url, "HASURA_ADMIN_SECRET": SECRET}
        found = lines(code=1, DATABASE_URL=operators_url(database), **given)
        refused = engine.run("9a", code=1)
    red = {name for name, line in found.items() if line["level"] == "red"}
    assert red == {"variables", "rights"}
    assert found["variables"]["text"].startswith("the engine has no environment variable HANDLER_SECRET")
    assert "run deploy/postgres/grant_roles.sql" in found["rights"]["text"]
    assert all(found[name]["helps"] and found[name]["text"] in refused for name in red)


def test_an_engine_without_diva_s_source_is_red() -> None:
    with fixed_engine({"version": 3, "sources": []}) as url:
        given = {"HASURA_URL": url, "HASURA_ADMIN_SECRET": SECRET}
        line = lines(code=1, DATABASE_URL="postgresql://127.0.0.1:9/x", **given)["metadata"]
    assert (line["level"], line["helps"]) == ("red", "leads metadata verify")


@pytest.mark.parametrize(("status", "level"), [(401, "red"), (400, "green")])
def test_the_secret_of_the_handlers_is_tried_without_running_a_cron(status: int, level: str) -> None:
    with scripted_server([(status, {}, {"message": "…"})]) as handlers:
        found = lines(
            code=1, DATABASE_URL="postgresql://127.0.0.1:9/x", HASURA_URL="http://127.0.0.1:9",
            HASURA_ADMIN_SECRET=SECRET, HANDLERS_URL=handlers.url, HANDLER_SECRET=KEY,
        )  # fmt: skip
    assert found["secret"]["level"] == level
    assert [each.body["name"] for each in handlers.asked] == ["leads_doctor"]


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


@pytest.mark.parametrize(("seconds", "level"), [(0, Level.GREEN), (40, Level.RED), (-40, Level.RED)])
def test_a_clock_that_differs_is_named(seconds: int, level: Level) -> None:
    server = Server("17.2", NOW + timedelta(seconds=seconds), "diva", [], [])
    line = judge_clocks(DatabaseLook(server, None, 0.01, NOW), {"Hasura": None})
    assert line.level is level
    assert ("database is 40 s" in line.text) is (level is Level.RED)


@pytest.mark.parametrize(("seconds", "level"), [(0, Level.GREEN), (40, Level.RED)])
def test_the_clock_of_the_edge_is_read_from_its_listener(seconds: int, level: Level) -> None:
    ahead = datetime.now(UTC) + timedelta(seconds=seconds)
    line = judge_clocks(Failure("away"), {"the edge": ahead})
    assert (line.level, "the edge" in line.text) == (level, True)
    with edge_status() as url:
        assert abs((look_at_edge(url).date or ahead) - datetime.now(UTC)) < timedelta(seconds=5)
