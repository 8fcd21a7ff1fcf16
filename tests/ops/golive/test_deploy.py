"""`leads golive deploy` against a real database, the stand-in for Hasura, and services that it starts.

Random deployments with stops, on steps that are rows of a dictionary; when the snapshot is taken again.
"""

import fcntl
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psycopg
import pytest
import typer
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from typer.testing import CliRunner, Result

from ops.cli import app
from ops.failures import CommandFailed
from ops.golive import drill
from ops.golive.criterion import load_criteria
from ops.golive.deploy import command, steps
from ops.golive.deploy.site import (
    LOCK_FILE,
    Choices,
    Journal,
    PlanFile,
    Site,
    _file_lock,
    known_secrets,
    read_plan_file,
)
from ops.golive.deploy.step import Action, Found, State, Step, verb
from ops.golive.judgement import read_evidence_file
from ops.settings import read_operator_settings
from sandbox.edge import missing_packages
from sandbox.payloads import HERE as PAYLOADS
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT, Processes
from tests.support.fake_services import edge_status
from tests.support.fakes import Crash
from tests.support.golive import GoLiveSite, note_snapshot, run_killed
from tests.support.postgres import need_pg_dump
from tests.support.waiting import eventually


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoLiveSite]:
    """A running installation; the test's own process has its environment and its working directory."""
    if missing_packages():
        pytest.skip(f"needs Debian's {', '.join(missing_packages())}: the edge answers step 10")
    need_pg_dump(cluster.url("postgres"))
    for module in ("deploy.command", "sending", "drill"):
        monkeypatch.setattr(f"ops.golive.{module}.POLL_SECONDS", 0.05)
    with GoLiveSite(cluster, tmp_path) as running:
        for name, value in running.leads_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield running


FORWARD = ["snapshot", *steps.migration_ids(), "8b", "8c", "9a", "10", "11", "9b", "12", "13", "14"]
BY_HAND = {"12"}
"""No program checks it: done means confirmed."""


def golive(*words: str, given: str | None = None, **environment: str) -> Result:
    return CliRunner().invoke(app, ["golive", *words], env=environment, input=given)


def test_a_verb_takes_no_module_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "typer.py").write_text("raise SystemExit('of the folder')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    assert verb("--help").run()[0] == 0


def said_by(run: Result) -> str:
    return " ".join(run.stderr.split())


def run_golive(*words: str, code: int = 0) -> Any:
    """Run a verb; return its JSON document."""
    run = golive(*words, "--json")
    assert run.exit_code == code, run.output
    return json.loads(run.stdout)


def deploy(*words: str, code: int = 0) -> dict[str, str]:
    """Deploy, and return the result of each step by its number."""
    steps = run_golive("deploy", "--anytime", *words, code=code)["steps"]
    return {each["step"]: each["result"] for each in steps}


def deliver_when_asked(site: GoLiveSite) -> str:
    """Deliver a lead when the deployment has written the webhook's URL for Pancake; return its status."""
    eventually((site.folder / "webhook-url.txt").exists, 120)
    eventually(lambda: any(each["step"] == "13" and each["event"] == "verify" for each in entries(site)))
    return site.deliver(1)


def entries(site: GoLiveSite) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (site.folder / "golive" / "deploy.jsonl").read_text().splitlines()]


@pytest.mark.slow("some eighty programs, one after the other")
def test_it_leads_from_divas_schema_to_a_processed_lead_and_back(site: GoLiveSite) -> None:
    """Rolled back from last to first, a dump of Diva's schema and of the changed rows is as before."""
    before = site.dump()
    _check_precheck("before")
    with ThreadPoolExecutor() as pancake:
        delivery = pancake.submit(deliver_when_asked, site)
        done = deploy("--confirm", "12", "--confirm", "14", "--wait", "120")
    assert list(done) == FORWARD
    assert "blocked" in [each.get("state") for each in entries(site) if each["step"] == "10"], "no policy yet"
    assert set(done.values()) <= {"done", "was done"}
    assert delivery.result() == "skipped_kill_switch"
    assert site.query("SELECT status, outcome FROM pancake_webhook_event") == [
        ("processed", "ticket_created")
    ]
    assert set(deploy().values()) == {"was done"}

    _check_day0()
    _check_precheck("after", "E3-OPS-kill-switch")
    _check_smoke(site)
    _check_drill(site)
    _check_handover(site)

    back = deploy("--rollback", "1", "--confirm", "12", "--move-tickets")
    assert list(back) == FORWARD[:0:-1]
    assert set(back.values()) == {"undone"}
    assert site.dump() == before
    _check_journal(site)


