"""`leads connection`: secrets come in by file, variable or prompt, and leave nothing behind in clear."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import Result

from leads.adapters.secrets import KeyRing, Secret, SecretScope, open_sealed
from ops.clients.db_session import DbSession
from ops.daily.connection_secrets import (
    change,
    create_connection,
    list_connections,
    reencrypt,
    rotate_token,
    store_secret,
    stored_uses,
)
from ops.switches import set_source
from sandbox.postgres.database import operators_url
from tests.support.fake_services import FakeServer
from tests.support.handlers import DatabaseHarness
from tests.support.operators import document, leads
from tests.support.settings import NOT_BASE_URLS, UNREACHABLE_URL
from tests.support.stored_rows import dump
from tests.support.waiting import eventually

OLD_KEY, NEW_KEY = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
OLD_KEYS = f"old:{OLD_KEY}"
OLD_RING, NEW_RING = KeyRing.parse(OLD_KEYS), KeyRing.parse(f"new:{NEW_KEY},old:{OLD_KEY}")
API_KEY = "0123456789abcdef0123456789abcdef"
EDGE = "https://edge.example.com"
API_URL = "https://x/api"
NOW = datetime(2026, 5, 14, 3, 0, tzinfo=UTC)
SECRETS: tuple[Secret, Secret] = ("webhook_secret", "header_secret")
CREATE_SECOND = ("create", "--name", "x", "--workspace", "1", "--no-key")
UNCLEAR_ZONES = (
    "ICT", "CET", "+07", "UTC+7", "asia/ho_chi_minh", "Mars/Phobos", "localtime", "posix/Asia/Ho_Chi_Minh",
)  # fmt: skip
OTHER_KEYS = {
    f"other:{NEW_KEY}": "key 'old' is not in the key ring",
    f"old:{NEW_KEY}": "key 'old' of the key ring is another one",
}
"""Values of ENCRYPTION_KEYS that do not open what was sealed with the test's, and what the error says."""
NEED_STORED_SECRETS = (
    "test", "rotate-keys", "set-api-key --file -", "set-webhook-secret --generate",
    "set-header-secret --generate", "create --name Second --workspace 124 --key-file -",
)  # fmt: skip
WRONG_USE = {
    ("disable", "Diva"): "--reason",
    ("disable", "Diva", "--reason", "  "): "--reason",
    ("disable", "Diva", "--reason", "x" * 201): "--reason",
    ("disable", "--reason", "x"): "NAME",
    ("disable", "Other", "--reason", "x"): "There is no connection 'Other'. Choose one of: Diva",
    ("enable", "Other"): "There is no connection 'Other'. Choose one of: Diva",
    ("set-api-key",): "--file",  # no terminal to prompt on
    ("set-webhook-secret", "--file", "-"): "at least 32 characters",
    ("set-header-secret", "--file", "-"): "at least 32 characters",
}
HISTORY = (
    b"SELECT status_before, status_after, reason FROM view_pancake_connection_status ORDER BY scheduled_time"
)

Answer = TypeVar("Answer")


def run(database: str, *arguments: str, stdin: str = "", keys: str = OLD_KEYS, **variables: str) -> Result:
    """Run one command as the operators; EDGE is the address of the edge, OLD_KEY the only key."""
    given = {"DATABASE_URL": operators_url(database), "ENCRYPTION_KEYS": keys, "PUBLIC_URL": EDGE}
    return leads("connection", *arguments, typed=stdin, **given | variables)


def status(database: str) -> dict[str, Any]:
    (connection,) = document(run(database, "status", "--json"))
    return dict(connection)


def made(database: str, *arguments: str) -> str:
    """Create a connection and return its webhook URL, the first line of the output."""
    create = ("create", "--name", "Diva", "--workspace", "123", *arguments, "--key-file", "-")
    done = run(database, *create, stdin=API_KEY)
    assert done.exit_code == 0, done.stderr
    return done.stdout.partition("\n")[0]


@pytest.fixture
def db(database: str) -> Iterator[DbSession]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as session:
        yield session


@pytest.fixture
def diva(database: str, db: DbSession) -> str:
    made(database)
    return database


def rows(db: DbSession) -> list[dict[str, Any]]:
    return db.execute("SELECT * FROM pancake_connection ORDER BY id").fetchall()


