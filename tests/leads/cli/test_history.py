"""`leads history`: the changes of a period for a person and for a program, within 80 columns."""

import base64
import getpass
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from leads.cli.history import Kind
from sandbox.postgres.roles import OPERATORS, operators_url
from sandbox.postgres.server import RUN_ID
from tests.support.settings import ADMIN_ID

ROOT = Path(__file__).parents[3]
KEYS = f"k1:{base64.b64encode(b'1' * 32).decode()}"
VARIABLES = {"ENCRYPTION_KEYS": KEYS, "PUBLIC_URL": "https://crm.example.com", "COLUMNS": "80"}


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True, application_name="psql") as session:
        yield session


def run(db: psycopg.Connection, *arguments: str) -> Result:
    """Run a command on the database of the owner's session, with the rights of the operators."""
    url = f"postgresql://{db.info.user}:{db.info.password}@{db.info.host}:{db.info.port}/{db.info.dbname}"
    return CliRunner().invoke(app, arguments, env=VARIABLES | {"DATABASE_URL": operators_url(url)})


def found(db: psycopg.Connection, *arguments: str) -> list[dict[str, Any]]:
    result = run(db, "history", "--json", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    changes: list[dict[str, Any]] = json.loads(result.stdout)
    return changes


def test_a_command_is_recorded_with_its_name_and_the_user_of_the_machine(db: psycopg.Connection) -> None:
    create = ("connection", "create", "--name", "Diva", "--workspace", "7", "--no-key")
    created = run(db, *create)
    assert created.exit_code == 0, created.stderr
    rotated = run(db, "connection", "set-header-secret", "--generate")
    assert rotated.exit_code == 0, rotated.stderr
    secret = rotated.stdout.strip()
    rotation, creation = found(db, "--of", "connection")
    assert creation["application"] == rotation["application"] == f"leads connection by {getpass.getuser()}"
    assert {change["database_role"] for change in (creation, rotation)} == {f"{OPERATORS}_{RUN_ID}"}
    assert (creation["action"], creation["after"]["signature_mode"]) == ("insert", "monitor")
    assert rotation["before"].pop("previous_header_secret_expires_at") is None
    assert rotation["after"].pop("previous_header_secret_expires_at") is not None
    assert rotation["before"] == {"header_secret": "key k1", "previous_header_secret": None}
    assert rotation["after"] == {"header_secret": "key k1", "previous_header_secret": "key k1"}
    shown = run(db, "history").stdout
    assert "connection Diva: update" in shown
    assert "header_secret another one (key k1)" in " ".join(shown.split())
    assert len(secret) >= 32
    assert secret not in shown + str(found(db))


def test_it_prints_who_changed_what_within_80_columns(db: psycopg.Connection) -> None:
    user = json.dumps({"x-hasura-role": "crm_admin", "x-hasura-user-id": ADMIN_ID})
    with db.transaction():
        db.execute("SELECT set_config('hasura.user', %s, true)", [user])
        db.execute("UPDATE view_pancake_setting SET kill_switch = false")
    db.execute(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES (%s, 1, sha256('t'))",
        ["Diva \x1b[31m\u202e" + "x" * 100],
    )
    result = run(db, "history")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert max(map(len, lines)) <= 80
    assert not {"\x1b", "\u202e"} & set(result.stdout)
    (name,) = db.execute("SELECT full_name FROM staff WHERE id = %s", [ADMIN_ID]).fetchone() or ("",)
    assert f"  by {name} ({ADMIN_ID}), Hasura role" in " ".join(lines)
    assert "    kill_switch  true → false" in lines
    assert f"  database role {db.info.user}, application psql" in lines


def test_the_replays_and_the_deletes_of_one_transaction_are_one_change(db: psycopg.Connection) -> None:
    db.execute(
        "WITH c AS (INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
        " VALUES ('Diva', 1, sha256('t')) RETURNING id)"
        " INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, status,"
        " error_code, arrived_at, created_at)"
        " SELECT c.id, 'webhook', n::text, sha256(n::text::bytea), 'dead_letter', 'invalid_phone',"
        " now(), now()"
        " FROM c, generate_series(1, 12) AS n ORDER BY n"
    )
    db.execute("UPDATE pancake_webhook_event SET status = 'received' WHERE id < 12")
    db.execute("UPDATE pancake_webhook_event SET status = 'received' WHERE id = 12")
    last, several = found(db, "--of", "replay")
    assert (several["rows"], several["row_id"], several["last_row_id"]) == (11, "1", "11")
    shown = run(db, "history", "--of", "replay").stdout
    assert "replay of 11 events, 1 to 11" in shown
    assert f"replay of event {last['row_id']}" in shown
    db.execute("SET pancake.delete_events = 'on'")
    db.execute("DELETE FROM pancake_webhook_event WHERE id < 12")
    db.execute("TRUNCATE pancake_webhook_event")
    shown = run(db, "history", "--of", "event").stdout
    assert "truncate of all events" in shown
    assert "delete of 11 events, 1 to 11" in shown


def test_an_erasure_is_one_change_with_who_asked_for_it_and_why(db: psycopg.Connection) -> None:
    db.execute(
        "INSERT INTO customer_erasure (digest, erased_at, requested_by, run_by, reason, counts)"
        " SELECT n::text, now(), 'Lan', 'operator', 'case 12', '{\"events\": 2}'"
        " FROM generate_series(1, 3) AS n"
    )
    (erasure,) = found(db, "--of", "erasure")
    assert (erasure["rows"], erasure["after"]["requested_by"]) == (3, "Lan")
    lines = run(db, "history", "--of", "erasure").stdout.splitlines()
    assert "erasure of a customer: 3 digests" in lines[0]
    assert lines[3:] == [
        '    counts        none → {"events": 2}',
        "    reason        none → case 12",
        "    requested_by  none → Lan",
        "    run_by        none → operator",
    ]


def test_every_kind_that_the_database_records_can_be_selected(db: psycopg.Connection) -> None:
    query = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'ck_integration_change_kind'"
    (definition,) = db.execute(query).fetchone() or ("",)
    assert set(re.findall(r"'(\w+)'", definition)) == set(Kind)
    for kind in Kind:
        assert f"`{kind}`" in (ROOT / "docs" / "cli.md").read_text("utf-8")


def test_it_selects_by_time_kind_and_number(db: psycopg.Connection) -> None:
    db.execute("UPDATE view_pancake_setting SET kill_switch = false")
    db.execute("UPDATE view_pancake_setting SET kill_switch = true")
    assert found(db, "--since", "2999-01-01") == []
    assert found(db, "--of", "source", "--of", "roster") == []
    (newest,) = found(db, "--limit", "1")
    assert newest["after"] == {"kill_switch": True}
    assert "No changes since 2999-01-01 00:00 UTC" in run(db, "history", "--since", "2999-01-01").stderr
    assert "Only the newest 1 are shown" in run(db, "history", "--limit", "1").stderr
