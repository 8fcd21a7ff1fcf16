"""`leads reconcile`: the ledger of a day from a terminal, as text and as JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from leads.adapters.secrets import KeyRing
from leads.domain.window import ICT, day_window
from leads.services.sealed_secrets import Use, seal
from sandbox.postgres.roles import operators_url, owner_url
from sandbox.processes import Processes

ROOT = Path(__file__).parents[3]
KEYS = "test:" + "A" * 43 + "="
API_KEY = "0123456789abcdef0123456789abcdef"
CONNECTION_ID = "f0000000-0000-4000-8000-000000000001"
SECRET = "a-secret-of-the-test-with-32-characters"
DAY = (datetime.now(UTC).astimezone(ICT) - timedelta(days=1)).date()


@pytest.fixture
def pancake() -> Iterator[str]:
    """A simulator that listed 40 leads yesterday; its URL."""
    with Processes() as processes:
        command = [sys.executable, "-m", "sandbox.pancake", "--api-key", API_KEY]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = processes.start(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            url = process.stdout.readline().strip()
        window = day_window(DAY)
        times = {"start": window.start.isoformat(), "end": window.end.isoformat()}
        httpx.post(f"{url}/control/bulk", json={"count": 40, **times}).raise_for_status()
        yield url


@pytest.fixture
def environment(database: str, pancake: str) -> dict[str, str]:
    url = f"{pancake}/api"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO pancake_connection"
            " (id, name, workspace_id, token_sha256, api_base_url, api_key_encrypted, created_at)"
            " VALUES (%s, 'test', 123, sha256('t'), %s, %s, now() - interval '1 year')",
            (CONNECTION_ID, url, seal(KeyRing.parse(KEYS), API_KEY, Use("api_key", CONNECTION_ID, url))),
        )
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": operators_url(database),
        "HASURA_URL": "http://127.0.0.1:9",
        "HASURA_SERVICE_TOKEN": "unused",
        "HANDLER_SECRET": SECRET,
        "EDGE_SECRET": SECRET,
        "ENCRYPTION_KEYS": KEYS,
        "PANCAKE_API_HOSTS": pancake,
    }


def reconcile(
    environment: dict[str, str], *options: str, day: date = DAY
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leads.cli", "reconcile", "--day", day.isoformat(), *options],
        cwd=ROOT,
        env={"COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_dry_run_names_what_is_missing_and_inserts_nothing_then_the_day_is_reconciled(
    environment: dict[str, str],
) -> None:
    dry = reconcile(environment, "--dry-run", "--json")
    (report,) = json.loads(dry.stdout)
    assert (report["expected"], report["found"], len(report["left_missing"])) == (40, 0, 40)
    assert dry.returncode == 1, "records are missing"
    real = reconcile(environment, "--json")
    assert real.returncode == 0, real.stderr
    (report,) = json.loads(real.stdout)
    assert (report["inserted"], report["left_missing"]) == (40, [])
    stored = reconcile(environment, "--stored")
    assert stored.returncode == 0
    assert "found_missing" in stored.stdout
    with psycopg.connect(owner_url(environment["DATABASE_URL"])) as connection:
        assert connection.execute("SELECT count(*) FROM pancake_webhook_event").fetchone() == (40,)


def test_the_stored_report_of_every_connection_is_shown(environment: dict[str, str]) -> None:
    """For each connection the newest report with numbers of that day, from any run."""
    runs: list[list[tuple[str, int | None]]] = [
        [("first", 2), ("second", 7)],
        [("first", 3)],
        [("first", None)],
    ]
    with psycopg.connect(owner_url(environment["DATABASE_URL"])) as connection:
        for hour, run in enumerate(runs):
            days = [
                {"day": DAY.isoformat(), "connection_id": name}
                | ({"error": "pancake_unavailable"} if expected is None else {"expected": expected})
                for name, expected in run
            ]
            connection.execute(
                "INSERT INTO pancake_cron_run"
                " (name, scheduled_time, started_at, finished_at, outcome, report)"
                " VALUES ('reconcile_daily', now() + %s * interval '1 hour', now(), now(), 'succeeded', %s)",
                (hour, json.dumps({"days": days})),
            )
    reports = json.loads(reconcile(environment, "--stored", "--json").stdout)
    assert [(each["connection_id"], each["expected"]) for each in reports] == [("first", 3), ("second", 7)]


def test_the_nightly_run_is_not_taken_over_while_it_waits_for_its_next_delivery(
    environment: dict[str, str],
) -> None:
    with psycopg.connect(owner_url(environment["DATABASE_URL"]), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, report)"
            " VALUES ('reconcile_daily', date_trunc('minute', now()), now(), '{\"state\": {\"page\": 7}}')"
        )
        refused = reconcile(environment)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "is not finished: it waits for its next delivery." in refused.stderr
        run = "SELECT outcome, report FROM pancake_cron_run"
        assert connection.execute(run).fetchall() == [("running", {"state": {"page": 7}})]
        connection.execute("UPDATE pancake_cron_run SET scheduled_time = scheduled_time - interval '61 min'")
        assert reconcile(environment).returncode == 0


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_keys_that_do_not_open_the_api_key_are_refused(
    environment: dict[str, str], database: str, options: tuple[str, ...]
) -> None:
    done = reconcile(environment | {"ENCRYPTION_KEYS": "other:" + "A" * 43 + "="}, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert " ".join(done.stderr.split()) == (
        f"The api_key of connection {CONNECTION_ID} cannot be opened: key 'test' is not in the key ring. "
        "Check ENCRYPTION_KEYS and the base URL."
    )
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pancake_cron_run").fetchone() == (0,)


def test_without_a_configuration_it_says_what_is_missing(environment: dict[str, str]) -> None:
    del environment["ENCRYPTION_KEYS"]
    run = reconcile(environment)
    assert run.returncode == 2
    assert "ENCRYPTION_KEYS" in run.stderr


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--stored",)])
def test_a_wrong_password_is_a_wrong_configuration(
    environment: dict[str, str], options: tuple[str, ...]
) -> None:
    if not urlsplit(owner_url(environment["DATABASE_URL"])).password:
        pytest.skip("the server of DATABASE_URL asks for no password")
    parts = urlsplit(environment["DATABASE_URL"])
    host = parts.netloc.rpartition("@")[2]
    wrong = urlunsplit(parts._replace(netloc=f"{parts.username}:wrong@{host}"))
    done = reconcile(environment | {"DATABASE_URL": wrong}, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("The database refused the login: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("days_ahead", [0, 1, 400])
def test_a_day_that_is_not_over_is_refused(
    environment: dict[str, str], database: str, days_ahead: int
) -> None:
    """A stored report would close the day, and the cron would not reconcile it any more."""
    day = datetime.now(UTC).astimezone(ICT).date() + timedelta(days=days_ahead)
    done = reconcile(environment, day=day)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{day} is not over yet in Vietnam. Give an earlier day.\n"
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pancake_cron_run").fetchone() == (0,)