def opened(row: dict[str, Any], column: str, ring: KeyRing = OLD_RING) -> str | None:
    """A sealed secret of a row of pancake_connection in clear."""
    (scope,) = (use for name, use in stored_uses(str(row["id"]), row["api_base_url"]) if name == column)
    return row[column] and open_sealed(ring, bytes(row[column]), scope)


def history(db: DbSession) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in db.execute(HISTORY).fetchall()]


def test_create_shows_the_webhook_url_and_the_header_once(database: str, db: DbSession) -> None:
    """The database holds the token's hash and the sealed header; the status shows nothing of them."""
    create = ("create", "--name", "Diva", "--workspace", "1", "--no-key")
    url, header = run(database, *create, "--public-url", "https://example.com/").stdout.splitlines()
    assert url.startswith("https://example.com/api/pancake/record/")
    token = url.rpartition("/")[2]
    query = "SELECT sha256(%s::bytea) = token_sha256 AS same FROM pancake_connection"
    assert db.execute(query, [token]).fetchone() == {"same": True}
    name, _, secret = header.partition(": ")
    assert (name, len(secret)) == ("X-Pancake-Secret", 43)
    (row,) = rows(db)
    assert row["signature_mode"] == "monitor"
    assert opened(row, "header_secret_encrypted") == secret
    said = run(database, "status", "--json").stdout + run(database, "status").stdout
    assert token not in said
    assert secret not in said
    printed = json.loads(run(database, *create[:-2], "2", "--no-key", "--json").stdout)
    assert printed.keys() == {"id", "name", "webhook_url", "header_name", "header_secret"}


def test_no_webhook_url_is_created_without_the_address_of_the_edge(
    database: str, db: DbSession, subtests: pytest.Subtests
) -> None:
    """Exit code 2 before anything changes. The address comes from --public-url, else from PUBLIC_URL."""
    assert made(database).startswith(f"{EDGE}/api/pancake/record/")
    before = list_connections(db, NOW)
    for command in (CREATE_SECOND, ("rotate-token",)):
        with subtests.test(command=command):
            done = run(database, *command, PUBLIC_URL="")
            assert (done.exit_code, "PUBLIC_URL" in done.stderr) == (2, True)
    assert list_connections(db, NOW) == before


def test_a_secret_may_go_to_a_file_instead(database: str, tmp_path: Path) -> None:
    """Mode 0600, and never over a file that exists: then nothing is rotated."""
    out = tmp_path / "url"
    assert made(database, "--out", str(out)) == ""
    assert re.fullmatch(r"https://\S+\nX-Pancake-Secret: \S{43}\n", out.read_text())
    assert oct(out.stat().st_mode & 0o777) == "0o600"
    again = run(database, "rotate-token", "--out", str(out))
    assert again.exit_code == 2
    assert status(database)["previous_token_expires_at"] is None


def test_the_same_workspace_is_refused_twice(diva: str) -> None:
    done = run(diva, "create", "--name", "x", "--workspace", "123", "--no-key")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Refused: Workspace 123 is connected already.\n"


def test_a_time_zone_is_set_after_a_warning(diva: str, db: DbSession, subtests: pytest.Subtests) -> None:
    """The last day is polled again. A zone that two programs may read differently is refused."""
    for zone in UNCLEAR_ZONES:
        with subtests.test(zone):
            done = run(diva, *CREATE_SECOND, "--timezone", zone)
            refusal = f"Refused: Unknown time zone {zone}."
            assert (done.exit_code, done.stderr.startswith(refusal)) == (1, True)
            assert run(diva, "set-time-zone", "--yes", "--", zone).exit_code == 1
    db.execute("UPDATE pancake_connection SET poll_watermark = %s", [NOW])
    unsure = run(diva, "set-time-zone", "Asia/Ho_Chi_Minh", stdin="n\n")
    assert unsure.exit_code == 1
    assert "instead of UTC" in unsure.stderr
    assert status(diva)["record_timezone"] == "UTC"
    assert run(diva, "set-time-zone", "Asia/Ho_Chi_Minh", stdin="y\n").exit_code == 0
    (row,) = list_connections(db, NOW)
    assert row["record_timezone"] == "Asia/Ho_Chi_Minh"
    assert row["poll_watermark"] == NOW - timedelta(days=1)


