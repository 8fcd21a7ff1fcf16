"""`leads golive deploy` against a real database, the stand-in for Hasura, and services that it starts.

And when a drill is evidence: fast enough, no lead lost or doubled, and people told in time.
"""

import fcntl
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from leads.cli.golive.deploy.plan_file import PlanFile, read_plan_file
from leads.cli.golive.deploy.site import AnotherDeployment, _file_lock, known_secrets
from leads.cli.golive.drill import command
from leads.cli.golive.drill.counting import Ledger, count_records
from leads.cli.golive.drill.sender import Sender, Sent, Webhook
from leads.cli.golive.drill.telling import tell
from leads.cli.golive.drill.tiers import TIERS, Limit
from leads.cli.golive.evidence import read_evidence_file
from leads.cli.golive.load import load_criteria
from sandbox.edge.packages import missing_packages
from sandbox.payloads import HERE as PAYLOADS
from sandbox.postgres.server import Cluster
from sandbox.stack.services import ROOT
from tests.support.golive import GoLiveSite
from tests.support.postgres import need_pg_dump
from tests.support.waiting import eventually


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoLiveSite]:
    """A running installation; the test's own process has its environment and its working directory."""
    if missing_packages():
        pytest.skip(f"needs Debian's {', '.join(missing_packages())}: the edge answers step 10")
    need_pg_dump(cluster.url("postgres"))
    for module in ("deploy.running", "drill.counting", "drill.tiers", "smoke"):
        monkeypatch.setattr(f"leads.cli.golive.{module}.POLL_SECONDS", 0.05)
    with GoLiveSite(cluster, tmp_path) as running:
        for name, value in running.leads_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield running


FORWARD = [
    "snapshot", "1", "2", "3", "4", "5", "6", "7", "8", "8a", "8b", "9a", "10", "11", "9b", "12", "13", "14",
]  # fmt: skip
BY_HAND = "12"


def golive(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["golive", *words], env=environment)


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


def test_it_leads_from_divas_schema_to_a_processed_lead_and_back(site: GoLiveSite) -> None:
    """Rolled back from last to first, a dump of Diva's schema and of the changed rows is as before."""
    before = site.dump()
    with ThreadPoolExecutor() as pancake:
        delivery = pancake.submit(deliver_when_asked, site)
        done = deploy("--confirm", "12", "--wait", "120")
    assert list(done) == FORWARD
    assert set(done.values()) <= {"done", "was done"}
    assert delivery.result() == "skipped_kill_switch"
    assert site.query("SELECT status, outcome FROM pancake_webhook_event") == [
        ("processed", "ticket_created")
    ]
    assert set(deploy().values()) == {"was done"}

    _check_day0()
    _check_smoke(site)
    _check_drill(site)
    _check_handover(site)

    back = deploy("--rollback", "1", "--confirm", "12", "--move-tickets")
    assert list(back) == FORWARD[:0:-1]
    assert set(back.values()) == {"undone"}
    assert site.dump() == before
    _check_journal(site)


def _check_day0() -> None:
    """Each step of the deployment is found done; Prometheus and people are missing."""
    found = {each["id"]: each["outcome"] for each in run_golive("day0", code=1)["criteria"]}
    steps = {name: outcome for name, outcome in found.items() if name.startswith("E4-")}
    assert {name for name, outcome in steps.items() if outcome != "pass"} == {"E4-11", "E4-12", "E4-13"}
    assert (found["D0-webhook"], found["D0-crons"]) == ("pass", "pass")
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
    held = golive("smoke", body, "--phone", "0905333444")
    assert held.exit_code == 1
    assert "Its event is skipped_kill_switch" in held.stdout
    site.query("UPDATE view_pancake_setting SET kill_switch = false RETURNING id")
    assert "0905333444" not in held.output


