"""`leads switch`: each switch is turned with a reason, and shown with since when, by whom and why."""

import getpass
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from sandbox.postgres.roles import operators_url
from tests.support.settings import ADMIN_ID

APPLICATION = f"leads switch by {getpass.getuser()}"


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    """A session of the owner, on a database with two connections and three sources."""
    with psycopg.connect(database, autocommit=True, application_name="psql") as session:
        session.execute(
            "INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
            " VALUES ('Diva', 1, sha256('a')), ('Second', 2, sha256('b'))"
        )
        session.execute(
            "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_removed)"
            " SELECT c.id, s.id, s.name, s.gone FROM pancake_connection AS c,"
            " (VALUES ('-1', 'Facebook', false), ('-2', 'Zalo', true), ('9', NULL, false))"
            " AS s (id, name, gone) WHERE c.name = 'Diva' OR s.id = '-1'"
        )
        yield session


def run(db: psycopg.Connection, *arguments: str) -> Result:
    """Run a command with the rights of the operators."""
    url = f"postgresql://{db.info.user}:{db.info.password}@{db.info.host}:{db.info.port}/{db.info.dbname}"
    variables = {"DATABASE_URL": operators_url(url), "COLUMNS": "80"}
    return CliRunner().invoke(app, ["switch", *arguments], env=variables)


def switches(db: psycopg.Connection) -> dict[str, dict[str, Any]]:
    result = run(db, "list", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return {f"{each['kind']} {each['name'] or ''} {each['connection'] or ''}".strip(): each for each in found}


def settings(db: psycopg.Connection) -> tuple[Any, ...]:
    row = db.execute("SELECT kill_switch, processing_paused FROM view_pancake_setting").fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize(("verb", "key"), [("kill", "kill_switch"), ("pause", "processing_paused")])
def test_a_switch_of_the_settings_is_turned_and_recorded(db: psycopg.Connection, verb: str, key: str) -> None:
    before = settings(db)
    to = "off" if verb == "kill" else "on"
    result = run(db, verb, to, "--reason", "go-live W1", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["changed"] is True
    assert settings(db) == ((False, False) if verb == "kill" else (True, True))
    assert settings(db) != before
    found = switches(db)[verb]
    assert (found["is_on"], found["reason"], found["application"]) == (to == "on", "go-live W1", APPLICATION)
    other = switches(db)["pause" if verb == "kill" else "kill"]
    assert (other["changed_at"], other["reason"]) == (None, None)
    row = db.execute("SELECT after, reason FROM integration_change WHERE kind = 'setting'").fetchone()
    assert row == ({key: to == "on"}, "go-live W1")


def test_turning_a_switch_to_what_it_is_changes_nothing(db: psycopg.Connection) -> None:
    result = run(db, "kill", "on", "--reason", "again")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "kill switch: on already" in result.stderr
    assert switches(db)["kill"]["changed_at"] is None


def test_a_source_is_switched_by_its_name_or_its_id_in_pancake(db: psycopg.Connection) -> None:
    on = run(db, "source", "Facebook", "on", "--connection", "Diva", "--reason", "W1")
    assert on.exit_code == 0, on.stderr
    assert "Process what was held meanwhile:\n  leads replay --status" in on.stderr
    assert switches(db)["source Facebook Diva"]["is_on"] is True
    assert switches(db)["source Facebook Second"]["is_on"] is False
    off = run(db, "source", "-1", "off", "--connection", "Diva", "--reason", "spam")
    assert off.exit_code == 0, off.stderr
    found = switches(db)["source Facebook Diva"]
    assert (found["is_on"], found["reason"]) == (False, "spam")
    stored = db.execute("SELECT DISTINCT change_reason FROM pancake_source").fetchall()
    assert stored == [(None,)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("Facebook", "on"), 2, "Several sources are 'Facebook'. Choose one by its id:"),
        (("TikTok", "on"), 2, "There is no source 'TikTok'. They are listed by: leads switch list"),
        (("Zalo", "on"), 1, "source Zalo (-2) of Diva cannot be switched on"),
        (("9", "on"), 1, "source without a name (9) of Diva cannot be switched on"),
        (("Facebook", "maybe"), 2, "Invalid value"),
        (("-15", "on"), 2, "There is no source '-15'."),
        (("-1", "on", "--connecton", "Diva"), 2, "Got unexpected extra argument"),
    ],
)
def test_what_cannot_be_switched_is_said(
    db: psycopg.Connection, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = run(db, "source", *arguments, "--reason", "W1")
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201])
def test_a_reason_is_required(db: psycopg.Connection, reason: str) -> None:
    result = run(db, "kill", "off", "--reason", reason)
    assert result.exit_code == 2
    assert "--reason has 1 to 200 characters" in result.stderr
    assert run(db, "kill", "off").exit_code == 2
    assert settings(db) == (True, False)


def test_a_change_in_settings_is_shown_with_its_user_and_reason(db: psycopg.Connection) -> None:
    user = json.dumps({"x-hasura-role": "crm_admin", "x-hasura-user-id": ADMIN_ID})
    with db.transaction():
        db.execute("SELECT set_config('hasura.user', %s, true)", [user])
        db.execute("UPDATE view_pancake_setting SET kill_switch = false, change_reason = ' go-live '")
    db.execute("UPDATE pancake_source SET is_active = true WHERE name = 'Facebook'")
    (name,) = db.execute("SELECT full_name FROM staff WHERE id = %s", [ADMIN_ID]).fetchone() or ("",)
    lines = run(db, "list").stdout.splitlines()
    assert lines[0] == "kill switch: off"
    assert f"UTC, by {name}" in lines[1]
    assert lines[2:5] == ["  reason: go-live", "pause: off", "  never changed"]
    assert "source Facebook (-1) of Diva: on" in lines
    assert max(map(len, lines)) <= 80
    found = switches(db)["source Facebook Diva"]
    assert (found["changed_by"], found["application"], found["reason"]) == (db.info.user, "psql", None)


def test_a_disabled_connection_is_shown_with_the_reason_of_the_command(db: psycopg.Connection) -> None:
    db.execute("SELECT set_config('integration.change_reason', 'new workspace', false)")
    db.execute("UPDATE pancake_connection SET status = 'disabled' WHERE name = 'Diva'")
    found = switches(db)["connection Diva Diva"]
    assert (found["is_on"], found["reason"]) == (False, "new workspace")
    assert "connection Diva: disabled" in run(db, "list").stdout


def test_the_kill_switch_can_be_turned_on_when_the_stored_settings_are_unreadable(
    db: psycopg.Connection,
) -> None:
    db.execute("UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{pancake_integration}', '[]')")
    assert run(db, "pause", "on", "--reason", "unclear").exit_code == 0
    assert settings(db) == (True, True)
