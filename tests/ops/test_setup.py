"""`leads setup` against a real database and the stand-in engine, from Diva's tables to a held test lead."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Run

from ops.checks.model import Check, Finding, Level, Result, When
from ops.checks.table import select
from ops.cli import app
from ops.clients.db_session import open_session
from ops.failures import CommandFailed, ExitCode
from ops.golive.deploy.site import JOURNAL, LOCK_FILE, Journal, Site
from ops.golive.deploy.step import Found, State, Step
from ops.golive.deploy.steps import find_step
from ops.metadata.directory import DIRECTORY
from ops.metadata.merge import find_layout, find_our_part, find_problems
from ops.setup.answers import Way
from ops.setup.command import what_stays
from ops.setup.env_files import KEYS, EnvFiles
from ops.setup.finish import TEST, finish_steps
from ops.setup.steps import setup_steps
from ops.setup.values import START
from sandbox.processes import ROOT
from tests.support.golive import Killed, run_killed
from tests.support.installation import DONE, LOGINS, Customer, run_setup, said_by, setup, setup_of
from tests.support.leads import numbered_lead
from tests.support.stored_rows import HANH, KHOA, insert_tickets
from tests.support.waiting import eventually


@pytest.mark.slow("a whole installation and back, with some eighty programs")
def test_the_way_from_divas_tables_to_a_ticket_and_back(customer: Customer) -> None:
    before = customer.dump()
    project = customer.make_project()
    _check_dry_run(customer)

    waiting = run_setup("--way", "compose", code=1)
    assert list(waiting.items())[-1] == ("engine", "waiting")
    secrets = customer.files()
    of_compose = Path(".env").read_text()
    _check_engine_settings(customer)
    installed = setup(says=["compare them with engine.env"])
    assert not [text for text in ("Nothing to do", "cannot store a lead") if text in said_by(installed)]
    setup(says=["Nothing to do: every step was done"])
    _check_missing_migrations(customer)
    assert {name: customer.files()[name] for name in secrets} == secrets
    assert problems_of(project, "9a") == []
    assert customer.recorded_migrations() == customer.own_migrations()

    assert "golive.yaml" not in setup("--finish", "--dry-run").stdout
    start = "Start the edge (docker compose up --detach), then run this again."
    setup("--finish", code=1, says=[start])
    customer.start_services()
    _check_dry_run_of_finish(customer)
    _check_finish(customer)

    _check_upgrade(customer)
    assert problems_of(project, "9b") == []

    _check_undo_while_it_runs(customer)
    _check_dry_run_of_undo(customer)
    setup("--undo", code=2)
    undone = run_setup("--undo", "--yes")
    assert set(undone.values()) == {"undone"}
    assert customer.dump() == before
    assert customer.recorded_migrations() == set()
    assert customer.files_of_project() == customer.project_before
    assert [path.name for path in customer.pancake_folder.glob("*before-rollback.dump")]
    assert {name: customer.files()[name] for name in secrets} == secrets
    assert Path(".env").read_text() == of_compose


@pytest.mark.parametrize("way", ["", *Way])
def test_the_undo_names_what_it_leaves(way: str, tmp_path: Path) -> None:
    said = "\n".join(what_stays(setup_of(tmp_path, way=way)))
    assert "DROP ROLE pancake_handlers, pancake_operators" in said
    assert f"the lines of {tmp_path}/engine.env in the engine's environment" in said
    of_way = {"compose": "volumes edge and ops", "systemd": "user pancake-edge", "kubernetes": "webhook-url"}
    assert [each for each, left in of_way.items() if left in said] == [way] * bool(way)
    if way == Way.SYSTEMD:
        installs = [(ROOT / f"deploy/{each}/install").read_text() for each in ("systemd", "nginx")]
        made = re.findall(
            r"\$root(/(?:opt/pancake|usr/local/bin/\w+|etc/(?!systemd|pancake/)\S+?))[\"\s]",
            "".join(installs),
        )
        assert {"/opt/pancake", "/usr/local/bin/leads", "/etc/pancake-edge"} <= set(made)
        assert [each for each in made if each not in said] == []


def test_an_engine_with_the_secret_of_an_installation_before_is_not_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once these files have a secret no API tells which one the engine has: then --finish finds it."""
    files = EnvFiles(tmp_path, {file: dict.fromkeys(names, "new") for file, names in KEYS.items()})
    lacks: list[str] = []
    engine = SimpleNamespace(missing_variables=lambda _: list(lacks), shows_internal_errors=lambda _: False)
    site: Any = SimpleNamespace(engine=engine, choices=SimpleNamespace(source="default"))

    def step(former: EnvFiles) -> Step:
        steps = setup_steps(replace(setup_of(tmp_path), former=former, files=files))
        return next(each for each in steps if each.id == "engine")

    found = step(EnvFiles(tmp_path, {}))
    assert found.check(site).text.startswith("the engine's HANDLER_SECRET is of an installation before")
    assert (found.do(site), "HANDLER_SECRET=…" in capsys.readouterr().err) == ((), True)
    assert step(files).check(site).state is State.DONE
    lacks.append("HANDLER_SECRET")
    waiting = step(EnvFiles(tmp_path, {}))
    assert waiting.check(site).state is not State.DONE
    lacks.clear()
    assert waiting.check(site).state is State.DONE, "a person has added it meanwhile"


