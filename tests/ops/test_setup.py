"""`leads setup` against a real database and the stand-in engine, from Diva's tables to a held test lead."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner, Result

from ops.cli import app
from ops.failures import CommandFailed, WrongUsage
from ops.golive.deploy.site import LOCK_FILE
from ops.metadata.directory import DIRECTORY
from ops.metadata.project.merge import find_our_part, find_problems
from ops.metadata.project.our_part import find_layout
from ops.setup.answers import gather
from ops.setup.env_files import FILES, KEYS, EnvFiles, read_env_files
from sandbox.edge import missing_packages
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT
from tests.support.installation import LOGINS, Customer
from tests.support.postgres import need_pg_dump
from tests.support.waiting import eventually

GIVEN = {
    "HASURA_URL": "http://hasura:8080", "HASURA_ADMIN_SECRET": "a" * 32, "HANDLERS_URL": "http://handlers:8080",
    "PUBLIC_URL": "https://crm.example.com", "EDGE_STATUS_URL": "http://127.0.0.1:9145",
}  # fmt: skip
PER_FILE = {
    "handlers.env": {"DATABASE_URL": "postgresql://h:p@db/diva", "HASURA_SERVICE_TOKEN": "s.s.s"},
    "edge.env": {"HANDLERS_URL": "http://127.0.0.1:8080", "HASURA_EDGE_TOKEN": "e.e.e"},
    "ops.env": {"DATABASE_URL": "postgresql://o:p@db/diva"},
}


def filled(folder: Path) -> EnvFiles:
    return read_env_files(folder).filled(GIVEN, PER_FILE)


def test_the_files_have_every_key_once_and_no_value_needs_quotes(tmp_path: Path) -> None:
    files = filled(tmp_path)
    assert files.write(read_env_files(tmp_path)) == list(FILES)
    assert read_env_files(tmp_path).missing() == []
    for file, keys in KEYS.items():
        path = tmp_path / file
        lines = path.read_text().splitlines()
        assert [line.partition("=")[0] for line in lines] == list(keys)
        assert not any(character in path.read_text() for character in " '\"$`\\#")
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_value_that_is_there_is_never_changed_and_a_key_of_a_person_stays(tmp_path: Path) -> None:
    filled(tmp_path).write(read_env_files(tmp_path))
    with (tmp_path / "edge.env").open("a") as file:
        file.write("EDGE_WORKERS=2\n")
    before = {file: (tmp_path / file).read_text() for file in FILES}
    (tmp_path / "handlers.env").unlink()
    again = filled(tmp_path)
    assert again.write(read_env_files(tmp_path)) == ["handlers.env"]
    after = {file: (tmp_path / file).read_text() for file in FILES}
    # Its secrets were in the other files too; the URL of its login is the answer's.
    assert after == before


def test_a_secret_that_differs_between_two_files_is_named(tmp_path: Path) -> None:
    filled(tmp_path).write(read_env_files(tmp_path))
    path = tmp_path / "engine.env"
    path.write_text(path.read_text().replace("HANDLER_SECRET=", "HANDLER_SECRET=x"))
    with pytest.raises(
        CommandFailed, match=r"HANDLER_SECRET differs between .*handlers.env and .*engine.env"
    ):
        read_env_files(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workspaces: 607", "no such answers: workspaces"),
        ("[1", "cannot be read"),
        ("- 1", "is no list of answers"),
        ("api_key: x", "can be read by others: chmod 600"),
    ],
)
def test_a_wrong_answers_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "answers.yaml"
    path.write_text(text)
    path.chmod(0o644)
    with pytest.raises(WrongUsage, match=said):
        gather({}, path, read_env_files(tmp_path))


def test_without_a_terminal_every_missing_answer_is_listed_and_nothing_is_written(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["setup", "--folder", str(tmp_path / "pancake")])
    assert (run.exit_code, (tmp_path / "pancake").exists()) == (2, False)
    for text in ("--hasura-url", "HASURA_ADMIN_SECRET", "OWNER_DATABASE_URL"):
        assert text in run.stderr


@pytest.fixture
def customer(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Customer]:
    if missing_packages():
        pytest.skip(f"needs Debian's {', '.join(missing_packages())}: the edge takes the test lead")
    need_pg_dump(cluster.url("postgres"))
    monkeypatch.setattr("ops.golive.deploy.walk.POLL_SECONDS", 0.05)
    with Customer(cluster, tmp_path) as running:
        given = running.environment_of_leads()
        for name in os.environ.keys() - {"LANG", "TMPDIR", "SANDBOX_HANDOVER"}:
            if not name.startswith(("PYTEST", "COV")):
                monkeypatch.delenv(name)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield running


def setup(*words: str, answers: str = "answers.yaml") -> Result:
    return CliRunner().invoke(app, ["setup", "--answers", answers, *words])


def run_setup(*words: str, code: int = 0) -> dict[str, str]:
    """Run it; return the result of each step."""
    run = setup("--json", *words)
    assert run.exit_code == code, run.output
    return {each["step"]: each["result"] for each in json.loads(run.stdout)["steps"]}


def said_by(run: Result) -> str:
    return " ".join(run.stderr.split())


DONE = {"done", "was done"}


@pytest.mark.slow("a whole installation and back, with some eighty programs")
def test_the_way_from_divas_tables_to_a_ticket_and_back(customer: Customer) -> None:
    before = customer.dump()
    project = customer.make_project()
    _check_dry_run(customer)

    waiting = run_setup(code=1)
    assert list(waiting.items())[-1] == ("engine", "waiting")
    secrets = customer.files()
    customer.add_lines_of_engine()
    assert set(run_setup().values()) <= DONE
    assert set(run_setup().values()) == {"was done"}
    assert {name: customer.files()[name] for name in secrets} == secrets
    assert problems_of(project, "9a") == []
    assert customer.recorded_migrations() == customer.own_migrations()

    early = setup("--finish")
    assert early.exit_code == 1
    assert "Start the edge" in said_by(early)
    customer.start_services()
    _check_finish(customer)

    _check_upgrade(customer)
    assert problems_of(project, "9b") == []

    running = setup("--undo", "--yes")
    assert (running.exit_code, "The edge still runs" in said_by(running)) == (1, True)
    customer.stop_services()
    assert setup("--undo").exit_code == 2
    undone = run_setup("--undo", "--yes")
    assert set(undone.values()) == {"undone"}
    assert customer.dump() == before
    assert customer.recorded_migrations() == set()
    assert customer.files_of_project() == customer.project_before
    assert [path.name for path in customer.pancake_folder.glob("*before-rollback.dump")]
    assert {name: customer.files()[name] for name in secrets} == secrets


def problems_of(project: Path, step: str) -> list[str]:
    """What the customer's project lacks: its next apply would remove it from the engine."""
    return find_problems(find_our_part(find_layout(project, None), step, DIRECTORY))