def _check_precheck(stage: str, *opened: str) -> None:
    """Each part passes at its time: only that the public URL is not https is wrong, and what `opened`.

    A busy machine may need more than 100 ms for 1,000 rows.
    """
    found = run_golive("precheck", "--stage", stage, code=1)["criteria"]
    failed = {each["id"] for each in found if each["outcome"] == "fail"}
    assert failed - {"E3-BE-capacity"} <= {"E2-OPS-tls", *opened}


def _check_day0() -> None:
    """Each step of the deployment is found done; Prometheus and people are missing."""
    found = {each["id"]: each["outcome"] for each in run_golive("day0", code=1)["criteria"]}
    steps = {name: outcome for name, outcome in found.items() if name.startswith("E4-")}
    assert {name for name, outcome in steps.items() if outcome != "pass"} == {"E4-11", "E4-12", "E4-13"}
    assert (found["edge-answers"], found["engine-crons"]) == ("pass", "pass")
    assert "fail" not in found.values()


def _check_smoke(site: GoLiveSite) -> None:
    """A captured body becomes a ticket of a colleague, which is closed; nothing of the customer is sent."""
    body = str(PAYLOADS / "01-happy-path.json")
    found = run_golive("smoke", body, "--phone", "0905333444")
    assert (found["ok"], found["outcome"], found["answer"]) == (True, "ticket_created", "received")
    (criterion,) = [each for each in load_criteria() if each.id == "D0-smoke"]
    kept = read_evidence_file(criterion, (site.folder / found["file"]).read_bytes())
    assert (kept.value, kept.commit) == (200, "0123abc")
    ((status, mark, title),) = site.query(
        f"SELECT status, data ->> 'golive_smoke', title FROM ticket WHERE code = '{found['ticket']}'"
    )
    assert (status, mark) == ("cancelled", "true")
    assert "[SMOKE]" in title
    ((payload,),) = site.query(
        f"SELECT payload::text FROM pancake_webhook_event WHERE record_id = '{found['record_id']}'"
    )
    assert not any(word in payload for word in ("0903", "thutrang", "Hàng Trống", "Trang"))
    site.query("UPDATE view_pancake_setting SET kill_switch = true RETURNING id")
    held = golive("smoke", body, "--phone", "-", given="0905333444\n")
    assert held.exit_code == 1
    assert "Its event is skipped_kill_switch" in held.stdout
    site.query("UPDATE view_pancake_setting SET kill_switch = false RETURNING id")
    assert "0905333444" not in held.output


def _check_drill(site: GoLiveSite) -> None:
    """scripts/chaos drill runs them all; here three, and the refusal of another database.

    A drill of tier 3 ends when the tables are gone: the next drill brings them back, with the webhook's URL.
    """
    other = golive("drill", "tier1", "--database", "production")
    assert (other.exit_code, "Nothing was changed" in said_by(other)) == (2, True)
    words = ["--database", site.database, "--rate", "5", "--warm-up", "1"]
    found = run_golive("drill", "tier1", *words)
    assert (found["ok"], found["kind"], found["tier"]) == (True, "drill", 1)
    assert found["sent"] == found["acknowledged"] == found["processed"] > 0
    wrong = ("lost", "unacknowledged", "doubled", "unfinished", "unexpected")
    assert [found[name] for name in wrong] == [0, 0, 0, 0, 0]
    assert found["told"]["in_time"] is True
    evidence = (site.folder / found["file"]).read_bytes()
    assert sha256(evidence).hexdigest() == found["sha256"]
    url, stopped = (site.folder / "webhook-url.txt").read_text(), mock.Mock(side_effect=SystemExit(9))
    with mock.patch.dict(drill.TIERS, tier3=replace(drill.TIERS["tier3"], bring_back=stopped)):
        assert (begun := golive("drill", "tier3", *words)).exit_code == 9, begun.output
    assert site.query("SELECT to_regclass('pancake_connection')::text") == [(None,)]
    paused = golive("drill", "pause", *words)
    assert paused.exit_code == 0, paused.output
    assert "The drill tier3 of " in said_by(paused)
    assert "-rows-of-drill.dump: it holds the rows of leads." in paused.stdout
    assert (site.folder / "webhook-url.txt").read_text() == url
    assert run_golive("drill", "tier4", *words)["ok"]
    assert (site.folder / "webhook-url.txt").read_text() != url