@pytest.mark.parametrize("way", ["", *Way])
def test_a_service_that_does_not_answer_is_started_as_its_way_does(way: str, tmp_path: Path) -> None:
    steps = {each.id: each for each in finish_steps(setup_of(tmp_path, way=way))}
    for step, service in (("10", "edge"), ("11", "handlers")):
        assert steps[step].do_by_hand == f"Start the {service} ({START[way]}), then run this again."


def problems_of(project: Path, step: str) -> list[str]:
    """What the customer's project lacks: its next apply would remove it from the engine."""
    return find_problems(find_our_part(find_layout(project, None), step, DIRECTORY))


def _check_upgrade(customer: Customer) -> None:
    """While handlers run, metadata of another version wait for --finish: the new handlers come first."""
    permission = {"table": "pancake_source", "role": "crm_admin", "source": "default"}
    customer.metadata("pg_drop_select_permission", permission)
    after = "after the new handlers have started: leads setup --finish"
    setup(says=[after, "The handlers answer already"])
    changed = "Changed on the engine since it was applied"
    setup("--finish", code=1, says=[changed])
    customer.stop_services()
    setup(code=1, says=[changed])  # without handlers it is applied at once
    customer.start_services()


def _check_dry_run(customer: Customer) -> None:
    planned = setup("--dry-run", "--way", "compose").stdout
    for text in (
        "write pancake/handlers.env, mode 600", "write .env, mode 600:", "VERSION=", "931_…/up.sql",
        f"CREATE ROLE \"{LOGINS}_handlers\" LOGIN PASSWORD '…' IN ROLE pancake_handlers",
        f'ALTER ROLE "{LOGINS}_operators" SET log_error_verbosity = terse',
    ):  # fmt: skip
        assert text in planned
    assert (customer.pancake_folder.exists(), Path(".env").exists()) == (False, False)


def plan(customer: Customer, *words: str, shows: Iterable[str]) -> Run:
    """Run it dry: it shows this, and everything is left as it is."""

    def everything() -> tuple[object, ...]:
        files = [*customer.pancake_folder.rglob("*"), *(customer.folder / "hasura").rglob("*")]
        return (
            customer.dump(), customer.export(), customer.recorded_migrations(),
            *map(customer.query, ("TABLE pancake_assignee", "SELECT is_active FROM pancake_source")),
            {str(path): path.read_bytes() for path in files if path.is_file()},
        )  # fmt: skip

    before = everything()
    planned = setup(*words, "--dry-run")
    assert [text for text in shows if text not in planned.stdout] == []
    assert everything() == before
    return planned