def _check_upgrade(customer: Customer) -> None:
    """While handlers run, metadata of another version wait for --finish: the new handlers come first."""
    permission = {"table": "pancake_source", "role": "crm_admin", "source": "default"}
    customer.metadata("pg_drop_select_permission", permission)
    upgraded = setup()
    assert upgraded.exit_code == 0, upgraded.output
    assert "leads setup --finish applies it, after the new handlers" in said_by(upgraded)
    refused = setup("--finish")
    assert refused.exit_code == 1
    assert "Changed on the engine since it was applied" in said_by(refused)
    customer.stop_services()
    setup()  # without handlers it is applied at once, and refused in the same way
    customer.start_services()


def _check_dry_run(customer: Customer) -> None:
    planned = setup("--dry-run")
    assert planned.exit_code == 0, planned.output
    for text in ("write pancake/handlers.env, mode 600", "931_…/up.sql", f"CREATE ROLE {LOGINS}_handlers"):
        assert text in planned.stdout
    assert not customer.pancake_folder.exists()


def _check_finish(customer: Customer) -> None:
    """The test lead shows its plan and leaves nothing; no secret is printed where no terminal is."""
    done = run_setup("--finish", "--wait", "30")
    assert set(done.values()) <= DONE
    assert customer.query("SELECT count(*) FROM pancake_webhook_event") == [(0,)]
    again = setup("--finish")
    assert again.exit_code == 0, again.output
    assert "it would become: ticket_created, for " in said_by(again)
    assert "leads switch kill off" in said_by(again)
    secret = (customer.pancake_folder / "webhook-url.txt").read_text().split()[0]
    assert secret not in again.output


