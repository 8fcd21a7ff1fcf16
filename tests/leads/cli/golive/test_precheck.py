"""`leads golive precheck`: what is broken is red, and what cannot be asked is inconclusive."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from leads.adapters import prometheus_api
from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.__main__ import app
from leads.cli.golive.criterion import Criterion, Part, Source
from leads.cli.golive.deploy.plan_file import PlanFile
from leads.cli.golive.gates import Inputs, evaluate
from leads.cli.golive.judgement import Judgement, Outcome, Why
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import Places, Sources
from leads.cli.golive.opening import GATE_PROBES
from leads.cli.golive.precheck import evaluating, link, other_probes
from leads.cli.golive.precheck.evaluating import evaluate_parts
from leads.cli.golive.precheck.link import Link
from leads.cli.golive.precheck.role_probes import ACTIONS, TABLES, stored_operations
from leads.cli.golive.probes import probes_of
from leads.cli.golive.records import Kind, Records, Statement
from leads.cli.golive.scans import FILE
from leads.cli.metadata.engine import Engine
from leads.cli.probes.engine import own_metadata
from sandbox.postgres.server import Cluster, free_port
from sandbox.stack.services import ROOT
from sandbox.stack.stack import Sandbox
from tests.support.breakages import BREAKAGES, Breakage
from tests.support.breaking import Break, Installation, Variables
from tests.support.golive_prometheus import fake_prometheus
from tests.support.golive_site import note_snapshot

CRITERIA = load_criteria()
DECIDED = [each for each in CRITERIA if each.source not in (Source.PERSON, Source.FILE)]
SLOW_HERE = {"E3-BE-capacity"}
"""A busy machine may need more than 100 ms for 1,000 rows."""


@pytest.fixture(autouse=True, scope="module")
def criteria_read_once() -> Iterator[None]:
    """Reading the files takes longer than asking the sandbox."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "load_criteria", lambda: CRITERIA)
        yield


@pytest.fixture(scope="module")
def system(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A sandbox before its start: the kill switch is on; and a folder with a plan and a snapshot."""
    folder = tmp_path_factory.mktemp("precheck")
    with Sandbox(cluster) as sandbox, fake_prometheus() as prometheus:
        manifest = ROOT / "deploy" / "kubernetes" / "hasura.yaml"
        plan = {"engine_manifest": str(manifest), "staging_url": sandbox.hasura_url}
        (folder / "golive.yaml").write_text(yaml.safe_dump(plan))
        note_snapshot(folder, 1)
        found = Installation(sandbox, folder, prometheus)
        found.sql("UPDATE view_pancake_setting SET kill_switch = true")
        found.sql("UPDATE pancake_source SET is_active = false")
        yield found


def environment(system: Installation) -> Variables:
    return system.sandbox.environment() | {
        "PUBLIC_URL": system.sandbox.edge_url, "PROMETHEUS_URL": system.prometheus.url,
        "HASURA_OTHER_ADMIN_SECRET": system.sandbox.keys.admin_secret,
    }  # fmt: skip


def judgements_in(system: Installation, parts: set[Part], variables: Variables) -> dict[str, Judgement]:
    """Return the judgement of each criterion of these parts of the checklist."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment(system) | variables).items():
            patch.setenv(name, value)
        plan = system.folder / "golive.yaml"
        found = evaluate_parts("test", sorted(parts), system.folder, plan, "default")
    return {each.criterion.id: each for each in found.judgements}


def test_a_healthy_installation_passes_all_that_a_program_decides_and_nothing_stays(
    system: Installation,
) -> None:
    """The public URL is not https."""
    words = ["--records", str(system.folder), "--file", str(system.folder / "golive.yaml"), "--json"]
    count = "SELECT count(*) FROM pancake_webhook_event"
    with psycopg.connect(system.sandbox.database_url, autocommit=True) as db:
        before = db.execute(count).fetchone()
        run = CliRunner().invoke(app, ["golive", "precheck", *words], env=environment(system))
        assert db.execute(count).fetchone() == before
    assert run.exit_code in (0, 1, 3), run.output
    found = {each["id"]: each["outcome"] for each in json.loads(run.stdout)["criteria"]}
    not_passed = {name for name, outcome in found.items() if outcome != "pass"}
    assert not_passed & {each.id for each in DECIDED} - SLOW_HERE == {"E2-OPS-tls"}


@contextmanager
def staging_without_a_cron(system: Installation) -> Iterator[Variables]:
    """Staging is the second engine that is opened."""
    opened: list[str] = []

    class WithoutCron(Engine):
        def export(self) -> tuple[dict[str, object], int]:
            metadata, version = super().export()
            return metadata | {"cron_triggers": metadata["cron_triggers"][1:]}, version

    def open_engine(link: Link, url: str, secret: str) -> Engine:
        opened.append(url)
        hasura = link._open.enter_context(HasuraAdmin(url, secret))
        return (WithoutCron if len(opened) > 1 else Engine)(hasura)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Link, "_engine", open_engine)
        yield {}


def of_version(version: str) -> Break:
    @contextmanager
    def replaced(system: Installation) -> Iterator[Variables]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Engine, "version", lambda _: version)
            yield {}

    return replaced