def _check_engine_settings(customer: Customer) -> None:
    """Each line of engine.env is waited for; what no engine tells is named."""
    lines = customer.values()["engine.env"]
    last = "HASURA_GRAPHQL_REDACT_ACTION_HANDLER_LOGS"
    absent = {"HANDLER_SECRET", last}
    for variables, said, printed in (
        (
            {name: value for name, value in lines.items() if name not in absent},
            f"environment lacks HANDLER_SECRET, {last}.", ["HANDLER_SECRET=…", f"{last}=true"],
        ),
        (
            {**lines, "HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS": "true"},
            "the engine's errors quote what was sent",
            ["HASURA_GRAPHQL_DEV_MODE=false", "HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS=false"],
        ),
    ):  # fmt: skip
        customer.restart_engine_with(variables)
        waiting = setup(code=1, says=[said])
        assert re.findall(r"(?m)^  ([A-Z_]+=\S+)$", waiting.stderr) == printed
        assert lines["HANDLER_SECRET"] not in waiting.output
    customer.add_lines_of_engine()


def _check_missing_migrations(customer: Customer) -> None:
    """An installation of the checklist's version gets the newer migrations, named with their locks."""
    newer = customer.take_newer_migrations_back()
    planned = plan(customer, shows=[f"…{version}_…/up.sql" for version in newer])
    assert "928_…/up.sql" not in planned.stdout, "what is done is not shown"
    said = said_by(setup())
    for version in newer:
        assert len(re.findall(rf"execute hasura/migrations/default/\d+{version}_\w+/up.sql", said)) == 1
    assert re.search(r"953_\w+/up.sql locked for writers for at most [\d.]+ s: .*pancake_webhook_event", said)
    setup(says=["Nothing to do: every step was done"])
    assert customer.recorded_migrations() == customer.own_migrations()


def _check_dry_run_of_finish(customer: Customer) -> None:
    plan(customer, "--finish", shows=(
        "leads metadata 9b", "leads metadata merge --into", "leads cron run sync_sources",
        "leads switch source", "INSERT INTO pancake_assignee", "POST a test lead to PUBLIC_URL",
        "DELETE the test lead", "leads doctor",
    ))  # fmt: skip
    assert customer.query("SELECT count(*) FROM pancake_webhook_event") == [(0,)]


def _check_undo_while_it_runs(customer: Customer) -> None:
    """The container of the first command is in another network: there neither of the two URLs answers."""
    setup("--undo", "--yes", code=1, says=["The edge still runs"])
    with customer.in_another_network():
        for said, stop in (
            ("The edge still runs", customer.edge.stop),
            ("The handlers still run", customer.stop_services),
        ):
            setup("--undo", "--yes", code=1, says=[said])
            stop()


def _check_dry_run_of_undo(customer: Customer) -> None:
    migrations = (ROOT / "hasura/migrations/default").glob("*/down.sql")
    planned = plan(customer, "--undo", shows=[
        *(f"{path.parent.name[10:13]}_…/down.sql" for path in migrations), "leads metadata remove 9b",
        "leads metadata remove 9a", f"DROP ROLE {LOGINS}_handlers", "unmerge",
    ])  # fmt: skip
    assert "pancake/…-before-rollback.dump. pancake/webhook-url.txt goes" in said_by(planned)


def _check_finish(customer: Customer) -> None:
    """The test lead shows its plan and leaves nothing; no secret is printed where no terminal is."""
    done = run_setup("--finish", "--wait", "30")
    assert set(done.values()) <= DONE
    assert customer.query("SELECT count(*) FROM pancake_webhook_event") == [(0,)]
    switch = "docker compose run --rm ops switch kill off"
    again = setup("--finish", says=["it would become: ticket_created, for ", switch])
    secret = (customer.pancake_folder / "webhook-url.txt").read_text().split()[0]
    assert secret not in again.output