@pytest.mark.slow("two installations")
def test_tickets_of_leads_stay_with_their_source_and_it_says_so(customer: Customer) -> None:
    run_setup(code=1)
    customer.add_lines_of_engine()
    _check_wrong_key(customer)
    customer.start_services()
    _check_rosters(customer)
    customer.query("UPDATE view_pancake_setting SET kill_switch = false RETURNING id")
    assert customer.deliver(1) == "received"
    of_leads = "SELECT count(*) FROM ticket WHERE source_id = 'ticket_source_pancake'"
    eventually(lambda: customer.query(of_leads) == [(1,)], 30)
    customer.stop_services()
    run = setup("--undo", "--yes")
    assert run.exit_code == 0, run.output
    assert "1 tickets came from leads: they stay, and their source stays, disabled" in said_by(run)
    assert customer.query(of_leads) == [(1,)]
    assert customer.query("SELECT disabled FROM crm_master_data WHERE id = 'ticket_source_pancake'") == [
        (True,)
    ]
    assert set(run_setup().values()) <= DONE


@pytest.mark.slow("it tries eleven wrong answers on an engine and a database")
def test_bad_input_is_one_sentence_with_the_cure_and_changes_nothing(
    customer: Customer, subtests: pytest.Subtests
) -> None:
    before = customer.dump()
    customer.execute(f"CREATE ROLE {LOGINS}_other LOGIN PASSWORD 'x'")
    parts = conninfo_to_dict(customer.database_url)
    others_url = f"postgresql://{LOGINS}_other:x@{parts['host']}:{parts['port']}/{customer.database}"
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"admin_secret": "wrong"}, 2, "does not accept the admin secret"),
        ({"hasura_url": "http://127.0.0.1:1"}, 3, "http://127.0.0.1:1/v1/metadata does not answer"),
        ({"owner_database_url": "postgresql://x@127.0.0.1:1/diva"}, 3, "connection refused"),
        ({"jwt_secret": {"type": "HS256", "key": "k" * 32}}, 2, "The engine refuses a token"),
        ({"jwt_secret": "k"}, 2, "is not JSON"),
        ({"api_url": "pancake"}, 2, "'pancake' is not a base URL"),
        ({"public_url": "http://crm.example.com"}, 2, "PUBLIC_URL is http to a public host: use https"),
        ({"handlers_url": "http://a host"}, 2, "HANDLERS_URL has a blank, a quote"),
        ({"owner_database_url": others_url}, 1, f"{LOGINS}_other does not own Diva's tables"),
        ({"workspace": None}, 2, "Number of Pancake's workspace: --workspace"),
    ]
    for changed, code, said in cases:
        with subtests.test(**changed):
            run = setup(answers=str(customer.write_answers(**changed)))
            assert run.exit_code == code, run.output
            assert said.lower() in said_by(run).lower()
            assert customer.dump() == before
            assert not list(customer.pancake_folder.glob("*.env"))
    customer.write_answers()
    customer.execute(f"CREATE ROLE {LOGINS}_handlers LOGIN")
    taken = setup()
    assert (taken.exit_code, "choose other names with --logins NAME" in said_by(taken)) == (1, True)
    customer.execute(f"DROP ROLE {LOGINS}_handlers; DROP ROLE {LOGINS}_other")
    with psycopg.connect(customer.database_url) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('leads golive deploy'))")
        second = setup()
    assert (second.exit_code, "Another deployment runs on this database" in said_by(second)) == (1, True)
    assert customer.dump() == before