def test_secrets_rotate_and_the_former_one_is_forgotten(diva: str, db: DbSession, tmp_path: Path) -> None:
    """Once by file, once by variable; `forget` ends the former one. A generated one is shown, for a pipe."""
    first, second = "f" * 32, "second-secret-" * 3
    (tmp_path / "first").write_text(first + "\n")
    for secret in SECRETS:
        command = f"set-{secret.replace('_', '-')}"
        assert run(diva, command, "--file", str(tmp_path / "first")).exit_code == 0
        assert run(diva, command, "--variable", "FRESH", FRESH=second).exit_code == 0
        (row,) = rows(db)
        assert opened(row, f"{secret}_encrypted") == second
        assert opened(row, f"previous_{secret}_encrypted") == first
        assert run(diva, "forget", secret).exit_code == 0
        assert status(diva)["secrets"][f"previous_{secret}"] is None
        shown = run(diva, command, "--generate").stdout.strip()
        assert opened(rows(db)[0], f"{secret}_encrypted") == shown


def test_no_command_takes_a_secret_as_argument(subtests: pytest.Subtests) -> None:
    """Nothing secret in the process list or the shell's history: a file's or a variable's name only."""
    for command in ("create", "set-api-key", "set-webhook-secret", "set-header-secret"):
        with subtests.test(command=command):
            said = run("", command, "--help", COLUMNS="200").stdout
            assert re.search(r"-file[^$]*variable", said)
            assert not re.search(r"--(secret|api-key|token|value|key )", said)


def test_rotating_twice_needs_a_word_and_the_former_token_can_be_ended(database: str) -> None:
    first = made(database)
    second = run(database, "rotate-token")
    assert second.exit_code == 0
    assert second.stdout.strip() != first
    assert run(database, "rotate-token").exit_code == 1
    assert run(database, "rotate-token", "--again").exit_code == 0
    assert status(database)["previous_token_expires_at"] is not None
    assert run(database, "forget", "token").exit_code == 0
    assert status(database)["previous_token_expires_at"] is None