@pytest.mark.slow("two installations")
def test_tickets_of_leads_stay_with_their_source_and_it_says_so(customer: Customer) -> None:
    customer.write_answers(roster=None)
    run_setup(code=1)
    customer.add_lines_of_engine()
    _check_wrong_key(customer)
    customer.start_services()
    _check_rosters(customer)
    customer.query("UPDATE view_pancake_setting SET kill_switch = false RETURNING id")
    assert customer.deliver(1) == "received"
    of_leads = "SELECT count(*) FROM ticket WHERE source_id = 'ticket_source_pancake'"
    eventually(lambda: customer.query(of_leads) == [(1,)], 30)
    _check_live(customer)
    customer.stop_services()
    setup("--undo", "--yes", says=[
        "1 tickets came from leads: they stay, and their source stays, disabled",
        "It leaves, for you to remove: the roles pancake_handlers and pancake_operators",
    ])  # fmt: skip
    assert customer.query(of_leads) == [(1,)]
    is_disabled = "SELECT disabled FROM crm_master_data WHERE id = 'ticket_source_pancake'"
    assert customer.query(is_disabled) == [(True,)]
    assert set(run_setup().values()) <= DONE


@pytest.mark.slow("more accounts than are filled at once")
def test_many_phones_are_left_to_the_night_with_their_index(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service has the login of the operators, who may not build the index."""
    monkeypatch.setattr("ops.setup.steps.AT_ONCE", 2)
    customer.add_accounts_until_the_index_is_left_out()
    setup(code=1, says=["accounts wait: the service backfill fills them from 02:00 to 06:00 ICT"])
    monkeypatch.setenv("DATABASE_URL", customer.values()["ops.env"]["DATABASE_URL"])
    filled_later = CliRunner().invoke(app, ["backfill-phones", "--anytime", "--json"])
    assert (filled_later.exit_code, json.loads(filled_later.stdout)["outcome"]) == (0, "verified")


def _check_live(customer: Customer) -> None:
    """An upgrade ends in a live installation too, and without its journal: no lead is sent into tickets."""
    customer.query("UPDATE pancake_source SET is_active = false RETURNING id")
    journal = customer.pancake_folder / JOURNAL
    before = journal.read_bytes()
    journal.unlink()
    again = setup("--finish", says=["the kill switch is off and holds no lead"])
    assert "switch kill off" not in said_by(again)
    assert customer.query("SELECT count(*) FROM pancake_webhook_event") == [(1,)]
    assert customer.query("SELECT count(*) FROM pancake_source WHERE is_active") == [(0,)]
    journal.write_bytes(before)


def _check_wrong_key(customer: Customer) -> None:
    customer.write_answers(api_key="wrong", roster=None)
    setup(code=1, says=["Give the right key, as PANCAKE_API_KEY or in the answers file"])
    customer.write_answers(roster=None)
    assert run_setup()["connection"] == "done"
    setup("--folder", "other", code=2, says=["other has no keys that open its secrets"])
    assert not Path("other").exists()


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
        setup("--finish", "--wait", "30", code=1, says=[said])
        assert customer.query("SELECT count(*) FROM pancake_assignee") == [(0,)]
    name = customer.query("SELECT full_name FROM staff WHERE role = 'telesale' ORDER BY id")[0][0]
    path.write_text(f"staff,weight\n{name},3\n")
    customer.write_answers(roster=None)
    typed = customer.type_setup(f"{path}\n", "--finish", "--wait", "30")
    assert typed.returncode == 0, typed.stderr
    assert "The roster: a CSV file, a role of staff (telesale), or names with commas:" in typed.stderr
    assert customer.query("SELECT weight FROM pancake_assignee") == [(3,)]


@pytest.mark.parametrize("check", [each.check for each in select(When.DOCTOR)], ids=lambda check: check.id)
def test_doctor_is_green_at_the_end_but_for_what_a_person_decided(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Yellow may be a further connection that is disabled, a token that ends soon, and a former URL that
    Pancake still has: the URL to enter there is shown when the rest is well."""
    site: Any = SimpleNamespace(choices=SimpleNamespace(source="default", accept_engine=""))
    step = finish_steps(setup_of(Path()))[-1]

    def state_with(found: Finding) -> State:
        monkeypatch.setattr("ops.setup.finish.examine", lambda *_: [Result(check, check.id, (found,))])
        return step.check(site).state

    may_be_yellow = check.id in ("connection", "edge-tokens", "token")
    assert step.id == "doctor"
    assert state_with(Finding(Level.GREEN, "well")) is State.DONE
    assert state_with(Finding(Level.YELLOW, "slow")) is (State.DONE if may_be_yellow else State.PARTIAL)
    assert state_with(Finding(Level.RED, "away")) is State.PARTIAL
    assert state_with(Finding(Level.UNKNOWN, "not asked", is_read=False)) is State.PARTIAL


def test_the_last_undo_decides_whether_a_test_lead_was_sent_and_then_sources_may_be_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "someone", "0123abc")
    site: Any = SimpleNamespace(journal=journal, row=lambda _: {"is_held": True, "is_processed": False})
    steps = steps_of_finish(tmp_path)
    monkeypatch.setattr("ops.setup.finish._load_left_over", lambda _: None)
    sources = [SimpleNamespace(kind="source", name=name, is_on=True) for name in ("Facebook", "Zalo")]
    monkeypatch.setattr("ops.setup.finish.list_switches", lambda _: sources)
    site.db = None

    def states() -> tuple[State, State]:
        return steps["test"].check(site).state, steps["source"].check(site).state

    assert states() == (State.ABSENT, State.PARTIAL)
    said = steps["source"].check(site).text
    off = "leads switch source Zalo off --reason setup"
    assert said.endswith(f"Leave one active, for example Facebook: {off}")
    journal.write("tested", "test", text="a test lead was stored")
    assert states() == (State.DONE, State.DONE)
    assert steps["source"].check(site).text == "2 sources are active"
    journal.write("undone", "9b", text="")
    assert states() == (State.ABSENT, State.PARTIAL)
    journal.write("tested", "test", text="a test lead was stored")
    assert states() == (State.DONE, State.DONE)


