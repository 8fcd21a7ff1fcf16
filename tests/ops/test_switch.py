"""`leads switch` and `leads history`: each change has a reason and an author, and both are shown."""

import base64
import getpass
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import Result

from leads.domain.body import ICT
from ops.daily.switch import Kind
from sandbox.postgres.database import OPERATORS
from sandbox.postgres.server import RUN_ID
from tests.support.monitoring import needs_monitoring, running_alertmanager
from tests.support.operators import document, leads, operators_of
from tests.support.settings import ADMIN_ID

APPLICATION = f"leads switch by {getpass.getuser()}"
VARIABLES = {
    "ENCRYPTION_KEYS": f"k1:{base64.b64encode(b'1' * 32).decode()}",
    "PUBLIC_URL": "https://crm.example.com",
    "COLUMNS": "80",
}


@pytest.fixture
def empty(database: str) -> Iterator[psycopg.Connection]:
    """A session of the owner, on a database without a connection."""
    with psycopg.connect(database, autocommit=True, application_name="psql") as session:
        yield session


@pytest.fixture
def db(empty: psycopg.Connection) -> psycopg.Connection:
    """A session of the owner, on a database with two connections and three sources."""
    empty.execute(
        "INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
        " VALUES ('Diva', 1, sha256('a')), ('Second', 2, sha256('b'))"
    )
    empty.execute(
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_removed)"
        " SELECT c.id, s.id, s.name, s.gone FROM pancake_connection AS c,"
        " (VALUES ('-1', 'Facebook', false), ('-2', 'Zalo', true), ('9', NULL, false))"
        " AS s (id, name, gone) WHERE c.name = 'Diva' OR s.id = '-1'"
    )
    return empty


def run_verb(db: psycopg.Connection, *words: str) -> Result:
    return leads(*words, **VARIABLES, DATABASE_URL=operators_of(db))


def run(db: psycopg.Connection, *arguments: str) -> Result:
    return run_verb(db, "switch", *arguments)


def changes(db: psycopg.Connection, *arguments: str) -> list[dict[str, Any]]:
    return list(document(run_verb(db, "history", *arguments, "--json")))


def switches(db: psycopg.Connection) -> dict[str, dict[str, Any]]:
    found = document(run(db, "list", "--json"))
    return {f"{each['kind']} {each['name'] or ''} {each['connection'] or ''}".strip(): each for each in found}


def kill_switch_off_in_settings(db: psycopg.Connection, reason: str = "") -> str:
    """As the tab Settings changes it; return the name of the user who did."""
    user = json.dumps({"x-hasura-role": "crm_admin", "x-hasura-user-id": ADMIN_ID})
    change = "UPDATE view_pancake_setting SET kill_switch = false, change_reason = nullif(%s, '')"
    with db.transaction():
        db.execute("SELECT set_config('hasura.user', %s, true)", [user])
        db.execute(change, [reason])
    (name,) = db.execute("SELECT full_name FROM staff WHERE id = %s", [ADMIN_ID]).fetchone() or ("",)
    return str(name)


def settings(db: psycopg.Connection) -> tuple[Any, ...]:
    row = db.execute("SELECT kill_switch, processing_paused FROM view_pancake_setting").fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize(("verb", "key"), [("kill", "kill_switch"), ("pause", "processing_paused")])