def _check_drill(site: GoLiveSite) -> None:
    """scripts/chaos drill runs all three; here the first, and its refusal of another database."""
    other = golive("drill", "tier1", "--database", "production")
    assert (other.exit_code, "Nothing was changed" in said_by(other)) == (2, True)
    words = ["--database", site.database, "--rate", "5", "--warm-up", "1"]
    found = run_golive("drill", "tier1", *words)
    assert found["ok"]
    assert (found["kind"], found["tier"]) == ("drill", 1)
    assert found["sent"] == found["acknowledged"] == found["processed"] > 0
    wrong = ("lost", "unacknowledged", "doubled", "unfinished", "unexpected")
    assert [found[name] for name in wrong] == [0, 0, 0, 0, 0]
    assert found["told"]["in_time"] is True
    evidence = (site.folder / found["file"]).read_bytes()
    assert sha256(evidence).hexdigest() == found["sha256"]


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
    leak = site.folder / "golive" / "leak.json"
    leak.write_text((site.folder / "webhook-url.txt").read_text())
    refused = golive("handover", "--to", "second.tar.gz")
    leak.unlink()
    assert (refused.exit_code, (site.folder / "second.tar.gz").exists()) == (1, False)
    assert "A secret is in golive/leak.json" in refused.stderr


def _check_journal(site: GoLiveSite) -> None:
    """Each action has a beginning and an end; who, where and what; and no secret anywhere in the folder."""
    found = entries(site)
    actions = [each for each in found if each["event"] in ("begin", "end")]
    assert [each["event"] for each in actions] == ["begin", "end"] * (len(actions) // 2)
    for each in actions[1::2]:
        assert each["exit"] == 0
        assert {"at", "by", "login", "host", "commit", "argv", "output_sha256"} <= each.keys()
        assert each["commit"] == "0123abc"
    written = b"".join(path.read_bytes() for path in (site.folder / "golive").glob("*.jsonl"))
    webhook = (site.folder / "webhook-url.txt").read_text().split()
    for secret in (*known_secrets(), site.keys.pancake_api_key, *webhook):
        assert secret.encode() not in written
    assert all(path.stat().st_mode & 0o077 == 0 for path in (site.folder / "golive").glob("*.dump"))


def test_the_plan_needs_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "HASURA_URL"):
        monkeypatch.delenv(name, raising=False)
    assert [each["step"] for each in run_golive("deploy", "--plan")] == FORWARD
    said = golive("deploy", "--plan").stdout
    assert "1  Columns normalized_phone and pancake_metadata of account (BE, at most 60 s)" in said
    assert "undo  leads metadata remove 9a" in said
    assert "do    golive.yaml, services.edge.do" in said
    mine = golive("deploy", "--plan", "--file", str(ROOT / "deploy" / "golive" / "golive.yaml")).stdout
    assert "do    systemctl reload-or-restart pancake-edge" in mine


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["--until", "15"], "", "There is no step '15'. They are: snapshot, 1, 2"),
        (["--plan", "--check"], "", "Give one of --plan, --check, --until and --rollback"),
        (["--rollback", "snapshot"], "", "The snapshot is kept"),
        ([], "services: {api: {}}", "services has api; known are edge, front_end, handlers"),
        ([], "[1", "is not a plan"),
        ([], "pancake: {name: Diva}", "workspace"),
        ([], "sauce: x", "the file has sauce"),
    ],
)
def test_wrong_usage_and_a_wrong_golive_yaml_are_refused(
    tmp_path: Path, words: list[str], text: str, said: str
) -> None:
    file, folder = tmp_path / "golive.yaml", tmp_path / "golive"
    file.write_text(text)
    run = golive("deploy", "--file", str(file), "--folder", str(folder), *words)
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


def test_the_example_of_golive_yaml_is_one_and_stands_in_the_runbook() -> None:
    path = ROOT / "deploy" / "golive" / "golive.yaml"
    plan = read_plan_file(path)
    assert plan.service("handlers").back[:3] == ("kubectl", "set", "image")
    assert (plan.source, plan.handler_processes, plan.tell) == ("-1", 2, ("/usr/local/bin/tell",))
    _, _, text = path.read_text("utf-8").partition("\n")
    assert f"```yaml\n{text}```" in (ROOT / "docs" / "runbook" / "go-live.md").read_text("utf-8")