@pytest.mark.slow("it asks an engine and a database, again and again")
def test_another_version_of_engine_or_postgresql_is_refused_before_anything_is_changed(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = customer.dump()
    needed, minimum = "ops.metadata.engine.Engine.version", "ops.checks.deployment.MIN_POSTGRESQL"
    for version, said in (
        ("v2.48.0", "the engine is v2.48.0: v2.50.6 or later is needed (or --accept-engine v2.48.0)"),
        ("v2.51.0", "the engine is v2.51.0: only versions below v2.51.0 were tried"),
        ("v3.0", "the engine is v3.0: v2.50.6 or later is needed"),
    ):
        monkeypatch.setattr(needed, lambda _, found=version: found)
        refused = setup()
        assert (refused.exit_code, list(customer.pancake_folder.glob("*.env"))) == (1, []), refused.output
        assert said in said_by(refused)
    monkeypatch.setattr(minimum, 99)
    refused = setup("--accept-engine", "v3.0")
    assert (refused.exit_code, list(customer.pancake_folder.glob("*.env"))) == (1, []), refused.output
    assert "99 or later is needed" in said_by(refused)
    assert customer.dump() == before
    monkeypatch.setattr(minimum, 15)
    assert run_setup("--accept-engine", "v3.0", code=1)["engine"] == "waiting"


@pytest.mark.slow("more accounts than are filled at once")
def test_many_phones_are_left_to_the_night_with_their_index(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service has the login of the operators, who may not build the index."""
    monkeypatch.setattr("ops.setup.steps.AT_ONCE", 2)
    customer.add_accounts_until_the_index_is_left_out()
    waiting = setup()
    assert "accounts wait: the service backfill fills them from 02:00 to 06:00 ICT" in said_by(waiting)
    monkeypatch.setenv("DATABASE_URL", customer.values()["ops.env"]["DATABASE_URL"])
    filled_later = CliRunner().invoke(app, ["backfill-phones", "--anytime", "--json"])
    assert (filled_later.exit_code, json.loads(filled_later.stdout)["outcome"]) == (0, "verified")


def test_on_a_terminal_what_is_not_known_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path).write(read_env_files(tmp_path))
    asked: list[tuple[str, bool]] = []

    def prompt(text: str, *, hide_input: bool, err: bool) -> str:
        asked.append((text, hide_input))
        return " 607 "

    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setenv("PANCAKE_API_KEY", "of the environment")
    answers = replace(gather({"connection": "Diva 2"}, None, read_env_files(tmp_path)), is_terminal=True)
    answers.ask("hasura_url", "admin_secret", "api_key", "workspace", "connection", "owner_database_url")
    answers.ask("workspace")
    assert asked == [
        ("Number of Pancake's workspace", False), ("Database URL of the owner of Diva's tables", True),
    ]  # fmt: skip
    known = [answers[name] for name in ("hasura_url", "api_key", "workspace", "connection", "api_url")]
    assert known == [
        GIVEN["HASURA_URL"], "of the environment", "607", "Diva 2", "https://crm.pancake.vn/api",
    ]  # fmt: skip
    with pytest.raises(WrongUsage, match=r"ops\.env has another HASURA_URL, which is never overwritten"):
        gather({"hasura_url": "http://other"}, None, read_env_files(tmp_path))["hasura_url"]


def _check_wrong_key(customer: Customer) -> None:
    customer.write_answers(api_key="wrong")
    wrong = setup()
    assert wrong.exit_code == 1
    assert "Give the right key, as PANCAKE_API_KEY or in the answers file" in said_by(wrong)
    customer.write_answers()
    assert run_setup()["connection"] == "done"
    elsewhere = setup("--folder", "other")
    assert (elsewhere.exit_code, Path("other").exists()) == (2, False)
    assert "other has no keys that open its secrets" in said_by(elsewhere)


def _check_rosters(customer: Customer) -> None:
    """A roster is taken whole or not at all."""
    path = customer.folder / "roster.csv"
    for text, said in (
        ("staff,weight\nNgười Lạ,1\n", "0 active members of staff are 'Người Lạ'"),
        ("Bùi Thị Lan,lots\n", "line 1: the weight is 'lots', not a number from 1 to 100"),
        ("staff\n", "has no members"),
    ):
        path.write_text(text)
        customer.write_answers(roster=str(path))
        run = setup("--finish", "--wait", "30")
        assert (run.exit_code, customer.query("SELECT count(*) FROM pancake_assignee")) == (1, [(0,)])
        assert said in said_by(run)
    name = customer.query("SELECT full_name FROM staff WHERE role = 'telesale' ORDER BY id")[0][0]
    path.write_text(f"staff,weight\n{name},3\n")
    run_setup("--finish", "--wait", "30")
    assert customer.query("SELECT weight FROM pancake_assignee") == [(3,)]


TO_OWNER = """
CREATE ROLE {owner} LOGIN PASSWORD 'x';
GRANT USAGE, CREATE ON SCHEMA public TO {owner};
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT oid::regclass FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {owner}', name);
    END LOOP;
END
$$;
ALTER SEQUENCE ticket_code_seq OWNER TO {owner};
"""


@pytest.mark.slow("it migrates as a login that may not create roles")
def test_without_the_right_to_create_roles_the_dba_gets_the_statements(customer: Customer) -> None:
    """Each login has its password as PostgreSQL stores it; after the DBA has run them, it goes on."""
    owner = f"{LOGINS}_owner"
    customer.execute(TO_OWNER.format(owner=owner))
    parts = conninfo_to_dict(customer.database_url)
    url = f"postgresql://{owner}:x@{parts['host']}:{parts['port']}/{customer.database}"
    customer.write_answers(owner_database_url=url)
    waiting = setup()
    script = customer.pancake_folder / "for-the-dba.sql"
    assert waiting.exit_code == 1
    assert f"Ask the DBA to run {Path('pancake') / script.name}" in said_by(waiting)
    text = script.read_text()
    assert "SCRAM-SHA-256" in text
    assert script.stat().st_mode & 0o777 == 0o600
    for file in ("handlers.env", "ops.env"):
        assert str(conninfo_to_dict(customer.values()[file]["DATABASE_URL"])["password"]) not in text
    customer.execute(text)
    assert run_setup(code=1)["logins"] == "was done"
    customer.execute(f"DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")


def run_killed(customer: Customer, *words: str) -> tuple[dict[str, str], list[str]]:
    """Run it until it ends by itself; return the result of each step, and where it was killed before."""
    places = customer.folder / "places"
    environment = os.environ | {"KILL_PLACES": str(places), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.golive", "setup", "--answers", "answers.yaml", "--json"]
    for _ in range(400):
        run = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=300)
        if "is locked" in run.stderr:
            with (customer.pancake_folder / LOCK_FILE).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # until the program of a step has ended
        elif run.returncode != -9 and "Another deployment" not in run.stderr:
            assert run.stdout, run.stderr
            steps = json.loads(run.stdout)["steps"]
            return {each["step"]: each["result"] for each in steps}, places.read_text().splitlines()
    raise AssertionError(f"it does not end; the last places: {places.read_text()[-500:]}")


@pytest.mark.full("it is killed more than 100 times")
def test_killed_at_every_place_it_goes_on_with_the_same_secrets_and_back(customer: Customer) -> None:
    before = customer.dump()
    (customer.folder / "places").write_text("")
    run_killed(customer)
    secrets = customer.files()
    customer.add_lines_of_engine()
    done, _ = run_killed(customer)
    assert set(done.values()) <= DONE
    customer.start_services()
    finished, forward = run_killed(customer, "--finish", "--wait", "30")
    assert set(finished.values()) <= DONE
    assert customer.query("SELECT count(*) FROM pancake_webhook_event") == [(0,)]
    assert {name: customer.files()[name] for name in secrets} == secrets
    customer.stop_services()
    (customer.folder / "places").write_text("")
    back, backward = run_killed(customer, "--undo", "--yes")
    assert set(back.values()) <= {"undone", "was absent", "was undone", "absent"}
    assert customer.dump() == before
    assert len(forward) + len(backward) > 100