def steps_of_finish(folder: Path) -> dict[str, Step]:
    """The steps of --finish for a person at a terminal who gave no answer before."""
    return {step.id: step for step in finish_steps(setup_of(folder, is_terminal=True))}


@pytest.fixture
def site(database: str, tmp_path: Path) -> Iterator[Any]:
    """An installation's database and journal."""
    with open_session(database, "setup") as db:
        found: Any = SimpleNamespace(db=db, journal=Journal(tmp_path, "someone", "0123abc"))
        found.row = partial(Site.row, found)
        yield found


def test_another_database_is_named_instead_of_all_columns(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.setup.steps.TABLES_OF_DIVA", ("none_of_theirs",))
    files = EnvFiles(tmp_path, {file: dict.fromkeys(names, "new") for file, names in KEYS.items()})
    fit = setup_steps(replace(setup_of(tmp_path), files=files))[0]
    name = site.db.info.dbname
    assert fit.check(site).text.startswith(f"the database {name} has none of Diva's tables")


def test_a_roster_is_typed_on_a_terminal(site: Any, tmp_path: Path, subtests: pytest.Subtests) -> None:
    path = tmp_path / "roster.csv"
    path.write_text("staff,weight\nVũ Thị Hạnh,3\n")
    staff = site.db.execute("SELECT id::text FROM staff WHERE role = 'telesale' AND is_active").fetchall()
    for typed, members in (
        ("\n telesale \n", {row["id"]: 1 for row in staff}),
        (f"Vũ Thị Hạnh, {KHOA}\n", {HANH: 1, KHOA: 1}),
        (f"{path}\n", {HANH: 3}),
        ("vũ thị HẠNH,\n", {HANH: 1}),
        ("Người Lạ\nTELESALE\n", {row["id"]: 1 for row in staff}),
    ):
        with subtests.test(typed=typed):
            step = steps_of_finish(tmp_path)["roster"]
            with CliRunner().isolation(input=typed) as streams:
                (action,) = step.do(site)
                assert action.run()[0] == ExitCode.OK
                said = streams[1].getvalue().decode()
                assert "The roster: a CSV file, a role of staff (telesale), or names with commas:" in said
                assert ("0 active members of staff are 'Người Lạ'" in said) == typed.startswith("Người Lạ")
            rows = site.db.execute("DELETE FROM pancake_assignee RETURNING staff_id::text, weight").fetchall()
            assert {row["staff_id"]: row["weight"] for row in rows} == members
            assert step.check(site).state is State.ABSENT


def test_9a_asks_for_no_word_about_the_rights_that_are_granted_after_it() -> None:
    """test_preflight.py has what it says of them without that."""
    site: Any = SimpleNamespace(choices=SimpleNamespace(backups="b", source="default", accept_engine=""))
    metadata, rights = find_step("9a").do(site)
    assert "--rights-follow" in metadata.argv
    assert rights.argv == ("execute", "deploy/postgres/grant_roles.sql")


@pytest.mark.usefixtures("connection_id")
def test_a_source_is_asked_again_and_compared_without_case(site: Any, tmp_path: Path) -> None:
    site.db.execute("UPDATE pancake_source SET is_active = false")
    step = steps_of_finish(tmp_path)["source"]
    with CliRunner().isolation(input="Fcebook\nfacebook\n") as streams:
        (action,) = step.do(site)
        assert "There is no source 'Fcebook'. There are: " in streams[1].getvalue().decode()
    assert action.argv[-2:] == ("facebook", "on")


def test_a_live_installation_gets_no_test_lead_and_keeps_sources_and_rosters(
    site: Any, database: str, connection_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its journal may be lost. A stopped run may have left a test lead, of which a drain made a ticket.

    Live it is from its first ticket on: a switch that was turned off too early is refused.
    """
    steps = steps_of_finish(tmp_path)
    refusal = "The kill switch is off, so that a test lead would become a ticket: leads status"

    def activate(number: int) -> tuple[State, State]:
        site.db.execute("UPDATE pancake_source SET is_active = -pancake_source_id::int <= %s", [number])
        return steps["source"].check(site).state, steps["roster"].check(site).state

    assert steps["test"].check(site) == Found(State.ABSENT, "no test lead was sent yet")
    with pytest.raises(CommandFailed, match=f"^{refusal}$"):
        steps["test"].do(site)[0].run()
    assert [activate(number) for number in (3, 0)] == [
        (State.PARTIAL, State.ABSENT), (State.ABSENT, State.ABSENT),
    ]  # fmt: skip
    site.db.execute("SET session_replication_role = replica")
    insert_tickets(site.db, "lead", 2)
    made = "UPDATE pancake_webhook_event SET record_id = %s WHERE record_id = 'lead2' RETURNING ticket_id"
    (row,) = site.db.execute(made, [TEST]).fetchall()
    site.db.execute("UPDATE pancake_webhook_event SET ticket_id = NULL WHERE record_id = %s", [TEST])
    site.db.execute("SET session_replication_role = origin")
    assert steps["test"].check(site).state is State.PARTIAL
    with open_session(database, "handler") as handler, ThreadPoolExecutor(1) as threads:
        with handler.transaction():  # of a handler that commits while the deletion waits for it
            handler.execute("SET LOCAL session_replication_role = replica")
            ticket = [row["ticket_id"], TEST]
            handler.execute("UPDATE pancake_webhook_event SET ticket_id = %s WHERE record_id = %s", ticket)
            ending = threads.submit(steps["test"].do(site)[0].run)
            waits = "SELECT FROM pg_locks WHERE NOT granted AND pid = %s"
            eventually(lambda: handler.execute(waits, [site.db.info.backend_pid]).fetchall())
        assert ending.result()[0] == ExitCode.OK
    assert re.search(r"its ticket TK\d+ stays: close it in Diva", capsys.readouterr().err)
    assert steps["test"].check(site) == Found(
        State.DONE, "the kill switch is off, so that a test lead would become a ticket: none is sent"
    )
    assert [activate(number) for number in (3, 0)] == [(State.DONE, State.DONE)] * 2


def run_setup_killed(customer: Customer, *words: str, meanwhile: Callable[[], object] = int) -> Killed:
    """Run it until it ends by itself; do `meanwhile` after each kill.

    A file that it leaves is as before the first run, or as after the last one, never between.
    """
    before, seen = customer.written(), set[tuple[str, bytes]]()

    def look() -> None:
        seen.update(customer.written().items())
        meanwhile()

    lock = customer.pancake_folder / LOCK_FILE
    killed = run_killed(lock, "setup", "--answers", "answers.yaml", *words, meanwhile=look)
    assert seen <= before.items() | customer.written().items()
    assert not [path for path in customer.folder.rglob("*.partial") if path.is_file()]
    return killed


@pytest.mark.full("it is killed more than 100 times")
def test_killed_at_every_place_it_goes_on_with_the_same_secrets_and_leads_and_back(
    customer: Customer,
) -> None:
    """Three leads come on the way: one before the third command, two between its kills.

    The customer has a project of the Hasura CLI and runs Docker Compose, for which `.env` is written.
    """
    before = customer.dump()
    project = customer.make_project(way="compose")
    leads = [str(numbered_lead(number)["id"]) for number in (1, 2, 3)]
    (customer.folder / "places").write_text("")
    run_setup_killed(customer)
    secrets = customer.files()
    customer.add_lines_of_engine()
    assert set(run_setup_killed(customer).results.values()) <= DONE
    customer.start_services()
    taken: list[str] = []

    def deliver() -> bool:
        if len(taken) < len(leads) and customer.deliver(len(taken) + 1) in ("skipped_kill_switch", "spooled"):
            taken.append(leads[len(taken)])
        return bool(taken)

    eventually(deliver)
    forward = run_setup_killed(customer, "--finish", "--wait", "30", meanwhile=deliver)
    assert (set(forward.results.values()) <= DONE, taken) == (True, leads)
    assert (problems_of(project, "9b"), Path(".env").exists()) == ([], True)
    assert {"before .env", "after .env", "after hasura/migrations"} <= set(forward.places)
    stored = "SELECT record_id FROM pancake_webhook_event WHERE status = 'skipped_kill_switch' ORDER BY id"
    eventually(lambda: customer.query(stored) == [(each,) for each in leads])
    assert {name: customer.files()[name] for name in secrets} == secrets
    customer.stop_services()
    (customer.folder / "places").write_text("")
    back = run_setup_killed(customer, "--undo", "--yes")
    assert set(back.results.values()) <= {"undone", "was absent", "was undone", "absent"}
    assert (customer.dump(), customer.files_of_project()) == (before, customer.project_before)
    (dump,) = re.findall(r"keeps (\S+\.dump)", " ".join(back.said.split()))
    rows = customer.rows_of_dump(dump, "pancake_webhook_event")
    assert [sum(each in row for row in rows) for each in leads] == [1, 1, 1]
    assert {name: customer.files()[name] for name in secrets} == secrets
    assert len(forward.places) + len(back.places) > 100