def deploy_killed(site: GoLiveSite, *words: str) -> tuple[dict[str, str], list[str]]:
    """Deploy until it ends by itself; return the result of each step, and where it was killed before."""
    places = site.folder / "places"
    environment = os.environ | {"KILL_PLACES": str(places), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.golive", "golive", "deploy", "--anytime", "--json"]
    for _ in range(400):
        run = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=300)
        if "Another deployment" in run.stderr:
            time.sleep(0.2)  # the program of a step goes on, and holds the lock
        elif run.returncode != -9:
            assert run.stdout, run.stderr
            steps = json.loads(run.stdout)["steps"]
            return {each["step"]: each["result"] for each in steps}, places.read_text().splitlines()
    raise AssertionError(f"it does not end; the last places: {places.read_text()[-500:]}")


@pytest.mark.full("it is killed more than 100 times")
def test_killed_at_every_place_it_goes_on_and_back(site: GoLiveSite) -> None:
    """The end is that of a run without a stop: one ticket, and after the way back Diva's dump as before."""
    before = site.dump()
    (site.folder / "places").write_text("")
    waiting, _ = deploy_killed(site, "--confirm", "12")
    assert waiting["13"] == "waiting"
    assert site.deliver(1) == "skipped_kill_switch"
    done, forward = deploy_killed(site)
    assert set(done.values()) <= {"done", "was done"}
    assert site.query("SELECT count(*), count(DISTINCT ticket_id) FROM pancake_webhook_event") == [(1, 1)]
    assert {place.split()[1] for place in forward} >= set(FORWARD) - {BY_HAND}

    (site.folder / "places").write_text("")
    back, backward = deploy_killed(site, "--rollback", "1", "--confirm", "12", "--move-tickets")
    assert set(back.values()) <= {"undone", "was absent", "was undone"}
    assert site.dump() == before
    assert {place.split()[1] for place in backward} >= set(FORWARD) - {BY_HAND, "snapshot"}
    assert len(forward) + len(backward) > 100


INTERRUPTED = """
import signal
from leads.cli.golive.deploy.actions import program
signal.signal(signal.SIGTERM, signal.default_int_handler)
program(("sh", "-c", "echo $$; exec sleep 60")).run()
"""


def test_a_program_of_a_step_ends_with_leads() -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
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
    with _file_lock(lock):
        left = subprocess.Popen(["sleep", "60"], close_fds=False)
    assert lock.stat().st_mode & 0o777 == 0o600
    with pytest.raises(AnotherDeployment), _file_lock(lock):
        raise AssertionError
    left.kill()
    left.wait()
    with _file_lock(lock):
        pass


FINE = Ledger(processed=5, lost=[], unacknowledged=[], doubled=[], unfinished=[], unexpected=[])


def told_site(*words: str) -> Any:
    return SimpleNamespace(
        plan=PlanFile(tell=words), db=SimpleNamespace(info=SimpleNamespace(dbname="diva_staging")),
        journal=SimpleNamespace(commit="0123abc", by="Lan"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "minutes_ago", "is_in_time"),
    [
        (["true"], 0, True), (["true"], 6, False), (["false"], 0, False), (["/no/such/program"], 0, False),
        ([], 0, False),
    ],
)  # fmt: skip
def test_people_are_told_if_the_command_ends_well_and_in_time(
    words: list[str], minutes_ago: int, is_in_time: bool
) -> None:
    assert tell(told_site(*words), 1, time.monotonic() - minutes_ago * 60).is_in_time is is_in_time


class Traffic:
    """Stands for the sender: nothing is sent."""

    prefix = "golive-drill-"

    def __init__(self, per_second: float) -> None:
        self.sent = Sent(ids=["a"] * 101, first_at=1000, last_at=1000 + 100 / per_second)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def stop(self) -> None: ...


LIMIT = {1: (lambda _: None, lambda _: None, Limit("<", 5.0))}
NO_TIME = {1: (lambda _: None, lambda _: None, Limit("<", 0.0))}


