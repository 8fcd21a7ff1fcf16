"""`leads connection`: secrets come in by file, variable or prompt, and leave nothing behind in clear."""

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from leads.adapters.db_session import DbSession
from leads.adapters.secrets import KeyRing
from leads.services.connection_secrets import (
    Workspace,
    create_connection,
    forget_previous,
    list_connections,
    reencrypt,
    rotate_token,
    store_secret,
)
from leads.services.sealed_secrets import Secret, Use, open_sealed, stored_uses
from sandbox.processes import Processes
from tests.support.connection_command import API_KEY, EDGE, NEW_KEY, OLD_KEY, made, run, status

ROOT = Path(__file__).parents[3]
OLD_RING = KeyRing.parse(f"old:{OLD_KEY}")
NOW = datetime(2026, 5, 14, 3, 0, tzinfo=UTC)
SECRETS: tuple[Secret, Secret] = ("webhook_secret", "header_secret")


@pytest.fixture
def db(database: str) -> Iterator[DbSession]:
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def pancake() -> Iterator[str]:
    """URL of a simulated Pancake that knows API_KEY."""
    with Processes() as processes:
        arguments = [sys.executable, "-m", "sandbox.pancake", "--api-key", API_KEY, "--workspace-id", "123"]
        process = processes.start(arguments, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdout.close()


def test_create_shows_the_webhook_url_once(database: str, db: DbSession) -> None:
    """The URL is printed; the database holds the token's hash, the status nothing of it."""
    url = made(database, "--public-url", "https://example.com/")

    assert url.startswith("https://example.com/api/pancake/record/")
    token = url.rpartition("/")[2]
    query = "SELECT sha256(%s::bytea) = token_sha256 AS same FROM pancake_connection"
    assert db.execute(query, [token]).fetchone() == {"same": True}
    assert token not in run(database, "status", "--json").stdout + run(database, "status").stdout


@pytest.mark.parametrize("command", ["create --name x --workspace 123 --no-key", "rotate-token"])
def test_no_webhook_url_is_created_without_the_address_of_the_edge(
    database: str, db: DbSession, command: str
) -> None:
    """Exit code 2 before anything changes. The address comes from --public-url, else from PUBLIC_URL."""
    assert made(database).startswith(f"{EDGE}/api/pancake/record/")
    before = list_connections(db, NOW)

    done = run(database, *command.split(), PUBLIC_URL="")

    assert done.returncode == 2
    assert "PUBLIC_URL" in done.stderr
    assert list_connections(db, NOW) == before


def test_a_secret_may_go_to_a_file_instead(database: str, tmp_path: Path) -> None:
    """Mode 0600, and never over a file that exists: then nothing is rotated."""
    out = tmp_path / "url"
    assert made(database, "--out", str(out)) == ""
    assert re.fullmatch(r"https://\S+\nX-Pancake-Secret: \S{43}\n", out.read_text())
    assert oct(out.stat().st_mode & 0o777) == "0o600"
    again = run(database, "rotate-token", "--out", str(out))
    assert again.returncode == 2
    assert status(database)["previous_token_expires_at"] is None


def test_the_same_workspace_is_refused_twice(database: str) -> None:
    """Exit code 1 and the reason, which has nothing to do with a network."""
    made(database)
    done = run(database, "create", "--name", "x", "--workspace", "123", "--no-key")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Refused: Workspace 123 is connected already.\n"


@pytest.mark.parametrize(
    "zone",
    ["ICT", "CET", "+07", "UTC+7", "asia/ho_chi_minh", "Mars/Phobos", "localtime", "posix/Asia/Ho_Chi_Minh"],
)
def test_a_zone_that_two_programs_may_read_differently_is_refused(database: str, zone: str) -> None:
    done = run(database, "create", "--name", "x", "--workspace", "123", "--no-key", "--timezone", zone)
    assert (done.returncode, done.stderr.startswith(f"Refused: Unknown time zone {zone}.")) == (1, True)
    made(database)
    assert run(database, "set-time-zone", "--yes", "--", zone).returncode == 1
    assert status(database)["record_timezone"] == "UTC"


def test_another_time_zone_is_set_after_a_warning_and_the_last_day_polled_again(
    database: str, db: DbSession
) -> None:
    made(database)
    db.execute("UPDATE pancake_connection SET poll_watermark = %s", [NOW])

    unsure = run(database, "set-time-zone", "Asia/Ho_Chi_Minh", stdin="n\n")
    assert unsure.returncode == 1
    assert "instead of UTC" in unsure.stderr
    assert status(database)["record_timezone"] == "UTC"

    assert run(database, "set-time-zone", "Asia/Ho_Chi_Minh", stdin="y\n").returncode == 0
    (row,) = list_connections(db, NOW)
    assert row.record_timezone == "Asia/Ho_Chi_Minh"
    assert row.poll_watermark == NOW - timedelta(days=1)


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_rotate_and_the_former_one_stays_until_forgotten(
    database: str, db: DbSession, secret: Secret, tmp_path: Path
) -> None:
    """Once by file, once by variable; `forget` ends the former one."""
    made(database)
    command = f"set-{secret.replace('_', '-')}"
    first, second = "first-secret-" * 3, "second-secret-" * 3
    (tmp_path / "first").write_text(first + "\n")
    assert run(database, command, "--file", str(tmp_path / "first")).returncode == 0
    assert run(database, command, "--variable", "FRESH", FRESH=second).returncode == 0

    (row,) = list_connections(db, NOW)
    use = Use(secret, row.id)
    assert open_sealed(OLD_RING, getattr(row, f"{secret}_encrypted"), use) == second
    assert open_sealed(OLD_RING, getattr(row, f"previous_{secret}_encrypted"), use) == first
    assert run(database, "forget", secret).returncode == 0
    assert status(database)["secrets"][f"previous_{secret}"] is None


def test_a_generated_secret_is_shown_once(database: str, db: DbSession) -> None:
    """Standard output holds the secret alone, for a pipe."""
    made(database)
    done = run(database, "set-webhook-secret", "--generate")
    (row,) = list_connections(db, NOW)
    secret = open_sealed(OLD_RING, row.webhook_secret_encrypted or b"", Use("webhook_secret", row.id))
    assert secret == done.stdout.strip()


def test_without_terminal_file_or_variable_no_secret_is_guessed(database: str) -> None:
    """Exit code 2 and what to give."""
    made(database)
    done = run(database, "set-api-key")
    assert done.returncode == 2
    assert "--file" in done.stderr


@pytest.mark.parametrize("command", ["create", "set-api-key", "set-webhook-secret", "set-header-secret"])
def test_no_command_takes_a_secret_as_argument(command: str) -> None:
    """Nothing secret in the process list or the shell's history: a file's or a variable's name only."""
    said = run("", command, "--help", COLUMNS="200").stdout
    assert "-file" in said
    assert "variable" in said
    for forbidden in ("--secret", "--api-key", "--token", "--value", "--key "):
        assert forbidden not in said


def test_rotating_twice_within_the_grace_needs_a_word(database: str) -> None:
    """The URL before the present one would end early: refused unless --again."""
    first = made(database)
    second = run(database, "rotate-token")
    assert second.returncode == 0
    assert second.stdout.strip() != first
    assert run(database, "rotate-token").returncode == 1
    assert run(database, "rotate-token", "--again").returncode == 0


def test_the_key_is_proven_against_pancake(
    database: str, pancake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`test` reads the sources; a wrong key is named, and never shown."""
    monkeypatch.setenv("PANCAKE_API_HOSTS", pancake)
    made(database, "--api-url", f"{pancake}/api")
    good = run(database, "test")
    assert (good.returncode, "The API key works" in good.stdout) == (0, True), good.stderr
    wrong = "f" * 32
    run(database, "set-api-key", "--file", "-", stdin=wrong)

    bad = run(database, "test")

    assert bad.returncode == 1
    assert "Pancake rejected the API key" in bad.stderr
    assert wrong not in bad.stderr + bad.stdout


def filled(db: DbSession) -> dict[str, str]:
    """A connection with every secret there can be, each rotated once; returns the plaintexts."""
    connected = create_connection(db, OLD_RING, Workspace("Diva", 123, "https://x/api", API_KEY))
    plain = {"old token": connected.token, "api_key": API_KEY, "first header": connected.header_secret}
    for purpose in SECRETS:
        for age in ("old", "new"):
            plain[f"{age} {purpose}"] = f"{age}-{purpose}-in-clear"
            store_secret(db, OLD_RING, Use(purpose, connected.id), plain[f"{age} {purpose}"], NOW)
    plain["new token"] = rotate_token(db, connected.id, NOW)
    return plain


def test_a_dump_contains_no_usable_secret(db: DbSession) -> None:
    """Every table as text, searched for each secret in clear, as hex and as base64, and for the key."""
    plain = filled(db)
    text = dump(db)

    assert "pancake_connection" in text
    assert "Diva" in text
    for name, value in plain.items():
        for form in (value, value.encode().hex(), base64.b64encode(value.encode()).decode()):
            assert form not in text, name
    assert OLD_KEY not in text
    assert base64.b64decode(OLD_KEY).hex() not in text


def dump(db: DbSession) -> str:
    """All rows of all tables, as a dump holds them."""
    tables = db.execute(
        "SELECT schemaname, tablename FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    ).fetchall()
    parts = []
    for table in tables:
        name = sql.Identifier(table["schemaname"], table["tablename"])
        parts.append(table["tablename"])
        with db.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(name)) as copy:
            parts.extend(bytes(block).decode() for block in copy)
    return "\n".join(parts)


def test_rotate_keys_encrypts_every_secret_again(database: str, db: DbSession) -> None:
    """In batches; afterwards the old key is not needed, and a second run changes nothing."""
    plain = filled(db)
    for number in range(3):
        create_connection(db, OLD_RING, Workspace(f"{number}", number, "https://x/api", API_KEY))

    done = run(database, "rotate-keys", "--rows-per-batch", "2", keys=f"new:{NEW_KEY},old:{OLD_KEY}")

    assert done.stdout == "Sealed 11 of 11 secrets with key new.\n", done.stderr
    ring = KeyRing.parse(f"new:{NEW_KEY}")
    (row,) = (row for row in list_connections(db, NOW) if row.name == "Diva")
    opened = {
        column: open_sealed(ring, getattr(row, column), use)
        for column, use in stored_uses(row.id, row.api_base_url)
    }
    assert opened["api_key_encrypted"] == API_KEY
    assert opened["webhook_secret_encrypted"] == plain["new webhook_secret"]
    assert opened["previous_header_secret_encrypted"] == plain["old header_secret"]
    assert reencrypt(db, ring) == (0, 11)


def test_a_missing_key_stops_the_rotation_and_changes_nothing(database: str, db: DbSession) -> None:
    """Exit code 2; what cannot be read stays as it is."""
    filled(db)
    before = list_connections(db, NOW)

    done = run(database, "rotate-keys", keys=f"new:{NEW_KEY}")

    assert done.returncode == 2
    assert "key 'old' is not in the key ring" in done.stderr
    assert list_connections(db, NOW) == before


def test_the_former_token_can_be_ended_at_once(db: DbSession) -> None:
    """`forget token`, for a URL that leaked after its rotation."""
    connected = create_connection(db, OLD_RING, Workspace("Diva", 1, "https://x/api"))
    rotate_token(db, connected.id, NOW)
    forget_previous(db, connected.id, "token", NOW + timedelta(hours=1))
    (row,) = list_connections(db, NOW)
    assert row.previous_token_expires_at is None