def test_a_switch_of_the_settings_is_turned_and_recorded(db: psycopg.Connection, verb: str, key: str) -> None:
    to, already = ("off", "on") if verb == "kill" else ("on", "off")
    same = run(db, verb, already, "--reason", "again")
    assert (same.exit_code, same.stdout, f": {already} already" in same.stderr) == (0, "", True)
    assert switches(db)[verb]["changed_at"] is None
    result = run(db, verb, to, "--reason", "go-live W1", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["changed"] is True
    assert settings(db) == ((False, False) if verb == "kill" else (True, True))
    found = switches(db)[verb]
    assert (found["is_on"], found["reason"], found["application"]) == (to == "on", "go-live W1", APPLICATION)
    other = switches(db)["pause" if verb == "kill" else "kill"]
    assert (other["changed_at"], other["reason"]) == (None, None)
    query = "SELECT after, reason FROM integration_change WHERE kind = 'setting' ORDER BY id DESC"
    assert db.execute(query).fetchone() == ({key: to == "on"}, "go-live W1")


def test_a_source_is_switched_by_its_name_or_its_id_in_pancake(db: psycopg.Connection) -> None:
    on = run(db, "source", "Facebook", "on", "--connection", "Diva", "--reason", "W1")
    assert on.exit_code == 0, on.stderr
    assert "Process what was held meanwhile:\n  leads replay --status" in on.stderr
    assert switches(db)["source Facebook Diva"]["is_on"] is True
    assert switches(db)["source Facebook Second"]["is_on"] is False
    again = run(db, "source", "FACEBOOK", "on", "--connection", "Diva", "--reason", "W1")
    assert "on already, nothing was changed" in again.stdout + again.stderr
    off = run(db, "source", "-1", "off", "--connection", "Diva", "--reason", "spam")
    assert off.exit_code == 0, off.stderr
    found = switches(db)["source Facebook Diva"]
    assert (found["is_on"], found["reason"]) == (False, "spam")
    stored = db.execute("SELECT DISTINCT change_reason FROM pancake_source").fetchall()
    assert stored == [(None,)]


def test_several_sources_are_switched_with_one_reason_or_none_is(db: psycopg.Connection) -> None:
    db.execute("UPDATE pancake_source SET is_removed = false, name = coalesce(name, 'TikTok')")
    words = ("source", "Facebook", "-1", "Zalo", "TikTok")
    of = ("--connection", "Diva", "--reason", "W2")
    refused = run(db, *words, "Instagram", "on", *of)
    assert (refused.exit_code, "There is no source 'Instagram'" in refused.stderr) == (2, True)
    assert {each["is_on"] for name, each in switches(db).items() if name.startswith("source")} == {False}
    assert run(db, "source", "Zalo", "on", *of).exit_code == 0
    result = run(db, *words, "on", *of, "--json")
    assert result.exit_code == 0, result.stderr
    documents = json.loads(result.stdout)
    assert [(each["switch"], each["changed"]) for each in documents] == [
        ("source Facebook (-1) of Diva", True), ("source Zalo (-2) of Diva", False),
        ("source TikTok (9) of Diva", True),
    ]  # fmt: skip
    assert result.stderr.count("leads replay --status skipped_source_disabled") == 1
    found = {name: each for name, each in switches(db).items() if each["reason"] == "W2"}
    assert found.keys() == {"source Facebook Diva", "source Zalo Diva", "source TikTok Diva"}


def test_a_switch_stores_no_defaults_of_settings_that_were_lost(db: psycopg.Connection) -> None:
    db.execute("UPDATE view_pancake_setting SET kill_switch = false, sla_minutes = 7")
    db.execute(
        "UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{pancake_integration,holidays}', '7')"
    )
    refused = run(db, "kill", "off", "--reason", "spam")
    assert (refused.exit_code, "defaults of holidays.\n" in refused.stderr) == (1, True)
    emergency = run(db, "kill", "on", "--reason", "spam")
    assert emergency.exit_code == 0, "it does not wait for a holiday"
    db.execute("UPDATE app_setting SET app_settings = app_settings - 'pancake_integration'")
    for words in (("kill", "off"), ("kill", "on"), ("pause", "off")):
        result = run(db, *words, "--reason", "spam")
        assert (result.exit_code, "sla_minutes" in result.stderr) == (1, True)
        assert "What they were: leads history --of setting" in result.stderr
    query = "SELECT app_settings ? 'pancake_integration' FROM app_setting WHERE id = 1"
    assert db.execute(query).fetchone() == (False,)


REFUSED = {
    "Facebook on": (2, "Several sources are 'Facebook'. Choose one by its id:"),
    "TikTok on": (2, "There is no source 'TikTok'. They are listed by: leads switch list"),
    "Zalo on": (1, "source Zalo (-2) of Diva cannot be switched on"),
    "9 on": (1, "source without a name (9) of Diva cannot be switched on"),
    "Facebook maybe": (2, "Invalid value"),
    "-15 on": (2, "There is no source '-15'."),
    "-1 on --connecton Diva": (2, "Invalid value"),
    "Facebook": (2, "Missing argument"),
    "Second Zalo on --connection Diva": (2, "There is no source 'Second'."),
}


@needs_monitoring
def test_a_planned_switch_silences_its_alert_until_then_or_the_way_back(db: psycopg.Connection) -> None:
    assert run(db, "kill", "off", "--reason", "go-live").exit_code == 0
    ends_at = datetime.now(UTC) + timedelta(hours=2)
    until = f"{ends_at:%Y-%m-%dT%H:%M}"
    with running_alertmanager() as alertmanager, pytest.MonkeyPatch.context() as patch:
        refused = run(db, "kill", "on", "--until", until, "--reason", "Diva is migrated")
        assert (refused.exit_code, "ALERTMANAGER_URL" in refused.stderr) == (2, True)
        patch.setitem(VARIABLES, "ALERTMANAGER_URL", alertmanager.url)
        for wrong in (("kill", "off", "--until", until), ("kill", "on", "--until", "2026-01-01T00:00")):
            assert run(db, *wrong, "--reason", "Diva is migrated").exit_code == 2
        assert settings(db) == (False, False)
        assert run(db, "kill", "on", "--until", until, "--reason", "Diva is migrated").exit_code == 0
        off = ("source", "-1", "off", "--connection", "Diva", "--until", until, "--reason", "spam")
        assert run(db, *off).exit_code == 0
        disable = ("connection", "disable", "Diva", "--until", until, "--reason", "new workspace")
        assert run_verb(db, *disable).exit_code == 0
        begun = httpx.get(f"{alertmanager.url}/api/v2/silences").json()
        alertmanager.silence("PancakeKillSwitchOn")
        assert run(db, "kill", "off", "--reason", "done").exit_code == 0
        left = silenced(alertmanager.url)
        on = ("source", "-1", "on", "--connection", "Diva", "--reason", "done")
        assert run(db, *on).exit_code == 0
        assert run_verb(db, "connection", "enable", "Diva").exit_code == 0
        patch.setitem(VARIABLES, "ALERTMANAGER_URL", "http://127.0.0.1:9")
        late = run(db, "kill", "on", "--until", until, "--reason", "Diva is migrated")
        assert (late.exit_code, "The kill switch is on, but" in late.stderr) == (1, True)
        assert settings(db) == (True, False)
        assert silenced(alertmanager.url) == [("test", "PancakeKillSwitchOn")]
    assert left == [
        ("leads", "PancakeConnectionOff"), ("leads", "PancakeSourceOff"), ("test", "PancakeKillSwitchOn"),
    ]  # fmt: skip
    found = {tuple((each["name"], each["value"]) for each in one["matchers"]): one for one in begun}
    row = db.execute("SELECT id::text FROM pancake_connection WHERE name = 'Diva'").fetchone()
    assert row is not None
    kill, source, connection = (
        (("alertname", "PancakeKillSwitchOn"),),
        (("alertname", "PancakeSourceOff"), ("connection", row[0]), ("source", "-1")),
        (("alertname", "PancakeConnectionOff"), ("connection", row[0])),
    )
    assert found.keys() == {kill, source, connection}
    assert found[kill]["comment"] == "Diva is migrated"
    assert found[kill]["endsAt"].startswith(until)


def silenced(url: str) -> list[tuple[str, str]]:
    """Author and alert of the silences that last."""
    return sorted(
        (each["createdBy"], each["matchers"][0]["value"])
        for each in httpx.get(f"{url}/api/v2/silences").json()
        if each["status"]["state"] != "expired"
    )


def test_what_cannot_be_switched_is_said(db: psycopg.Connection, subtests: pytest.Subtests) -> None:
    for words, (code, said) in REFUSED.items():
        with subtests.test(words):
            result = run(db, "source", *words.split(), "--reason", "W1")
            assert (result.exit_code, result.stdout) == (code, "")
            assert said in result.stderr
    assert db.execute("SELECT 1 FROM pancake_source WHERE is_active").fetchall() == []


def test_a_reason_is_required(empty: psycopg.Connection, subtests: pytest.Subtests) -> None:
    for reason in ("", "   ", "x" * 201):
        with subtests.test(reason=reason):
            result = run(empty, "kill", "off", "--reason", reason)
            assert result.exit_code == 2
            assert "--reason is a text of 1 to 200 characters" in result.stderr
    assert run(empty, "kill", "off").exit_code == 2
    result = run(empty, "kill", "off", "--reason", "TEXT")
    assert (result.exit_code, "TEXT stands for a reason: say why" in result.stderr) == (2, True)
    assert settings(empty) == (True, False)


def test_a_change_elsewhere_is_shown_with_its_author_and_reason(db: psycopg.Connection) -> None:
    name = kill_switch_off_in_settings(db, " go-live\npause: on ")
    db.execute("UPDATE pancake_source SET is_active = true WHERE name = 'Facebook'")
    lines = run(db, "list").stdout.splitlines()
    assert lines[0] == "kill switch: off"
    assert f"UTC, by {name}" in lines[1]
    assert lines[2:5] == [r"  reason: go-live\npause: on", "pause: off", "  never changed"]
    assert "source Facebook (-1) of Diva: on" in lines
    assert max(map(len, lines)) <= 80
    found = switches(db)["source Facebook Diva"]
    assert (found["changed_by"], found["application"], found["reason"]) == (db.info.user, "psql", None)
    db.execute("SELECT set_config('integration.change_reason', 'new workspace', false)")
    db.execute("UPDATE pancake_connection SET status = 'disabled' WHERE name = 'Diva'")
    found = switches(db)["connection Diva Diva"]
    assert (found["is_on"], found["reason"]) == (False, "new workspace")
    assert "connection Diva: disabled" in run(db, "list").stdout


def test_a_switch_can_be_turned_when_the_stored_settings_are_unreadable(db: psycopg.Connection) -> None:
    db.execute("UPDATE app_setting SET app_settings = jsonb_set(app_settings, '{pancake_integration}', '[]')")
    assert run(db, "pause", "on", "--reason", "unclear").exit_code == 0
    assert settings(db) == (True, True)


def test_a_command_is_recorded_with_its_name_and_the_user_of_the_machine(empty: psycopg.Connection) -> None:
    create = ("connection", "create", "--name", "Diva", "--workspace", "7", "--no-key")
    generate = ("connection", "set-header-secret", "--generate")
    created, rotated = (run_verb(empty, *command) for command in (create, generate))
    assert (created.exit_code, rotated.exit_code) == (0, 0), created.stderr + rotated.stderr
    secret = rotated.stdout.strip()
    rotation, creation = changes(empty, "--of", "connection")
    assert creation["application"] == rotation["application"] == f"leads connection by {getpass.getuser()}"
    assert {change["database_role"] for change in (creation, rotation)} == {f"{OPERATORS}_{RUN_ID}"}
    assert (creation["action"], creation["after"]["signature_mode"]) == ("insert", "monitor")
    assert rotation["after"]["previous_header_secret"] == "key k1"
    shown = run_verb(empty, "history").stdout
    assert "connection Diva: update" in shown
    assert "header_secret another one (key k1)" in " ".join(shown.split())
    assert len(secret) >= 32
    assert secret not in shown + str(changes(empty))


def test_it_prints_who_changed_what_within_80_columns(empty: psycopg.Connection) -> None:
    name = kill_switch_off_in_settings(empty)
    forged = "x\x1b[31m\u202e\n  by the CEO, Hasura role admin " + "x" * 100
    empty.execute("SELECT set_config('integration.change_reason', %s, false)", [forged])
    insert = "INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES (%s, 1, sha256('t'))"
    empty.execute(insert, ["Diva " + "x" * 100])
    result = run_verb(empty, "history")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert max(map(len, lines)) <= 80
    assert not {"\x1b", "\u202e"} & set(result.stdout)
    assert "  by the CEO, Hasura role admin" not in lines
    assert r"  reason: x\u001b[31m\u202e\n  by the CEO" in result.stdout
    assert f"  by {name} ({ADMIN_ID}), Hasura role" in " ".join(lines)
    assert "    kill_switch  true → false" in lines
    assert f"  database role {empty.info.user}, application psql" in lines


@pytest.mark.own_database
def test_the_replays_and_the_deletes_of_one_transaction_are_one_change(empty: psycopg.Connection) -> None:
    """It names the lowest and the highest id, in whatever order the statement met the rows."""
    empty.execute(
        "WITH c AS (INSERT INTO pancake_connection (name, workspace_id, token_sha256)"
        " VALUES ('Diva', 1, sha256('t')) RETURNING id)"
        " INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, status,"
        " error_code, arrived_at, created_at)"
        " SELECT c.id, 'webhook', n::text, sha256(n::text::bytea), 'dead_letter', 'invalid_phone',"
        " now(), now()"
        " FROM c, generate_series(1, 12) AS n ORDER BY n"
    )
    # A row that is written again stands behind the others: here 1 behind 11.
    empty.execute("UPDATE pancake_webhook_event SET error_detail = 'again' WHERE id = 1")
    empty.execute("UPDATE pancake_webhook_event SET status = 'received' WHERE id < 12")
    empty.execute("UPDATE pancake_webhook_event SET status = 'received' WHERE id = 12")
    last, several = changes(empty, "--of", "replay")
    assert (several["rows"], several["row_id"], several["last_row_id"]) == (11, "1", "11")
    shown = run_verb(empty, "history", "--of", "replay").stdout
    assert "replay of 11 events, 1 to 11" in shown
    assert f"replay of event {last['row_id']}" in shown
    empty.execute("SET pancake.delete_events = 'on'")
    empty.execute("DELETE FROM pancake_webhook_event WHERE id < 12")
    empty.execute("TRUNCATE pancake_webhook_event")
    shown = run_verb(empty, "history", "--of", "event").stdout
    assert "truncate of all events" in shown
    assert "delete of 11 events, 1 to 11" in shown


def test_an_erasure_is_one_change_with_who_asked_for_it_and_why(empty: psycopg.Connection) -> None:
    empty.execute(
        "INSERT INTO customer_erasure (digest, erased_at, requested_by, run_by, reason, counts)"
        " SELECT n::text, now(), 'Lan', 'operator', 'case 12', '{\"events\": 2}'"
        " FROM generate_series(1, 3) AS n"
    )
    (erasure,) = changes(empty, "--of", "erasure")
    assert (erasure["rows"], erasure["after"]["requested_by"]) == (3, "Lan")
    lines = run_verb(empty, "history", "--of", "erasure").stdout.splitlines()
    assert "erasure of a customer: 3 digests" in lines[0]
    assert lines[3:] == [
        '    counts        none → {"events": 2}',
        "    reason        none → case 12",
        "    requested_by  none → Lan",
        "    run_by        none → operator",
    ]


def test_every_kind_that_the_database_records_can_be_selected(empty: psycopg.Connection) -> None:
    query = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'ck_integration_change_kind'"
    (definition,) = empty.execute(query).fetchone() or ("",)
    # What check_connection finds is in view_pancake_connection_status: no person changes it.
    assert set(re.findall(r"'(\w+)'", definition)) == {*Kind, "status"}


def test_it_selects_by_time_kind_and_number(empty: psycopg.Connection) -> None:
    empty.execute("UPDATE view_pancake_setting SET kill_switch = false")
    empty.execute("UPDATE view_pancake_setting SET kill_switch = true")
    today = f"{datetime.now(ICT):%Y-%m-%d}"
    assert changes(empty, "--since", "2999-01-01") == changes(empty, "--until", "2020-01-01") == []
    everything = changes(empty)
    assert len(everything) >= 2
    later = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M}"
    for period in (("--day", today), ("--since", today, "--until", today), ("--until", later)):
        assert changes(empty, *period, "--limit", "2") == everything[:2]
    assert run_verb(empty, "history", "--day", today, "--since", today).exit_code == 2
    assert changes(empty, "--of", "source", "--of", "roster") == []
    (newest,) = changes(empty, "--limit", "1")
    assert newest["after"] == {"kill_switch": True}
    nothing = run_verb(empty, "history", "--since", "2999-01-01", "--until", "2999-01-01").stderr
    assert "No changes since 2998-12-31 17:00 UTC until 2999-01-01 17:00 UTC." in nothing
    assert "Only the newest 1 are shown" in run_verb(empty, "history", "--limit", "1").stderr