@pytest.mark.parametrize(
    ("told_by", "tiers", "ledger", "per_second", "is_ok"),
    [
        ("true", LIMIT, FINE, 20, True),
        ("", LIMIT, FINE, 20, False),
        ("false", LIMIT, FINE, 20, False),
        ("true", NO_TIME, FINE, 20, False),
        *(
            ("true", LIMIT, replace(FINE, **{name: ["a"]}), 20, False)  # type: ignore[arg-type]
            for name in ("lost", "unacknowledged", "doubled", "unfinished", "unexpected")
        ),
        ("true", LIMIT, FINE, 19.01, True),
        ("true", LIMIT, FINE, 18.9, False),
    ],
)
def test_each_condition_alone_keeps_a_drill_from_being_evidence(
    monkeypatch: pytest.MonkeyPatch, told_by: str, tiers: Any, ledger: Ledger, per_second: float, is_ok: bool
) -> None:
    """It has to keep 95 % of its rate, 20 a second."""
    monkeypatch.setattr(command, "TIERS", tiers)
    monkeypatch.setattr(command, "wait_until_final", lambda *_: ledger)
    drill: Any = SimpleNamespace(site=told_site(*filter(None, [told_by])), sender=Traffic(per_second))
    result = command._run_drill(drill, 1, (20, 0, 0))
    assert result["ok"] is is_ok
    assert result["told"]["in_time"] is (told_by == "true")
    assert (result["rate"], result["achieved_per_second"]) == (20, per_second)


@pytest.mark.parametrize(
    ("tier", "minutes", "is_kept"),
    [
        (1, 4.999, True),
        (1, 5.0, False),
        (2, 15.0, True),
        (2, 15.001, False),
        (3, 30.0, True),
        (3, 30.1, False),
    ],
)
def test_tier_1_takes_less_than_5_minutes_the_others_at_most_15_and_30(
    tier: int, minutes: float, is_kept: bool
) -> None:
    limit = TIERS[tier][2]
    assert limit.is_kept_by(minutes) is is_kept
    (criterion,) = [each for each in load_criteria() if each.id == f"G-8-tier{tier}"]
    assert (criterion.operator, criterion.target) == (limit.operator, limit.minutes)


def test_the_rate_is_that_of_the_first_to_the_last_lead() -> None:
    """At port 9 no server listens: every post fails at once."""
    begun = time.monotonic()
    with Sender(Webhook("http://127.0.0.1:9/", {}), "golive-drill-", 100, "-1", 1) as sender:
        time.sleep(0.2)
    sent = sender.sent
    assert begun <= sent.first_at < sent.last_at <= time.monotonic()
    assert sent.answers == {"no answer": len(sent.ids)}
    assert Sent(ids=["a"], first_at=1, last_at=1).per_second == 0


@pytest.mark.parametrize(
    ("accepted", "stored", "lost", "unacknowledged"),
    [
        ({"a", "b"}, ["a", "b"], [], []),
        ({"a", "b"}, ["a"], ["b"], []),
        ({"a"}, ["a", "b"], [], []),
        ({"a"}, ["a"], [], ["b"]),
        (set(), [], [], ["a", "b"]),
    ],
    ids=["all", "lost", "stored without an answer", "refused", "the edge is down"],
)
def test_a_lead_that_is_not_stored_counts_whatever_it_was_answered(
    accepted: set[str], stored: list[str], lost: list[str], unacknowledged: list[str]
) -> None:
    rows = [{"record_id": name, "events": 1, "is_processed": True, "tickets": 1} for name in stored]
    answer = SimpleNamespace(fetchall=lambda: rows)
    counted: Any = SimpleNamespace(db=SimpleNamespace(execute=lambda *_: answer))
    ledger = count_records(counted, "golive-drill-", Sent(ids=["a", "b"], accepted=accepted))
    assert (ledger.lost, ledger.unacknowledged, ledger.processed) == (lost, unacknowledged, len(stored))
    assert ledger.is_fine is (len(stored) == 2)
