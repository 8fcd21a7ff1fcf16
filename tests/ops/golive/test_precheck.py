"""`leads golive precheck`: what is broken is red, and what cannot be asked is unknown, which blocks.

And when a drill is evidence: fast enough, no lead lost or doubled, and the message sent in time.
"""

import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psycopg
import pytest
import yaml
from pytest_httpserver import HTTPServer

from ops.checks import surroundings
from ops.checks.rights import ACTIONS, TABLES, stored_operations
from ops.checks.services import own_metadata
from ops.checks.surroundings import Manifest, is_near, read_manifest_file
from ops.clients.monitoring import PrometheusApi
from ops.failures import CommandFailed, WrongUsage
from ops.golive import drill, measuring
from ops.golive.criterion import WAVES, Criterion, Part, Source, Stage, find_criterion
from ops.golive.deploy.site import PlanFile
from ops.golive.evaluation import VARIABLES, evaluate
from ops.golive.gates import evaluate_parts
from ops.golive.judgement import Judgement, Outcome, Why
from ops.golive.measuring import Sources
from ops.golive.records import Kind, Records
from ops.golive.sending import WRONG, Ledger, Sender, Sent, Webhook, count_records, read_body
from ops.settings import read_operator_settings
from proofs.incidents.faults import Installation, Variables
from sandbox.edge import NginxEdge
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import ROOT
from sandbox.stack.stack import Sandbox
from tests.support.breakages import BREAKAGES
from tests.support.edge.harness import write_certificate
from tests.support.fake_services import RETENTION, FakePrometheus, FakeServer, fake_prometheus, silent_server
from tests.support.golive import ALL, CHECKS_AT_GATES, NO_SCANS, GoLiveSite, golive, note_snapshot, state
from tests.support.waiting import eventually

DECIDED = [each for each in ALL if each.source not in (Source.PERSON, Source.FILE)]
SLOW_HERE = {"E3-BE-capacity"}
"""A busy machine may need more than 100 ms for 1,000 rows."""


class GoLive(Installation):
    """With the folder of its plan, and a fake for Prometheus."""

    def __init__(self, sandbox: Sandbox, folder: Path, prometheus: FakePrometheus) -> None:
        super().__init__(sandbox)
        self.folder, self.prometheus = folder, prometheus


@pytest.fixture(scope="module")
def system(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoLive]:
    """A sandbox before its start: the kill switch is on; and a folder with a plan and a snapshot."""
    folder = tmp_path_factory.mktemp("precheck")
    with Sandbox(cluster) as sandbox, fake_prometheus() as prometheus:
        manifest = ROOT / "deploy" / "kubernetes" / "own-engine" / "hasura.yaml"
        plan = {"engine_manifest": str(manifest), "staging_url": sandbox.hasura_url}
        (folder / "golive.yaml").write_text(yaml.safe_dump(plan))
        note_snapshot(folder, 1)
        found = GoLive(sandbox, folder, prometheus)
        found.sql("UPDATE view_pancake_setting SET kill_switch = true")
        found.sql("UPDATE pancake_source SET is_active = false")
        yield found


def environment(system: GoLive) -> Variables:
    return system.sandbox.environment() | {
        "PUBLIC_URL": system.sandbox.edge_url, "PROMETHEUS_URL": system.prometheus.url,
        "HASURA_OTHER_ADMIN_SECRET": system.sandbox.keys.admin_secret,
    }  # fmt: skip