def _check_handover(site: GoLiveSite) -> None:
    """The bundle has journal, results and pages with their hashes, no dump, and is refused with a secret."""
    found = run_golive("handover", "--to", "handover.tar.gz")
    with tarfile.open(site.folder / "handover.tar.gz") as bundle:
        names = bundle.getnames()
        manifest = json.loads(bundle.extractfile("MANIFEST.json").read())  # type: ignore[union-attr]
    assert found["files"] == len(names)
    assert {"golive/deploy.jsonl", "inventory.json", "docs/runbook/rollback.md"} <= set(names)
    assert set(manifest["sha256"]) == set(names) - {"MANIFEST.json"}
    assert not [name for name in names if name.endswith(".dump")]
    assert not {"docs/extending.md", "docs/architecture.md", "docs/decisions/README.md"} & set(names)
    leak = site.folder / "golive" / "leak.json"
    leak.write_text((site.folder / "webhook-url.txt").read_text())
    refused = golive("handover", "--to", "second.tar.gz")
    leak.unlink()
    assert (refused.exit_code, (site.folder / "second.tar.gz").exists()) == (1, False)
    assert "A secret is in golive/leak.json" in refused.stderr


def _check_journal(site: GoLiveSite) -> None:
    """Each action has a beginning and an end; who, where and what; and no secret anywhere in the folder."""
    actions = [each for each in entries(site) if each["event"] in ("begin", "end")]
    assert [each["event"] for each in actions] == ["begin", "end"] * (len(actions) // 2)
    for each in actions[1::2]:
        assert {"at", "by", "login", "host", "argv", "output_sha256"} <= each.keys()
        assert (each["exit"], each["commit"]) == (0, "0123abc")
    written = b"".join(path.read_bytes() for path in (site.folder / "golive").glob("*.jsonl"))
    webhook = (site.folder / "webhook-url.txt").read_text().split()
    for secret in (*known_secrets(), site.keys.pancake_api_key, *webhook):
        assert secret.encode() not in written
    assert all(path.stat().st_mode & 0o077 == 0 for path in (site.folder / "golive").glob("*.dump"))


def test_wrong_usage_and_a_wrong_golive_yaml_are_refused(tmp_path: Path) -> None:
    file, folder = tmp_path / "golive.yaml", tmp_path / "golive"
    for words, text, said in (
        ("--until 15", "", "There is no step '15'. They are: snapshot, 1, 2"),
        ("--plan --check", "", "Give one of --plan, --check, --until and --rollback"),
        ("--rollback snapshot", "", "The snapshot is kept"),
        ("", "services: {api: {}}", "services.api.[key]: Input should be 'edge', 'handlers' or 'front_end'"),
        ("", "[1", "is not a plan"),
        ("", "pancake: {name: Diva}", "workspace"),
        ("", "sauce: x", "sauce: Unexpected keyword argument"),
    ):
        file.write_text(text)
        run = golive("deploy", "--file", str(file), "--folder", str(folder), *words.split())
        assert (run.exit_code, folder.exists()) == (2, False)
        assert said in said_by(run)


def deploy_on(database: str, folder: Path, *words: str) -> Result:
    return golive(
        "deploy", "--folder", str(folder), *words, DATABASE_URL=database, HASURA_URL="http://127.0.0.1:9",
        HASURA_ADMIN_SECRET="s" * 32,
    )  # fmt: skip


def test_two_deployments_exclude_each_other_here_and_on_the_database(
    diva_database: str, tmp_path: Path
) -> None:
    with psycopg.connect(diva_database) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('leads golive deploy'))")
        run = deploy_on(diva_database, tmp_path / "here", "--until", "snapshot")
        assert (run.exit_code, run.stderr) == (
            1, "Another deployment runs on this database: wait until it ends.\n",
        )  # fmt: skip
    with (tmp_path / "here" / "deploy.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run = deploy_on(diva_database, tmp_path / "here", "--until", "snapshot")
    assert run.exit_code == 1
    assert "deploy.lock is locked" in said_by(run)


def test_without_pg_dump_nothing_is_changed(diva_database: str, tmp_path: Path) -> None:
    run = deploy_on(diva_database, tmp_path / "golive", "--programs", str(tmp_path))
    assert run.exit_code == 1
    assert "pg_dump did not run" in run.stderr
    with psycopg.connect(diva_database) as db:
        columns = "SELECT FROM information_schema.columns WHERE column_name = 'normalized_phone'"
        assert db.execute(columns).fetchone() is None


def test_the_example_of_golive_yaml_is_a_plan() -> None:
    plan = read_plan_file(ROOT / "deploy" / "golive" / "golive.yaml")
    assert plan.service("handlers").back[:3] == ("kubectl", "set", "image")
    assert (plan.source, plan.handler_processes, plan.tell) == ("-1", 2, ("/usr/local/bin/tell",))


def deploy_killed(site: GoLiveSite, *words: str) -> tuple[dict[str, str], list[str]]:
    """Deploy until it ends by itself; return the result of each step, and where it was killed before."""
    killed = run_killed(site.folder / "golive" / LOCK_FILE, "golive", "deploy", "--anytime", *words)
    return killed.results, killed.places


@pytest.mark.full("it is killed more than 100 times")
def test_killed_at_every_place_it_goes_on_and_back(site: GoLiveSite) -> None:
    """The end is that of a run without a stop: one ticket, and after the way back Diva's dump as before."""
    before = site.dump()
    (site.folder / "places").write_text("")
    waiting, _ = deploy_killed(site, "--confirm", "12", "--confirm", "14")
    assert waiting["13"] == "waiting"
    assert site.deliver(1) == "skipped_kill_switch"
    done, forward = deploy_killed(site)
    assert set(done.values()) <= {"done", "was done"}
    assert site.query("SELECT count(*), count(DISTINCT ticket_id) FROM pancake_webhook_event") == [(1, 1)]
    assert {place.split()[1] for place in forward} >= set(FORWARD) - BY_HAND

    (site.folder / "places").write_text("")
    back, backward = deploy_killed(site, "--rollback", "1", "--confirm", "12", "--move-tickets")
    assert set(back.values()) <= {"undone", "was absent", "was undone"}
    assert site.dump() == before
    assert {place.split()[1] for place in backward} >= set(FORWARD) - BY_HAND - {"snapshot"}
    assert len(forward) + len(backward) > 100


INTERRUPTED = """
import signal
from ops.golive.deploy.step import program
signal.signal(signal.SIGTERM, signal.default_int_handler)
program(("sh", "-c", "echo $$; exec sleep 60")).run()
"""


def test_a_program_of_a_step_ends_with_leads(processes: Processes) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = processes.start([sys.executable, "-c", INTERRUPTED], env=environment, stderr=subprocess.PIPE)
    assert running.stderr is not None
    with running.stderr as said:
        child = int(said.readline())
        running.terminate()
        assert running.wait(20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_program_that_outlives_leads_keeps_the_next_deployment_back(tmp_path: Path) -> None:
    """After a SIGKILL of leads its program goes on: the lock is free when that has ended."""
    lock = tmp_path / "deploy.lock"
    with ExitStack() as ended:
        with _file_lock(lock):
            left = ended.enter_context(subprocess.Popen(["sleep", "60"], close_fds=False))
            ended.callback(left.kill)
        assert lock.stat().st_mode & 0o777 == 0o600
        with pytest.raises(CommandFailed, match="is locked"), _file_lock(lock):
            raise AssertionError
    with _file_lock(lock):
        pass


PARTS = 2
"""Each step has two actions; the step is partial between them."""
STEPS = ("1", "2", "8b", "9a", "10", "12", "14")
WITHOUT_CHECK_OF_UNDO = {"10"}
EVENTS = ("check", "begin", "end", "verify", "confirmed", "undone", "snapshot")


@contextmanager
def stopping_after(writes: int) -> Iterator[None]:
    """Let the process die at the next writing of the journal after so many; half of it may be there."""
    real = Journal.write
    left = [writes]

    def write(journal: Journal, event: str, step: str, **details: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            with journal.path.open("ab") as file:
                file.write(b'{"at": "2026-')
            raise Crash
        real(journal, event, step, **details)

    with mock.patch.object(Journal, "write", write):
        yield


class Deployments(RuleBasedStateMachine):
    """People deploy, confirm, roll back, and the process dies anywhere.

    `parts` is what the steps have done, `undos` how often each was undone since.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.parts = dict.fromkeys(STEPS, 0)
        self.undos = dict.fromkeys(STEPS, 0)
        journal = Journal(Path(self._folder.name), "by", "commit")
        self.site: Any = SimpleNamespace(journal=journal, db=SimpleNamespace(closed=False))
        self.parts_at_snapshot: list[dict[str, int]] = []
        self._patch = mock.patch.multiple(
            command,
            take_snapshot=lambda *_: Action(("snapshot",), self._snapshot),
            say=lambda _: None,
        )
        self._patch.start()

    def _steps(self) -> list[Step]:
        return [
            Step(
                number, f"step {number}", partial(self._check, number),
                do=partial(self._do, number), undo=partial(self._undo, number),
                is_confirmed_by_person=number in BY_HAND,
                has_other_undo=number in WITHOUT_CHECK_OF_UNDO, undo_by_hand="do it",
            )
            for number in STEPS
        ]  # fmt: skip

    def _check(self, number: str, site: Any) -> Found:
        if number in BY_HAND:
            is_confirmed = site.journal.confirmation(number) is not None
            return Found(State.DONE if is_confirmed else State.ABSENT, number)
        parts = self.parts[number]
        return Found(State.DONE if parts == PARTS else State.PARTIAL if parts else State.ABSENT, number)

    def _do(self, number: str, site: Any) -> Sequence[Action]:
        missing = 0 if number in BY_HAND else PARTS - self.parts[number]
        return [Action(("do", number), partial(self._act, number, 1))] * missing

    def _undo(self, number: str, site: Any) -> Sequence[Action]:
        if number in WITHOUT_CHECK_OF_UNDO:
            return [Action(("undo", number), partial(self._act, number, 0))]
        return [Action(("undo", number), partial(self._act, number, -1))] * self.parts[number]

    def _act(self, number: str, change: int) -> tuple[int, str]:
        self.parts[number] += change
        self.undos[number] = 0 if change > 0 else self.undos[number] + 1
        return (0, "")

    def _snapshot(self) -> tuple[int, str]:
        """What is stored after it is lost: by then step 8b, the rights, is undone if it is to be undone."""
        self.parts_at_snapshot.append(dict(self.parts))
        return (0, "")

    def teardown(self) -> None:
        self._patch.stop()
        self._folder.cleanup()

    @rule(writes=st.integers(0, 60), is_confirmed=st.booleans())
    def deploy(self, writes: int, is_confirmed: bool) -> None:
        try:
            with stopping_after(writes):
                if is_confirmed:
                    self.site.journal.write("confirmed", "12")
                outcomes = command.deploy(self.site, self._steps())
        except Crash:
            return
        last = outcomes[-1]
        assert last.result in ("done", "was done", "waiting")
        done = [each.step.id for each in outcomes if not each.stops]
        assert all(self.parts[number] == PARTS for number in done if number not in BY_HAND)
        assert last.step.id == ("12" if last.stops else "14")

    @rule(writes=st.integers(0, 60), to=st.sampled_from(STEPS), is_confirmed=st.booleans())
    def roll_back(self, writes: int, to: str, is_confirmed: bool) -> None:
        try:
            with stopping_after(writes):
                wanted = self._steps()[STEPS.index(to) :]
                outcomes = command.roll_back(self.site, wanted, ["12"] if is_confirmed else [])
        except Crash:
            return
        undone = {each.step.id for each in outcomes if not each.stops}
        checked = undone - BY_HAND - WITHOUT_CHECK_OF_UNDO
        assert all(self.parts[number] == 0 for number in checked)
        if not outcomes[-1].stops:
            assert undone == set(STEPS[STEPS.index(to) :])

    @invariant()
    def the_journal_can_be_read(self) -> None:
        for entry in self.site.journal.entries():
            assert entry["event"] in EVENTS

    @invariant()
    def no_part_is_done_twice_or_undone_below_nothing(self) -> None:
        assert all(0 <= parts <= PARTS for parts in self.parts.values())


Deployments.TestCase.settings = settings(max_examples=25, stateful_step_count=10, deadline=None)
TestDeployments = Deployments.TestCase


@pytest.fixture
def machine() -> Iterator[Deployments]:
    found = Deployments()
    yield found
    found.teardown()


def test_an_undo_that_no_check_sees_runs_once(machine: Deployments) -> None:
    """`kubectl rollout undo`, run twice, would bring the new version back."""
    machine.deploy(99, True)
    machine.roll_back(99, "10", True)
    machine.roll_back(99, "10", True)
    assert machine.undos["10"] == 1
    machine.parts["10"] = 1
    machine.deploy(99, True)
    machine.roll_back(99, "10", True)
    assert machine.undos["10"] == 1


def test_the_dump_of_a_rollback_is_taken_when_no_lead_can_be_stored_any_more(machine: Deployments) -> None:
    """The rights are gone, the tables are not: a lead that is stored after the dump would be lost."""
    machine.deploy(99, True)
    machine.roll_back(99, "1", True)
    (parts,) = machine.parts_at_snapshot
    assert (parts["9a"], parts["8b"], parts["1"], parts["2"]) == (0, 0, PARTS, PARTS)


def test_an_edge_without_a_policy_is_never_done_and_stops_the_steps_only_if_the_handlers_answer(
    tmp_path: Path,
) -> None:
    """`leads status` calls it red, too. Before step 11 there are no handlers, and that has to be reached."""
    with edge_status(policy_connections=0, policy_age_seconds=None) as edge, edge_status() as handlers:
        for handlers_url, result, looks, of_handlers in (
            (handlers, "waiting", 1, State.PARTIAL), ("http://127.0.0.1:1", "blocked", 2, State.ABSENT)
        ):  # fmt: skip
            given = {"EDGE_STATUS_URL": edge, "HANDLERS_URL": handlers_url}
            site = Site(
                read_operator_settings(may_have=given, environment=given), mock.MagicMock(closed=False),
                mock.Mock(engine=None, own={}), Journal(tmp_path, "Lan", ""),
                Choices(tmp_path, PlanFile(), "Lan", tmp_path, "default", tmp_path),
            )  # fmt: skip
            outcomes = command.deploy(site, [replace(steps.find_step("10"), wait_seconds=0)])
            found = [(each.result, "it has no policy" in each.text) for each in outcomes]
            assert found == [(result, True)] * looks
            with pytest.raises(typer.Exit):
                command._end(site, outcomes, is_survey=False, is_whole=True, as_json=False)
            assert steps.find_step("11").check(site).state is of_handlers


def test_a_snapshot_is_taken_once_for_each_deployment_and_each_day_until_step_1_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later dump would hold what the steps changed: then an old one is kept, and one of a later undo."""
    monkeypatch.setattr("getpass.getuser", mock.Mock(side_effect=KeyError))  # as in a container
    monkeypatch.setattr(steps, "dump_tables", lambda url, tables, path, _: path.write_text("rows"))
    held = [f"public.{table}" for table in steps.OF_DIVA]
    monkeypatch.setattr(steps, "list_dumped_tables", lambda *_: held)
    of_step_1 = Found(State.ABSENT)
    monkeypatch.setattr(steps, "look_for", lambda *_, migration: {"928": of_step_1}[migration])
    site: Any = SimpleNamespace(
        folder=tmp_path, journal=Journal(tmp_path, "Lan", "0123abc"),
        settings=SimpleNamespace(database_url=""), choices=SimpleNamespace(programs=None),
    )  # fmt: skip

    def deploy_twice() -> list[str]:
        return [
            each.result
            for _ in range(2)
            for each in command.deploy(site, steps.all_steps(), until="snapshot")
        ]

    assert deploy_twice() == ["done", "was done"]
    site.journal.write("undone", "1", text="nothing of it is there")
    assert deploy_twice() == ["done", "was done"]
    note_snapshot(tmp_path, hours=23.9)
    assert deploy_twice() == ["was done", "was done"]
    note_snapshot(tmp_path, hours=24.1)
    assert deploy_twice() == ["done", "was done"]
    note_snapshot(tmp_path, hours=48)
    site.journal.write("undone", "14", text="leads are held")
    monkeypatch.setattr(steps, "look_for", lambda *_, migration: Found(State.DONE))
    assert deploy_twice() == ["was done", "was done"]
    site.journal.write("confirmed", "12")
    assert [site.journal.confirmation(step) is None for step in ("10", "12", "14")] == [True, False, True]


def test_the_pilot_opens_the_source_of_golive_yaml_and_none_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_is_listed", lambda _: True)
    row = {"members": 1, "is_held": False, "is_waiting": False}
    for source, active, opened in (("-1", [], 1), ("-1", ["Facebook"], 0), ("", [], 0)):
        site: Any = SimpleNamespace(
            plan=PlanFile(source=source), row=lambda _, a=active: {**row, "active": a}
        )
        assert len(steps.open_pilot(site)) == opened
    waiting: Any = SimpleNamespace(
        plan=PlanFile(), row=lambda _: {**row, "active": ["Facebook"], "is_waiting": True}
    )
    (replay,) = steps.open_pilot(waiting)
    assert replay.argv[-2:] == ("--drain", "--no-wait"), "leads of other sources are held again"
