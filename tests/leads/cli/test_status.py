"""`leads status`: one screen, its cause and its exit code; what does not answer is a red line within 3 s."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from leads.cli.metadata.directory import read_directory
from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.postgres.roles import operators_url
from tests.support.ending_command import ends_with_command
from tests.support.fake_services import fixed_engine
from tests.support.seeding import seed_connection
from tests.support.shared_engine import SECRET, Shared, running_shared_engine

pytestmark = pytest.mark.own_database

GREEN, YELLOW, RED = 0, 1, 2
CLOSED = "http://127.0.0.1:9"


def run(database_url: str, hasura_url: str, *options: str, **variables: str) -> Result:
    environment = {"DATABASE_URL": database_url, "HASURA_URL": hasura_url, "HASURA_ADMIN_SECRET": SECRET}
    cleared = dict.fromkeys(("HANDLERS_URL", "EDGE_STATUS_URL", "ENCRYPTION_KEYS"), "")
    result = CliRunner().invoke(app, ["status", *options], env={**cleared, **environment, **variables})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def look(database_url: str, hasura_url: str, **variables: str) -> dict[str, Any]:
    """Return a look, with its lines by name."""
    result = run(database_url, hasura_url, "--json", **variables)
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == {"green": GREEN, "yellow": YELLOW, "red": RED}[found["level"]]
    return found | {"lines": {line["name"]: line for line in found["lines"]}}


def red(found: dict[str, Any]) -> set[str]:
    """Return the red lines that are no symptoms."""
    return {
        name for name, line in found["lines"].items() if line["level"] == "red" and not line["is_symptom"]
    }


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def url(database: str) -> str:
    """The database with a connection, for the role of the operators."""
    seed_connection(database)
    return operators_url(database)


def test_a_wipe_of_the_metadata_is_the_cause(shared: Shared, database: str, url: str) -> None:
    shared.run("9a")
    shared.run("9b")
    fine = look(url, shared.url)
    assert {"metadata", "event trigger", "schedule", "notifications"} & red(fine) == set()
    shared.api("replace_metadata", read_directory(DIVA_METADATA))
    found = look(url, shared.url)
    assert found["cause"]["name"] == "metadata"
    assert found["cause"]["helps"] == "leads metadata recover"
    assert {"metadata", "event trigger", "schedule"} <= red(found)


def test_a_lost_permission_is_named(shared: Shared, url: str) -> None:
    shared.run("9a")
    shared.run("9b")
    shared.api("drop_action_permission", {"action": "sendNotifications", "role": "pancake_service"})
    line = look(url, shared.url)["lines"]["notifications"]
    assert (line["level"], "is not allowed for pancake_service" in line["text"]) == ("red", True)


def test_an_allow_list_that_stops_us_is_named(database: str, url: str, tmp_path: Path) -> None:
    """Off, a missing entry is a missing piece only."""
    with running_shared_engine(
        database, tmp_path / "backups", HASURA_GRAPHQL_ENABLE_ALLOWLIST="true"
    ) as shared:
        shared.run("9a")
        shared.run("9b")
        shared.api("drop_collection_from_allowlist", {"collection": "pancake_calls"})
        line = look(url, shared.url)["lines"]["allow list"]
    assert line["text"] == "allow-list entry pancake_calls is missing: Hasura stops its calls"


def test_cleared_metadata_are_a_red_line_and_no_wrong_usage(url: str) -> None:
    with fixed_engine({"version": 3, "sources": []}) as engine:
        assert "its metadata was cleared" in look(url, engine)["lines"]["metadata"]["text"]


def test_what_never_answers_is_red_within_three_seconds() -> None:
    with silent_port() as port:
        web = f"http://127.0.0.1:{port}"
        started = time.monotonic()
        found = look(
            f"postgresql://127.0.0.1:{port}/diva", web,
            HANDLERS_URL=web, EDGE_STATUS_URL=web, ENCRYPTION_KEYS=f"k1:{'A' * 43}=",
        )  # fmt: skip
        assert time.monotonic() - started < 3
    assert red(found) == {"database", "Hasura", "handlers", "edge"}
    assert found["cause"]["name"] == "database"


def test_what_refuses_is_red_and_the_rest_is_still_shown(url: str) -> None:
    found = look(url, CLOSED, HANDLERS_URL=CLOSED, EDGE_STATUS_URL=CLOSED)
    assert {"Hasura", "handlers", "edge"} <= red(found)
    assert found["lines"]["database"]["level"] == "green"
    assert found["lines"]["kill switch"]["level"] == "green"


def test_a_wrong_password_is_told_from_a_server_that_is_away(url: str) -> None:
    found = look(url.replace("@", "x@"), CLOSED)
    assert found["lines"]["database"]["helps"] == "Check user and password in DATABASE_URL: leads config show"


def test_a_database_before_the_migrations_is_named(diva_database: str) -> None:
    line = look(diva_database, CLOSED)["lines"]["database"]
    assert line["text"].startswith("tables are missing: integration_change, pancake_assignee")


def test_a_lock_that_others_wait_for_is_the_cause(database: str, url: str) -> None:
    with psycopg.connect(database, application_name="forgotten psql") as holder:
        holder.execute("LOCK TABLE pancake_webhook_event")
        found = look(url, CLOSED)
    assert found["cause"]["name"] == "database"
    assert "(forgotten psql) holds it" in found["cause"]["text"]
    assert re.fullmatch(r"psql: SELECT pg_terminate_backend\(\d+\)", found["cause"]["helps"])


def test_the_screen_has_80_columns_no_colours_in_a_pipe_and_a_command_for_each_red_line(url: str) -> None:
    result = run(url, CLOSED, HANDLERS_URL=CLOSED)
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in result.stdout
    assert "RED  Hasura: http" in lines[0]
    found = look(url, CLOSED, HANDLERS_URL=CLOSED)["lines"].values()
    assert all(ends_with_command(line["helps"]) for line in found if line["level"] == "red"), found
    assert result.stdout.count("→ ") >= sum(line["level"] == "red" for line in found)


def test_without_variables_it_names_them_all_and_does_not_look() -> None:
    result = CliRunner().invoke(app, ["status"], env={"DATABASE_URL": "", "HASURA_URL": ""})
    assert (result.exit_code, result.stdout) == (2, "")
    for name in ("DATABASE_URL", "HASURA_URL", "HASURA_ADMIN_SECRET"):
        assert f"{name} is not set" in result.stderr


def test_watch_and_json_do_not_go_together(url: str) -> None:
    result = run(url, CLOSED, "--watch", "--json")
    assert (result.exit_code, json.loads(result.stdout)["exit_code"]) == (2, 2)


def test_watching_prints_block_after_block_into_a_pipe_until_ctrl_c(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    result = run(url, CLOSED, "--watch")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")
    assert len(re.findall(r"^\S+ \S+ UTC  RED  ", result.stdout, re.MULTILINE)) == 2
    assert waits == [5.0, 5.0]