def judgements_in(system: GoLive, parts: set[Part], variables: Variables) -> dict[str, Judgement]:
    """Return the judgement of each criterion of these parts of the checklist."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment(system) | variables).items():
            patch.setenv(name, value)
        plan = system.folder / "golive.yaml"
        found = evaluate_parts("test", sorted(parts), system.folder, plan, "default")
    return {each.criterion.id: each for each in found.judgements}


def test_a_healthy_installation_passes_all_that_a_program_decides_and_nothing_stays(system: GoLive) -> None:
    """The public URL is not https."""
    words = ["precheck", "--file", str(system.folder / "golive.yaml"), "--json"]
    count = "SELECT count(*) FROM pancake_webhook_event"
    with psycopg.connect(system.sandbox.database_url, autocommit=True) as db:
        before = db.execute(count).fetchone()
        run = golive(system.folder, *words, **environment(system))
        assert db.execute(count).fetchone() == before
    edge = system.sandbox.edge
    assert not isinstance(edge, NginxEdge) or edge.health()["unknown_tokens"] == 0
    assert run.exit_code in (0, 1, 3), run.output
    found = {each["id"]: each["outcome"] for each in json.loads(run.stdout)["criteria"]}
    not_passed = {name for name, outcome in found.items() if outcome != "pass"}
    assert not_passed & {each.id for each in DECIDED} - SLOW_HERE == {"E2-OPS-tls"}


def test_before_the_deployment_all_that_a_program_decides_passes_on_the_tables_of_diva(
    cluster: Cluster, tmp_path: Path
) -> None:
    with GoLiveSite(cluster, tmp_path) as site, fake_prometheus() as prometheus:
        with psycopg.connect(site.database_url, autocommit=True) as db:
            db.execute("ANALYZE")
        manifest = ROOT / "deploy" / "kubernetes" / "own-engine" / "hasura.yaml"
        plan = tmp_path / "plan.yaml"
        plan.write_text(yaml.safe_dump({"engine_manifest": str(manifest), "staging_url": site.hasura_url}))
        words = ["precheck", "--stage", "before", "--file", str(plan), "--json"]
        variables = site.leads_environment() | {"PROMETHEUS_URL": prometheus.url}
        run = golive(tmp_path / "records", *words, **variables)
    found = {each["id"]: (each["outcome"], each["reason"]) for each in json.loads(run.stdout)["criteria"]}
    decided = {each.id for each in DECIDED if each.id in found}
    assert len(decided) > 20
    assert {name: found[name] for name in decided if found[name][0] != "pass"} == {}


def test_w1_begins_through_the_entry_gate_only(system: GoLive, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks E1 to E3: here the public URL is not https, and people have stated nothing."""
    monkeypatch.chdir(system.folder)
    gate = golive(system.folder, "gate", "entry", "--json", **environment(system))
    found = {each["id"]: each["outcome"] for each in json.loads(gate.stdout)["criteria"]}
    asked = {each.id: each for each in ALL if each.id in found}
    lines = {line for each in ALL if each.stage is not Stage.BEFORE for line in each.lines}
    wanted = {line for line in lines if line.startswith(("E1.G-", "E2.", "E3."))} - {"E1.G-10", "E1.G-11"}
    assert wanted <= {line for each in asked.values() for line in each.lines}
    listed = golive(system.folder, "list", "--gate", "entry", "--json")
    assert {each["id"] for each in json.loads(listed.stdout)} == found.keys()
    not_passed = {name for name, outcome in found.items() if outcome != "pass"}
    assert not_passed & {each.id for each in DECIDED} - SLOW_HERE == {"E2-OPS-tls"}
    begin = golive(system.folder, "begin", "W1", "--json", **environment(system))
    assert (gate.exit_code, begin.exit_code) == (1, 1)
    assert "W1 cannot begin: the gate of entry is closed." in begin.stderr


BROKEN = [each for each in BREAKAGES if each.criteria]
ELSEWHERE = {
    "E2-OPS-tls", "E7.7-9", "E2-BE-phone-library", "E2-BE-breaker-library", "database-snapshot",
    "engine-pool", "engine-stop", "engine-logs", "database-connections", "naming", "variables", "diva-action",
    "same-installation",
}  # fmt: skip
"""Each of them has a test below, in tests/ops/test_status.py or in tests/ops/metadata."""