def test_the_key_is_proven_against_pancake(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = "/api/workspaces/123/sources"
    with FakeServer() as pancake:
        accepted = pancake.expect_request(sources, query_string={"api_key": API_KEY})
        accepted.respond_with_json({"success": True, "data": []})
        pancake.expect_request(sources).respond_with_data(status=401)
        monkeypatch.setenv("PANCAKE_API_HOSTS", pancake.url)
        made(database, "--api-url", f"{pancake.url}/api")
        good = run(database, "test")
        run(database, "set-api-key", "--file", "-", stdin="f" * 32)
        bad = run(database, "test")
    assert (good.exit_code, "The API key works" in good.stdout) == (0, True), good.stderr
    assert (bad.exit_code, "Pancake rejected the API key" in bad.stderr) == (1, True)
    assert "f" * 32 not in bad.output


def filled(db: DbSession) -> dict[str, str]:
    """A connection with every secret there can be, each rotated once; returns the plaintexts."""
    connected = create_connection(db, OLD_RING, "Diva", 123, API_URL, API_KEY)
    plain = {"old token": connected.token, "api_key": API_KEY, "first header": connected.header_secret}
    for purpose in SECRETS:
        for age in ("old", "new"):
            plain[f"{age} {purpose}"] = f"{age}-{purpose}-in-clear"
            store_secret(db, OLD_RING, SecretScope(purpose, connected.id), plain[f"{age} {purpose}"], NOW)
    plain["new token"] = rotate_token(db, connected.id, NOW)
    return plain


def test_a_dump_contains_no_usable_secret(db: DbSession) -> None:
    plain = filled(db)
    tables = dump(DatabaseHarness(db))
    assert "Diva" in tables["public.pancake_connection"]
    text = "\n".join(tables.values())
    for name, value in plain.items():
        for form in (value, value.encode().hex(), base64.b64encode(value.encode()).decode()):
            assert form not in text, name
    assert OLD_KEY not in text
    assert base64.b64decode(OLD_KEY).hex() not in text


def test_rotate_keys_encrypts_every_secret_again(database: str, db: DbSession) -> None:
    """In batches; afterwards the old key is not needed, and a second run changes nothing."""
    plain = filled(db)
    for number in range(3):
        create_connection(db, OLD_RING, f"{number}", number, API_URL, API_KEY)
    done = run(database, "rotate-keys", "--rows-per-batch", "2", keys=f"new:{NEW_KEY},old:{OLD_KEY}")
    assert done.stdout == "Sealed 11 of 11 secrets with key new.\n", done.stderr
    ring = KeyRing.parse(f"new:{NEW_KEY}")
    (row,) = (row for row in rows(db) if row["name"] == "Diva")
    assert opened(row, "api_key_encrypted", ring) == API_KEY
    assert opened(row, "webhook_secret_encrypted", ring) == plain["new webhook_secret"]
    assert opened(row, "previous_header_secret_encrypted", ring) == plain["old header_secret"]
    assert reencrypt(db, ring) == (0, 11)


def test_keys_of_others_change_nothing(diva: str, db: DbSession, subtests: pytest.Subtests) -> None:
    """Those that do not open the stored secrets are refused."""
    before = rows(db)
    for keys, reason in OTHER_KEYS.items():
        for command in NEED_STORED_SECRETS:
            with subtests.test(command, reason=reason):
                done = run(diva, *command.split(), stdin=API_KEY, keys=keys)
                assert (done.exit_code, done.stdout) == (2, "")
                assert reason in done.stderr
                assert "Check ENCRYPTION_KEYS" in done.stderr
                assert rows(db) == before


def test_secrets_whose_key_is_lost_can_be_replaced(diva: str, db: DbSession) -> None:
    for command in ("set-api-key --file -", "set-header-secret --generate"):
        done = run(diva, *command.split(), "--replace-unreadable", stdin=API_KEY, keys=f"new:{NEW_KEY}")
        assert done.exit_code == 0, done.stderr
    (row,) = rows(db)
    ring = KeyRing.parse(f"new:{NEW_KEY}")
    assert opened(row, "api_key_encrypted", ring) == API_KEY
    assert opened(row, "header_secret_encrypted", ring) == done.stdout.strip()
    assert row["previous_header_secret_encrypted"] is None, "it would make the policy unreadable"


def test_after_a_change_of_the_base_url_the_key_is_given_again(diva: str, db: DbSession) -> None:
    db.execute("UPDATE pancake_connection SET api_base_url = 'https://crm.pancake.vn/api/v3'")
    refused = run(diva, "set-api-key", "--file", "-", stdin=API_KEY)
    assert (refused.exit_code, "and the base URL" in refused.stderr) == (2, True)
    assert run(diva, "set-api-key", "--file", "-", "--replace-unreadable", stdin=API_KEY).exit_code == 0
    assert run(diva, "rotate-keys").stdout == "Sealed 0 of 2 secrets with key old.\n"


def test_a_connection_is_disabled_and_enabled_once_with_a_history(diva: str, db: DbSession) -> None:
    disabled = run(diva, "disable", "Diva", "--reason", "moving to another workspace")
    assert (disabled.exit_code, disabled.stdout) == (0, ""), disabled.stderr
    assert disabled.stderr.startswith("Diva: disabled (before: active).")
    assert "skipped_source_disabled" in disabled.stderr
    id_ = status(diva)["id"]
    again = run(diva, "disable", id_, "--reason", "y", "--json")
    same = {"id": id_, "status": "disabled", "before": "disabled", "changed": False}
    assert (again.exit_code, json.loads(again.stdout)) == (0, same)
    enabled = run(diva, "enable", "Diva")
    assert enabled.exit_code == 0, enabled.stderr
    assert enabled.stderr.startswith("Diva: active (before: disabled).")
    assert "leads replay --status skipped_source_disabled --drain" in enabled.stderr
    again = run(diva, "enable", id_, "--reason", "y", "--json")
    same |= {"status": "active", "before": "active"}
    assert (again.exit_code, json.loads(again.stdout)) == (0, same)
    reason = "moving to another workspace"
    assert history(db) == [("active", "disabled", reason), ("disabled", "active", None)]
    query = "SELECT reason FROM integration_change WHERE after ? 'status' ORDER BY id"
    assert [row["reason"] for row in db.execute(query).fetchall()] == [None, reason, None]
    # Enabling what is not disabled keeps its status.
    for before in ("silent", "suspended", "outage", "key_invalid"):
        db.execute("UPDATE pancake_connection SET status = %s", [before])
        done = run(diva, "enable", "Diva")
        assert (done.exit_code, done.stderr) == (0, f"Diva: not disabled, its status is {before}.\n")
        assert status(diva)["status"] == before
    assert not [found for found in history(db)[2:] if "disabled" in found]


def test_a_wrong_use_changes_nothing(diva: str, db: DbSession, subtests: pytest.Subtests) -> None:
    before = rows(db)
    for arguments, words in WRONG_USE.items():
        with subtests.test(" ".join(arguments)):
            done = run(diva, *arguments, stdin="s" * 31 if arguments[-1] == "-" else "")
            assert (done.exit_code, words in done.stderr) == (2, True), done.stderr
    assert (rows(db), history(db)) == (before, [])


def test_another_host_has_to_be_allowed_and_no_base_url_is_refused(database: str, db: DbSession) -> None:
    """The form is refused before the database is asked.

    tests/leads/adapters/test_pancake_api.py has what the client refuses, tests/hasura/test_migrations.py
    the database.
    """
    away = UNREACHABLE_URL.replace("http", "postgresql")
    refused = run(away, *CREATE_SECOND, "--api-url", NOT_BASE_URLS[0])
    assert (refused.exit_code, "https://crm.pancake.vn/api" in refused.stderr) == (2, True)
    command = (*CREATE_SECOND, "--api-url", "https://evil.example/api")
    done = run(away, *command)
    assert (done.exit_code, rows(db)) == (2, [])
    assert "https://evil.example is not in PANCAKE_API_HOSTS" in done.stderr
    assert run(database, *command, PANCAKE_API_HOSTS="evil.example").exit_code == 0


# Two operators at the same time: what the second command says and writes is true after the first one.


@pytest.fixture
def first(database: str) -> Iterator[DbSession]:
    """A session whose transaction is open until the test commits it."""
    with psycopg.connect(database, row_factory=dict_row) as session:
        yield session
        session.rollback()


@pytest.fixture
def connection_id(db: DbSession) -> str:
    return create_connection(db, OLD_RING, "Diva", 1, API_URL, "first key").id


def run_after(db: DbSession, first: DbSession, work: Callable[[DbSession], Answer]) -> Answer:
    """Start `work` in a thread, commit the first session once it waits for that, and return the result."""
    url = db.info.dsn + f" password={db.info.password}"
    query = b"SELECT 1 FROM pg_locks WHERE NOT granted"
    second_session = psycopg.connect(url, autocommit=True, row_factory=dict_row)
    with second_session as second, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(work, second)
        eventually(lambda: waiting.done() or db.execute(query).fetchone(), seconds=5)
        assert not waiting.done()
        first.commit()
        return waiting.result(timeout=5)


def test_a_source_that_both_switch_on_was_on_for_the_second(
    db: DbSession, first: DbSession, connection_id: str
) -> None:
    insert = (
        "INSERT INTO pancake_source (connection_id, pancake_source_id, name) VALUES (%s, '-1', 'Facebook')"
    )
    (source,) = db.execute(f"{insert} RETURNING id::text AS id".encode(), [connection_id]).fetchall()
    before = set_source(first, source["id"], is_on=True, reason="W1")
    assert before is not None
    assert before.was_on is False
    after = run_after(db, first, lambda second: set_source(second, source["id"], is_on=True, reason="W1"))
    assert after is not None
    assert after.was_on is True


def test_a_connection_that_both_disable_is_disabled_once(
    db: DbSession, first: DbSession, connection_id: str
) -> None:
    def disable(session: DbSession) -> dict[str, Any]:
        set_status, to = "connection_secrets/set_status", {"after": "disabled", "reason": "r"}
        return change(session, set_status, connection_id, NOW, **to)

    assert disable(first)["is_changed"]
    changed = run_after(db, first, disable)
    assert (changed["before"], changed["is_changed"]) == ("disabled", False)
    assert len(db.execute(HISTORY).fetchall()) == 1


def test_a_secret_that_is_replaced_while_the_keys_rotate_stays_the_new_one(
    db: DbSession, first: DbSession, connection_id: str
) -> None:
    use = SecretScope("api_key", connection_id, API_URL)
    store_secret(first, OLD_RING, use, "second key", NOW)
    changed, _ = run_after(db, first, lambda second: reencrypt(second, NEW_RING))
    assert (changed, opened(rows(db)[0], "api_key_encrypted", NEW_RING)) == (2, "second key")
