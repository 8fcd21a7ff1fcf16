"""`leads golive deploy` against a real database, the stand-in for Hasura, and services that it starts."""

import fcntl
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from leads.cli.golive.deploy.plan_file import read_plan_file
from leads.cli.golive.deploy.site import known_secrets
from leads.cli.golive.evidence import read_evidence_file
from leads.cli.golive.load import load_criteria
from sandbox.payloads import HERE as PAYLOADS
from sandbox.stack.services import ROOT
from tests.support.golive_site import GoLiveSite
from tests.support.waiting import eventually

FORWARD = [
    "snapshot", "1", "2", "3", "4", "5", "6", "7", "8", "8a", "8b", "9a", "10", "11", "9b", "12", "13", "14",
]  # fmt: skip


def golive(*words: str) -> Result:
    return CliRunner().invoke(app, ["golive", "deploy", *words])


def deploy(*words: str, code: int = 0) -> dict[str, str]:
    """Deploy, and return the result of each step by its number."""
    run = golive("--anytime", "--json", *words)
    assert run.exit_code == code, run.output
    return {each["step"]: each["result"] for each in json.loads(run.stdout)["steps"]}


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


def run_golive(*words: str, code: int = 0) -> Any:
    """Run another verb of `leads golive`; return its JSON document."""
    run = CliRunner().invoke(app, ["golive", *words, "--json"])
    assert run.exit_code == code, run.output
    return json.loads(run.stdout)


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
    held = CliRunner().invoke(app, ["golive", "smoke", body, "--phone", "0905333444"])
    assert held.exit_code == 1
    assert "Its event is skipped_kill_switch" in held.stdout
    site.query("UPDATE view_pancake_setting SET kill_switch = false RETURNING id")
    assert "0905333444" not in held.output


def _check_drill(site: GoLiveSite) -> None:
    """scripts/chaos drill runs all three; here the first, and its refusal of another database."""
    other = CliRunner().invoke(app, ["golive", "drill", "tier1", "--database", "production"])
    assert (other.exit_code, "Nothing was changed" in " ".join(other.stderr.split())) == (2, True)
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
    refused = CliRunner().invoke(app, ["golive", "handover", "--to", "second.tar.gz"])
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
    run = golive("--plan", "--json")
    assert run.exit_code == 0
    assert [each["step"] for each in json.loads(run.stdout)] == FORWARD
    said = golive("--plan").stdout
    assert "1  Columns normalized_phone and pancake_metadata of account (BE, at most 60 s)" in said
    assert "undo  leads metadata remove 9a" in said
    assert "do    golive.yaml, services.edge.do" in said
    mine = golive("--plan", "--file", str(ROOT / "deploy" / "golive" / "golive.yaml")).stdout
    assert "do    systemctl reload-or-restart pancake-edge" in mine


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--until", "15"], "There is no step '15'. They are: snapshot, 1, 2"),
        (["--plan", "--check"], "Give one of --plan, --check, --until and --rollback"),
        (["--rollback", "snapshot"], "The snapshot is kept"),
    ],
)
def test_wrong_usage_is_refused(words: list[str], said: str) -> None:
    run = golive(*words)
    assert run.exit_code == 2
    assert said in run.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: {api: {}}", "services has api; known are edge, front_end, handlers"),
        ("[1", "is not a plan"),
        ("pancake: {name: Diva}", "workspace"),
        ("sauce: x", "the file has sauce"),
    ],
)
def test_a_wrong_golive_yaml_is_refused_by_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "golive.yaml").write_text(text)
    run = golive("--file", str(tmp_path / "golive.yaml"), "--folder", str(tmp_path / "golive"))
    assert run.exit_code == 2
    assert said in " ".join(run.stderr.split())
    assert not (tmp_path / "golive").exists()


def golive_on(database: str, folder: Path, *words: str) -> Result:
    environment = {
        "DATABASE_URL": database, "HASURA_URL": "http://127.0.0.1:9", "HASURA_ADMIN_SECRET": "s" * 32,
    }  # fmt: skip
    return CliRunner().invoke(
        app, ["golive", "deploy", "--folder", str(folder), *words], env=environment
    )  # fmt: skip


def test_two_deployments_exclude_each_other_here_and_on_the_database(
    diva_database: str, tmp_path: Path
) -> None:
    with psycopg.connect(diva_database) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('leads golive deploy'))")
        run = golive_on(diva_database, tmp_path / "here", "--until", "snapshot")
        assert (run.exit_code, run.stderr) == (
            1, "Another deployment runs on this database: wait until it ends.\n",
        )  # fmt: skip
    with (tmp_path / "here" / "deploy.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run = golive_on(diva_database, tmp_path / "here", "--until", "snapshot")
    assert run.exit_code == 1
    assert "deploy.lock is locked" in " ".join(run.stderr.split())


def test_without_pg_dump_nothing_is_changed(diva_database: str, tmp_path: Path) -> None:
    run = golive_on(diva_database, tmp_path / "golive", "--programs", str(tmp_path))
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