def test_what_is_broken_is_red_and_nothing_else(system: GoLive, subtests: pytest.Subtests) -> None:
    """Every criterion that a program decides is broken here or in test_gates.py."""
    at_gates = {each.id for each in DECIDED if each.source in (Source.SQL, Source.PROMQL)}
    at_gates |= {each.id for each in DECIDED if each.query in CHECKS_AT_GATES}
    named = {name for each in BROKEN for name in each.criteria.split()}
    assert named | ELSEWHERE | at_gates == {each.id for each in DECIDED}
    part_of = {each.id: each.parts[-1] for each in ALL}
    healthy = judgements_in(system, set(Part) - set(map(Part, WAVES)), {})
    for breakage in BROKEN:
        names = breakage.criteria.split()
        with subtests.test(breakage.name):
            with breakage.broken(system) as variables:
                found = judgements_in(system, {part_of[name] for name in names}, variables)
            changed = {name for name, each in found.items() if each.outcome != healthy[name].outcome}
            assert changed - SLOW_HERE == {*names} - SLOW_HERE
            assert {found[name].outcome for name in names} == {Outcome.FAIL}
            assert breakage.check or re.search(breakage.text, found[names[0]].measurement.details)


def test_every_table_and_action_is_probed() -> None:
    own, operations = own_metadata(), stored_operations()
    asked = " ".join(operations[name] for name, _ in [*TABLES.values(), *ACTIONS.values()])
    joined_as = {"view_pancake_connection_status": "status_history"}
    named = {each["table"]["name"] for each in own["sources"][0]["tables"] if "select_permissions" in each}
    assert [each for each in named if not re.search(rf"\b{joined_as.get(each, each)}\b", asked)] == []
    assert ACTIONS.keys() == {each["name"] for each in own["actions"]}


STOPPABLE = [each for each in DECIDED if each.query != "packages"]
"""Which packages are installed beside this program is a source that does not stop alone."""
SILENT_SECONDS = 0.1
"""How long an answer may take. Here shorter, so that the test does not wait for it."""


def judge_without_sources(criteria: list[Criterion], folder: Path, web: str) -> dict[str, Judgement]:
    """Judge in a pilot that has begun, with this address for engine, edge and Prometheus.

    No database answers, and no file can be read.
    """
    now, database = datetime.now(UTC), f"postgresql://x@127.0.0.1:{free_port()}/x"
    records = Records(folder)
    for wave in WAVES:
        records.add(state(Kind.BEGIN, wave, now), files=[NO_SCANS])
    (folder / "deploy.jsonl").mkdir()
    plan = PlanFile(engine_manifest=str(folder / "hasura.yaml"), staging_url=f"http://{web}")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET"):
            patch.setenv(name, "s" * 32)
        patch.setenv("DATABASE_URL", database)
        patch.setenv("HASURA_URL", f"http://{web}")
        patch.setenv("PUBLIC_URL", f"https://{web}")
        patch.setenv("PROMETHEUS_URL", f"http://{web}")
        with sources_with(folder, plan=plan, request_seconds=SILENT_SECONDS) as sources:
            found = evaluate("test", criteria, sources, datetime.now(UTC), "W4").judgements
    return {each.criterion.id: each for each in found}


def not_down(found: dict[str, Judgement]) -> dict[str, Judgement]:
    """Those that are not inconclusive with a reason, because their source is down."""
    down = (Outcome.INCONCLUSIVE, Why.SOURCE_DOWN)
    return {name: each for name, each in found.items() if (each.outcome, each.why) != down or not each.reason}


def test_a_stopped_source_is_inconclusive(tmp_path: Path) -> None:
    assert not_down(judge_without_sources(STOPPABLE, tmp_path, f"127.0.0.1:{free_port()}")) == {}


