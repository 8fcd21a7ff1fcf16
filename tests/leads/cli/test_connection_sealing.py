"""`leads connection`: keys that do not open what is stored, and secrets and URLs that are refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.adapters.db_session import DbSession
from leads.adapters.secrets import KeyRing
from leads.services.sealed_secrets import Use, open_sealed
from tests.support.connection_command import API_KEY, NEW_KEY, OLD_KEY, made, run

OTHER_KEYS = {
    f"other:{NEW_KEY}": "key 'old' is not in the key ring",
    f"old:{NEW_KEY}": "key 'old' of the key ring is another one",
}
"""Values of ENCRYPTION_KEYS that do not open what was sealed with the test's, and what the error says."""


@pytest.fixture
def db(database: str) -> Iterator[DbSession]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def test_create_makes_a_header_secret_in_monitor_mode_and_shows_it_once(database: str, db: DbSession) -> None:
    arguments = ("create", "--name", "Diva", "--workspace", "1", "--no-key")
    url, header = run(database, *arguments).stdout.splitlines()
    name, _, secret = header.partition(": ")
    assert (url.startswith("https://"), name, len(secret)) == (True, "X-Pancake-Secret", 43)
    (row,) = rows(db)
    assert row["signature_mode"] == "monitor"
    ring, use = KeyRing.parse(f"old:{OLD_KEY}"), Use("header_secret", str(row["id"]))
    assert open_sealed(ring, bytes(row["header_secret_encrypted"]), use) == secret
    printed = json.loads(run(database, *arguments[:-2], "2", "--no-key", "--json").stdout)
    assert printed.keys() == {"id", "name", "webhook_url", "header_name", "header_secret"}


def rows(db: DbSession) -> list[dict[str, Any]]:
    return db.execute("SELECT * FROM pancake_connection ORDER BY id").fetchall()


@pytest.mark.parametrize("keys", OTHER_KEYS)
@pytest.mark.parametrize(
    "command",
    [
        "test",
        "rotate-keys",
        "set-api-key --file -",
        "set-webhook-secret --generate",
        "set-header-secret --generate",
        "create --name Second --workspace 124 --key-file -",
    ],
)
def test_keys_that_do_not_open_the_stored_secrets_are_refused_and_nothing_changes(
    database: str, db: DbSession, command: str, keys: str
) -> None:
    made(database)
    before = rows(db)

    done = run(database, *command.split(), stdin=API_KEY, keys=keys)

    assert (done.returncode, done.stdout) == (2, "")
    assert OTHER_KEYS[keys] in done.stderr
    assert "Check ENCRYPTION_KEYS" in done.stderr
    assert rows(db) == before


def test_secrets_whose_key_is_lost_can_be_replaced(database: str, db: DbSession) -> None:
    made(database)
    for command in ("set-api-key --file -", "set-header-secret --generate"):
        done = run(database, *command.split(), "--replace-unreadable", stdin=API_KEY, keys=f"new:{NEW_KEY}")
        assert done.returncode == 0, done.stderr
    (row,) = rows(db)
    ring, id_ = KeyRing.parse(f"new:{NEW_KEY}"), str(row["id"])
    assert open_sealed(ring, row["api_key_encrypted"], Use("api_key", id_, row["api_base_url"])) == API_KEY
    assert open_sealed(ring, row["header_secret_encrypted"], Use("header_secret", id_)) == done.stdout.strip()
    assert row["previous_header_secret_encrypted"] is None, "it would make the policy unreadable"


def test_after_a_change_of_the_base_url_the_key_is_given_again(database: str, db: DbSession) -> None:
    made(database)
    db.execute("UPDATE pancake_connection SET api_base_url = 'https://crm.pancake.vn/api/v3'")
    refused = run(database, "set-api-key", "--file", "-", stdin=API_KEY)
    assert (refused.returncode, "and the base URL" in refused.stderr) == (2, True)
    assert run(database, "set-api-key", "--file", "-", "--replace-unreadable", stdin=API_KEY).returncode == 0
    assert run(database, "rotate-keys").stdout == "Sealed 0 of 2 secrets with key old.\n"


def test_rotate_keys_seals_for_the_connection_what_was_sealed_for_its_kind_only(
    database: str, db: DbSession
) -> None:
    made(database)
    before = KeyRing.parse(f"old:{OLD_KEY}").encrypt(API_KEY, "api_key")
    db.execute("UPDATE pancake_connection SET api_key_encrypted = %s", [before])
    assert run(database, "test").returncode == 2
    assert run(database, "rotate-keys").stdout == "Sealed 1 of 2 secrets with key old.\n"
    assert run(database, "rotate-keys").stdout == "Sealed 0 of 2 secrets with key old.\n"


@pytest.mark.parametrize("secret", ["webhook", "header"])
def test_a_secret_given_by_hand_has_at_least_32_characters(
    database: str, db: DbSession, secret: str, tmp_path: Path
) -> None:
    made(database)
    before = rows(db)
    (tmp_path / "short").write_text("s" * 31)
    short = run(database, f"set-{secret}-secret", "--file", str(tmp_path / "short"))
    assert (short.returncode, rows(db)) == (2, before)
    assert "at least 32 characters" in short.stderr
    (tmp_path / "long").write_text("s" * 32 + "\n")
    assert run(database, f"set-{secret}-secret", "--file", str(tmp_path / "long")).returncode == 0


@pytest.mark.parametrize(
    "url",
    ["https://crm.pancake.vn/api?a=", "https://crm.pancake.vn/api#", "https://me@crm.pancake.vn/api", "crm"],
)
def test_an_invalid_base_url_is_refused(database: str, db: DbSession, url: str) -> None:
    done = run(database, "create", "--name", "x", "--workspace", "1", "--no-key", "--api-url", url)
    assert (done.returncode, rows(db)) == (2, [])
    assert "https://crm.pancake.vn/api" in done.stderr


def test_a_host_that_is_not_allowed_is_refused(database: str, db: DbSession) -> None:
    arguments = (
        "create",
        "--name",
        "x",
        "--workspace",
        "1",
        "--no-key",
        "--api-url",
        "https://evil.example/api",
    )
    done = run(database, *arguments)
    assert (done.returncode, rows(db)) == (2, [])
    assert "https://evil.example is not in PANCAKE_API_HOSTS" in done.stderr
    assert run(database, *arguments, PANCAKE_API_HOSTS="evil.example").returncode == 0