BROKEN = [
    *(each for each in BREAKAGES if each.criteria),
    Breakage("staging differs", staging_without_a_cron, criteria="staging-metadata"),
    Breakage("a late engine", of_version("v2.51.0"), criteria="engine-version engine-no-downgrade"),
    Breakage("an old engine", of_version("v2.50.5"), criteria="engine-version"),
]
ELSEWHERE = {
    "E2-OPS-tls", "E7.7-9", "E2-BE-phone-library", "E2-BE-breaker-library", "database-snapshot",
    "engine-pool", "engine-stop", "engine-logs", "database-connections",
}  # fmt: skip
"""tests/leads/cli/golive/test_probes.py has them."""


def test_what_is_broken_is_red_and_nothing_else(system: Installation, subtests: pytest.Subtests) -> None:
    """Every criterion that a program decides is broken here, in test_probes.py or in test_gates.py."""
    at_gates = {each.id for each in DECIDED if each.query in GATE_PROBES}
    at_gates |= {each.id for each in DECIDED if each.source in (Source.SQL, Source.PROMQL)}
    named = {name for each in BROKEN for name in each.criteria.split()}
    assert named | ELSEWHERE | at_gates == {each.id for each in DECIDED}
    part_of = {each.id: each.part for each in CRITERIA}
    healthy = judgements_in(system, set(part_of.values()) - {Part.GATE}, {})
    for breakage in BROKEN:
        names = breakage.criteria.split()
        with subtests.test(breakage.name):
            with breakage.broken(system) as variables:
                found = judgements_in(system, {part_of[name] for name in names}, variables)
            changed = {name for name, each in found.items() if each.outcome != healthy[name].outcome}
            assert changed - SLOW_HERE == {*names} - SLOW_HERE
            assert {found[name].outcome for name in names} == {Outcome.FAIL}
            assert breakage.line or re.search(breakage.text, found[names[0]].measurement.details)


def test_every_table_and_action_is_probed() -> None:
    own, operations = own_metadata(), stored_operations()
    asked = " ".join(operations[each.operation] for each in (*TABLES, *ACTIONS))
    joined_as = {"view_pancake_connection_status": "status_history"}
    named = {each["table"]["name"] for each in own["sources"][0]["tables"] if "select_permissions" in each}
    assert [each for each in named if not re.search(rf"\b{joined_as.get(each, each)}\b", asked)] == []
    assert {each.name for each in ACTIONS} == {each["name"] for each in own["actions"]}


OF_THIS_PROGRAM = {"has_phonenumbers", "has_circuitbreaker"}
"""They ask which packages are installed beside this program: that source does not stop alone."""
STOPPABLE = [each for each in DECIDED if each.query not in OF_THIS_PROGRAM]
SILENT_SECONDS = 0.1
TIMEOUTS = ((link, "REQUEST_SECONDS"), (other_probes, "CONNECT_SECONDS"), (prometheus_api, "TIMEOUT_SECONDS"))
"""By module: how long an answer may take. Here shorter, so that the test does not wait for them."""


def judge_without_sources(criteria: list[Criterion], folder: Path, web: str) -> dict[str, Judgement]:
    """Judge in a pilot that has begun, with this address for engine, edge and Prometheus.

    No database answers, and no file can be read.
    """
    now, database = datetime.now(UTC), f"postgresql://x@127.0.0.1:{free_port()}/x"
    records = Records(folder)
    for wave in ("W1", "W2", "W3", "W4"):
        scans = json.dumps({"at": now.isoformat(), "scans": {}}).encode()
        records.add(Statement(Kind.BEGIN, wave, "Lan", "lan", now), [(FILE, scans)])
    (folder / "deploy.jsonl").mkdir()
    plan = PlanFile(engine_manifest=str(folder / "hasura.yaml"), staging_url=f"http://{web}")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET"):
            patch.setenv(name, "s" * 32)
        patch.setenv("DATABASE_URL", database)
        patch.setenv("HASURA_URL", f"http://{web}")
        patch.setenv("PUBLIC_URL", f"https://{web}")
        places = Places(database, f"http://{web}")
        with Sources(places, records) as sources, Link(plan, "default", folder) as opened:
            inputs = Inputs(sources, records.read(), "", probes_of(opened))
            found = evaluate("test", criteria, inputs, datetime.now(UTC), "W4").judgements
    return {each.criterion.id: each for each in found}


def not_down(found: dict[str, Judgement]) -> dict[str, Judgement]:
    """Those that are not inconclusive with a reason, because their source is down."""
    down = (Outcome.INCONCLUSIVE, Why.SOURCE_DOWN)
    return {name: each for name, each in found.items() if (each.outcome, each.why) != down or not each.reason}


def test_a_stopped_source_is_inconclusive(tmp_path: Path) -> None:
    assert not_down(judge_without_sources(STOPPABLE, tmp_path, f"127.0.0.1:{free_port()}")) == {}


def test_a_source_that_never_answers_is_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engine, edge and Prometheus take a connection; the time-out is what people are told."""
    for module, name in TIMEOUTS:
        monkeypatch.setattr(module, name, SILENT_SECONDS)
    asked_by_http = [each for each in STOPPABLE if each.source is not Source.SQL]
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        found = judge_without_sources(asked_by_http, tmp_path, f"127.0.0.1:{server.getsockname()[1]}")
    assert not_down(found) == {}
    for name in ("engine-version", "E2-OPS-alerts", "E2-OPS-scrape"):
        assert "time" in found[name].reason