def test_a_source_that_never_answers_is_inconclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """Engine, edge and Prometheus accept a connection; the reason names the time-out."""
    monkeypatch.setattr("ops.clients.monitoring.TIMEOUT_SECONDS", SILENT_SECONDS)
    asked_by_http = [each for each in STOPPABLE if each.source is not Source.SQL]
    with silent_server() as silent:
        found = judge_without_sources(asked_by_http, tmp_path, f"127.0.0.1:{silent.port}")
    assert not_down(found) == {}
    for name in ("engine-version", "G-7", "E2-OPS-scrape"):
        with subtests.test(name=name):
            assert "time" in found[name].reason


def sources_with(folder: Path, **given: Any) -> Sources:
    """Sources by the environment of the test, with a plan that names a manifest."""
    settings = read_operator_settings(may_have=VARIABLES)
    plan = PlanFile(engine_manifest=str(folder / "hasura.yaml"))
    return Sources(settings, folder, **{"plan": plan, **given})


def judged(folder: Path, name: str, **given: Any) -> Judgement:
    """The judgement of a criterion of source check."""
    with sources_with(folder, **given) as sources:
        (found,) = evaluate("test", [find_criterion(name)], sources, datetime.now(UTC)).judgements
    return found


def outcome(folder: Path, name: str, **given: Any) -> str:
    found = judged(folder, name, **given)
    return found.why or found.outcome


@pytest.mark.parametrize(("days", "expected"), [(90, Outcome.PASS), (13, Outcome.FAIL)])
def test_the_days_of_a_certificate_are_counted_and_an_invalid_one_counts_as_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, expected: Outcome
) -> None:
    write_certificate(tmp_path, "localhost", days)
    certificate, key = tmp_path / "fullchain.pem", tmp_path / "privkey.pem"
    of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    of_server.load_cert_chain(certificate, key)
    with FakeServer("localhost", of_server) as server:
        monkeypatch.setenv("PUBLIC_URL", server.url_for(""))
        not_valid = judged(tmp_path, "E2-OPS-tls")
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
        found = judged(tmp_path, "E2-OPS-tls")
    assert (found.outcome, f"it ends in {days} days" in found.measurement.details) == (expected, True)
    assert (not_valid.outcome, "self-signed" in not_valid.measurement.details) == (Outcome.FAIL, True)


def test_what_has_no_address_or_secret_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing, names in (
        ("PUBLIC_URL", ("E2-OPS-tls", "edge-answers")),
        ("HASURA_ADMIN_SECRET", ("engine-version",)),
        ("HASURA_URL", ("engine-version",)),
    ):
        monkeypatch.setenv("HASURA_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("HASURA_ADMIN_SECRET", "x")
        monkeypatch.setenv(missing, "")
        for name in names:
            found = judged(tmp_path, name)
            assert (found.why, found.reason) == (Why.SOURCE_DOWN, f"not looked at: {missing} is not set")


def test_only_the_edge_answers_as_the_edge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, httpserver: HTTPServer, subtests: pytest.Subtests
) -> None:
    monkeypatch.setenv("PUBLIC_URL", httpserver.url_for(""))
    for status, text, expected in (
        (200, '{"status": "unknown_token"}', Outcome.PASS), (200, '{"status": "received"}', Outcome.FAIL),
        (404, "no", Outcome.FAIL),
    ):  # fmt: skip
        with subtests.test(status=status, text=text):
            httpserver.expect_oneshot_request(re.compile(".*"), method="POST").respond_with_data(text, status)
            assert outcome(tmp_path, "edge-answers") == expected


def test_the_retention_of_prometheus_is_its_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    with fake_prometheus() as running:
        prometheus = PrometheusApi(running.url)
        monkeypatch.setenv("PROMETHEUS_URL", running.url)
        for flags, days, expected in (
            ({RETENTION: "45d"}, 45, Outcome.PASS),
            ({RETENTION: "1w12h"}, 7.5, Outcome.FAIL),
            ({"storage.tsdb.retention": "15d"}, 15, Outcome.FAIL),
            ({RETENTION: "0s"}, None, Why.NO_DATA),
            ({}, None, Why.NO_DATA),
        ):
            with subtests.test(flags=flags, days=days):
                running.flags = flags
                assert prometheus.retention_days() == days
                assert outcome(tmp_path, "E7.7-9") == expected


