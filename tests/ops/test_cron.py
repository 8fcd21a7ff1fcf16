"""`leads cron`: what ran, what is late, a run to its end; `leads reconcile`: the ledger of a day."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from typer.testing import Result

from app import HASURA_ROUTES
from leads.adapters.secrets import KeyRing, SecretScope
from leads.domain.body import ICT
from leads.domain.day_ledger import day_window
from leads.services.cron_runs import CRONS
from ops.daily.connection_secrets import seal
from ops.daily.cron import COUNTS, INSTEAD_OF_DRY_RUN, run_to_its_end, sentences
from sandbox.postgres.database import operators_url
from sandbox.processes import Processes
from tests.support.crons import CronHarness
from tests.support.fake_services import Scripted, scripted_server
from tests.support.fakes import API_KEY
from tests.support.handlers import seed_connection
from tests.support.operators import leads
from tests.support.serving import COMPLETE

Variables = dict[str, str]
Db = psycopg.Connection
ROOT = Path(__file__).parents[2]
REPORTS = Path(__file__).parent / "golden" / "cron_reports.yaml"

SECRET = "handler-secret-of-the-test-32-characters"
TICK = datetime(2026, 5, 14, 9, 7, 30, tzinfo=UTC)
UNFINISHED: Scripted = (503, {"Retry-After": "1"}, {"message": "…", "extensions": {"code": "run_unfinished"}})
DONE: Scripted = (200, {}, {"result": "succeeded", "report": {"released": 3}})
DAY = datetime.now(ICT).date() - timedelta(days=2)
"""Not yesterday, which is another one if the tests go on past midnight."""
CONFIGURATION = COMPLETE | {"COLUMNS": "200"}


run = partial(leads, "cron")


RUN = b"""
INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, error)
SELECT name, t.at, t.at, t.at, %s, %s FROM unnest(%s::text[]) AS name, (SELECT %s::timestamptz AS at) AS t
"""


def listed(database: str, *, code: int) -> dict[str, dict[str, Any]]:
    result = run("list", "--json", DATABASE_URL=operators_url(database))
    assert result.exit_code == code, result.output
    return {each["name"]: each for each in json.loads(result.stdout)}


def test_a_cron_is_late_until_it_succeeds_and_a_later_failure_is_shown(database: str) -> None:
    now = datetime.now(UTC)
    seed_connection(database)
    assert not any(each["late_since"] for each in listed(database, code=0).values()), "none was due yet"
    with psycopg.connect(database) as db:
        db.execute("UPDATE pancake_connection SET created_at = now() - interval '4 days'")
    assert all(each["late_since"] for each in listed(database, code=1).values())
    with psycopg.connect(database) as db:
        db.execute(RUN, ["succeeded", None, list(CRONS), now - timedelta(seconds=90)])
        db.execute(RUN, ["failed", "Pancake answered 503.", ["poll_records"], now])
    crons = listed(database, code=0)
    assert not any(each["late_since"] for each in crons.values())
    found = crons["poll_records"]
    assert (found["last_outcome"], found["last_error"]) == ("failed", "Pancake answered 503.")
    assert "Pancake answered 503." in run("list", DATABASE_URL=operators_url(database)).stdout


def test_a_run_is_called_again_with_the_same_tick_until_it_is_finished() -> None:
    waits: list[float] = []
    with scripted_server(UNFINISHED, UNFINISHED, DONE) as handlers:
        answer = run_to_its_end(handlers.url, SECRET, "retry_failed", TICK, waits.append)
    assert answer == {"result": "succeeded", "report": {"released": 3}}
    assert waits == [1.0, 1.0]
    asked = [request for request, _ in handlers.log]
    assert {each.path for each in asked} == {"/cron/retry_failed"}
    assert {each.headers["X-Handler-Secret"] for each in asked} == {SECRET}
    first, *others = (each.get_json() for each in asked)
    assert first["name"] == "pancake_retry_failed"
    assert datetime.fromisoformat(first["scheduled_time"]) == TICK
    assert others == [first, first]


def answered(answer: Scripted, *options: str) -> tuple[Result, dict[str, Any]]:
    """Run a cron whose handlers answer this once; return also the call."""
    with scripted_server(answer) as handlers:
        result = run("run", *options, HANDLERS_URL=handlers.url, HANDLER_SECRET=SECRET)
        return result, handlers.log[0][0].get_json()


def test_what_the_run_did_is_the_exit_code(subtests: pytest.Subtests) -> None:
    """golden/cron-run.txt has the handlers that are away or refuse the secret."""
    failed: Scripted = (503, {}, {"message": "Pancake answered 401.", "extensions": {"code": "run_failed"}})
    result, _ = answered(failed, "poll_records")
    assert (result.exit_code, "Pancake answered 401" in result.stderr) == (1, True)
    assert SECRET not in result.output
    succeeded: dict[str, Any] = {"result": "succeeded", "report": {}}
    for answer, code in ((succeeded, 0), ({"result": "skipped"}, 1)):
        with subtests.test(answer=answer, code=code):
            result, _ = answered((200, {}, answer), "pancake_check_sla", "--json")
            assert (result.exit_code, json.loads(result.stdout)) == (code, {"name": "check_sla", **answer})


def test_each_cron_has_a_dry_run_or_names_what_to_use_instead() -> None:
    routes = {route.name.removeprefix("pancake_"): route for route in HASURA_ROUTES}
    with_dry_run = {name for name in CRONS if hasattr(routes[name].handle, "__wrapped__")}
    assert with_dry_run == set(CRONS) - INSTEAD_OF_DRY_RUN.keys()
    unknown = run("run", "nonsense")
    assert (unknown.exit_code, [name for name in CRONS if name not in unknown.stderr]) == (2, [])
    for name in INSTEAD_OF_DRY_RUN:
        result = run("run", name, "--dry-run")
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{name} has no dry run" in result.stderr
        assert "leads " in result.stderr
    yesterday = datetime.now(ICT).date() - timedelta(days=1)
    assert f"leads reconcile --day {yesterday} --dry-run" in run("run", "poll_records", "--dry-run").stderr


def test_a_dry_run_says_what_it_left_out() -> None:
    sent = {"idempotency_key": "7:sla_missed", "template_code": "t", "reason": "sla_missed", "recipients": 1}
    sends = {"would_send": [sent], "would_send_count": 22}
    answer = {"result": "dry_run", "report": {"late": 22}, "unfinished": True, **sends}
    result, call = answered((200, {}, answer), "check_sla", "--dry-run")
    assert (result.exit_code, call["payload"]) == (0, {"dry_run": True})
    assert result.stdout.splitlines() == [
        "check_sla: dry run, rolled back. Nothing was changed and nothing was sent.",
        "  22 late tickets told to the managers.",
        "  would send: 7:sla_missed (t, sla_missed) to 1 recipient",
        "  would send 21 more",
        "  The time of one call was not enough: the real run would go on at the next",
        "  delivery.",
    ]
    answer |= {"problem": "notify_late: down", "would_send": [], "would_send_count": 0, "unfinished": False}
    result, _ = answered((200, {}, answer), "check_sla", "--dry-run")
    assert (result.exit_code, "  notify_late: down\n" in result.stdout) == (1, True)


def test_a_report_is_told_in_sentences() -> None:
    told = yaml.safe_load(REPORTS.read_text("utf-8"))
    assert [sentences(each["report"]) for each in told] == [each["said"] for each in told]


FOR_PROGRAMS = {
    "kpi", "morning_message", "notified_changes", "closed_days", "shared", "oldest_unassigned_seconds",
    "emptied_to", "held_emptied_to", "notifications", "engine_log",
}  # fmt: skip
"""What no sentence tells."""


async def test_every_figure_of_a_report_has_its_sentence(cron_harness: CronHarness) -> None:
    told = {*COUNTS, "connections", "days", "settings", "given_up", "lost_ticks", "failed_steps"}
    for name in CRONS:
        report = await cron_harness.run(name)
        assert report.keys() <= told | FOR_PROGRAMS, name
        assert sentences(report)


@pytest.fixture(scope="module")
def pancake() -> Iterator[str]:
    """A simulator that listed 40 leads on DAY; its URL."""
    with Processes() as processes:
        command = [sys.executable, "-m", "sandbox.pancake", "--api-key", API_KEY]
        process = processes.start(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            url = process.stdout.readline().strip()
        window = day_window(DAY)
        times = {"start": window.start.isoformat(), "end": window.end.isoformat()}
        httpx.post(f"{url}/control/bulk", json={"count": 40, **times}).raise_for_status()
        yield url


@pytest.fixture
def db(database: str, connection_id: str, key_ring: KeyRing, pancake: str) -> Iterator[psycopg.Connection]:
    """A session of the owner, on a database with a connection to the simulator."""
    url = f"{pancake}/api"
    key = seal(key_ring, API_KEY, SecretScope("api_key", connection_id, url))
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(
            "UPDATE pancake_connection"
            " SET api_base_url = %s, api_key_encrypted = %s, created_at = now() - interval '1 year'",
            (url, key),
        )
        yield session


@pytest.fixture
def variables(database: str, pancake: str, db: Db) -> Variables:
    return CONFIGURATION | {"DATABASE_URL": operators_url(database), "PANCAKE_API_HOSTS": pancake}


def reconcile(variables: Variables, *options: str, day: object = DAY) -> Result:
    return leads("reconcile", "--day", str(day), *options, **variables)


def test_a_dry_run_names_what_is_missing_and_the_real_one_inserts_it(variables: Variables, db: Db) -> None:
    dry = reconcile(variables, "--dry-run", "--json")
    (report,) = json.loads(dry.stdout)
    assert (report["expected"], report["found"], len(report["left_missing"])) == (40, 0, 40)
    assert dry.exit_code == 1, "records are missing"
    real = reconcile(variables, "--json")
    assert real.exit_code == 0, real.stderr
    (report,) = json.loads(real.stdout)
    assert (report["inserted"], report["left_missing"]) == (40, [])
    stored = reconcile(variables, "--stored")
    assert (stored.exit_code, "found_missing" in stored.stdout) == (0, True)
    assert db.execute("SELECT count(*) FROM pancake_webhook_event").fetchone() == (40,)


def test_the_stored_report_of_every_connection_is_shown(variables: Variables, db: Db) -> None:
    """For each connection the newest report with numbers of that day, from any run."""
    runs: list[dict[str, int | None]] = [{"first": 2, "second": 7}, {"first": 3}, {"first": None}]
    for hour, run in enumerate(runs):
        days = [
            {"day": DAY.isoformat(), "connection_id": name}
            | ({"error": "pancake_unavailable"} if expected is None else {"expected": expected})
            for name, expected in run.items()
        ]
        db.execute(
            "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)"
            " VALUES ('reconcile_daily', now() + %s * interval '1 hour', now(), now(), 'succeeded', %s)",
            (hour, json.dumps({"days": days})),
        )
    reports = json.loads(reconcile(variables, "--stored", "--json").stdout)
    assert [(each["connection_id"], each["expected"]) for each in reports] == [("first", 3), ("second", 7)]


STORED_RUNS = "SELECT outcome, report FROM pancake_cron_run"


def test_the_nightly_run_is_not_taken_over_while_it_waits(variables: Variables, db: Db) -> None:
    db.execute(
        "INSERT INTO pancake_cron_run (name, scheduled_time, started_at, report)"
        " VALUES ('reconcile_daily', date_trunc('minute', now()), now(), '{\"state\": {\"page\": 7}}')"
    )
    refused = reconcile(variables)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "is not finished: it waits for its next delivery." in refused.stderr
    assert db.execute(STORED_RUNS).fetchall() == [("running", {"state": {"page": 7}})]
    db.execute("UPDATE pancake_cron_run SET scheduled_time = scheduled_time - interval '61 min'")
    assert reconcile(variables).exit_code == 0


def test_keys_that_do_not_open_the_api_key_are_refused(
    variables: Variables, db: Db, connection_id: str, subtests: pytest.Subtests
) -> None:
    for options in ((), ("--dry-run",)):
        with subtests.test(options=options):
            done = reconcile(variables | {"ENCRYPTION_KEYS": "other:" + "A" * 43 + "="}, *options)
            assert (done.exit_code, done.stdout) == (2, "")
            said = " ".join(done.stderr.split())
            assert said.startswith(
                f"The api_key of connection {connection_id} cannot be opened: key 'test' is not"
            )
            assert said.endswith(" Check ENCRYPTION_KEYS and the base URL.")
    assert db.execute(STORED_RUNS).fetchall() == []


def test_a_day_that_is_not_over_is_refused(subtests: pytest.Subtests) -> None:
    """A stored report would close the day, and the cron would not reconcile it any more."""
    for days in (0, 400):
        with subtests.test(days=days):
            day = datetime.now(ICT).date() + timedelta(days=days)
            done = reconcile(CONFIGURATION, day=day)
            assert (done.exit_code, done.stdout) == (2, "")
            assert done.stderr == f"{day} is not over yet in Vietnam. Give an earlier day.\n"