def test_only_an_unchanged_snapshot_has_an_age(tmp_path: Path) -> None:
    assert outcome(tmp_path, "database-snapshot") == Why.NO_DATA
    dump = note_snapshot(tmp_path, 30)
    found = judged(tmp_path, "database-snapshot")
    assert (found.outcome, "is 30.0 h old" in found.measurement.details) == (Outcome.FAIL, True)
    for hours, step in ((28, "snapshot"), (20, "13"), (1, "14")):  # steps before were done by `leads setup`
        began = datetime.now(UTC) - timedelta(hours=hours)
        with (tmp_path / "deploy.jsonl").open("a") as journal:
            journal.write(json.dumps({"at": began.isoformat(), "event": "begin", "step": step}) + "\n")
    found = judged(tmp_path, "database-snapshot")
    assert (found.outcome, "was 10.0 h old when the first step began" in found.measurement.details) == (
        Outcome.PASS, True,
    )  # fmt: skip
    dump.write_bytes(b"other rows")
    assert outcome(tmp_path, "database-snapshot") == Why.NO_DATA


def test_a_package_is_there_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("E2-BE-phone-library", "E2-BE-breaker-library")
    assert [outcome(tmp_path, name) for name in names] == [Outcome.PASS] * 2
    monkeypatch.setattr(surroundings, "version", lambda package: version(f"no-such-{package}"))
    assert [outcome(tmp_path, name) for name in names] == [Outcome.FAIL] * 2


OF_MANIFEST = ("engine-pool", "engine-stop", "engine-logs", "engine-no-downgrade", "database-connections")


def set_variable(name: str, value: str) -> Callable[[Any], None]:
    """Set a variable of the engine's container."""

    def edit(pod: Any) -> None:
        (container,) = pod["containers"]
        others = [each for each in container["env"] if each["name"] != name]
        container["env"] = [*others, {"name": name, "value": value}]

    return edit


EDITS: dict[str, Callable[[Any], None]] = {
    "": lambda pod: None,
    "engine-pool": set_variable("HASURA_GRAPHQL_EVENTS_HTTP_POOL_SIZE", "20"),
    "engine-stop": lambda pod: pod.update(terminationGracePeriodSeconds=30),
    "engine-logs": set_variable("HASURA_GRAPHQL_ENABLED_LOG_TYPES", "http-log"),
    "engine-no-downgrade": lambda pod: pod["containers"][0].update(image="hasura/graphql-engine:v2.48.1"),
    "database-connections": set_variable("HASURA_GRAPHQL_PG_CONNECTIONS", "900"),
}
"""A wrong line of the manifest, by the criterion that it makes red."""


def outcomes_with(manifest: str, folder: Path, database: str) -> dict[str, str]:
    """What the criteria of the manifest say of this one, beside an engine of the version that we want."""
    engine: Any = SimpleNamespace(version=lambda: "v2.50.6")
    (folder / "hasura.yaml").write_text(manifest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", database)
        return {name: outcome(folder, name, engine=engine) for name in OF_MANIFEST}


def test_a_wrong_line_of_the_manifest_is_red_and_nothing_else(
    tmp_path: Path, database: str, subtests: pytest.Subtests
) -> None:
    text = (ROOT / "deploy/kubernetes/own-engine/hasura.yaml").read_text("utf-8")
    for broken, edit in EDITS.items():
        documents = list(yaml.safe_load_all(text))
        edit(documents[0]["spec"]["template"]["spec"])
        wanted = {name: Outcome.FAIL if name == broken else Outcome.PASS for name in OF_MANIFEST}
        with subtests.test(broken or "none"):
            assert outcomes_with(yaml.safe_dump_all(documents), tmp_path, database) == wanted
    without = outcomes_with("services: {web: {image: nginx}}", tmp_path, database)
    assert set(without.values()) == {Why.SOURCE_DOWN}


def test_a_compose_file_tells_the_same_as_a_deployment(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(
        "services: {hasura: {image: 'hasura/graphql-engine:v2.50.6', stop_grace_period: 3m,"
        " environment: [HASURA_GRAPHQL_DEV_MODE=false]}}"
    )
    assert read_manifest_file(path) == Manifest("v2.50.6", 1, 180.0, {"HASURA_GRAPHQL_DEV_MODE": "false"})


@pytest.mark.parametrize(
    ("schedule", "near"),
    [("0 19 * * *", True), ("15 19 * * 1", True), ("46 18 * * *", True), ("16 19 * * *", False),
     ("0 * * * *", False), ("0 */1 * * *", False), ("*/5 19 * * *", True), ("0 2 * * *", False),
     ("0,30 19 * * *", True), ("*/30 19 * * *", True), ("0 1,19 * * *", True), ("0 18-20 * * *", True),
     ("30,40 19 * * *", False), ("20-40 18-19 * * *", False), ("50/5 18 * * 0", True), ("0 */2 * * *", False),
     ("5 1/6 * * *", True), ("@daily", False)],
)  # fmt: skip
def test_a_nightly_batch_is_near_two_in_vietnam(schedule: str, near: bool) -> None:
    assert is_near(schedule) is near


FINE = Ledger(5, {name: [] for name in WRONG})


def site_with_message(*words: str) -> Any:
    return SimpleNamespace(
        plan=PlanFile(tell=words), db=SimpleNamespace(info=SimpleNamespace(dbname="diva_staging")),
        journal=SimpleNamespace(commit="0123abc", by="Lan"),
    )  # fmt: skip


def test_the_message_counts_if_its_command_succeeds_in_time() -> None:
    for words, minutes_ago, is_in_time in (
        (["true"], 0, True), (["true"], 6, False), (["false"], 0, False), (["/no/such/program"], 0, False),
        ([], 0, False),
    ):  # fmt: skip
        started = time.monotonic() - minutes_ago * 60
        sent = drill.tell(site_with_message(*words), drill.TIERS["tier1"], started)
        assert sent["in_time"] is is_in_time, words


def test_each_condition_alone_keeps_a_drill_from_being_evidence(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """It has to keep 95 % of its rate, 20 a second."""
    ledgers = [Ledger(5, FINE.wrong | {name: ["a"]}) for name in WRONG]
    tier = replace(drill.TIERS["tier1"], roll_back=lambda _: None, bring_back=lambda _: None)
    for message_by, limit, ledger, per_second, is_ok in (
        ("true", 5.0, FINE, 20, True),
        ("", 5.0, FINE, 20, False),
        ("false", 5.0, FINE, 20, False),
        ("true", 0.0, FINE, 20, False),
        *(("true", 5.0, each, 20, False) for each in ledgers),
        ("true", 5.0, FINE, 19.01, True),
        ("true", 5.0, FINE, 18.9, False),
    ):
        criterion = replace(find_criterion("G-8-tier1"), target=limit)
        monkeypatch.setattr(drill, "find_criterion", lambda _, criterion=criterion: criterion)
        monkeypatch.setattr(drill, "wait_until_final", lambda *_, ledger=ledger: ledger)
        sent = Sent(ids=["a"] * 101, first_at=1000, last_at=1000 + 100 / per_second)
        sender = mock.MagicMock(prefix="golive-drill-", sent=sent)
        of_test: Any = SimpleNamespace(site=site_with_message(*filter(None, [message_by])), sender=sender)
        with subtests.test(f"{message_by}, {limit} min, {ledger}, {per_second} a second"):
            result = drill.run_drill(of_test, tier, 20, 0, 0)
            assert result["ok"] is is_ok
            assert result["told"]["in_time"] is (message_by == "true")
            assert (result["rate"], result["achieved_per_second"]) == (20, per_second)


def test_tier_2_needs_the_command_that_brings_the_former_handlers_back() -> None:
    without: Any = SimpleNamespace(site=SimpleNamespace(plan=PlanFile()))
    with pytest.raises(CommandFailed, match=r"no services\.handlers\.back"):
        drill.tier2(without)


@pytest.mark.parametrize(
    ("of_plan", "stored", "command"),
    [
        ("Zalo", ["Facebook"], "leads switch source Zalo on --reason drill"),
        ("", [None, "Cộng tác viên"], "leads switch source 'Cộng tác viên' on --reason drill"),
        ("", [], "leads cron run sync_sources"),
    ],
)
def test_a_drill_without_an_active_source_names_the_one_to_switch_on(
    of_plan: str, stored: list[str | None], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = {"kind": "source", "is_on": False, "can_be_on": True}
    monkeypatch.setattr(
        drill, "list_switches", lambda _: [SimpleNamespace(name=name, **off) for name in stored]
    )
    site: Any = SimpleNamespace(db=None, plan=SimpleNamespace(pancake=SimpleNamespace(), source=of_plan))
    with pytest.raises(WrongUsage, match=f"^No source is active: {command}$"):
        drill._traffic_of(site)


def test_the_rate_is_that_of_the_first_to_the_last_lead() -> None:
    """At port 9 no server listens: every post fails at once."""
    begun = time.monotonic()
    with Sender(Webhook("http://127.0.0.1:9/", {}), "golive-drill-", 100, "-1", 1) as sender:
        sent = sender.sent
        eventually(lambda: len(sent.ids) > 1)
    assert begun <= sent.first_at < sent.last_at <= time.monotonic()
    assert sent.answers == {"no answer": len(sent.ids)}
    assert Sent(ids=["a"], first_at=1, last_at=1).per_second == 0


def test_a_lead_that_is_not_stored_counts_whatever_it_was_answered(subtests: pytest.Subtests) -> None:
    for case, accepted, stored, lost, unacknowledged in (
        ("all", "ab", "ab", "", ""),
        ("lost", "ab", "a", "b", ""),
        ("stored without an answer", "a", "ab", "", ""),
        ("refused", "a", "a", "", "b"),
        ("the edge is down", "", "", "", "ab"),
    ):
        rows = [{"record_id": name, "events": 1, "is_processed": True, "tickets": 1} for name in stored]
        answer = SimpleNamespace(fetchall=lambda rows=rows: rows)
        db: Any = SimpleNamespace(execute=lambda *_, answer=answer: answer)
        with subtests.test(case):
            ledger = count_records(db, "golive-drill-", Sent(ids=["a", "b"], accepted=set(accepted)))
            assert (ledger.wrong["lost"], ledger.wrong["unacknowledged"]) == ([*lost], [*unacknowledged])
            assert (ledger.processed, any(ledger.wrong.values())) == (len(stored), stored != "ab")


def test_a_body_that_a_smoke_test_cannot_send_is_wrong_usage(tmp_path: Path) -> None:
    """It is what a sender posted, so it may be anything."""
    for content in (b"[" * 100_000, b"[]", b"\xff", b'{"id": "' + b"x" * 256 * 1024 + b'"}'):
        (tmp_path / "captured.json").write_bytes(content)
        with pytest.raises(WrongUsage, match="is no captured body"):
            read_body(tmp_path / "captured.json")


def test_the_fastest_of_three_tries_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.2, 1.0, 1.05, 2.0, 2.3])
    clock = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr("ops.golive.measuring.time", clock)
    inserted = mock.Mock(return_value=mock.Mock(rowcount=1000))
    session = mock.Mock(execute=inserted, transaction=lambda **_: nullcontext())
    sources: Any = SimpleNamespace(session=session)
    assert measuring.insert_thousand_events(sources).value == pytest.approx(50)
